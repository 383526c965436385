//! Storms before the source `audit`: nothing is missing, and what they cost is printed.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, Kind, KindCounts};
use picket_sensor::{Sensor, Settings, identity, open_audit};

use super::rig::{assert_balanced, patience, shell};

/// What a storm left.
struct Storm {
    events: Vec<Event>,
    ledger: Vec<KindCounts>,
}

impl Storm {
    fn line(&self, kind: Kind) -> KindCounts {
        *self.ledger.iter().find(|line| line.kind == kind).unwrap()
    }
}

fn sensor(watch: &Path) -> Option<Box<dyn Sensor>> {
    if patience(1) > Duration::from_secs(1) {
        eprintln!("SKIPPED: figures of an emulated machine say nothing");
        return None;
    }
    let mut settings = Settings::new(identity::boot_id().unwrap());
    settings.watch = vec![watch.to_owned()];
    let opened = open_audit(settings);
    opened
        .inspect_err(|error| eprintln!("SKIPPED: no audit sensor here: {error}"))
        .ok()
}

/// Reads while the workers work. They are processes of their own, so this one's time is the sensor's.
fn read_through(mut sensor: Box<dyn Sensor>, mut workers: Vec<Child>) -> Storm {
    let (begun, used) = (Instant::now(), identity::processor_time());
    let mut events = Vec::new();
    let mut is_over = || {
        workers
            .iter_mut()
            .all(|worker| worker.try_wait().unwrap().is_some())
    };
    while !is_over() {
        assert!(begun.elapsed() < patience(60));
        let poll = sensor.poll(Duration::from_millis(100), &mut events);
        poll.unwrap();
    }
    sensor.stop(&mut events).unwrap();
    let ledger = sensor.ledger();
    let decided: u64 = ledger.iter().map(|line| line.generated).sum();
    let used = identity::processor_time().saturating_sub(used);
    eprintln!(
        "{:.1} s, {decided} facts, {} events, {:.1} us of CPU per fact, {:.2} CPU-s in all",
        begun.elapsed().as_secs_f64(),
        events.len(),
        used.as_secs_f64() * 1e6 / f64::from(u32::try_from(decided).unwrap()),
        used.as_secs_f64(),
    );
    assert_balanced(&ledger);
    Storm { events, ledger }
}

#[test]
fn three_thousand_programs_of_two_workers_begin_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let Some(sensor) = sensor(folder.path()) else {
        return;
    };
    let script = "i=0; while [ $i -lt 1500 ]; do /bin/true; i=$((i+1)); done";
    let workers: Vec<Child> = (0..2).map(|_| shell(script, Path::new("/"))).collect();
    let pids: Vec<u32> = workers.iter().map(Child::id).collect();
    let storm = read_through(sensor, workers);
    let count = |kind: Kind, is_read: bool| {
        let of_workers = |event: &&Event| {
            let process = event.process.as_ref();
            event.kind == kind
                && process.is_some_and(|process| {
                    pids.contains(&process.ppid) && (!is_read || !process.argv.is_empty())
                })
        };
        storm.events.iter().filter(of_workers).count()
    };
    let lost = [Kind::Exec, Kind::Fork, Kind::Exit].map(|kind| storm.line(kind).lost);
    let seen = (count(Kind::Exec, false), count(Kind::Exit, false));
    eprintln!(
        "{seen:?} execs and exits, {} execs with arguments, {lost:?} lost",
        count(Kind::Exec, true)
    );
    assert_eq!((seen, lost), ((3_000, 3_000), [0; 3]));
}

/// The kernel puts waiting notices about one name together, so of a name that is used again and again fewer changes are told;
/// here each has a name of its own. Its queue is bounded: where this reader is kept from it too long, that is told.
#[test]
fn ten_thousand_files_are_made_written_renamed_and_removed() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let Some(sensor) = sensor(folder.path()) else {
        return;
    };
    let script = "import os\n\
                  for n in range(10000):\n  \
                  with open(f'a{n}', 'w') as file: file.write('x')\n  \
                  os.rename(f'a{n}', f'b{n}')\n  \
                  os.unlink(f'b{n}')\n";
    let mut command = Command::new("/usr/bin/python3");
    let command = command.args(["-c", script]).current_dir(folder.path());
    let worker = match command.spawn() {
        Ok(worker) => worker,
        Err(error) => return eprintln!("SKIPPED: no python3: {error}"),
    };
    let pid = worker.id();
    let storm = read_through(sensor, vec![worker]);
    let mut told = Vec::new();
    for kind in [
        Kind::FileCreate,
        Kind::FileModify,
        Kind::FileRename,
        Kind::FileDelete,
    ] {
        let by_worker = |event: &&Event| {
            let process = event.process.as_ref();
            event.kind == kind && process.is_some_and(|process| process.pid == pid)
        };
        told.push(storm.events.iter().filter(by_worker).count());
        eprintln!(
            "{kind:?}: {} told by the worker, {:?}",
            told[told.len() - 1],
            storm.line(kind)
        );
    }
    let lost: u64 = storm.ledger.iter().map(|line| line.lost).sum();
    let has_overflowed = storm.events.iter().any(|event| {
        matches!(&event.detail, Some(Detail::Sensor(state)) if state.change == "file_queue_overflow")
    });
    assert_eq!(has_overflowed, lost > 0);
    assert!(has_overflowed || told == [10_000; 4], "{told:?}");
}
