//! Disks that fill up, tear writes, and lie.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use picket_store::disk::{Disk, RealDisk, SegmentFile};
use picket_store::{AppendError, Options, Query, Reader, Sealer, Store, StoreError};

use crate::host::{Host, SMALL, exec};
use crate::sealing::{EAGER, Fleet, files};

/// How the disk is.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Bytes that still fit; a write beyond them is torn.
    pub(crate) room: AtomicI64,
    /// Syncs that still work.
    pub(crate) syncs: AtomicI64,
    /// Whether a failed write can be cut off again: 0 means it cannot.
    pub(crate) truncates: AtomicI64,
}

#[derive(Clone, Debug)]
pub(crate) struct BadDisk(pub(crate) Arc<Health>);

#[derive(Debug)]
struct BadFile {
    file: Box<dyn SegmentFile>,
    health: Arc<Health>,
}

impl Disk for BadDisk {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let file = RealDisk.create(path)?;
        Ok(Box::new(BadFile {
            file,
            health: Arc::clone(&self.0),
        }))
    }

    fn replace(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.0.syncs.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(io::Error::from_raw_os_error(5));
        }
        RealDisk.replace(from, to)
    }
}

impl SegmentFile for BadFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let size = i64::try_from(bytes.len()).unwrap();
        let room = self.health.room.fetch_sub(size, Ordering::Relaxed);
        if room >= size {
            return self.file.append(bytes);
        }
        self.health.room.store(0, Ordering::Relaxed);
        let part = usize::try_from(room.max(0)).unwrap();
        self.file.append(&bytes[..part])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        if self.health.truncates.load(Ordering::Relaxed) == 0 {
            return Err(io::ErrorKind::Other.into());
        }
        self.file.truncate(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.health.syncs.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.sync()
    }
}

pub(crate) fn bad(room: i64, syncs: i64, truncates: i64) -> Arc<Health> {
    Arc::new(Health {
        room: room.into(),
        syncs: syncs.into(),
        truncates: truncates.into(),
    })
}

fn open(health: &Arc<Health>, folder: &Path) -> Store {
    let disk = Box::new(BadDisk(Arc::clone(health)));
    Store::open_on(disk, folder, Options::default()).unwrap().0
}

#[test]
fn a_full_disk_refuses_the_batch_and_takes_it_once_there_is_room() {
    for truncates in [1, 0] {
        let folder = tempfile::tempdir().unwrap();
        let health = bad(1_000, 99, truncates);
        let (mut store, mut host) = (open(&health, folder.path()), Host::new());
        let mut stored = 0;
        let refused = loop {
            let entry = host.batch(vec![exec("/a", 1)]);
            match store.append(entry.clone()) {
                Ok(_) => stored += 1,
                Err(AppendError::Disk(failed)) => {
                    assert!(failed.is_full(), "{failed}");
                    break entry;
                }
                Err(other) => panic!("{other}"),
            }
        };
        store.sync().unwrap();
        assert!(stored > 0);
        assert_eq!(store.reader().heads(&host.id(), 1)[0].durable_seq, stored);
        health.room.store(100_000, Ordering::Relaxed);
        store.append(refused).unwrap();
        store.append(host.batch(vec![exec("/b", 2)])).unwrap();
        store.sync().unwrap();
        let (store, _) = Store::open(folder.path(), Options::default()).unwrap();
        assert_eq!(
            store.reader().heads(&host.id(), 1)[0].durable_seq,
            stored + 2
        );
    }
}

#[test]
fn a_disk_without_room_for_a_new_segment_leaves_no_half_one() {
    let folder = tempfile::tempdir().unwrap();
    let health = bad(10, 99, 1);
    let (mut store, mut host) = (open(&health, folder.path()), Host::new());
    let entry = host.batch(vec![exec("/a", 1)]);
    let refused = store.append(entry.clone()).unwrap_err();
    assert!(
        matches!(&refused, AppendError::Disk(failed) if failed.is_full()),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    health.room.store(100_000, Ordering::Relaxed);
    store.append(entry).unwrap();
    store.sync().unwrap();
}

/// The kernel drops dirty pages after a failed sync: a later sync that works proves nothing.
#[test]
fn after_a_failed_sync_nothing_is_taken_or_promised_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let health = bad(100_000, 1, 1);
    let (mut store, mut host) = (open(&health, folder.path()), Host::new());
    store.append(host.batch(vec![exec("/a", 1)])).unwrap();
    store.sync().unwrap();
    store.append(host.batch(vec![exec("/b", 2)])).unwrap();
    assert!(matches!(store.sync(), Err(StoreError::Io { .. })));
    health.syncs.store(99, Ordering::Relaxed);
    assert!(matches!(store.sync(), Err(StoreError::Stopped)));
    let refused = store.append(host.batch(vec![exec("/c", 3)]));
    assert!(matches!(
        refused,
        Err(AppendError::Disk(StoreError::Stopped))
    ));
    assert_eq!(store.reader().heads(&host.id(), 1)[0].durable_seq, 1);
}

/// Wherever the room ends, what was acknowledged is there after a restart, and nothing twice.
#[test]
fn a_disk_that_fills_up_anywhere_loses_nothing_acknowledged() {
    for room in (30..1_500).step_by(11) {
        let folder = tempfile::tempdir().unwrap();
        let health = bad(room, 999, room % 2);
        let (mut store, mut host) = (open(&health, folder.path()), Host::new());
        let batches: Vec<_> = (0..5).map(|n| host.batch(vec![exec("/a", n)])).collect();
        let mut acked = 0;
        for batch in &batches {
            let stored = store.append(batch.clone()).is_ok();
            if !stored || store.sync().is_err() {
                break;
            }
            acked += 1;
        }
        drop(store);
        let (mut store, recovery) = Store::open(folder.path(), Options::default()).unwrap();
        assert!(recovery.damage.is_empty());
        let durable = store
            .reader()
            .heads(&host.id(), 1)
            .first()
            .map_or(0, |head| head.durable_seq);
        assert_eq!(durable, acked, "room {room}");
        for batch in batches {
            store.append(batch).unwrap();
        }
        store.sync().unwrap();
        let ledger = store.reader().ledger(&host.id());
        assert_eq!(ledger.chains[0].stored, 5, "room {room}");
    }
}

/// Wherever the disk fills up or fails while events are sealed, merged or retired, a new start finds each event once.
#[test]
fn a_disk_that_fails_anywhere_while_sealing_loses_and_doubles_nothing() {
    let trouble = (0..9)
        .map(|n| (n * 40_000, 99))
        .chain((0..8).map(|n| (i64::MAX / 2, n)));
    for (room, syncs) in trouble {
        let folder = tempfile::tempdir().unwrap();
        let (wal, sealed) = (folder.path().join("wal"), folder.path().join("sealed"));
        let (mut store, _) = Store::open(&wal, SMALL).unwrap();
        let mut fleet = Fleet::new();
        fleet.fill(&mut store, 60);
        let health = bad(room, syncs, 1);
        let disk = Box::new(BadDisk(Arc::clone(&health)));
        let (mut sealer, _) = Sealer::open_on(disk, &store.reader(), &sealed, EAGER).unwrap();
        let mut failed = false;
        for _ in 0..6 {
            failed |= sealer.seal().is_err();
            failed |= sealer.compact().is_err();
        }
        let log = Store::open(&wal, SMALL).unwrap().0.reader();
        let all = |reader: &Reader| reader.newest(&Query::default(), 1_000).unwrap();
        assert_eq!(all(&store.reader()), all(&log));
        drop((sealer, store));
        let (store, _) = Store::open(&wal, SMALL).unwrap();
        let (mut sealer, _) = Sealer::open(&store.reader(), &sealed, EAGER).unwrap();
        assert_eq!(all(&store.reader()), all(&log));
        while sealer.seal().unwrap().events > 0 {}
        assert_eq!(all(&store.reader()), all(&log));
        let there = files(&sealed).len() as u64;
        assert_eq!(there, sealer.sealed_files(), "room {room}, syncs {syncs}");
        assert!(
            failed || room > 200_000 || syncs > 3,
            "room {room}, syncs {syncs}"
        );
    }
}
