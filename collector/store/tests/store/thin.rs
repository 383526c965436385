//! Payloads go out of the log by a limit: what is searched stays, chains and books stay, whatever fails in between.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use picket_event::{Clock, Gap, GapReason, SystemClock, UnixNanos};
use picket_store::{
    Cursor, HostLedger, Limit, Query, Reader, Sealer, Store, StoredBatch, ThinReport,
};

use crate::faults::{BadDisk, bad};
use crate::host::{Host, SMALL, exec};
use crate::sealing::{EAGER, Fleet, key, sealer, wal};

const ALL: Limit = Limit {
    age: None,
    bytes: Some(0),
};

fn batches(reader: &Reader) -> Vec<StoredBatch> {
    let mut batches = Vec::new();
    let query = Query::default();
    let all = reader.follow_batches(Cursor::START, &query, &mut |batch| {
        batches.push(batch);
        ControlFlow::Continue(())
    });
    all.unwrap();
    batches
}

fn ledgers(reader: &Reader, batches: &[StoredBatch]) -> Vec<HostLedger> {
    let ledgers = batches.iter().map(|batch| reader.ledger(&batch.host));
    ledgers.collect()
}

fn found(reader: &Reader) -> Vec<(UnixNanos, String, String, u64)> {
    let all = reader.newest(&Query::default(), 10_000).unwrap();
    all.iter().map(key).collect()
}

pub(crate) fn thin_all(sealer: &mut Sealer, reader: &Reader) -> Vec<ThinReport> {
    let mut reports = Vec::new();
    loop {
        let report = sealer.thin(ALL, reader.end(), SystemClock.now()).unwrap();
        if report.segment == 0 && report.damaged == 0 {
            return reports;
        }
        reports.push(report);
    }
}

/// A log of some segments, sealed.
pub(crate) fn sealed_log(folder: &Path) -> (Store, Sealer) {
    let mut store = wal(folder);
    Fleet::new().fill(&mut store, 400);
    let (mut sealer, _) = sealer(&store, folder);
    while sealer.seal().unwrap().events > 0 {}
    (store, sealer)
}

#[test]
fn payloads_go_and_headers_chains_books_and_answers_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut sealer) = sealed_log(folder.path());
    let reader = store.reader();
    let (before, books, answers) = (batches(&reader), reader.bytes(), found(&reader));
    let ledger = ledgers(&reader, &before);
    let reports = thin_all(&mut sealer, &reader);
    assert!(reports.len() > 3, "{reports:?}");
    let freed: u64 = reports.iter().map(|report| report.bytes).sum();
    assert_eq!(reader.bytes(), books - freed);
    let check = |reader: &Reader| {
        let after = batches(reader);
        assert_eq!(after.len(), before.len());
        for (after, before) in after.iter().zip(&before) {
            assert_eq!(after.header, before.header);
            assert_eq!(after.batch.header, before.batch.header);
            assert_eq!(after.batch.signature, before.batch.signature);
            assert_eq!(after.batch.payload.is_empty(), after.retired);
        }
        assert!(after.iter().filter(|batch| batch.retired).count() > before.len() / 2);
        assert_eq!(ledgers(reader, &after), ledger);
    };
    check(&reader);
    assert_eq!(found(&reader), answers);
    drop((sealer, store, reader));
    let store = wal(folder.path());
    check(&store.reader());
    let (mut sealer, _) = crate::sealing::sealer(&store, folder.path());
    assert_eq!(found(&store.reader()), answers);
    assert_eq!(thin_all(&mut sealer, &store.reader()), []);
}

#[test]
fn only_what_is_old_sealed_and_followed_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut sealer) = sealed_log(folder.path());
    let (reader, now) = (store.reader(), SystemClock.now());
    let hour = Limit {
        age: Some(Duration::from_hours(1)),
        bytes: None,
    };
    let nothing = ThinReport::default();
    assert_eq!(sealer.thin(hour, reader.end(), now).unwrap(), nothing);
    assert_eq!(sealer.thin(ALL, Cursor::START, now).unwrap(), nothing);
    assert_eq!(
        sealer.thin(Limit::default(), reader.end(), now).unwrap(),
        nothing
    );
    let pin = reader.pin();
    assert_eq!(sealer.thin(ALL, reader.end(), now).unwrap(), nothing);
    drop(pin);
    let later = now.plus(Duration::from_hours(2));
    assert_eq!(sealer.thin(hour, reader.end(), later).unwrap().segment, 1);
    // What is not sealed yet is in the log alone.
    let folder = tempfile::tempdir().unwrap();
    let mut store = wal(folder.path());
    Fleet::new().fill(&mut store, 200);
    let (mut sealer, _) = crate::sealing::sealer(&store, folder.path());
    assert_eq!(
        sealer.thin(ALL, store.reader().end(), now).unwrap(),
        nothing
    );
}

#[test]
fn a_payload_that_explains_a_gap_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = wal(folder.path());
    let mut host = Host::new();
    let gap = Gap {
        stream: None,
        seq_first: 0,
        count: Some(1),
        reason: GapReason::SpoolFull,
        kinds: Vec::new(),
    };
    store.append(host.batch(vec![exec("/a", 1)])).unwrap();
    let told = picket_event::Event {
        kind: picket_event::Kind::Gap,
        detail: Some(picket_event::Detail::Gap(gap)),
        ..exec("/b", 2)
    };
    store.append(host.batch(vec![told])).unwrap();
    let mut fleet = Fleet::new();
    fleet.fill(&mut store, 100);
    let (mut sealer, _) = sealer(&store, folder.path());
    while sealer.seal().unwrap().events > 0 {}
    thin_all(&mut sealer, &store.reader());
    let kept: Vec<bool> = batches(&store.reader())
        .iter()
        .take(2)
        .map(|batch| batch.retired)
        .collect();
    assert_eq!(kept, [true, false]);
}

#[test]
fn a_damaged_segment_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut sealer) = sealed_log(folder.path());
    let path = folder.path().join("wal/segment-0000000002.wal");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let reports = thin_all(&mut sealer, &store.reader());
    assert_eq!(
        reports.iter().filter(|report| report.damaged == 2).count(),
        1
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let beside = fs::read_dir(folder.path().join("wal")).unwrap();
    let beside = beside.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".thin")
    });
    assert_eq!(beside.count(), 0);
}

#[test]
fn a_disk_that_fails_anywhere_while_thinning_loses_nothing() {
    let trouble = (0..8)
        .map(|n| (n * 3_000, 99))
        .chain((0..4).map(|n| (i64::MAX / 2, n)));
    for (room, syncs) in trouble {
        let folder = tempfile::tempdir().unwrap();
        let (store, sealer) = sealed_log(folder.path());
        let answers = found(&store.reader());
        let before = batches(&store.reader());
        drop(sealer);
        let health = bad(i64::MAX / 2, 99, 1);
        let disk = Box::new(BadDisk(Arc::clone(&health)));
        let sealed = folder.path().join("sealed");
        let (mut sealer, _) = Sealer::open_on(disk, &store.reader(), &sealed, EAGER).unwrap();
        health.room.store(room, Ordering::Relaxed);
        health.syncs.store(syncs, Ordering::Relaxed);
        let end = store.reader().end();
        let failed = (0..20).any(|_| sealer.thin(ALL, end, SystemClock.now()).is_err());
        assert_eq!(found(&store.reader()), answers);
        drop((sealer, store));
        let (store, recovery) = Store::open(&folder.path().join("wal"), SMALL).unwrap();
        assert_eq!(recovery.damage, [], "room {room}, syncs {syncs}");
        let after = batches(&store.reader());
        assert_eq!(after.len(), before.len());
        let same = after
            .iter()
            .zip(&before)
            .all(|(a, b)| a.batch.header == b.batch.header);
        assert!(
            same && (failed || room > 20_000 || syncs > 2),
            "room {room}, syncs {syncs}"
        );
    }
}
