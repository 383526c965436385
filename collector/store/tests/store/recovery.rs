//! What is found again after power cuts and rotten disks.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use picket_event::GapReason;
use picket_store::{Appended, Order, Query, Recovery, Store};

use crate::host::{Host, SMALL, exec, open};

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    found.sort();
    found
}

fn programs(store: &Store) -> Vec<String> {
    let mut seen = Vec::new();
    let query = Query::default();
    let walked = store
        .reader()
        .scan(&query, Order::OldestFirst, &mut |stored| {
            seen.push(stored.event.process.unwrap().exe.to_string());
            ControlFlow::Continue(())
        });
    walked.unwrap();
    seen
}

/// Ten synced batches of one event each: `/0` to `/9`.
fn ten(folder: &Path) -> Host {
    let (mut store, mut host) = (open(folder), Host::new());
    for number in 0..10 {
        store
            .append(host.batch(vec![exec(&format!("/{number}"), number)]))
            .unwrap();
        store.sync().unwrap();
    }
    host
}

fn reopen(folder: &Path) -> (Store, Recovery) {
    Store::open(folder, SMALL).unwrap()
}

#[test]
fn everything_synced_is_there_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = ten(folder.path());
    let (mut store, recovery) = reopen(folder.path());
    assert_eq!(
        (recovery.records, recovery.torn_bytes, recovery.damage.len()),
        (10, 0, 0)
    );
    let next = store.append(host.batch(vec![exec("/10", 10)])).unwrap();
    assert_eq!(next, Appended::Stored { next_seq: 11 });
    store.sync().unwrap();
    assert_eq!(programs(&store).len(), 11);
}

#[test]
fn a_torn_tail_of_any_length_is_cut_and_what_was_synced_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = ten(folder.path());
    let path = segments(folder.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    {
        let mut store = open(folder.path());
        store.append(host.batch(vec![exec("/torn", 10)])).unwrap();
        store.sync().unwrap();
    }
    let last = fs::read(segments(folder.path()).pop().unwrap()).unwrap();
    fs::remove_file(segments(folder.path()).pop().unwrap()).unwrap();
    // The frame of the eleventh record as it would stand behind the tenth, cut anywhere.
    let frame = &last[24..];
    for cut in (1..frame.len()).step_by(7).chain([frame.len() - 1]) {
        fs::write(&path, [whole.as_slice(), &frame[..cut]].concat()).unwrap();
        let (store, recovery) = reopen(folder.path());
        assert_eq!(recovery.torn_bytes, cut as u64);
        assert!(recovery.damage.is_empty());
        assert_eq!(programs(&store).len(), 10, "cut at {cut}");
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn a_segment_without_its_head_never_held_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = ten(folder.path());
    fs::write(folder.path().join("segment-0000000002.wal"), b"PKTW").unwrap();
    let (mut store, recovery) = reopen(folder.path());
    assert_eq!((recovery.records, recovery.torn_bytes), (10, 4));
    store.append(host.batch(vec![exec("/10", 10)])).unwrap();
    store.sync().unwrap();
    assert_eq!(programs(&store).len(), 11);
}

#[test]
fn a_foreign_file_under_a_segments_name_is_refused_and_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    ten(folder.path());
    fs::write(folder.path().join("notes.txt"), b"mine").unwrap();
    assert_eq!(reopen(folder.path()).1.records, 10);
    fs::write(folder.path().join("segment-0000000007.wal"), [7; 100]).unwrap();
    let refused = Store::open(folder.path(), SMALL).unwrap_err().to_string();
    assert!(
        refused.contains("segment-0000000007.wal` is not a segment"),
        "{refused}"
    );
}

#[test]
fn a_flipped_bit_costs_one_record_and_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    ten(folder.path());
    let path = segments(folder.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let frames = memchr_all(&whole, b"rec\x01");
    assert_eq!(frames.len(), 10);
    // Mark, length, checksum, body of the fourth record.
    for at in [0, 4, 7, 8, 12, 60] {
        let mut flipped = whole.clone();
        flipped[frames[3] + at] ^= 0x40;
        fs::write(&path, &flipped).unwrap();
        let (store, recovery) = reopen(folder.path());
        let [damage] = recovery.damage.as_slice() else {
            panic!("{at}: {recovery:?}")
        };
        assert_eq!((damage.offset, &damage.path), (frames[3] as u64, &path));
        assert_eq!(damage.length, (frames[4] - frames[3]) as u64);
        let programs = programs(&store);
        assert_eq!(programs.len(), 9, "flipped at {at}");
        assert!(!programs.contains(&"/3".to_owned()));
        assert_eq!(
            fs::read(&path).unwrap(),
            flipped,
            "damage stays where it is"
        );
    }
}

fn memchr_all(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(wanted.len()).enumerate();
    windows
        .filter(|(_, window)| *window == wanted)
        .map(|(at, _)| at)
        .collect()
}

/// A host that the collector acknowledged more than it still has must not be locked out. It was once let in without a
/// word of its own: any host could then leave numbers out after damage, and the hole had no signature.
#[test]
fn after_damage_a_chain_goes_on_once_the_host_has_signed_what_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = ten(folder.path());
    let path = segments(folder.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let frames = memchr_all(&bytes, b"rec\x01");
    bytes[frames[8] + 20] ^= 1;
    bytes.truncate(frames[9] + 40);
    fs::write(&path, &bytes).unwrap();
    // Records 8 (rotten) and 9 (torn) are gone; both were acknowledged.
    let (mut store, recovery) = reopen(folder.path());
    assert_eq!((recovery.records, recovery.damage.len()), (8, 1));
    assert!(recovery.torn_bytes > 0);
    let head = store.reader().head(&host.id(), host.stream, host.class);
    assert_eq!(head.durable_seq, 8);
    let range = host.range(&head, GapReason::CollectorLoss);
    let next = host.batch(vec![exec("/10", 10)]);
    store.append(next.clone()).unwrap_err();
    let taken = store.append(range.clone()).unwrap();
    assert_eq!(taken, Appended::Stored { next_seq: 10 });
    store.append(next).unwrap();
    store.sync().unwrap();
    let again = store.append(range).unwrap();
    assert_eq!(again, Appended::Duplicate { durable_seq: 11 });
    host.batch(vec![exec("/11", 11)]);
    store.append(host.batch(vec![exec("/12", 12)])).unwrap_err();
    // The ledger shows the hole for ever, and balances.
    let ledger = reopen(folder.path()).0.reader().ledger(&host.id());
    let line = &ledger.chains[0];
    assert_eq!((line.next_seq, line.stored, line.gaps), (11, 9, 2));
}

/// What a host writes into its payload must not become a record when the one around it rots.
#[test]
fn a_record_inside_a_payload_is_never_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    ten(folder.path());
    let path = segments(folder.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let frames = memchr_all(&whole, b"rec\x01");
    // A copy of a whole frame of this very segment at another place.
    let copy = &whole[frames[1]..frames[2]];
    let moved = [&whole[..frames[5]], b"xx", copy, &whole[frames[5]..]].concat();
    fs::write(&path, moved).unwrap();
    let (store, recovery) = reopen(folder.path());
    // Everything behind the insertion stands at another offset, so none of it counts.
    assert_eq!(recovery.records, 5);
    assert_eq!(programs(&store), ["/0", "/1", "/2", "/3", "/4"]);
}

#[test]
fn many_small_segments_are_read_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new();
    for round in 0..5 {
        let (mut store, recovery) = reopen(folder.path());
        assert_eq!(recovery.records, round * 20);
        for number in 0..20 {
            store.append(host.batch(vec![exec("/x", number)])).unwrap();
        }
        store.sync().unwrap();
    }
    assert!(segments(folder.path()).len() > 10);
    let (store, _) = reopen(folder.path());
    assert_eq!(store.reader().heads(&host.id(), 1)[0].durable_seq, 100);
    assert_eq!(programs(&store).len(), 100);
}
