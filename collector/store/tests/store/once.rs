//! Each batch counts once, in its order.

use picket_event::{Gap, GapReason};
use picket_seal::ChainError;
use picket_store::{AppendError, Appended, ChainKey, Order, Query, Store};
use std::ops::ControlFlow;

use crate::host::{Host, exec, open};

fn count(store: &Store) -> usize {
    let mut seen = 0;
    let scanned = store
        .reader()
        .scan(&Query::default(), Order::OldestFirst, &mut |_| {
            seen += 1;
            ControlFlow::Continue(())
        });
    assert_eq!(scanned.unwrap().unreadable, 0);
    seen
}

#[test]
fn a_batch_that_comes_again_is_acknowledged_and_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut host) = (open(folder.path()), Host::new());
    let first = host.batch(vec![exec("/a", 1), exec("/b", 2)]);
    let stored = store.append(first.clone()).unwrap();
    assert_eq!(stored, Appended::Stored { next_seq: 2 });
    store.sync().unwrap();
    for _ in 0..2 {
        let again = store.append(first.clone()).unwrap();
        assert_eq!(again, Appended::Duplicate { durable_seq: 2 });
        store.sync().unwrap();
        store = open(folder.path());
    }
    assert_eq!(count(&store), 2);
}

#[test]
fn another_batch_for_the_same_numbers_is_a_fork() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut host) = (open(folder.path()), Host::new());
    let mut clone = Host {
        chain: host.chain,
        stream: host.stream,
        ..Host::new()
    };
    clone.key = picket_seal::SigningKey::from_pkcs8(host.key.to_pkcs8()).unwrap();
    store.append(host.batch(vec![exec("/a", 1)])).unwrap();
    let fork = store.append(clone.batch(vec![exec("/other", 1)]));
    assert!(
        matches!(fork, Err(AppendError::Fork { seq_first: 0 })),
        "{fork:?}"
    );
    store.append(host.batch(vec![exec("/b", 2)])).unwrap();
    let fork = store.append(clone.batch(vec![exec("/b", 2), exec("/c", 3)]));
    let went_back = AppendError::Chain(ChainError::SequenceWentBack {
        expected: 2,
        got: 1,
        end: 3,
    });
    assert_eq!(format!("{:?}", fork.unwrap_err()), format!("{went_back:?}"));
    store.sync().unwrap();
    assert_eq!(count(&store), 2);
}

#[test]
fn a_batch_that_skips_numbers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut host) = (open(folder.path()), Host::new());
    let first = host.batch(vec![exec("/a", 1)]);
    let second = host.batch(vec![exec("/b", 2)]);
    let skipped = AppendError::Chain(ChainError::SequenceSkipped {
        expected: 0,
        got: 1,
    });
    let refused = store.append(second.clone()).unwrap_err();
    assert_eq!(format!("{refused:?}"), format!("{skipped:?}"));
    store.append(first).unwrap();
    store.append(second).unwrap();
}

#[test]
fn classes_streams_and_hosts_have_chains_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let mut hosts = [Host::new(), Host::new()];
    for host in &mut hosts {
        for class in [picket_event::Class::Bulk, picket_event::Class::Alert] {
            (host.class, host.chain) = (class, picket_seal::Chain::START);
            store.append(host.batch(vec![exec("/a", 1)])).unwrap();
        }
    }
    store.sync().unwrap();
    let [first, second] = hosts;
    assert_eq!(store.reader().heads(&first.id(), 9).len(), 2);
    assert_eq!(store.reader().heads(&second.id(), 1).len(), 1);
    assert_eq!(count(&store), 4);
}

#[test]
fn the_ledger_tells_events_gaps_and_unknown_gaps_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut host) = (open(folder.path()), Host::new());
    let gap = |seq_first, count| Gap {
        seq_first,
        count,
        reason: GapReason::KernelRing,
        kinds: vec![],
        stream: None,
    };
    store
        .append(host.batch(vec![exec("/a", 1), exec("/b", 3)]))
        .unwrap();
    store.append(host.gap(gap(2, Some(40)))).unwrap();
    let mut late = exec("/c", 2);
    late.seq = 42;
    store
        .append(host.sealed(vec![late], 1, vec![gap(43, None)]))
        .unwrap();
    store.sync().unwrap();
    for store in [store, open(folder.path())] {
        let ledger = store.reader().ledger(&host.id());
        let [line] = ledger.chains.as_slice() else {
            panic!("{ledger:?}")
        };
        assert_eq!(
            line.key,
            ChainKey {
                stream: host.stream,
                class: host.class
            }
        );
        assert_eq!(
            (line.next_seq, line.stored, line.gaps, line.unknown_gaps),
            (43, 3, 40, 1)
        );
        assert_eq!(ledger.last_event.map(|time| time.0), Some(3_000_000_000));
        assert_eq!(line.next_seq, line.stored + line.gaps);
    }
}

#[test]
fn a_head_counts_only_once_it_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut host) = (open(folder.path()), Host::new());
    store.append(host.batch(vec![exec("/a", 1)])).unwrap();
    let reader = store.reader();
    let head = || {
        let head = reader.head(&host.id(), host.stream, host.class);
        (head.durable_seq, head.head)
    };
    assert_eq!(head(), (0, None));
    assert_eq!(count(&store), 0);
    store.sync().unwrap();
    assert_eq!(head(), (1, Some(host.chain.head)));
    assert_eq!(count(&store), 1);
}
