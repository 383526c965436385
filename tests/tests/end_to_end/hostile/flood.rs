//! Too much of everything at once: connections that say nothing, that never finish a word, that never read, that send
//! the largest and the most.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use picket_proto::v1;
use picket_tests::rig::{PATIENCE, Rig};
use picket_tests::wait;
use prost::Message;

use super::neighbour::Neighbour;
use super::raw::{RawCall, assert_unhurt, is_typed, peak_kib};
use super::{EVENTS, MOST_KIB, SESSION, hello};
use crate::rogue::{Rogue, Run};

/// How long each flood lasts.
const FLOOD: Duration = Duration::from_secs(4);

#[test]
fn a_flood_of_everything_costs_a_bounded_amount_and_no_neighbour() {
    let mut rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let neighbour = Neighbour::of(&rig);
    wait::pause(Duration::from_millis(500));
    let before = peak_kib(&mut rig);
    let address = rig.addresses.agents.clone();
    let silent = silent(&address, 400);
    let stammering = stammering(&address, 60);
    large(&rig, &rogue);
    unread(&rig, &rogue);
    forged(&rig, &rogue);
    sessions(&rig, &rogue);
    drop((silent, stammering));
    let honest = Run::of(&rogue).next(&["afterwards"]);
    let ack = wait::until("an honest word", PATIENCE, || {
        let call = events(&rig, &rogue);
        Ok(call.and_then(|mut call| call.send(honest.seal(&rogue.key).encode_to_vec()).ok()))
    });
    let ack = ack.unwrap();
    assert_eq!((ack.refused.as_str(), ack.durable_seq), ("", 1));
    let fared = neighbour.leave(&rig);
    assert_unhurt(&mut rig);
    let grown = peak_kib(&mut rig).saturating_sub(before);
    println!("memory +{grown} KiB; the neighbour: {fared}");
    assert!(grown <= MOST_KIB, "a flood costs {grown} KiB of memory");
    rig.verify().unwrap();
}

/// Connections that never say a word.
fn silent(address: &str, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect()
}

/// Connections that begin a handshake and stop in the middle of a record.
fn stammering(address: &str, count: usize) -> Vec<TcpStream> {
    let begin = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        // A record of 16 KiB, of which little comes.
        stream
            .write_all(&[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f])
            .unwrap();
        stream
    };
    (0..count).map(begin).collect()
}

/// Messages beyond their bound, one after the other.
fn large(rig: &Rig, rogue: &Rogue) {
    let end = Instant::now() + FLOOD;
    let message = v1::SignedBatch {
        payload: vec![7; 5 << 20],
        ..v1::SignedBatch::default()
    };
    let message = message.encode_to_vec();
    while Instant::now() < end {
        let Some(mut call) = events(rig, rogue) else {
            continue;
        };
        let refused = call.send(message.clone()).unwrap_err();
        assert!(is_typed(&refused), "{refused}");
    }
}

/// Many batches on many calls, whose answers nobody reads.
fn unread(rig: &Rig, rogue: &Rogue) {
    let mut run = Run::of(rogue);
    let calls: Vec<_> = (0..2).filter_map(|_| events(rig, rogue)).collect();
    let end = Instant::now() + FLOOD;
    for call in calls.iter().cycle() {
        if Instant::now() > end {
            break;
        }
        let mut batch = run.next(&["unread"]);
        batch.header.agent_version = "x".repeat(32 << 10);
        run.goes_on_behind(&batch);
        let sent = call.post_within(batch.seal(&rogue.key).encode_to_vec(), FLOOD);
        if !sent {
            break;
        }
    }
}

/// As many batches as go through whose signature is wrong, over as many calls as a host may have.
fn forged(rig: &Rig, rogue: &Rogue) {
    let end = Instant::now() + FLOOD;
    let mut calls: Vec<_> = (0..2).filter_map(|_| events(rig, rogue)).collect();
    let mut batch = Run::of(rogue).next(&["forged"]).seal(&rogue.key);
    batch.signature = vec![1; 64];
    batch.payload = vec![3; 64 << 10];
    let message = batch.encode_to_vec();
    while Instant::now() < end {
        for call in &mut calls {
            match call.send(message.clone()) {
                Ok(ack) => assert_eq!(ack.refused, "bad_signature"),
                Err(status) => {
                    assert!(is_typed(&status), "{status}");
                    return;
                }
            }
        }
    }
}

/// Sessions on connections of their own, none of which is read.
fn sessions(rig: &Rig, rogue: &Rogue) {
    let end = Instant::now() + FLOOD;
    let mut open = Vec::new();
    while Instant::now() < end && open.len() < 100 {
        let channel = rogue.channel(&rig.addresses.agents, Some(&rogue.papers));
        let channel = channel.expect("the collector listens");
        let first = Some(hello().encode_to_vec());
        match RawCall::<v1::CollectorFrame>::open(rogue, channel, SESSION, first) {
            Ok(call) => open.push(call),
            Err(status) => assert!(is_typed(&status), "{status}"),
        }
    }
}

/// A call, unless there are too many: those of before are still ending.
fn events<'a>(rig: &Rig, rogue: &'a Rogue) -> Option<RawCall<'a, v1::EventAck>> {
    let channel = rogue.channel(&rig.addresses.agents, Some(&rogue.papers));
    let channel = channel.expect("the collector listens");
    match RawCall::open(rogue, channel, EVENTS, None) {
        Ok(call) => Some(call),
        Err(status) => {
            assert!(is_typed(&status), "{status}");
            wait::pause(Duration::from_millis(20));
            None
        }
    }
}
