//! Batches that a host should not have sent: each is refused for its own reason, is counted, and harms nobody else.

use std::io::Read;

use picket_proto::v1;
use picket_seal::{Domain, SigningKey};
use picket_tests::rig::Rig;
use prost::Message;

use crate::rogue::{Draft, Rogue, Run, new_key};

#[test]
fn each_forged_batch_is_refused_for_its_own_reason_and_the_connection_lives() {
    let mut rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let mut run = Run::of(&rogue);
    let mut call = rogue.call();
    let before = resident_kib(&mut rig);
    for (what, reason, forge) in FORGERIES {
        let before = refused(&rig, reason);
        let ack = call.send(forge(&rogue, run.next(&["forged"]))).unwrap();
        assert_eq!(ack.refused, *reason, "{what}");
        assert_eq!(refused(&rig, reason), before + 1, "{what}: the counter");
        let honest = run.next(&["honest"]);
        let ack = call.send(honest.seal(&rogue.key)).unwrap();
        let end = honest.header.seq_first + 1;
        assert_eq!(
            (ack.refused.as_str(), ack.durable_seq),
            ("", end),
            "after {what}"
        );
        run.goes_on_behind(&honest);
    }
    assert!(
        rig.execs("forged").unwrap().is_empty(),
        "nothing forged is found"
    );
    assert_eq!(rig.execs("honest").unwrap().len(), FORGERIES.len());
    rig.verify().unwrap();
    let grown = resident_kib(&mut rig).saturating_sub(before);
    assert!(grown < 64 << 10, "a rogue costs {grown} KiB of memory");
}

#[test]
fn a_batch_that_comes_again_is_acknowledged_and_stored_once() {
    let rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let mut run = Run::of(&rogue);
    let first = run.next(&["once-1", "once-2"]);
    run.goes_on_behind(&first);
    let second = run.next(&["once-3"]);
    let mut call = rogue.call();
    for batch in [&first, &second, &first, &second, &first] {
        let ack = call.send(batch.seal(&rogue.key)).unwrap();
        assert_eq!((ack.refused.as_str(), ack.stream), ("", run.stream()));
    }
    let again = rogue.call().send(second.seal(&rogue.key)).unwrap();
    assert_eq!(again.durable_seq, 3, "over a new connection, too");
    assert_eq!(rig.figure("picket_ingest_duplicates_total").unwrap(), 4);
    assert_eq!(rig.execs("once").unwrap().len(), 3);
    rig.verify().unwrap();
}

#[test]
fn a_second_history_is_refused_as_a_fork_and_the_first_one_stays() {
    let rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let mut run = Run::of(&rogue);
    let (truth, other) = (run.next(&["truth"]), run.next(&["forged"]));
    let mut call = rogue.call();
    call.send(truth.seal(&rogue.key)).unwrap();
    let fork = call.send(other.seal(&rogue.key)).unwrap();
    assert_eq!(fork.refused, "chain_fork");
    run.goes_on_behind(&other);
    let behind = call.send(run.next(&["forged"]).seal(&rogue.key)).unwrap();
    assert_eq!(
        behind.refused, "chain_fork",
        "what follows the fork is refused, too"
    );
    assert_eq!(rig.figure("picket_ingest_forks_total").unwrap(), 2);
    assert_eq!(rig.execs("truth").unwrap().len(), 1);
    assert!(rig.execs("forged").unwrap().is_empty());
    rig.verify().unwrap();
}

#[test]
fn what_a_second_successor_of_a_key_signs_is_taken_and_marked() {
    let rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let mut run = Run::of(&rogue);
    let (first, second) = (new_key(), new_key());
    let mut call = rogue.call();
    let mut first_batch = run.next(&["rotated"]);
    let ack = call
        .send(under_successor(
            &rogue,
            &rogue.key,
            &first,
            first_batch.clone(),
        ))
        .unwrap();
    first_batch.header.epoch = 1;
    first_batch.header.key_id = first.public_key().key_id().as_bytes().to_vec();
    assert_eq!(
        (ack.refused.as_str(), ack.durable_seq),
        ("", 1),
        "an honest rotation is taken"
    );
    let forged = Run::of(&rogue).next(&["forged"]);
    let ack = call
        .send(under_successor(&rogue, &rogue.key, &second, forged))
        .unwrap();
    assert_eq!((ack.refused.as_str(), ack.durable_seq), ("", 1));
    assert_eq!(rig.figure("picket_ingest_forks_total").unwrap(), 1);
    let (honest, forged) = (rig.execs("rotated").unwrap(), rig.execs("forged").unwrap());
    let branch = second.public_key().key_id().to_string();
    assert!(honest[0].get("doubtful").is_none(), "{honest:?}");
    assert_eq!(forged[0]["doubtful"], branch.as_str());
    // What it signed does not go on in the other one's run.
    run.goes_on_behind(&first_batch);
    let intruder = under_successor(&rogue, &rogue.key, &second, run.next(&["intruder"]));
    assert_eq!(call.send(intruder).unwrap().refused, "other_branch");
    let lines = rig.verify().unwrap();
    let of_branch = lines
        .iter()
        .filter(|line| line["branch"] == branch.as_str());
    assert_eq!(of_branch.count(), 1, "{lines:?}");
}

#[test]
fn a_payload_left_out_without_a_word_does_not_verify() {
    let rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let mut run = Run::of(&rogue);
    let silent = run.next(&["silent"]);
    run.goes_on_behind(&silent);
    let mut call = rogue.call();
    // The header proves the chain without its payload; that nobody said why is for `verify` to tell.
    let without = v1::SignedBatch {
        payload: Vec::new(),
        ..silent.seal(&rogue.key)
    };
    assert_eq!(call.send(without).unwrap().refused, "");
    call.send(run.next(&["loud"]).seal(&rogue.key)).unwrap();
    assert!(rig.execs("silent").unwrap().is_empty());
    let ended = rig.ctl(&["verify"]).unwrap();
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(ended.stderr.contains("missing"), "{}", ended.stderr);
}

#[test]
fn a_message_beyond_its_bound_ends_its_call_and_nothing_else() {
    let rig = Rig::start().unwrap();
    let (rogue, neighbour) = (Rogue::enroll(&rig), Rogue::enroll(&rig));
    let mut neighbours = neighbour.call();
    let mut run = Run::of(&rogue);
    let mut large = run.next(&["forged"]);
    large.carry(vec![7; 5 << 20]);
    let ended = rogue.call().send(large.seal(&rogue.key)).unwrap_err();
    assert!(ended.message().starts_with("too_large: "), "{ended}");
    assert_eq!(refused(&rig, "too_large"), 1);
    let honest = Run::of(&neighbour).next(&["neighbour"]);
    neighbours.send(honest.seal(&neighbour.key)).unwrap();
    let honest = run.next(&["afterwards"]);
    run.goes_on_behind(&honest);
    let ack = rogue.call().send(honest.seal(&rogue.key)).unwrap();
    assert_eq!(ack.durable_seq, 1, "the same host is served again");
    assert!(rig.execs("forged").unwrap().is_empty());
    assert_eq!(rig.execs("neighbour").unwrap().len(), 1);
}

fn resident_kib(rig: &mut Rig) -> u64 {
    rig.collector().unwrap().resident_kib().unwrap()
}

fn refused(rig: &Rig, reason: &str) -> u64 {
    let name = format!("picket_ingest_refused_total{{reason=\"{reason}\"}}");
    rig.figure(&name).unwrap()
}

/// What is wrong, the reason that must be given, and how it is made from an honest draft.
type Forgery = (
    &'static str,
    &'static str,
    fn(&Rogue, Draft) -> v1::SignedBatch,
);

const FORGERIES: &[Forgery] = &[
    ("a stranger's signature", "bad_signature", |_, draft| {
        draft.seal(&new_key())
    }),
    ("no signature", "bad_signature", |rogue, draft| {
        v1::SignedBatch {
            signature: Vec::new(),
            ..draft.seal(&rogue.key)
        }
    }),
    (
        "a header altered after it was signed",
        "bad_signature",
        altered_header,
    ),
    (
        "a payload exchanged after it was signed",
        "payload_hash",
        altered_payload,
    ),
    ("another host's name", "wrong_host", |rogue, mut draft| {
        draft.header.host_id = vec![9; 32];
        draft.seal(&rogue.key)
    }),
    (
        "an epoch that nobody vouched for",
        "unknown_epoch",
        |rogue, mut draft| {
            draft.header.epoch = 7;
            draft.seal(&rogue.key)
        },
    ),
    (
        "another key than the epoch's",
        "wrong_key",
        |_, mut draft| {
            let key = new_key();
            draft.header.key_id = key.public_key().key_id().as_bytes().to_vec();
            draft.seal(&key)
        },
    ),
    (
        "a succession that a stranger signed",
        "bad_succession",
        stolen_succession,
    ),
    (
        "a class that does not exist",
        "unknown_enum",
        |rogue, mut draft| {
            draft.header.class = 99;
            draft.seal(&rogue.key)
        },
    ),
    (
        "an event of a kind that does not exist",
        "unknown_enum",
        |rogue, mut draft| {
            draft.events[0].kind = 9_999;
            draft.pack();
            draft.seal(&rogue.key)
        },
    ),
    ("a header of random bytes", "bad_header", |rogue, draft| {
        v1::SignedBatch {
            header: vec![0xff; 300],
            ..draft.seal(&rogue.key)
        }
    }),
    (
        "a payload of random bytes",
        "bad_payload",
        |rogue, mut draft| {
            draft.carry(vec![0xaa; 300]);
            draft.seal(&rogue.key)
        },
    ),
    (
        "a payload that unpacks to half a gigabyte",
        "too_large",
        bomb,
    ),
    (
        "a payload that does not say how large it is",
        "bad_payload",
        hidden_bomb,
    ),
    (
        "a header of half a megabyte",
        "too_large",
        |rogue, mut draft| {
            draft.header.agent_version = "x".repeat(512 << 10);
            draft.seal(&rogue.key)
        },
    ),
    ("numbers left out", "chain_skipped", |rogue, mut draft| {
        draft.header.seq_first += 5;
        draft.events[0].seq += 5;
        draft.pack();
        draft.seal(&rogue.key)
    }),
    (
        "an event under another number",
        "bad_sequence",
        |rogue, mut draft| {
            draft.events[0].seq += 1;
            draft.pack();
            draft.seal(&rogue.key)
        },
    ),
    (
        "fewer events than numbers",
        "bad_sequence",
        |rogue, mut draft| {
            draft.header.count = 2;
            draft.seal(&rogue.key)
        },
    ),
    ("no number at all", "empty_batch", |rogue, mut draft| {
        draft.header.count = 0;
        draft.seal(&rogue.key)
    }),
    ("another past", "chain_fork", |rogue, mut draft| {
        draft.header.prev_hash = vec![3; 32];
        draft.seal(&rogue.key)
    }),
];

fn altered_header(rogue: &Rogue, draft: Draft) -> v1::SignedBatch {
    let mut altered = draft.clone();
    altered.header.wall_unix_ns += 1;
    v1::SignedBatch {
        header: altered.header.encode_to_vec(),
        ..draft.seal(&rogue.key)
    }
}

fn altered_payload(rogue: &Rogue, draft: Draft) -> v1::SignedBatch {
    let mut other = draft.clone();
    other.events[0].time_unix_ns += 1;
    other.pack();
    v1::SignedBatch {
        payload: other.payload,
        ..draft.seal(&rogue.key)
    }
}

fn stolen_succession(rogue: &Rogue, draft: Draft) -> v1::SignedBatch {
    let stranger = new_key();
    under_successor(rogue, &stranger, &stranger, draft)
}

/// The batch under the key of epoch 1, for which `voucher` vouches.
fn under_successor(
    rogue: &Rogue,
    voucher: &SigningKey,
    successor: &SigningKey,
    mut draft: Draft,
) -> v1::SignedBatch {
    let body = v1::SuccessionBody {
        host_id: rogue.host.as_bytes().to_vec(),
        epoch: 1,
        public_key: successor.public_key().as_bytes().to_vec(),
        wall_unix_ns: 0,
    };
    let body = body.encode_to_vec();
    let signature = voucher.sign(Domain::Succession, &body).as_bytes().to_vec();
    draft.header.epoch = 1;
    draft.header.key_id = successor.public_key().key_id().as_bytes().to_vec();
    v1::SignedBatch {
        successions: vec![v1::Succession { body, signature }],
        ..draft.seal(successor)
    }
}

/// Half a megabyte that is half a gigabyte, and says so.
fn bomb(rogue: &Rogue, mut draft: Draft) -> v1::SignedBatch {
    let mut packer = zstd::stream::Encoder::new(Vec::new(), 1).expect("memory is writable");
    let size = Some(512 << 20);
    packer
        .set_pledged_src_size(size)
        .expect("nothing was packed yet");
    finish_bomb(&mut draft, packer);
    draft.seal(&rogue.key)
}

/// The same without a word about its size.
fn hidden_bomb(rogue: &Rogue, mut draft: Draft) -> v1::SignedBatch {
    let packer = zstd::stream::Encoder::new(Vec::new(), 1).expect("memory is writable");
    finish_bomb(&mut draft, packer);
    draft.seal(&rogue.key)
}

fn finish_bomb(draft: &mut Draft, mut packer: zstd::stream::Encoder<'_, Vec<u8>>) {
    let mut zeros = std::io::repeat(0).take(512 << 20);
    std::io::copy(&mut zeros, &mut packer).expect("memory is writable");
    draft.carry(packer.finish().expect("memory is writable"));
    assert!(draft.payload.len() < 1 << 20, "the bomb is small");
}
