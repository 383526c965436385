//! What is read, what is not, and what events about files say then.

use std::cell::RefCell;

use picket_event::{Detail, File, Process, ProcessUid, UnixNanos};
use picket_seal::Digest;

use super::super::hash::{HashDone, HashJob, Hashed, JobId};
use super::super::tests::boxed;
use super::super::{Enricher, HASH_WAIT_NS, Hasher, SharedTable, noted};
use super::*;

#[derive(Default)]
struct Slow(RefCell<Vec<HashJob>>);

impl Hasher for Slow {
    fn submit(&self, job: HashJob) -> bool {
        self.0.borrow_mut().push(job);
        true
    }

    fn look(&self, _job: noted::Job) -> bool {
        false
    }
}

const MODE: u32 = 0o100_644;

fn key(inode: u64, size: u64) -> FileKey {
    FileKey {
        dev: 1,
        inode,
        size,
        mtime_ns: 1,
        ctime_ns: 1,
    }
}

fn event(kind: Kind, boot_ns: u64, file: File) -> Event {
    let process = Process::new(ProcessUid::new([9; 16]), 9);
    let mut event = Event::new(kind, UnixNanos(boot_ns.cast_signed()), Source::Ebpf).by(process);
    event.boot_ns = boot_ns;
    event.with(Detail::File(file))
}

fn about(path: &str, inode: u64) -> File {
    File {
        path: Text::from(path),
        inode: Some(inode),
        mode: Some(MODE),
        ..File::default()
    }
}

fn renamed(path: &str, new_path: &str) -> File {
    File {
        path: Text::from(path),
        new_path: Text::from(new_path),
        path_given: true,
        ..File::default()
    }
}

fn enricher(limits: Limits) -> Enricher {
    let own = ProcessUid::new([255; 16]);
    Enricher::new(own, None, SharedTable::default(), limits)
}

fn states(written: &[(u64, FileKey)]) -> FileStates {
    FileStates::new(Vec::new(), written.to_vec())
}

fn outcome(event: &Event) -> (Option<Digest>, Option<HashStatus>) {
    let file = event.file().unwrap();
    (file.sha256_after, file.hash_status)
}

#[test]
fn a_modified_file_waits_for_its_hash_and_is_found_by_its_name_and_state() {
    let (mut enricher, hasher) = (enricher(Limits::default()), Slow::default());
    let modified = event(Kind::FileModify, 5, about("/etc/x", 7));
    let waiting = enricher.take(
        boxed(vec![modified]),
        &states(&[(5, key(7, 3))]),
        0,
        &hasher,
    );
    assert!(waiting.is_empty());
    let job = hasher.0.borrow()[0].clone();
    assert_eq!((job.id, job.pid), (JobId::Written(key(7, 3)), 9));
    assert_eq!(job.path, Text::from("/etc/x"));
    enricher.hashed(&[HashDone {
        job: job.id,
        key: None,
        state: None,
        path: Text::NONE,
        bytes: 3,
        hashed: Hashed::ok(Digest::of(b"abc")),
    }]);
    let out = enricher.release(1);
    let found = (Some(Digest::of(b"abc")), Some(HashStatus::Ok));
    assert_eq!(outcome(&out[0]), found);
    assert!(out[0].process.as_ref().unwrap().hash_status.is_none());
}

#[test]
fn an_empty_new_file_is_known_and_a_folder_or_an_unknown_state_gets_no_status() {
    let (mut enricher, hasher) = (enricher(Limits::default()), Slow::default());
    let folder = File {
        mode: Some(0o040_755),
        ..about("/d", 8)
    };
    let events = vec![
        event(Kind::FileCreate, 1, about("/a", 7)),
        event(Kind::FileCreate, 2, folder),
        event(Kind::FileModify, 3, about("/b", 9)),
    ];
    let known = states(&[(1, key(7, 0)), (2, key(8, 0))]);
    let out = enricher.take(boxed(events), &known, 0, &hasher);
    assert_eq!(
        outcome(&out[0]),
        (Some(Digest::of(b"")), Some(HashStatus::Ok))
    );
    assert_eq!(outcome(&out[1]), (None, None));
    assert_eq!(outcome(&out[2]), (None, None));
    assert!(hasher.0.borrow().is_empty());
}

#[test]
fn what_the_batch_itself_says_is_over_is_not_read() {
    let (mut enricher, hasher) = (enricher(Limits::default()), Slow::default());
    let events = vec![
        event(Kind::FileModify, 1, about("/a", 7)),
        event(Kind::FileModify, 2, about("/a", 7)),
        event(Kind::FileRename, 3, renamed("/a", "/b")),
        event(Kind::FileDelete, 4, about("/b", 0)),
        event(Kind::FileModify, 5, about("/c", 8)),
        event(Kind::FileModify, 6, about("/c", 8)),
    ];
    let known = states(&[
        (1, key(7, 1)),
        (2, key(7, 2)),
        (5, key(8, 1)),
        (6, key(8, 1)),
    ]);
    assert_eq!(enricher.take(boxed(events), &known, 0, &hasher).len(), 5);
    assert_eq!(
        hasher.0.borrow().len(),
        1,
        "only what is the last of its file"
    );
    assert_eq!(hasher.0.borrow()[0].path, Text::from("/c"));
}

#[test]
fn files_of_one_batch_that_are_over_say_gone_or_raced() {
    let events = vec![
        event(Kind::FileModify, 1, about("/a", 7)),
        event(Kind::FileRename, 3, renamed("/a", "/b")),
        event(Kind::FileDelete, 4, about("/b", 0)),
        event(Kind::FileModify, 5, about("/c", 8)),
        event(Kind::FileModify, 6, about("/c", 8)),
    ];
    let known = states(&[(1, key(7, 1)), (5, key(8, 1)), (6, key(8, 1))]);
    let fates = fates(&boxed(events), &known);
    let fate = |place: usize| fates[place];
    assert_eq!(fate(0), Some(HashStatus::Gone));
    assert_eq!(fate(1), Some(HashStatus::Gone));
    assert_eq!(fate(3), Some(HashStatus::Raced));
    assert_eq!((fate(2), fate(4)), (None, None));
}

#[test]
fn the_same_name_in_another_container_is_another_file() {
    let inside = |mnt: u32, mut event: Event| {
        let process = event.process.as_mut().unwrap();
        process.ns = Some(picket_event::Namespaces {
            pid: 1,
            mnt,
            net: 1,
            user: 1,
        });
        event
    };
    let events = vec![
        inside(1, event(Kind::FileModify, 1, about("/a", 7))),
        inside(2, event(Kind::FileDelete, 2, about("/a", 0))),
    ];
    assert_eq!(
        fates(&boxed(events), &states(&[(1, key(7, 1))])),
        [None, None]
    );
}

#[test]
fn a_new_name_is_read_under_the_new_name_with_the_moment_of_the_event() {
    let (mut enricher, hasher) = (enricher(Limits::default()), Slow::default());
    let events = vec![event(
        Kind::FileRename,
        77,
        renamed("/tmp/x", "/etc/passwd"),
    )];
    enricher.take(boxed(events), &FileStates::default(), 0, &hasher);
    let job = hasher.0.borrow()[0].clone();
    assert_eq!(job.path, Text::from("/etc/passwd"));
    assert_eq!(job.named, Some(UnixNanos(77)));
    let out = enricher.release(HASH_WAIT_NS);
    assert_eq!(outcome(&out[0]), (None, Some(HashStatus::Late)));
}

#[test]
fn beyond_the_size_files_are_too_large_and_beyond_the_rate_they_are_late() {
    let limits = Limits {
        file_bytes: 1 << 20,
        bytes_per_second: 1 << 20,
    };
    let (mut enricher, hasher) = (enricher(limits), Slow::default());
    let mut sizes = vec![2 << 20, 1 << 20, 1 << 20];
    let mut say = |size: u64, inode: u64, now_ns: u64| {
        let events = vec![event(Kind::FileModify, inode, about("/x", inode))];
        let known = states(&[(inode, key(inode, size))]);
        enricher.take(boxed(events), &known, now_ns, &hasher);
        enricher.drain().first().map(|event| outcome(event).1)
    };
    let jobs = || hasher.0.borrow().len();
    assert_eq!(say(sizes.remove(0), 1, 0), None, "given out at once");
    assert_eq!(jobs(), 0);
    say(sizes.remove(0), 2, 0);
    assert_eq!(jobs(), 1);
    say(sizes.remove(0), 3, 500_000_000);
    assert_eq!(jobs(), 1, "only half of it has come back");
    say(1 << 20, 4, 1_000_000_000);
    assert_eq!(jobs(), 2);
}

#[test]
fn the_budget_never_gives_more_than_its_rate_and_its_burst() {
    let limits = Limits {
        file_bytes: 1_000_000,
        bytes_per_second: 1_000_000,
    };
    let mut budget = Budget::new(limits);
    let mut read = 0;
    for step in 0..100_000_u64 {
        if budget.afford(50_000, step * 100_000) {
            read += 50_000;
        }
    }
    assert!((10_500_000..=11_000_000).contains(&read), "{read} in 10 s");
}

#[test]
fn with_no_size_at_all_no_written_file_is_hashed() {
    let limits = Limits {
        file_bytes: 0,
        ..Limits::default()
    };
    let (mut enricher, hasher) = (enricher(limits), Slow::default());
    let events = vec![event(Kind::FileModify, 5, about("/etc/x", 7))];
    let out = enricher.take(boxed(events), &states(&[(5, key(7, 3))]), 0, &hasher);
    assert_eq!(outcome(&out[0]), (None, None));
}
