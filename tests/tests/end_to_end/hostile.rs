//! Everything that a hostile agent can say: each field of each message wrong in every way that the schema allows and some
//! that it does not, signed where a signature covers it, so that the checks behind the signature are reached too.
//!
//! What must be true each time: a typed no, or a yes after which the books are still right. No call panics, an honest
//! host beside it notices nothing, and the collector's memory rises by [`MOST_KIB`] at most.

mod flood;
mod mutate;
mod neighbour;
mod raw;
mod strangers;
mod wire;

use picket_proto::v1;
use picket_seal::{Digest, Domain, seal_header};
use picket_tests::rig::{PATIENCE, Rig};
use picket_tests::wait;
use prost::Message;

use crate::rogue::{Rogue, Run, new_key};
use mutate::{Mutant, Schema};
use neighbour::Neighbour;
use raw::{RawCall, assert_unhurt, is_reason, is_typed, peak_kib};

/// By how much the collector's memory may rise.
pub(crate) const MOST_KIB: u64 = 64 << 10;

const EVENTS: &str = "/picket.v1.Agent/Events";
const SESSION: &str = "/picket.v1.Agent/Session";

#[test]
fn every_field_of_a_header_is_refused_by_name_or_taken_and_the_chain_goes_on() {
    let mut play = Play::begin();
    let honest = |play: &Play| {
        let draft = play.run.next(&["mutant"]);
        let header = full(draft.header).encode_to_vec();
        (
            play.schema.mutants("BatchHeader", &header, 2),
            draft.payload,
        )
    };
    let count = honest(&play).0.len();
    assert!(count > 400, "{count}");
    for number in 0..count {
        // Made anew each time, at the place in the chain where the next honest header would stand.
        let (mut mutants, payload) = honest(&play);
        let Mutant { what, bytes } = mutants.swap_remove(number);
        let batch = v1::SignedBatch {
            signature: seal_header(&play.rogue.key, &bytes).as_bytes().to_vec(),
            header: bytes,
            payload,
            successions: Vec::new(),
        };
        play.say(&what, batch.encode_to_vec(), true);
    }
    play.end();
}

#[test]
fn every_field_of_a_batch_and_its_successions_is_refused_by_name_or_taken() {
    let mut play = Play::begin();
    let sealed = |play: &Play| play.run.next(&["mutant"]).seal(&play.rogue.key);
    let (body, signature) = succession(&play.rogue, 1);
    let vouched = v1::Succession { body, signature };
    let mutants = |play: &Play| {
        let honest = v1::SignedBatch {
            successions: vec![vouched.clone()],
            ..sealed(play)
        };
        play.schema
            .mutants("SignedBatch", &honest.encode_to_vec(), 1)
    };
    for number in 0..mutants(&play).len() {
        let Mutant { what, bytes } = mutants(&play).swap_remove(number);
        play.say(&what, bytes, true);
    }
    let (body, _) = succession(&play.rogue, 1);
    for mutant in play.schema.mutants("SuccessionBody", &body, 0) {
        let signature = play.rogue.key.sign(Domain::Succession, &mutant.bytes);
        let batch = v1::SignedBatch {
            successions: vec![v1::Succession {
                signature: signature.as_bytes().to_vec(),
                body: mutant.bytes,
            }],
            ..sealed(&play)
        };
        play.say(&mutant.what, batch.encode_to_vec(), true);
    }
    play.end();
}

#[test]
fn every_field_of_an_event_is_refused_by_name_or_taken() {
    let mut play = Play::begin();
    let draft = play.run.next(&["mutant"]);
    let honest = v1::BatchPayload {
        events: draft.events,
    };
    let mutants = play
        .schema
        .mutants("BatchPayload", &honest.encode_to_vec(), 2);
    assert!(mutants.len() > 2_000, "{}", mutants.len());
    for (number, mutant) in mutants.into_iter().enumerate() {
        let mut draft = play.run.next(&["mutant"]);
        // The event's number is what the next honest batch would have; so much of the mutant is made new.
        let bytes = with_seq(&mutant.bytes, draft.header.seq_first);
        draft.carry(zstd::bulk::compress(&bytes, 1).expect("memory can be compressed"));
        let batch = draft.seal(&play.rogue.key).encode_to_vec();
        play.say(&mutant.what, batch, number % 25 == 0);
    }
    play.end();
}

#[test]
fn every_field_of_a_session_is_refused_by_name_or_taken() {
    let play = Play::begin();
    let (hello, beat) = (hello(), beat());
    let channel = play
        .rogue
        .channel(&play.rig.addresses.agents, Some(&play.rogue.papers));
    let channel = channel.expect("the collector listens");
    for mutant in play.schema.mutants("AgentFrame", &hello.encode_to_vec(), 3) {
        let call = RawCall::open(&play.rogue, channel.clone(), SESSION, Some(mutant.bytes));
        match call.and_then(|mut call: RawCall<'_, v1::CollectorFrame>| call.next()) {
            Ok(frame) => assert!(frame.is_some(), "{}: a welcome or a reason", mutant.what),
            Err(status) => assert!(is_typed(&status), "{}: {status}", mutant.what),
        }
    }
    for mutant in play.schema.mutants("AgentFrame", &beat.encode_to_vec(), 3) {
        let first = Some(hello.encode_to_vec());
        let mut call: RawCall<'_, v1::CollectorFrame> =
            RawCall::open(&play.rogue, channel.clone(), SESSION, first).expect("an honest hello");
        assert!(call.next().expect("a welcome").is_some());
        call.post(mutant.bytes);
        call.post(beat.encode_to_vec());
        // The next session takes over, unless this one has ended by its own words.
        let next = Some(hello.encode_to_vec());
        let next: RawCall<'_, v1::CollectorFrame> =
            RawCall::open(&play.rogue, channel.clone(), SESSION, next).expect("an honest hello");
        loop {
            match call.next() {
                Ok(Some(frame)) => assert!(frame.frame.is_some(), "{}", mutant.what),
                Ok(None) => break,
                Err(status) => {
                    assert!(is_typed(&status), "{}: {status}", mutant.what);
                    break;
                }
            }
        }
        drop(next);
    }
    for shown in [
        &["hosts"][..],
        &["host", "show", &play.rogue.host.to_string()],
    ] {
        let printed = play.rig.ctl_prints(shown).expect("the operator sees it");
        assert!(!printed.contains('\u{1b}'), "{shown:?}: {printed}");
    }
    play.end();
}

/// A hostile host, an honest one beside it, and what the collector weighed before.
struct Play {
    rig: Rig,
    rogue: Rogue,
    run: Run,
    schema: Schema,
    neighbour: Neighbour,
    before: u64,
    said: usize,
    taken: usize,
}

impl Play {
    fn begin() -> Self {
        let mut rig = Rig::start().unwrap();
        let rogue = Rogue::enroll(&rig);
        let mut run = Run::of(&rogue);
        let neighbour = Neighbour::of(&rig);
        let first = run.next(&["honest"]);
        rogue.call().send(first.seal(&rogue.key)).unwrap();
        run.goes_on_behind(&first);
        let before = peak_kib(&mut rig);
        Self {
            rig,
            rogue,
            run,
            schema: Schema::read(),
            neighbour,
            before,
            said: 0,
            taken: 0,
        }
    }

    /// Sends it, and, if asked for, an honest batch behind it, which must be taken.
    fn say(&mut self, what: &str, batch: Vec<u8>, go_on: bool) {
        self.said += 1;
        let answer = events(&self.rig, &self.rogue).send(batch);
        match answer {
            Ok(ack) if ack.refused.is_empty() => {
                self.taken += 1;
                if ack.stream == self.run.stream() && ack.class == CLASS {
                    self.run.stands_at(raw::stands(&ack));
                }
            }
            Ok(ack) => {
                assert!(is_reason(&ack.refused), "{what}: {ack:?}");
                assert!(
                    !OUR_FAULT.contains(&ack.refused.as_str()),
                    "{what}: {ack:?}"
                );
            }
            Err(status) => assert!(is_typed(&status), "{what}: {status}"),
        }
        if go_on {
            let honest = self.run.next(&["honest"]);
            let sealed = honest.seal(&self.rogue.key).encode_to_vec();
            let ack = events(&self.rig, &self.rogue).send(sealed);
            let ack = ack.unwrap_or_else(|status| panic!("after {what}: {status}"));
            assert_eq!(ack.refused, "", "after {what}");
            self.run.goes_on_behind(&honest);
        }
    }

    fn end(mut self) {
        let fared = self.neighbour.leave(&self.rig);
        assert_unhurt(&mut self.rig);
        let grown = peak_kib(&mut self.rig).saturating_sub(self.before);
        let ended = self.rig.ctl(&["verify"]).unwrap();
        println!(
            "{} mutants, {} taken; memory +{grown} KiB; the neighbour: {fared}; verify: {:?} {}",
            self.said, self.taken, ended.code, ended.stderr
        );
        assert!(
            grown <= MOST_KIB,
            "a hostile host costs {grown} KiB of memory"
        );
        assert!(matches!(ended.code, Some(0 | 5)), "{ended:?}");
        let books = self.rig.ctl_json(&["hosts"]).unwrap();
        assert_eq!(books.len(), 2, "{books:?}");
    }
}

/// A call for batches, as soon as those of before have ended.
fn events<'a>(rig: &Rig, rogue: &'a Rogue) -> RawCall<'a, v1::EventAck> {
    let call = wait::until("a call for batches", PATIENCE, || {
        let channel = rogue.channel(&rig.addresses.agents, Some(&rogue.papers));
        let channel = channel.expect("the collector listens");
        match RawCall::open(rogue, channel, EVENTS, None) {
            Ok(call) => Ok(Some(call)),
            Err(status) => {
                assert!(is_typed(&status), "{status}");
                Ok(None)
            }
        }
    });
    call.expect("an enrolled host may send")
}

/// A header that says something in every field.
fn full(header: v1::BatchHeader) -> v1::BatchHeader {
    v1::BatchHeader {
        other_heads: vec![v1::ClassHead {
            class: 3,
            next_seq: 0,
            head: vec![0; 32],
        }],
        policy_hash: vec![4; 32],
        ..header
    }
}

/// The payload with this number in its first event, if it is a payload of one event that says so of itself.
fn with_seq(payload: &[u8], seq: u64) -> Vec<u8> {
    let Ok(mut typed) = v1::BatchPayload::decode(payload) else {
        return payload.to_vec();
    };
    let again = typed.encode_to_vec().len() == payload.len();
    match typed.events.as_mut_slice() {
        [event] if again && event.seq <= 1 => event.seq = seq,
        _ => return payload.to_vec(),
    }
    typed.encode_to_vec()
}

/// A well-formed succession to this epoch, by the rogue's first key.
fn succession(rogue: &Rogue, epoch: u64) -> (Vec<u8>, Vec<u8>) {
    let body = v1::SuccessionBody {
        host_id: rogue.host.as_bytes().to_vec(),
        epoch,
        public_key: new_key().public_key().as_bytes().to_vec(),
        wall_unix_ns: 1,
    };
    let body = body.encode_to_vec();
    let signature = rogue
        .key
        .sign(Domain::Succession, &body)
        .as_bytes()
        .to_vec();
    (body, signature)
}

fn hello() -> v1::AgentFrame {
    let hello = v1::Hello {
        facts: Some(v1::HostFacts {
            hostname: "rogue".to_owned(),
            machine_id_hash: Digest::of(b"machine").as_bytes().to_vec(),
            os: "Debian".to_owned(),
            kernel: "6.1".to_owned(),
            agent_version: "rogue".to_owned(),
            takes_host_sets: true,
            fetches_content: true,
        }),
        stream: vec![1; 16],
        boot_id: vec![2; 16],
        sensor: Some(v1::SensorState::default()),
        trust_version: 1,
        ..v1::Hello::default()
    };
    v1::AgentFrame {
        frame: Some(v1::agent_frame::Frame::Hello(hello)),
    }
}

fn beat() -> v1::AgentFrame {
    let beat = v1::Heartbeat {
        classes: vec![v1::ClassLedger {
            stream: vec![1; 16],
            class: CLASS,
            numbered: 1,
            ..v1::ClassLedger::default()
        }],
        kinds: vec![v1::KindCounts::default()],
        spool_bytes: 1,
        sensor: Some(v1::SensorState::default()),
        ..v1::Heartbeat::default()
    };
    v1::AgentFrame {
        frame: Some(v1::agent_frame::Frame::Heartbeat(beat)),
    }
}

/// The class of a rogue's batches.
const CLASS: i32 = 2;

/// Reasons that no message of a host may bring about.
const OUR_FAULT: &[&str] = &["internal", "storage", "disk_full"];
