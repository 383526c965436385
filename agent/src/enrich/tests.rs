//! The order of events, the wait for hashes and the agent's own doings.

use std::cell::RefCell;

use picket_event::{File, Text, UnixNanos};
use picket_sensor::FileKey;

use super::*;

/// Keeps jobs, as a slow hasher would.
#[derive(Default)]
struct Slow {
    jobs: RefCell<Vec<HashJob>>,
    full: bool,
}

impl Hasher for Slow {
    fn submit(&self, job: HashJob) -> bool {
        self.jobs.borrow_mut().push(job);
        !self.full
    }
}

fn uid(number: u8) -> ProcessUid {
    ProcessUid::new([number; 16])
}

fn exec(number: u8) -> Event {
    let mut process = Process::new(uid(number), u32::from(number));
    process.exe = Text::from(format!("/bin/{number}"));
    process.argv = vec![process.exe.clone()];
    Event::new(Kind::Exec, UnixNanos(1), Source::Ebpf).by(process)
}

fn exit(number: u8) -> Event {
    let process = Process::new(uid(number), u32::from(number));
    Event::new(Kind::Exit, UnixNanos(2), Source::Ebpf).by(process)
}

fn key(inode: u64) -> FileKey {
    FileKey {
        dev: 1,
        inode,
        size: 1,
        mtime_ns: 1,
        ctime_ns: 1,
    }
}

fn programs(keys: Vec<(ProcessUid, FileKey)>) -> FileStates {
    FileStates::new(keys, Vec::new())
}

fn enricher() -> Enricher {
    Enricher::new(
        uid(255),
        Some(PathBuf::from("/own")),
        SharedTable::default(),
        Limits::default(),
    )
}

fn done(job: JobId, inode: u64) -> HashDone {
    let hashed = Hashed::ok(Digest::of(b"x"));
    HashDone {
        job,
        key: Some(key(inode)),
        bytes: 1,
        hashed,
    }
}

#[test]
fn events_behind_a_hash_wait_with_it_and_keep_their_order() {
    let (mut enricher, hasher) = (enricher(), Slow::default());
    let events = vec![exec(1), exit(1), exec(2)];
    let keys = programs(vec![(uid(1), key(1)), (uid(2), key(1))]);
    assert!(enricher.take(events, keys, 0, &hasher).is_empty());
    assert_eq!(hasher.jobs.borrow().len(), 1, "one file is hashed once");
    enricher.hashed(&[done(JobId::File(key(1)), 1)]);
    let out = enricher.release(1);
    let kinds: Vec<Kind> = out.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Exec, Kind::Exit, Kind::Exec]);
    assert!(out[2].process.as_ref().unwrap().sha256.is_some());
}

#[test]
fn a_known_file_does_not_wait() {
    let (mut enricher, hasher) = (enricher(), Slow::default());
    enricher.take(vec![exec(1)], programs(vec![(uid(1), key(1))]), 0, &hasher);
    enricher.hashed(&[done(JobId::File(key(1)), 1)]);
    enricher.release(1);
    let out = enricher.take(vec![exec(2)], programs(vec![(uid(2), key(1))]), 2, &hasher);
    assert_eq!(
        out[0].process.as_ref().unwrap().hash_status,
        Some(HashStatus::Ok)
    );
}

#[test]
fn nobody_waits_longer_than_agreed() {
    let (mut enricher, hasher) = (enricher(), Slow::default());
    assert!(
        enricher
            .take(vec![exec(1)], FileStates::default(), 0, &hasher)
            .is_empty()
    );
    assert_eq!(enricher.due_ns(), Some(HASH_WAIT_NS));
    assert!(enricher.release(HASH_WAIT_NS - 1).is_empty());
    let out = enricher.release(HASH_WAIT_NS);
    assert_eq!(
        out[0].process.as_ref().unwrap().hash_status,
        Some(HashStatus::Late)
    );
}

#[test]
fn a_full_hasher_and_a_full_room_make_events_late_not_lost() {
    let (mut enricher, full) = (
        enricher(),
        Slow {
            full: true,
            ..Slow::default()
        },
    );
    let out = enricher.take(vec![exec(1)], FileStates::default(), 0, &full);
    assert_eq!(
        out[0].process.as_ref().unwrap().hash_status,
        Some(HashStatus::Late)
    );
    let slow = Slow::default();
    let mut seen = 0;
    for _ in 0..MAX_WAITING + 10 {
        seen += enricher
            .take(vec![exec(2)], FileStates::default(), 0, &slow)
            .len();
    }
    assert_eq!(seen, 10);
}

#[test]
fn the_agents_own_doings_are_left_out_and_counted() {
    let (mut enricher, hasher) = (enricher(), Slow::default());
    let file = |path: &str| {
        let detail = Detail::File(File {
            path: Text::from(path),
            ..File::default()
        });
        Event::new(Kind::FileModify, UnixNanos(1), Source::Portable).with(detail)
    };
    let events = vec![exit(255), file("/own/spool/x"), file("/ownership"), exit(1)];
    assert_eq!(
        enricher
            .take(events, FileStates::default(), 0, &hasher)
            .len(),
        2
    );
    let filtered: Vec<_> = enricher.filtered().iter().collect();
    assert_eq!(filtered, [(&Kind::Exit, &1), (&Kind::FileModify, &1)]);
}

#[test]
fn an_exit_knows_what_ran() {
    let (mut enricher, hasher) = (
        enricher(),
        Slow {
            full: true,
            ..Slow::default()
        },
    );
    enricher.take(vec![exec(1)], FileStates::default(), 0, &hasher);
    let out = enricher.take(vec![exit(1)], FileStates::default(), 1, &hasher);
    assert_eq!(out[0].process.as_ref().unwrap().exe, Text::from("/bin/1"));
}
