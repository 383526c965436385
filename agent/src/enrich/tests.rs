//! The order of events, the wait for hashes and the agent's own doings.

use std::cell::RefCell;

use picket_event::{File, ScheduledJob, Text, UnixNanos};
use picket_sensor::FileKey;

use super::*;

/// Keeps jobs, as a slow hasher would.
#[derive(Default)]
struct Slow {
    jobs: RefCell<Vec<HashJob>>,
    looks: RefCell<Vec<noted::Job>>,
    full: bool,
}

impl Hasher for Slow {
    fn submit(&self, job: HashJob) -> bool {
        self.jobs.borrow_mut().push(job);
        !self.full
    }

    fn look(&self, job: noted::Job) -> bool {
        self.looks.borrow_mut().push(job);
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
        state: Some(key(inode)),
        path: Text::NONE,
        bytes: 1,
        hashed,
    }
}

/// `parent` makes the child `child`.
fn fork(parent: u8, child: u8) -> Event {
    let process = Process::new(uid(parent), u32::from(parent));
    let detail = Detail::Fork(picket_event::Fork {
        child_uid: uid(child),
        child_pid: u32::from(child),
    });
    Event::new(Kind::Fork, UnixNanos(1), Source::Ebpf)
        .by(process)
        .with(detail)
}

/// An exec of a process whose parent is known.
fn exec_below(parent: u8, child: u8) -> Event {
    let mut event = exec(child);
    if let Some(process) = &mut event.process {
        process.parent_uid = Some(uid(parent));
    }
    event
}

fn kinds_out(enricher: &mut Enricher, events: Vec<Event>) -> Vec<Kind> {
    let hasher = Slow::default();
    let out = enricher.take(boxed(events), &FileStates::default(), 0, &hasher);
    out.iter()
        .chain(&enricher.drain())
        .map(|event| event.kind)
        .collect()
}

#[test]
fn a_fork_is_told_by_the_exec_behind_it_and_counted() {
    let mut enricher = enricher();
    let events = vec![fork(1, 2), exec_below(1, 2), fork(1, 3), exit(3)];
    let kinds = kinds_out(&mut enricher, events);
    assert_eq!(kinds, [Kind::Exec, Kind::Fork, Kind::Exit]);
    assert_eq!(enricher.counts().aggregated[&Kind::Fork], 1);
}

#[test]
fn a_fork_whose_child_another_has_or_that_comes_alone_is_told_itself() {
    let mut enricher = enricher();
    // Given to another, and started in a later message.
    let kinds = kinds_out(&mut enricher, vec![fork(1, 2), exec_below(9, 2)]);
    assert_eq!(kinds, [Kind::Fork, Kind::Exec]);
    let kinds = kinds_out(&mut enricher, vec![fork(1, 3)]);
    assert_eq!(kinds, [Kind::Fork]);
    let kinds = kinds_out(&mut enricher, vec![exec_below(1, 3)]);
    assert_eq!(kinds, [Kind::Exec]);
    assert!(enricher.counts().aggregated.is_empty());
}

#[test]
fn a_fork_that_is_told_by_an_exec_still_is_in_the_table() {
    let mut enricher = enricher();
    let mut parent = exec(1);
    if let Some(process) = &mut parent.process {
        process.exe = Text::from("/bin/parent".to_owned());
    }
    let events = vec![parent, fork(1, 2), exec_below(1, 2)];
    let hasher = Slow::default();
    enricher.take(boxed(events), &FileStates::default(), 0, &hasher);
    let out = enricher.drain();
    let child = out.last().and_then(|event| event.process.as_ref()).unwrap();
    assert_eq!(child.ancestry[0].exe, Text::from("/bin/parent".to_owned()));
}

#[test]
fn who_wants_every_fork_gets_it() {
    let mut enricher = enricher().with_every_fork(true);
    let kinds = kinds_out(&mut enricher, vec![fork(1, 2), exec_below(1, 2)]);
    assert_eq!(kinds, [Kind::Fork, Kind::Exec]);
}

#[test]
fn events_behind_a_hash_wait_with_it_and_keep_their_order() {
    let (mut enricher, hasher) = (enricher(), Slow::default());
    let events = vec![exec(1), exit(1), exec(2)];
    let keys = programs(vec![(uid(1), key(1)), (uid(2), key(1))]);
    assert!(enricher.take(boxed(events), &keys, 0, &hasher).is_empty());
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
    enricher.take(
        boxed(vec![exec(1)]),
        &programs(vec![(uid(1), key(1))]),
        0,
        &hasher,
    );
    enricher.hashed(&[done(JobId::File(key(1)), 1)]);
    enricher.release(1);
    let out = enricher.take(
        boxed(vec![exec(2)]),
        &programs(vec![(uid(2), key(1))]),
        2,
        &hasher,
    );
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
            .take(boxed(vec![exec(1)]), &FileStates::default(), 0, &hasher)
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
    let out = enricher.take(boxed(vec![exec(1)]), &FileStates::default(), 0, &full);
    assert_eq!(
        out[0].process.as_ref().unwrap().hash_status,
        Some(HashStatus::Late)
    );
    let slow = Slow::default();
    let mut seen = 0;
    for _ in 0..MAX_WAITING + 10 {
        seen += enricher
            .take(boxed(vec![exec(2)]), &FileStates::default(), 0, &slow)
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
            .take(boxed(events), &FileStates::default(), 0, &hasher)
            .len(),
        2
    );
    let filtered: Vec<_> = enricher.counts().filtered.iter().collect();
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
    enricher.take(boxed(vec![exec(1)]), &FileStates::default(), 0, &hasher);
    let out = enricher.take(boxed(vec![exit(1)]), &FileStates::default(), 1, &hasher);
    assert_eq!(out[0].process.as_ref().unwrap().exe, Text::from("/bin/1"));
}

/// A shell that was given `/srv/job.sh`.
fn shell(number: u8) -> Event {
    let mut event = exec(number);
    let process = event.process.as_mut().unwrap();
    process.exe = Text::from("/bin/sh");
    process.cwd = Text::from("/srv");
    process.argv = ["sh", "-e", "job.sh"].map(Text::from).into();
    event
}

pub(super) fn boxed(events: Vec<Event>) -> Vec<Boxed> {
    events.into_iter().map(Box::new).collect()
}

fn kinds(events: &[Boxed]) -> Vec<Kind> {
    events.iter().map(|event| event.kind).collect()
}

#[test]
fn a_script_comes_right_behind_its_exec_by_the_same_process_and_is_counted() {
    let (mut enricher, hasher) = (enricher(), Slow::default());
    let events = vec![shell(1), exit(1)];
    let states = programs(vec![(uid(1), key(1))]);
    assert!(enricher.take(boxed(events), &states, 0, &hasher).is_empty());
    let script = hasher.jobs.borrow()[1].id;
    enricher.hashed(&[done(JobId::File(key(1)), 1), done(script, 2)]);
    let out = enricher.release(1);
    assert_eq!(kinds(&out), [Kind::Exec, Kind::Script, Kind::Exit]);
    let (exec, script) = (&out[0], &out[1]);
    assert_eq!((script.time, script.source), (exec.time, Source::Agent));
    let process = script.process.as_ref().unwrap();
    assert_eq!((process.uid, process.argv.len()), (uid(1), 0));
    let Some(Detail::Script(found)) = &script.detail else {
        panic!("{script:?}");
    };
    assert_eq!(found.path, Text::from("/srv/job.sh"));
    assert_eq!(found.interpreter, Text::from("/bin/sh"));
    assert_eq!(found.sha256, Some(Digest::of(b"x")));
    assert_eq!(found.size, Some(1));
    let counted: Vec<_> = enricher.counts().derived.iter().collect();
    assert_eq!(counted, [(&Kind::Script, &1)]);
}

#[test]
fn a_script_that_cannot_be_read_in_time_is_told_as_late() {
    let (mut enricher, hasher) = (enricher(), Slow::default());
    let states = programs(vec![(uid(1), key(1))]);
    enricher.take(boxed(vec![shell(1)]), &states, 0, &hasher);
    enricher.hashed(&[done(JobId::File(key(1)), 1)]);
    assert_eq!(kinds(&enricher.release(1)), [Kind::Exec]);
    let out = enricher.release(HASH_WAIT_NS);
    let Some(Detail::Script(script)) = &out[0].detail else {
        panic!("{out:?}");
    };
    assert_eq!(script.hash_status, Some(HashStatus::Late));
    assert_eq!(script.size, None);
}

fn table_written() -> Event {
    let detail = Detail::File(File {
        path: Text::from("/etc/crontab"),
        ..File::default()
    });
    let process = Process::new(uid(3), 3);
    Event::new(Kind::FileModify, UnixNanos(1), Source::Ebpf)
        .by(process)
        .with(detail)
}

fn answer(hasher: &Slow, told: Option<ScheduledJob>) -> Vec<noted::Answer> {
    let number = hasher.looks.borrow().last().unwrap().number;
    let told = told.map(Detail::ScheduledJob).into_iter().collect();
    vec![noted::Answer { number, told }]
}

#[test]
fn a_job_is_told_once_it_is_known_and_not_at_all_if_nothing_changed() {
    let (mut enricher, hasher) = (enricher(), Slow::default());
    let written = vec![table_written(), exit(1)];
    let out = enricher.take(boxed(written.clone()), &FileStates::default(), 0, &hasher);
    assert_eq!(kinds(&out), [Kind::FileModify]);
    let known = ScheduledJob {
        user: Text::from("0"),
        command: Text::from("/bin/true"),
        ..ScheduledJob::default()
    };
    enricher.noted(answer(&hasher, Some(known)));
    let out = enricher.release(1);
    assert_eq!(kinds(&out), [Kind::ScheduledJob, Kind::Exit]);
    let Some(Detail::ScheduledJob(job)) = &out[0].detail else {
        panic!("{out:?}");
    };
    assert_eq!(job.command, Text::from("/bin/true"));
    assert_eq!(job.user, Text::from("root"), "a number is given its name");

    enricher.take(boxed(written), &FileStates::default(), 2, &hasher);
    enricher.noted(answer(&hasher, None));
    assert_eq!(kinds(&enricher.release(3)), [Kind::Exit]);
    let counted: Vec<_> = enricher.counts().derived.iter().collect();
    assert_eq!(counted, [(&Kind::ScheduledJob, &1)]);
}

#[test]
fn a_job_that_is_not_looked_into_in_time_is_told_by_its_file() {
    let (mut enricher, hasher) = (enricher(), Slow::default());
    enricher.take(
        boxed(vec![table_written()]),
        &FileStates::default(),
        0,
        &hasher,
    );
    let full = Slow {
        full: true,
        ..Slow::default()
    };
    let mut out = enricher.release(HASH_WAIT_NS);
    out.extend(enricher.take(
        boxed(vec![table_written()]),
        &FileStates::default(),
        0,
        &full,
    ));
    let jobs = out.iter().filter_map(|event| match &event.detail {
        Some(Detail::ScheduledJob(job)) => Some(job),
        _ => None,
    });
    let jobs: Vec<_> = jobs.collect();
    assert_eq!(jobs.len(), 2);
    for job in jobs {
        assert_eq!((&*job.action, &*job.scheduler), ("changed", "cron"));
        assert_eq!(job.path, Text::from("/etc/crontab"));
        assert!(job.command.is_empty());
    }
}
