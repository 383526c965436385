//! What a receiver demands of sealed batches, asked of the sealer with a clock of the test's own.

use std::collections::{BTreeMap, BTreeSet};

use picket_event::{RuleVerdict, Severity, Verdict};
use picket_seal::{Payload, Position, verify_header};
use proptest::prelude::*;

use super::line::end;
use super::*;

fn speaker() -> Speaker {
    Speaker {
        host: HostId::new([1; 32]),
        stream: StreamId::new([2; 16]),
        boot: BootId::new([3; 16]),
    }
}

fn at(mono_ns: u64) -> Now {
    Now {
        wall: UnixNanos(1_000),
        mono_ns,
    }
}

fn event(kind: Kind) -> Event {
    Event::new(kind, UnixNanos(1), Source::Agent)
}

fn alert() -> Event {
    let rule = RuleVerdict {
        id: "r".to_owned(),
        title: "t".to_owned(),
        severity: Severity::High,
        attack: Vec::new(),
        author: String::new(),
        license: String::new(),
        rests_on: Vec::new(),
    };
    let mut event = event(Kind::Exec);
    event.verdicts.push(Verdict::Rule(rule));
    event
}

fn decode(sealed: &Sealed) -> (Header, Vec<Event>) {
    let header = v1::BatchHeader::decode(sealed.header.as_slice()).unwrap();
    let raw = zstd::bulk::decompress(&sealed.payload, 1 << 22).unwrap();
    let payload = v1::BatchPayload::decode(raw.as_slice()).unwrap();
    let events = payload
        .events
        .into_iter()
        .map(|event| event.try_into().unwrap());
    (header.try_into().unwrap(), events.collect())
}

#[test]
fn an_alert_does_not_wait_and_the_rest_waits_at_most_its_time() {
    let key = SigningKey::generate().unwrap();
    let signer = Signer {
        epoch: 0,
        key: &key,
    };
    let mut sealer = Sealer::new(speaker(), None).unwrap();
    sealer
        .push(event(Kind::Exec).into(), at(0), signer)
        .unwrap();
    assert_eq!(sealer.due_in_ns(5), Some(MAX_WAIT_NS - 5));
    sealer.push(alert().into(), at(1), signer).unwrap();
    sealer.push(alert().into(), at(1), signer).unwrap();
    assert_eq!(sealer.due_in_ns(1), Some(0));
    let sealed = sealer.flush_due(at(1), signer, |_| true).unwrap();
    assert_eq!(
        (sealed.len(), sealed[0].class, sealed[0].count),
        (1, Class::Alert, 2)
    );
    assert!(
        sealer
            .flush_due(at(MAX_WAIT_NS - 1), signer, |_| true)
            .unwrap()
            .is_empty()
    );
    let sealed = sealer.flush_due(at(MAX_WAIT_NS), signer, |_| true).unwrap();
    assert_eq!(sealed[0].class, Class::Security);
    assert_eq!(sealer.due_in_ns(0), None);
}

#[test]
fn a_full_batch_is_sealed_at_once() {
    let key = SigningKey::generate().unwrap();
    let signer = Signer {
        epoch: 0,
        key: &key,
    };
    let mut sealer = Sealer::new(speaker(), None).unwrap();
    let mut pushed = 0_u64;
    let sealed = loop {
        pushed += 1;
        if let Some(sealed) = sealer
            .push(event(Kind::Exit).into(), at(0), signer)
            .unwrap()
        {
            break sealed;
        }
    };
    assert_eq!((sealed.seq_first, sealed.count), (0, pushed));
    assert_eq!(decode(&sealed).1.len() as u64, pushed);
}

#[test]
fn an_unclean_end_is_said_once_in_the_first_header() {
    let key = SigningKey::generate().unwrap();
    let signer = Signer {
        epoch: 3,
        key: &key,
    };
    let previous = PreviousStream {
        stream: StreamId::new([9; 16]),
        heads: Vec::new(),
        clean: false,
    };
    let mut sealer = Sealer::new(speaker(), Some(previous.clone())).unwrap();
    let mut next = || {
        sealer.push(alert().into(), at(0), signer).unwrap();
        decode(&sealer.flush_due(at(0), signer, |_| true).unwrap()[0]).0
    };
    let (first, second) = (next(), next());
    assert_eq!(first.previous_stream, Some(previous));
    assert_eq!(
        (first.gaps[0].reason, first.gaps[0].count),
        (GapReason::Crash, None)
    );
    assert_eq!((second.previous_stream, second.gaps), (None, Vec::new()));
}

#[test]
fn lost_events_of_one_class_share_a_gap_that_counts_kinds() {
    let key = SigningKey::generate().unwrap();
    let signer = Signer {
        epoch: 0,
        key: &key,
    };
    let mut sealer = Sealer::new(speaker(), None).unwrap();
    sealer.lose(
        Class::Security,
        (Kind::Exec, 3),
        GapReason::KernelRing,
        at(0),
    );
    sealer.lose(
        Class::Security,
        (Kind::Exit, 2),
        GapReason::KernelRing,
        at(0),
    );
    let sealed = sealer.flush_all(at(1), signer).unwrap();
    let header = decode(&sealed[0]).0;
    assert_eq!((header.count, sealed[0].gaps, header.gaps.len()), (5, 5, 1));
    assert_eq!(header.gaps[0].kinds, [(Kind::Exec, 3), (Kind::Exit, 2)]);
}

#[test]
fn what_is_gone_after_it_was_sealed_is_told_in_its_own_class() {
    let key = SigningKey::generate().unwrap();
    let mut sealer = Sealer::new(speaker(), None).unwrap();
    let gap = Gap {
        seq_first: 3,
        count: Some(4),
        reason: GapReason::SpoolFull,
        kinds: Vec::new(),
        stream: None,
    };
    sealer.report(Class::Bulk, gap.clone(), at(0));
    let sealed = sealer
        .flush_all(
            at(1),
            Signer {
                epoch: 0,
                key: &key,
            },
        )
        .unwrap();
    let (header, events) = decode(&sealed[0]);
    assert_eq!((header.class, header.gaps.len()), (Class::Bulk, 0));
    assert_eq!(events[0].detail, Some(Detail::Gap(gap)));
}

#[derive(Clone, Debug)]
enum Step {
    Push(Kind),
    Alert,
    Lose(Kind, u64),
    Wait(u64),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = || prop::sample::select(vec![Kind::Exec, Kind::Fork, Kind::FileOpen, Kind::Login]);
    prop_oneof![
        4 => kind().prop_map(Step::Push),
        1 => Just(Step::Alert),
        1 => (kind(), 0..5_u64).prop_map(|(kind, count)| Step::Lose(kind, count)),
        1 => (0..MAX_WAIT_NS).prop_map(Step::Wait),
        1 => Just(Step::Flush),
    ]
}

/// Runs the steps and seals the rest.
fn run(steps: &[Step], signer: Signer<'_>) -> (Vec<Sealed>, Sealer) {
    let mut sealer = Sealer::new(speaker(), None).unwrap();
    let (mut out, mut time) = (Vec::new(), 0);
    for step in steps {
        match step {
            Step::Push(kind) => {
                out.extend(sealer.push(event(*kind).into(), at(time), signer).unwrap());
            }
            Step::Alert => out.extend(sealer.push(alert().into(), at(time), signer).unwrap()),
            Step::Lose(kind, count) => {
                sealer.lose(
                    kind.default_class(),
                    (*kind, *count),
                    GapReason::KernelRing,
                    at(time),
                );
            }
            Step::Wait(ns) => time += ns,
            Step::Flush => out.extend(sealer.flush_due(at(time), signer, |_| true).unwrap()),
        }
    }
    out.extend(sealer.flush_all(at(time), signer).unwrap());
    (out, sealer)
}

/// The numbers of a header that no gap covers.
fn uncovered(header: &Header) -> Vec<u64> {
    let gaps = header.gaps.iter().flat_map(|gap| gap.seq_first..end(gap));
    let gaps: BTreeSet<u64> = gaps.collect();
    (header.seq_first..header.seq_first + header.count)
        .filter(|n| !gaps.contains(n))
        .collect()
}

proptest! {
    #[test]
    fn every_class_is_a_verified_chain_without_a_hole(steps in prop::collection::vec(step(), 0..200)) {
        let key = SigningKey::generate().unwrap();
        let (sealed, sealer) = run(&steps, Signer { epoch: 0, key: &key });
        let mut chains = BTreeMap::new();
        for batch in &sealed {
            let (header, events) = decode(batch);
            let payload = Payload::Present(&batch.payload);
            let hash = verify_header(
                &key.public_key(), &batch.header, &batch.signature, payload, &header.payload_hash,
            ).unwrap();
            let chain = chains.entry(header.class).or_insert(Chain::START);
            prop_assert_eq!(chain.advance(&header.link(), hash), Ok(Position::Next));
            let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
            prop_assert_eq!(numbers, uncovered(&header));
        }
        for line in sealer.numbered() {
            let chain = chains.get(&line.class).copied().unwrap_or(Chain::START);
            prop_assert_eq!((chain.next_seq, chain.head), (line.given, line.head));
        }
    }

    #[test]
    fn numbered_is_events_plus_gaps(steps in prop::collection::vec(step(), 0..200)) {
        let key = SigningKey::generate().unwrap();
        let (sealed, sealer) = run(&steps, Signer { epoch: 0, key: &key });
        let events: usize = sealed.iter().map(|batch| decode(batch).1.len()).sum();
        let gaps: u64 = sealed.iter().map(|batch| batch.gaps).sum();
        let numbered: u64 = sealer.numbered().iter().map(|line| line.given).sum();
        prop_assert_eq!(numbered, events as u64 + gaps);
    }
}
