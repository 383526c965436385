//! Sealed files that are damaged: never an answer that is short in silence, and everything once after the repair.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use picket_event::field::Field;
use picket_event::{HostId, Text};
use picket_store::{
    Order, Query, Reader, RepairReport, RowOrder, RowQuery, SealOptions, Sealer, Stacking, Store,
    StoreError, StoredEvent, Unread, UnreadFile,
};

use crate::earlier::copy;
use crate::faults::{BadDisk, bad};
use crate::host::{Host, SMALL, exec, uid};
use crate::sealing::{EAGER, files, key, log_alone, same, sealer, wal};
use crate::thin::{sealed_log, thin_all};

type Names = HashSet<(picket_event::UnixNanos, String, String, u64)>;

/// What a search finds, and which files it could not read.
fn found(reader: &Reader, query: &Query) -> (Names, Vec<UnreadFile>) {
    let unread = Unread::default();
    let found = reader.noting(&unread).newest(query, 100_000).unwrap();
    let names: Names = found.iter().map(key).collect();
    assert_eq!(names.len(), found.len(), "an event was shown twice");
    (names, unread.files())
}

fn all(reader: &Reader) -> Vec<StoredEvent> {
    reader.newest(&Query::default(), 100_000).unwrap()
}

fn names(reader: &Reader) -> Names {
    all(reader).iter().map(key).collect()
}

fn repair(sealer: &mut Sealer) -> Vec<RepairReport> {
    let mut reports = Vec::new();
    loop {
        let report = sealer.repair().unwrap();
        if report.file.is_none() {
            return reports;
        }
        reports.push(report);
    }
}

fn set_aside(folder: &Path) -> usize {
    let mut number = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                number += usize::from(path.to_string_lossy().contains(".damaged"));
            }
        }
    }
    number
}

/// One file of some blocks: 15,000 events whose text does not compress.
fn large(folder: &Path) -> (Store, Sealer, PathBuf) {
    let mut store = wal(folder);
    let mut host = Host::new();
    let mut state = 7_u64;
    for number in 0..150 {
        let events = (0..100).map(|n| {
            let mut event = exec("/bin/a", number * 20 + n / 5);
            let process = event.process.as_mut().unwrap();
            for _ in 0..4 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                process.argv.push(Text::from(format!("{state:016x}")));
            }
            process.uid = uid(state);
            event
        });
        store.append(host.batch(events.collect())).unwrap();
    }
    store.sync().unwrap();
    let options = SealOptions {
        batch_bytes: 64 << 20,
        ..EAGER
    };
    let sealed = folder.join("sealed");
    let (mut sealer, _) = Sealer::open(&store.reader(), &sealed, options).unwrap();
    while sealer.seal().unwrap().events > 0 {}
    let mut files = files(&sealed);
    files.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let file = files.pop().unwrap();
    assert!(fs::metadata(&file).unwrap().len() > 3 * 131_072);
    (store, sealer, file)
}

#[test]
fn a_flipped_bit_anywhere_in_a_file_is_never_answered_from_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _sealer, file) = large(folder.path());
    let reader = store.reader();
    let whole = fs::read(&file).unwrap();
    let all = names(&reader);
    let stack = |reader: &Reader| {
        let what = Stacking {
            field: Field::named("process.exe").unwrap(),
            by: None,
            limit: 9,
        };
        reader.stack(&Query::default(), what)
    };
    let events = stack(&reader).unwrap().events;
    let ends = (1..300).map(|n| whole.len() - n);
    let places = (0..whole.len()).step_by(6_131).chain(ends.step_by(7));
    for (number, place) in places.enumerate() {
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << (number % 8);
        fs::write(&file, &flipped).unwrap();
        let (here, unread) = found(&reader, &Query::default());
        assert!(here.is_subset(&all));
        // Filters of values are not read by a search for everything.
        assert!(!unread.is_empty() || here == all, "byte {place}");
        let noted = Unread::default();
        let counted = stack(&reader.noting(&noted)).unwrap();
        assert!(!noted.files().is_empty() || counted.events == events);
        // Who does not note what is missing gets an error and no short answer.
        match reader.newest(&Query::default(), 100_000) {
            Ok(found) => assert_eq!(found.len(), all.len()),
            Err(StoreError::Sealed { path, .. } | StoreError::Io { path, .. }) => {
                assert_eq!(path, file);
            }
            Err(error) => panic!("{error}"),
        }
        // A filter that says no where it should say yes would hide an event.
        let one = Query {
            hosts: Some(reader.newest(&Query::default(), 1).map_or_else(
                |_| HashSet::from([HostId::new([9; 32])]),
                |found| found.iter().map(|stored| stored.host).collect(),
            )),
            ..Query::default()
        };
        let (here, unread) = found(&reader, &one);
        let nobody = one.hosts == Some(HashSet::from([HostId::new([9; 32])]));
        assert!(nobody || !unread.is_empty() || here == all, "byte {place}");
    }
    fs::write(&file, &whole).unwrap();
    assert_eq!(found(&reader, &Query::default()), (all, Vec::new()));
}

#[test]
fn a_comparison_finds_each_flipped_bit_without_a_search() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut sealer, file) = large(folder.path());
    let whole = fs::read(&file).unwrap();
    let log = all(&log_alone(folder.path()));
    sealer.compare(u64::MAX).unwrap();
    assert!(!sealer.has_suspects());
    let mut place = 0;
    for number in 0..12 {
        let mut flipped = fs::read(newest(folder.path())).unwrap();
        place = (place + 104_729) % flipped.len();
        flipped[place] ^= 1 << (number % 8);
        fs::write(newest(folder.path()), &flipped).unwrap();
        sealer.compare(u64::MAX).unwrap();
        assert!(sealer.has_suspects(), "byte {place}");
        let reports = repair(&mut sealer);
        assert_eq!((reports.len(), reports[0].lost), (1, 0), "{reports:?}");
        assert_eq!(reports[0].events, 15_000);
        assert_eq!(all(&store.reader()), log);
    }
    // What is sealed anew is what had been sealed.
    assert_eq!(fs::read(newest(folder.path())).unwrap(), whole);
    assert_eq!(set_aside(&folder.path().join("sealed")), 12);
}

fn newest(folder: &Path) -> PathBuf {
    let mut files = files(&folder.join("sealed"));
    files.sort();
    files.pop().unwrap()
}

/// What may happen to a file.
const HARM: &[fn(&Path, &Path)] = &[
    |file, _| fs::remove_file(file).unwrap(),
    |file, _| fs::write(file, b"").unwrap(),
    |file, _| {
        let whole = fs::read(file).unwrap();
        fs::write(file, &whole[..whole.len() / 2]).unwrap();
    },
    |file, _| {
        let whole = fs::read(file).unwrap();
        fs::write(file, [whole.as_slice(), b"more"].concat()).unwrap();
    },
    |file, other| assert!(fs::copy(other, file).unwrap() > 0),
    |file, _| {
        let length = fs::metadata(file).unwrap().len();
        fs::write(file, vec![0; usize::try_from(length).unwrap()]).unwrap();
    },
    |file, _| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    },
];

#[test]
fn whatever_becomes_of_a_file_all_else_is_answered_and_each_event_comes_back_once() {
    for (number, harm) in HARM.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut sealer) = sealed_log(folder.path());
        while number % 2 == 0 && sealer.compact().unwrap().files > 0 {}
        let reader = store.reader();
        let log = log_alone(folder.path());
        let (all, events) = (names(&log), all(&log));
        let sealed = folder.path().join("sealed");
        let paths = files(&sealed);
        let harmed = &paths[number % paths.len()];
        harm(harmed, &paths[(number + 1) % paths.len()]);
        let (here, unread) = found(&reader, &Query::default());
        assert_eq!(unread.len(), 1, "harm {number}");
        assert!(harmed.ends_with(&unread[0].file) && !unread[0].lost);
        assert_eq!(here.len() as u64 + unread[0].events, all.len() as u64);
        rows_and_trees(&reader, &all, here.len());
        assert!(sealer.has_suspects());
        let reports = repair(&mut sealer);
        assert_eq!(reports.len(), 1);
        assert_eq!((reports[0].events, reports[0].lost), (unread[0].events, 0));
        assert_eq!(self::all(&reader), events);
        drop((reader, store, sealer));
        let store = wal(folder.path());
        let (mut sealer, leftovers) = self::sealer(&store, folder.path());
        assert_eq!((leftovers, sealer.lost_events()), (0, 0), "harm {number}");
        assert_eq!(self::all(&store.reader()), events);
        // An empty folder in its place is not worth keeping.
        assert_eq!(set_aside(&sealed), usize::from((1..6).contains(&number)));
        while sealer.compact().unwrap().files > 0 {}
        assert_eq!(self::all(&store.reader()), events);
        if number == 0 {
            same(&store.reader(), &log);
        }
    }
}

/// Rows for SQL, in both orders, a walk and a tree note what they lack too.
fn rows_and_trees(reader: &Reader, all: &Names, here: usize) {
    for order in [
        RowOrder::AsStored,
        RowOrder::OldestFirst,
        RowOrder::NewestFirst,
    ] {
        let unread = Unread::default();
        let mut rows = reader.noting(&unread).rows(RowQuery {
            order,
            ..RowQuery::default()
        });
        let mut number = 0;
        while rows.next_row().unwrap().is_some() {
            number += 1;
        }
        assert_eq!((number, unread.files().len()), (here, 1), "{order:?}");
    }
    let unread = Unread::default();
    let mut walked = 0;
    let scanned = reader
        .noting(&unread)
        .scan(&Query::default(), Order::NewestFirst, &mut |_| {
            walked += 1;
            ControlFlow::Continue(())
        });
    scanned.unwrap();
    assert_eq!((walked, unread.files().len()), (here, 1));
    let mut missed = 0;
    let hosts: HashSet<&String> = all.iter().map(|(_, host, _, _)| host).collect();
    for host in hosts {
        let unread = Unread::default();
        let host = HostId::parse(host).unwrap();
        reader.noting(&unread).tree(host, uid(1)).unwrap();
        missed += unread.files().len();
    }
    assert!(missed > 0);
}

#[test]
fn what_the_log_no_longer_has_stays_lost_and_every_answer_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut sealer) = sealed_log(folder.path());
    while sealer.compact().unwrap().files > 0 {}
    let reader = store.reader();
    let all = names(&reader);
    assert!(!thin_all(&mut sealer, &reader).is_empty());
    let sealed = folder.path().join("sealed");
    let mut paths = files(&sealed);
    paths.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let file = paths.pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 9]).unwrap();
    let (here, unread) = found(&reader, &Query::default());
    let reports = repair(&mut sealer);
    assert!(reports[0].lost > 0 && reports[0].lost < all.len() as u64);
    assert_eq!(reports[0].lost + reports[0].events, unread[0].events);
    assert_eq!(sealer.lost_events(), reports[0].lost);
    drop((store, sealer));
    let store = wal(folder.path());
    let (mut sealer, leftovers) = self::sealer(&store, folder.path());
    assert_eq!((leftovers, sealer.lost_events()), (0, reports[0].lost));
    let reader = store.reader();
    let view = reader.view();
    for reader in [&reader, &Reader::of_view(view.bytes()).unwrap()] {
        let (now, unread) = found(reader, &Query::default());
        assert!(now.is_superset(&here) && now.is_subset(&all));
        assert_eq!(now.len() as u64 + reports[0].lost, all.len() as u64);
        assert_eq!((unread.len(), unread[0].lost), (1, true));
        assert_eq!(unread[0].events, reports[0].lost);
        assert!(reader.newest(&Query::default(), 100_000).is_err());
    }
    // It is nothing to look at again, to merge, or to be in the way.
    sealer.compare(u64::MAX).unwrap();
    assert!(!sealer.has_suspects() && repair(&mut sealer).is_empty());
    while sealer.compact().unwrap().files > 0 {}
    assert_eq!(found(&reader, &Query::default()).1.len(), 1);
    assert_eq!(set_aside(&sealed), 1);
}

#[test]
fn without_the_log_whole_row_groups_of_a_damaged_file_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut sealer, file) = large(folder.path());
    let reader = store.reader();
    let all = names(&reader);
    thin_all(&mut sealer, &reader);
    let whole = fs::read(&file).unwrap();
    let blocks = whole.len() / 131_072;
    let mut back = 0;
    // Some blocks hold pages of columns, some filters alone, of which no event is made.
    for block in 0..blocks {
        let mut flipped = fs::read(newest(folder.path())).unwrap();
        flipped[block * 131_072 + 77] ^= 4;
        fs::write(newest(folder.path()), &flipped).unwrap();
        sealer.compare(u64::MAX).unwrap();
        let reports = repair(&mut sealer);
        if reports[0].lost > 0 {
            break;
        }
        back += 1;
        assert_eq!(names(&reader), all);
    }
    let (here, unread) = found(&reader, &Query::default());
    let lost: u64 = unread.iter().map(|file| file.events).sum();
    assert_eq!(here.len() as u64 + lost, all.len() as u64, "{back}");
}

#[test]
fn a_disk_that_fails_anywhere_in_a_repair_loses_and_doubles_nothing() {
    for trouble in 0..9 {
        let folder = tempfile::tempdir().unwrap();
        let (store, sealer) = sealed_log(folder.path());
        drop(sealer);
        let log = log_alone(folder.path());
        let sealed = folder.path().join("sealed");
        let file = files(&sealed).pop().unwrap();
        fs::write(&file, b"rubbish").unwrap();
        let (room, syncs) = match trouble {
            0..4 => (trouble * 6_000, 99),
            _ => (i64::MAX / 2, trouble - 4),
        };
        let disk = Box::new(BadDisk(bad(room, syncs, 1)));
        let (mut sealer, _) = Sealer::open_on(disk, &store.reader(), &sealed, EAGER).unwrap();
        sealer.compare(u64::MAX).unwrap();
        let tried = sealer.repair();
        if tried.is_err() {
            let (_, unread) = found(&store.reader(), &Query::default());
            assert_eq!((unread.len(), unread[0].lost), (1, false), "{trouble}");
        }
        drop((sealer, store));
        let store = wal(folder.path());
        let (mut sealer, _) = self::sealer(&store, folder.path());
        sealer.compare(u64::MAX).unwrap();
        let again = repair(&mut sealer);
        assert!(
            tried.is_err() != again.is_empty() || trouble > 5,
            "{trouble}: {tried:?}"
        );
        assert_eq!(all(&store.reader()), all(&log), "{trouble}");
        assert_eq!(set_aside(&sealed), 1, "{trouble}");
        assert_eq!(files(&sealed).len() as u64, sealer.sealed_files());
    }
}

#[test]
fn what_an_earlier_collector_sealed_is_noted_and_stays_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sealed-1"),
        folder.path(),
    );
    let sealed = folder.path().join("sealed");
    let (store, _) = Store::open(&folder.path().join("wal"), SMALL).unwrap();
    let (mut sealer, _) = Sealer::open(&store.reader(), &sealed, EAGER).unwrap();
    let all = names(&store.reader());
    let file = files(&sealed).pop().unwrap();
    let whole = fs::read(&file).unwrap();
    // No checksum tells of these: what the format notices is noted, and nothing panics.
    for place in (0..whole.len()).step_by(97) {
        let mut flipped = whole.clone();
        flipped[place] ^= 16;
        fs::write(&file, &flipped).unwrap();
        let unread = Unread::default();
        drop(
            store
                .reader()
                .noting(&unread)
                .newest(&Query::default(), 10_000),
        );
    }
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let (here, unread) = found(&store.reader(), &Query::default());
    assert_eq!(here.len() as u64 + unread[0].events, all.len() as u64);
    let reports = repair(&mut sealer);
    assert!(reports.iter().all(|report| report.stays));
    assert_eq!(sealer.damaged_files(), 1);
    assert_eq!(found(&store.reader(), &Query::default()).1, unread);
    assert_eq!((set_aside(&sealed), repair(&mut sealer).len()), (0, 0));
    while sealer.compact().unwrap().files > 0 {}
    assert_eq!(found(&store.reader(), &Query::default()).0, here);
    assert!(file.exists());
    // Put back by hand it is read again.
    fs::write(&file, &whole).unwrap();
    assert_eq!(found(&store.reader(), &Query::default()), (all, Vec::new()));
}
