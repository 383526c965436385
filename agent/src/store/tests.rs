//! The ledger, and a disk that refuses for a while.

use std::io;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use picket_event::HostId;
use picket_seal::{Digest, Signature};
use picket_spool::{Disk, FileInfo, Limits, RealDisk};

use super::*;
use crate::health::{Health, Status};

const STREAM: StreamId = StreamId::new([4; 16]);

fn own(given: u64, gaps: u64) -> Numbered {
    Numbered {
        class: Class::Bulk,
        given,
        gaps,
        sealed: given,
        head: Digest::ZERO,
    }
}

#[test]
fn the_ledger_balances_before_and_after_an_ack() {
    let mut gaps = Gaps::default();
    gaps.add(Class::Bulk, 10, 3);
    gaps.add(Class::Bulk, 20, 2);
    for (durable, gaps_stored) in [(0, 0), (10, 3), (20, 5), (25, 5)] {
        let line = gaps.line(STREAM, &own(25, 5), durable);
        let stored = durable - gaps_stored;
        assert_eq!(
            line.numbered,
            stored + line.spooled + line.gaps,
            "durable {durable}"
        );
    }
}

#[test]
fn a_dropped_payload_makes_no_gap_of_what_its_header_called_one() {
    let mut gaps = Gaps::default();
    gaps.add(Class::Bulk, 10, 3);
    gaps.add(Class::Alert, 20, 9);
    gaps.add(Class::Bulk, 20, 4);
    gaps.drop_payload(Class::Bulk, 20, 10);
    // Of 25 numbers 3 and 4 were gaps when they were sealed; the payload of 10 to 19 is gone.
    for (durable, stored) in [(0, 0), (10, 7), (20, 7), (25, 12)] {
        let line = gaps.line(STREAM, &own(25, 7), durable);
        assert_eq!(line.gaps, 13, "durable {durable}");
        assert_eq!(
            line.numbered,
            stored + line.spooled + line.gaps,
            "durable {durable}"
        );
    }
}

/// A disk that is full while it is told to be.
struct Moody {
    disk: RealDisk,
    full: Arc<AtomicBool>,
}

impl Moody {
    fn mood(&self) -> io::Result<()> {
        if self.full.load(Ordering::Acquire) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl Disk for Moody {
    fn list(&mut self) -> io::Result<Vec<FileInfo>> {
        self.disk.list()
    }
    fn create(&mut self, name: &str) -> io::Result<()> {
        self.mood()?;
        self.disk.create(name)
    }
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.mood()?;
        self.disk.append(name, bytes)
    }
    fn reserve(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.mood()?;
        self.disk.reserve(name, len)
    }
    fn release(&mut self, name: &str) -> io::Result<()> {
        self.disk.release(name)
    }
    fn read(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.read(name, offset, len)
    }
    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.mood()?;
        self.disk.truncate(name, len)
    }
    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.mood()?;
        self.disk.sync(name)
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.mood()?;
        self.disk.rename(from, to)
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
}

fn batch(seq_first: u64) -> Sealed {
    Sealed {
        stream: STREAM,
        class: Class::Bulk,
        seq_first,
        count: 1,
        gaps: 0,
        header: vec![1; 40],
        payload: vec![2; 100],
        signature: Signature([0; 64]),
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(8);
    while !done() {
        assert!(Instant::now() < until, "no {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_disk_that_refuses_costs_a_bounded_memory_and_loses_nothing_that_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let disk = Moody {
        disk: RealDisk::new(dir.path()).unwrap(),
        full: Arc::clone(&full),
    };
    let limits = Limits {
        quota_bytes: 8 << 20,
        segment_bytes: 1 << 20,
    };
    let (spool, _) = Spool::open(Box::new(disk), limits).unwrap();
    let shared = Shared::new(spool, Vec::new());
    let health = Health::new(Status::new(HostId::new([0; 32]), STREAM, String::new()));
    let mut store = Store::start(Arc::clone(&shared), Arc::clone(&health)).unwrap();
    store.put(batch(0)).unwrap();
    wait_for("sync", || shared.synced(Class::Bulk) == 1);
    full.store(true, Ordering::Release);
    let mut taken = 1;
    while store.wait_for_room(Class::Bulk, || ()) {
        store.put(batch(taken)).unwrap();
        taken += 1;
        assert!(taken < 1_000, "memory is not bounded");
    }
    // The refusal is told right after it is noted.
    wait_for("reason", || !health.status().spool_error.is_empty());
    assert!(
        store.wait_for_room(Class::Alert, || ()),
        "each class has its own room"
    );
    full.store(false, Ordering::Release);
    wait_for("recovery", || shared.synced(Class::Bulk) == taken);
    assert!(store.wait_for_room(Class::Bulk, || ()));
    wait_for("end of the reason", || {
        health.status().spool_error.is_empty()
    });
    store.close();
}
