//! Evidence that is whole, flipped, skipped, forged, withheld.

use picket_event::batch::{ClassHead, Header, PreviousStream};
use picket_event::{BootId, Class, Gap, GapReason, HostId, StreamId, UnixNanos};
use picket_proto::v1;
use picket_proto::v1::evidence_item::Item;
use picket_seal::{Chain, Digest, Domain, SigningKey, header_hash, seal_header};
use prost::Message;

use super::{Expected, Fault, Host, Outcome, Verifier};

/// An honest host that seals batches of numbered, empty events.
struct Sealer {
    host: HostId,
    key: SigningKey,
    epoch: u64,
    stream: StreamId,
    chain: Chain,
    items: Vec<Item>,
}

impl Sealer {
    fn new() -> Self {
        let key = SigningKey::generate().unwrap();
        let public = key.public_key();
        let host = HostId::of_first_key(&public);
        let first = v1::EvidenceHost {
            host_id: host.as_bytes().to_vec(),
            name: "web-1".to_owned(),
            first_event_public_key: public.as_bytes().to_vec(),
        };
        Self {
            host,
            key,
            epoch: 0,
            stream: StreamId::new([1; 16]),
            chain: Chain::START,
            items: vec![Item::Host(first)],
        }
    }

    /// A header over `count` numbers, not yet sealed.
    fn header(&self, count: u64, gaps: Vec<Gap>) -> Header {
        let link = self.chain.next_link(count);
        Header {
            host: self.host,
            stream: self.stream,
            class: Class::Security,
            seq_first: link.seq_first,
            count,
            prev_hash: link.prev_hash,
            payload_hash: Digest::ZERO,
            other_heads: Vec::new(),
            gaps,
            epoch: self.epoch,
            key_id: self.key.public_key().key_id(),
            boot: BootId::new([2; 16]),
            wall: UnixNanos(1_767_607_200_000_000_000),
            mono_ns: 1,
            agent_version: "0.1.0".to_owned(),
            previous_stream: None,
            last_checkpoint: None,
            range_end: None,
        }
    }

    fn seal(&mut self, header: Header, seqs: impl IntoIterator<Item = u64>) {
        self.seal_payload(header, payload(seqs));
    }

    fn seal_payload(&mut self, header: Header, payload: Vec<u8>) {
        let batch = self.sealed_payload(header, payload);
        self.items.push(Item::Batch(batch));
    }

    fn sealed_payload(&mut self, mut header: Header, payload: Vec<u8>) -> v1::SignedBatch {
        header.payload_hash = Digest::of(&payload);
        let link = header.link();
        let header = v1::BatchHeader::from(header).encode_to_vec();
        let _position = self.chain.advance(&link, header_hash(&header)).unwrap();
        v1::SignedBatch {
            signature: seal_header(&self.key, &header).0.to_vec(),
            header,
            payload,
            successions: Vec::new(),
        }
    }

    /// A whole batch of `count` events.
    fn push(&mut self, count: u64) {
        let first = self.chain.next_seq;
        let header = self.header(count, Vec::new());
        self.seal(header, first..first + count);
    }

    /// Changes the key; `signer` vouches for the new one.
    fn rotate(&mut self, signer: Option<&SigningKey>) {
        let next = SigningKey::generate().unwrap();
        self.epoch += 1;
        let body = v1::SuccessionBody {
            host_id: self.host.as_bytes().to_vec(),
            epoch: self.epoch,
            public_key: next.public_key().as_bytes().to_vec(),
            wall_unix_ns: 1,
        }
        .encode_to_vec();
        let signer = signer.unwrap_or(&self.key);
        let signature = signer.sign(Domain::Succession, &body).0.to_vec();
        self.items
            .push(Item::Succession(v1::Succession { body, signature }));
        self.key = next;
    }

    fn batch(&mut self, place: usize) -> &mut v1::SignedBatch {
        match &mut self.items[place] {
            Item::Batch(batch) => batch,
            other => panic!("not a batch: {other:?}"),
        }
    }

    fn verify(self, from_start: bool) -> Host {
        let mut verifier = Verifier::new(from_start, Expected::default());
        for item in self.items {
            verifier.take(v1::EvidenceItem { item: Some(item) });
        }
        let (mut hosts, stray, _log) = verifier.finish();
        assert!(stray.is_none());
        hosts.pop().unwrap()
    }
}

fn payload(seqs: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let events = seqs.into_iter().map(|seq| v1::Event {
        seq,
        kind: v1::Kind::Exec as i32,
        ..v1::Event::default()
    });
    compressed(events.collect())
}

fn compressed(events: Vec<v1::Event>) -> Vec<u8> {
    let message = v1::BatchPayload { events };
    zstd::bulk::compress(&message.encode_to_vec(), 1).unwrap()
}

fn gap(seq_first: u64, count: Option<u64>, reason: GapReason) -> Gap {
    Gap {
        seq_first,
        count,
        reason,
        kinds: Vec::new(),
        stream: None,
    }
}

fn fault(host: &Host) -> (u64, &Fault) {
    let (seq, fault) = host.lines[0].fault.as_ref().expect("a fault was expected");
    (*seq, fault)
}

#[test]
fn whole_evidence_verifies_over_a_change_of_keys() {
    let mut sealer = Sealer::new();
    sealer.push(3);
    sealer.rotate(None);
    sealer.push(2);
    let host = sealer.verify(true);
    assert!(host.is_good(), "{host:?}");
    let line = &host.lines[0];
    assert_eq!((line.batches, line.events, line.next()), (2, 5, 5));
    assert_eq!((line.outcome(), host.epoch), (Outcome::Verified, 1));
}

// A collector sends the keys of all hosts first and then everybody's batches as they arrived. Batches were once counted
// to the host named last, and honest evidence of a fleet failed with "a succession is for another host".
#[test]
fn batches_of_several_hosts_may_come_in_any_mixture() {
    let (mut one, mut other) = (Sealer::new(), Sealer::new());
    for sealer in [&mut one, &mut other] {
        sealer.rotate(None);
        sealer.push(3);
        sealer.push(2);
    }
    let keys = |sealer: &mut Sealer| sealer.items.drain(..2).collect::<Vec<_>>();
    let mut items = [keys(&mut one), keys(&mut other)].concat();
    for (first, second) in one.items.into_iter().zip(other.items) {
        items.extend([second, first]);
    }
    let mut verifier = Verifier::new(true, Expected::default());
    for item in items {
        verifier.take(v1::EvidenceItem { item: Some(item) });
    }
    let (hosts, stray, _log) = verifier.finish();
    assert!(
        stray.is_none() && hosts.len() == 2 && hosts.iter().all(Host::is_good),
        "{hosts:?}"
    );
    assert!(hosts.iter().all(|host| host.lines[0].events == 5));
}

#[test]
fn a_flipped_byte_of_header_payload_or_signature_is_found() {
    for part in 0..3 {
        let mut sealer = Sealer::new();
        sealer.push(3);
        sealer.push(3);
        let batch = sealer.batch(2);
        let bytes = [&mut batch.payload, &mut batch.signature, &mut batch.header];
        let bytes = bytes.into_iter().nth(part).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let host = sealer.verify(true);
        assert!(!host.is_good(), "part {part}");
        assert_eq!(host.lines[0].batches, 1);
    }
}

#[test]
fn a_skipped_batch_is_found_and_what_follows_is_not_checked() {
    let mut sealer = Sealer::new();
    for _ in 0..4 {
        sealer.push(3);
    }
    sealer.items.remove(2);
    let host = sealer.verify(true);
    let (seq, fault) = fault(&host);
    assert!(matches!((seq, fault), (6, Fault::Chain(_))), "{fault}");
    assert_eq!((host.lines[0].batches, host.lines[0].unchecked), (1, 1));
}

#[test]
fn a_chain_that_lacks_its_beginning_fails_unless_only_a_part_was_asked_for() {
    let part = || {
        let mut sealer = Sealer::new();
        sealer.push(3);
        sealer.push(3);
        sealer.items.remove(1);
        sealer
    };
    assert!(!part().verify(true).is_good());
    let host = part().verify(false);
    assert!(host.is_good());
    assert_eq!(host.lines[0].first, 3);
}

#[test]
fn a_batch_that_comes_twice_is_found() {
    let mut sealer = Sealer::new();
    sealer.push(3);
    let again = sealer.items[1].clone();
    sealer.items.push(again);
    let host = sealer.verify(true);
    assert!(matches!(fault(&host), (0, Fault::Twice(0))));
}

#[test]
fn a_succession_that_the_key_before_did_not_sign_is_refused() {
    let mut sealer = Sealer::new();
    sealer.push(3);
    sealer.rotate(Some(&SigningKey::generate().unwrap()));
    sealer.push(3);
    let host = sealer.verify(true);
    assert!(matches!(host.fault, Some(Fault::Succession(_))));
    assert!(matches!(fault(&host), (3, Fault::NoKey(1))));
}

/// A host and its copy, whose keys branch off; the copy's is in force. With where the host's run stood.
fn forked() -> (Sealer, Chain) {
    let mut sealer = Sealer::new();
    sealer.push(3);
    let shared = SigningKey::from_pkcs8(sealer.key.to_pkcs8()).unwrap();
    sealer.rotate(None);
    sealer.push(2);
    let of_host = sealer.chain;
    (sealer.key, sealer.epoch) = (shared, 0);
    (sealer.stream, sealer.chain) = (StreamId::new([3; 16]), Chain::START);
    sealer.rotate(None);
    sealer.push(4);
    (sealer, of_host)
}

#[test]
fn a_second_successor_is_a_branch_that_is_counted_apart() {
    let (sealer, _) = forked();
    let name = sealer.key.public_key().key_id();
    let host = sealer.verify(true);
    assert!(host.is_good(), "{host:?}");
    let forks = host.forks();
    assert_eq!((forks.len(), forks[0].name, forks[0].epoch), (1, name, 0));
    let apart = host.lines.iter().filter(|line| line.branch == Some(name));
    let events: Vec<u64> = apart.map(|line| line.events).collect();
    assert_eq!(events, [4]);
}

#[test]
fn a_branch_that_goes_on_in_the_run_of_another_does_not_verify() {
    let (mut sealer, of_host) = forked();
    (sealer.stream, sealer.chain) = (StreamId::new([1; 16]), of_host);
    sealer.push(1);
    let host = sealer.verify(true);
    assert!(matches!(fault(&host), (5, Fault::OtherBranch)));
}

#[test]
fn another_first_key_is_another_host() {
    let mut sealer = Sealer::new();
    sealer.push(3);
    let forger = SigningKey::generate().unwrap();
    let Item::Host(first) = &mut sealer.items[0] else {
        panic!("the first item is the host");
    };
    first.first_event_public_key = forger.public_key().as_bytes().to_vec();
    let host = sealer.verify(true);
    assert!(matches!(host.fault, Some(Fault::OtherFirstKey(_))));
    assert!(!host.is_good());
}

#[test]
fn gaps_are_counted_by_reason_and_explain_missing_numbers() {
    let mut sealer = Sealer::new();
    let gaps = vec![
        gap(2, Some(3), GapReason::KernelRing),
        gap(0, None, GapReason::Crash),
    ];
    let header = sealer.header(7, gaps);
    sealer.seal(header, [0, 1, 5, 6]);
    let host = sealer.verify(true);
    assert!(host.is_good(), "{host:?}");
    let line = &host.lines[0];
    assert_eq!(
        (line.events, line.gap_numbers(), line.unknown_gap_count()),
        (4, 3, 1)
    );
    assert_eq!(line.gaps[&GapReason::KernelRing], 3);
}

#[test]
fn a_missing_event_without_a_gap_is_found() {
    let mut sealer = Sealer::new();
    let header = sealer.header(4, Vec::new());
    sealer.seal(header, [0, 1, 3]);
    let host = sealer.verify(true);
    assert!(matches!(fault(&host), (0, Fault::Payload(_))));
    let mut sealer = Sealer::new();
    let header = sealer.header(4, vec![gap(3, Some(2), GapReason::Policy)]);
    sealer.seal(header, [0, 1, 2]);
    assert!(!sealer.verify(true).is_good());
}

#[test]
fn a_payload_that_the_collector_no_longer_keeps_is_counted_and_its_header_still_holds() {
    let retired = |change: fn(&mut v1::SignedBatch)| {
        let mut sealer = Sealer::new();
        for _ in 0..3 {
            sealer.push(2);
        }
        let mut batch = sealer.batch(2).clone();
        change(&mut batch);
        sealer.items[2] = Item::Retired(batch);
        sealer.verify(true)
    };
    let host = retired(|batch| batch.payload.clear());
    let line = &host.lines[0];
    assert!(host.is_good(), "{:?}", line.fault);
    assert_eq!((line.batches, line.events, line.retired), (3, 4, 2));
    assert!(line.retired_until.is_some());
    // A header that was altered is found without its payload too, and a payload that is here is not gone.
    let altered = retired(|batch| {
        batch.payload.clear();
        batch.header[20] ^= 1;
    });
    assert!(!altered.is_good());
    assert!(!retired(|_batch| {}).is_good());
}

#[test]
fn a_dropped_payload_is_explained_by_a_later_event_of_the_host() {
    let told = |count| {
        let mut sealer = Sealer::new();
        sealer.push(3);
        sealer.batch(1).payload.clear();
        let detail = v1::event::Detail::Gap(gap(0, Some(count), GapReason::SpoolFull).into());
        let event = v1::Event {
            seq: 3,
            kind: v1::Kind::Gap as i32,
            detail: Some(detail),
            ..v1::Event::default()
        };
        let header = sealer.header(1, Vec::new());
        sealer.seal_payload(header, compressed(vec![event]));
        sealer.verify(true)
    };
    let host = told(3);
    assert!(host.is_good(), "{host:?}");
    assert_eq!((host.lines[0].events, host.lines[0].gap_numbers()), (1, 3));
    assert!(!told(2).is_good());
}

#[test]
fn a_dropped_payload_is_explained_by_its_own_header_or_not_at_all() {
    let dropped = |own: Vec<Gap>, later: Vec<Gap>| {
        let mut sealer = Sealer::new();
        sealer.push(3);
        let header = sealer.header(3, own);
        sealer.seal_payload(header, b"never looked into".to_vec());
        sealer.batch(2).payload.clear();
        let header = sealer.header(1, later);
        sealer.seal(header, [6]);
        sealer.verify(true)
    };
    let host = dropped(Vec::new(), Vec::new());
    let unexplained = Fault::Unexplained { first: 3, last: 5 };
    assert_eq!(fault(&host).1.to_string(), unexplained.to_string());
    assert!(!dropped(vec![gap(3, Some(2), GapReason::SpoolFull)], Vec::new()).is_good());
    let host = dropped(vec![gap(3, Some(3), GapReason::SpoolFull)], Vec::new());
    assert!(host.is_good(), "{host:?}");
    assert_eq!((host.lines[0].events, host.lines[0].gap_numbers()), (4, 3));
    // A header speaks of its own numbers only, for the collector and here.
    let host = dropped(Vec::new(), vec![gap(3, Some(3), GapReason::SpoolFull)]);
    assert!(matches!(fault(&host), (6, Fault::Payload(_))));
}

/// A batch of the later run `stream` in the same class, with one event that tells of a gap.
fn tell_later(sealer: &mut Sealer, told: Gap) {
    let earlier = (sealer.stream, sealer.chain);
    (sealer.stream, sealer.chain) = (StreamId::new([9; 16]), Chain::START);
    let event = v1::Event {
        kind: v1::Kind::Gap as i32,
        detail: Some(v1::event::Detail::Gap(told.into())),
        ..v1::Event::default()
    };
    let header = sealer.header(1, Vec::new());
    sealer.seal_payload(header, compressed(vec![event]));
    (sealer.stream, sealer.chain) = earlier;
}

// What the quota took from an earlier run was once told to the log of the host only, and its evidence failed for ever.
#[test]
fn a_later_run_explains_what_an_earlier_one_dropped() {
    let told = |stream| {
        let mut sealer = Sealer::new();
        sealer.push(3);
        sealer.batch(1).payload.clear();
        let gap = Gap {
            stream,
            ..gap(0, Some(3), GapReason::SpoolFull)
        };
        tell_later(&mut sealer, gap);
        sealer.verify(true)
    };
    let host = told(Some(StreamId::new([1; 16])));
    assert!(host.is_good(), "{host:?}");
    assert_eq!(host.lines[0].gap_numbers(), 3);
    assert!(!told(Some(StreamId::new([2; 16]))).is_good());
    assert!(!told(None).is_good());
}

/// Four batches of three; the middle two are lost, and a header stands for them.
fn with_range(change: impl FnOnce(&mut Header)) -> Host {
    let mut sealer = Sealer::new();
    sealer.push(3);
    let from = sealer.chain;
    sealer.push(3);
    let inside = sealer.chain;
    sealer.push(3);
    let to = sealer.chain;
    sealer.items.truncate(2);
    sealer.chain = from;
    let mut header = sealer.header(6, vec![gap(3, Some(6), GapReason::Corrupt)]);
    header.range_end = Some(to.head);
    change(&mut header);
    sealer.chain.head = header.prev_hash;
    sealer.seal_payload(header, Vec::new());
    sealer.chain = to;
    // Another header may name a head that is lost: nobody can tell.
    let mut header = sealer.header(3, Vec::new());
    header.previous_stream = Some(PreviousStream {
        stream: sealer.stream,
        heads: vec![ClassHead {
            class: Class::Security,
            next_seq: inside.next_seq,
            head: inside.head,
        }],
        clean: false,
    });
    sealer.seal(header, 9..12);
    sealer.verify(true)
}

#[test]
fn a_header_that_stands_for_lost_ones_joins_the_chain_again() {
    let host = with_range(|_| {});
    assert!(host.is_good(), "{host:?}");
    let line = &host.lines[0];
    assert_eq!((line.events, line.gap_numbers(), line.next()), (6, 6, 12));
}

#[test]
fn a_header_that_stands_for_lost_ones_says_so_of_each_number_and_names_both_ends() {
    let short = |header: &mut Header| header.gaps[0].count = Some(5);
    assert!(!with_range(short).is_good());
    assert!(!with_range(|header| header.gaps.clear()).is_good());
    let other = |header: &mut Header| header.range_end = Some(Digest::of(b"other"));
    assert!(!with_range(other).is_good());
    assert!(!with_range(|header| header.prev_hash = Digest::of(b"other")).is_good());
    assert!(!with_range(|header| header.range_end = None).is_good());
}

/// The evidence of a host one of whose chains is not there, asked for whole or in part.
fn withheld(from_start: bool) -> Host {
    let mut sealer = Sealer::new();
    sealer.push(3);
    let mut header = sealer.header(1, Vec::new());
    header.other_heads = vec![ClassHead {
        class: Class::Bulk,
        next_seq: 40,
        head: Digest::of(b"bulk"),
    }];
    sealer.seal(header, [3]);
    sealer.verify(from_start)
}

#[test]
fn a_withheld_tail_shows_because_other_headers_name_it() {
    let host = withheld(true);
    assert!(host.is_good());
    let mut lines = host.lines.iter();
    let bulk = lines.find(|line| line.class == Class::Bulk).unwrap();
    assert_eq!(
        (bulk.outstanding, bulk.outcome()),
        (40, Outcome::Outstanding)
    );
}

#[test]
fn a_chain_that_ends_before_the_part_that_was_asked_for_is_not_missed() {
    assert_eq!(withheld(false).lines.len(), 1);
}

#[test]
fn a_rewritten_past_is_found_by_a_later_run() {
    let mut sealer = Sealer::new();
    sealer.push(3);
    let said = |head| PreviousStream {
        stream: StreamId::new([1; 16]),
        heads: vec![ClassHead {
            class: Class::Security,
            next_seq: 3,
            head,
        }],
        clean: true,
    };
    let known = sealer.chain.head;
    for (head, good) in [(known, true), (Digest::of(b"another"), false)] {
        let mut later = Sealer::new();
        later.host = sealer.host;
        later.key = SigningKey::from_pkcs8(sealer.key.to_pkcs8()).unwrap();
        later.items.clone_from(&sealer.items);
        later.stream = StreamId::new([9; 16]);
        let mut header = later.header(1, Vec::new());
        header.previous_stream = Some(said(head));
        later.seal(header, [0]);
        let host = later.verify(true);
        assert_eq!(host.is_good(), good);
    }
}

#[test]
fn items_without_a_host_are_a_fault_of_their_own() {
    let mut verifier = Verifier::new(true, Expected::default());
    verifier.take(v1::EvidenceItem {
        item: Some(Item::Batch(v1::SignedBatch::default())),
    });
    assert!(matches!(verifier.finish().1, Some(Fault::NoHost)));
}

proptest::proptest! {
    #[test]
    fn no_bytes_of_a_collector_make_it_panic(header: Vec<u8>, payload: Vec<u8>, signature: Vec<u8>) {
        let mut sealer = Sealer::new();
        sealer.items.push(Item::Succession(v1::Succession { body: payload.clone(), signature: signature.clone() }));
        sealer.items.push(Item::Batch(v1::SignedBatch { header, payload, signature, successions: Vec::new() }));
        proptest::prop_assert!(!sealer.verify(true).is_good());
    }

    // The witness is the honest evidence itself: a bundle that was altered must not verify as something else.
    #[test]
    fn mutated_evidence_never_verifies_as_more_or_other_than_was_sealed(
        at in proptest::prelude::any::<proptest::sample::Index>(),
        wounds in proptest::collection::vec((0_u8..4, proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 1..4),
    ) {
        let items = HONEST.with(Clone::clone);
        let mut bytes: Vec<Vec<u8>> = items
            .iter()
            .map(|item| v1::EvidenceItem { item: Some(item.clone()) }.encode_to_vec())
            .collect();
        let wounded = at.index(bytes.len());
        let one = &mut bytes[wounded];
        for (kind, at, byte) in wounds {
            let at = at.index(one.len().max(1)).min(one.len());
            match kind {
                0 if at < one.len() => one[at] ^= 1 << (byte % 8),
                1 => one.truncate(at),
                2 => one.insert(at, byte),
                _ if at < one.len() => one[at] = byte,
                _ => {}
            }
        }
        let mut verifier = Verifier::new(true, Expected::default());
        for item in &bytes {
            if let Ok(item) = v1::EvidenceItem::decode(item.as_slice()) {
                verifier.take(item);
            }
        }
        let (hosts, _, _) = verifier.finish();
        for line in hosts.iter().flat_map(|host| &host.lines) {
            proptest::prop_assert!(line.events <= 9 && line.next() <= 9, "{:?}", line);
        }
    }
}

thread_local! {
    static HONEST: Vec<Item> = {
        let mut sealer = Sealer::new();
        for _ in 0..3 {
            sealer.push(3);
        }
        sealer.items
    };
}
