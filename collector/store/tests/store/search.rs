//! Finding events, while they are being written.

use std::collections::HashSet;
use std::ops::ControlFlow;

use picket_event::filter::Filter;
use picket_event::{Kind, RuleVerdict, Severity, UnixNanos, Verdict};
use picket_store::{Cursor, KindSet, Order, Query, Reader, Store};

use crate::host::{Host, SMALL, exec};

fn seconds(reader: &Reader, query: &Query, limit: usize) -> Vec<i64> {
    let found = reader.newest(query, limit).unwrap();
    found
        .iter()
        .map(|stored| stored.event.time.0 / 1_000_000_000)
        .collect()
}

fn second(number: i64) -> UnixNanos {
    UnixNanos(number * 1_000_000_000)
}

/// Two hosts that took turns, 100 seconds, small segments.
fn filled(folder: &std::path::Path) -> (Store, [Host; 2]) {
    let (mut store, _) = Store::open(folder, SMALL).unwrap();
    let mut hosts = [Host::new(), Host::new()];
    for number in 0..100_i64 {
        let host = &mut hosts[usize::try_from(number % 2).unwrap()];
        let mut event = exec(&format!("/bin/{}", number % 10), number);
        if number == 42 {
            event.verdicts.push(Verdict::Rule(RuleVerdict {
                id: String::new(),
                title: String::new(),
                severity: Severity::High,
                attack: vec![],
                author: String::new(),
                license: String::new(),
                rests_on: Vec::new(),
            }));
        }
        if number % 3 == 0 {
            event.kind = Kind::Exit;
        }
        store.append(host.batch(vec![event])).unwrap();
    }
    store.sync().unwrap();
    (store, hosts)
}

#[test]
fn the_newest_come_in_the_order_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = filled(folder.path());
    let reader = store.reader();
    assert_eq!(seconds(&reader, &Query::default(), 3), [97, 98, 99]);
    assert_eq!(
        seconds(&reader, &Query::default(), 1000),
        (0..100).collect::<Vec<_>>()
    );
    assert!(seconds(&reader, &Query::default(), 0).is_empty());
}

#[test]
fn each_part_of_a_query_narrows_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, [first, _]) = filled(folder.path());
    let reader = store.reader();
    let of_host = Query {
        hosts: Some(HashSet::from([first.id()])),
        ..Query::default()
    };
    assert_eq!(seconds(&reader, &of_host, 2), [96, 98]);
    let kinds = KindSet::NONE.with(Kind::Exit);
    assert_eq!(
        seconds(
            &reader,
            &Query {
                kinds,
                ..Query::default()
            },
            2
        ),
        [96, 99]
    );
    let range = Query {
        since: Some(second(10)),
        until: Some(second(12)),
        ..Query::default()
    };
    assert_eq!(seconds(&reader, &range, 9), [10, 11, 12]);
    let bad = Query {
        min_severity: Some(Severity::Medium),
        ..Query::default()
    };
    assert_eq!(seconds(&reader, &bad, 9), [42]);
    let filter = Some(Filter::parse("process.exe = '/bin/7' and kind = exec").unwrap());
    assert_eq!(
        seconds(
            &reader,
            &Query {
                filter,
                ..Query::default()
            },
            2
        ),
        [77, 97]
    );
    let nobody = Query {
        hosts: Some(HashSet::new()),
        ..Query::default()
    };
    assert!(seconds(&reader, &nobody, 9).is_empty());
}

#[test]
fn events_that_arrived_late_are_found_in_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, [mut first, _]) = filled(folder.path());
    store
        .append(first.batch(vec![exec("/late", 50), exec("/late", 7)]))
        .unwrap();
    store.sync().unwrap();
    let filter = Some(Filter::parse("process.exe = '/late'").unwrap());
    let late = Query {
        filter,
        ..Query::default()
    };
    assert_eq!(seconds(&store.reader(), &late, 1), [50]);
    let range = Query {
        since: Some(second(7)),
        until: Some(second(7)),
        ..Query::default()
    };
    assert_eq!(seconds(&store.reader(), &range, 9), [7, 7]);
}

#[test]
fn a_walk_goes_both_ways_and_breaks_off() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = filled(folder.path());
    for (order, expected) in [
        (Order::OldestFirst, [0, 1, 2]),
        (Order::NewestFirst, [99, 98, 97]),
    ] {
        let mut seen = Vec::new();
        let walked = store
            .reader()
            .scan(&Query::default(), order, &mut |stored| {
                seen.push(stored.event.time.0 / 1_000_000_000);
                if seen.len() < 3 {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
        walked.unwrap();
        assert_eq!(seen, expected);
    }
}

#[test]
fn a_follower_sees_everything_once_however_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, [mut first, _]) = filled(folder.path());
    let reader = store.reader();
    let (mut cursor, mut seen) = (Cursor::START, Vec::new());
    for round in 0..200 {
        if round < 30 {
            store
                .append(first.batch(vec![exec("/new", 100 + round)]))
                .unwrap();
            store.sync().unwrap();
        }
        cursor = reader
            .follow(cursor, &Query::default(), &mut |stored| {
                seen.push(stored.event.time.0 / 1_000_000_000);
                if seen.len() % 3 == 0 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_eq!(Cursor::from_bytes(&cursor.to_bytes()), Some(cursor));
    }
    assert_eq!(seen, (0..130).collect::<Vec<_>>());
    assert_eq!(cursor, reader.end());
}

#[test]
fn readers_read_while_the_writer_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut host) = (Store::open(folder.path(), SMALL).unwrap().0, Host::new());
    let reader = store.reader();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let reader = reader.clone();
                scope.spawn(move || {
                    let (mut cursor, mut seen) = (Cursor::START, 0_u64);
                    while seen < 500 {
                        let followed = reader.follow(cursor, &Query::default(), &mut |stored| {
                            assert_eq!(stored.event.seq, seen);
                            seen += 1;
                            ControlFlow::Continue(())
                        });
                        cursor = followed.unwrap();
                        std::thread::yield_now();
                    }
                    seen
                })
            })
            .collect();
        for number in 0..500 {
            store.append(host.batch(vec![exec("/x", number)])).unwrap();
            if number % 7 == 0 || number == 499 {
                store.sync().unwrap();
            }
        }
        for reader in readers {
            assert_eq!(reader.join().unwrap(), 500);
        }
    });
}

#[test]
fn batches_come_out_byte_for_byte_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path(), SMALL).unwrap();
    let mut host = Host::new();
    let entries: Vec<_> = (0..20)
        .map(|number| host.batch(vec![exec("/x", number)]))
        .collect();
    for entry in &entries {
        store.append(entry.clone()).unwrap();
    }
    store.sync().unwrap();
    let (mut batches, mut cursor) = (Vec::new(), Cursor::START);
    while cursor < store.reader().end() {
        let followed = store
            .reader()
            .follow_batches(cursor, &Query::default(), &mut |stored| {
                let signature =
                    picket_seal::Signature::from_slice(&stored.batch.signature).unwrap();
                let payload = picket_seal::Payload::Present(&stored.batch.payload);
                let (public, hash) = (host.key.public_key(), stored.header.payload_hash);
                let header = &stored.batch.header;
                picket_seal::verify_header(&public, header, &signature, payload, &hash).unwrap();
                batches.push(stored.batch);
                if batches.len() % 3 == 0 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
        cursor = followed.unwrap();
    }
    assert_eq!(
        batches,
        entries
            .into_iter()
            .map(|entry| entry.batch)
            .collect::<Vec<_>>()
    );
}
