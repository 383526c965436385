//! Nothing is missing, and what is missing is counted.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use picket_event::{Event, Kind};
use picket_sensor::ebpf::{KernelSensor, replay};
use picket_sensor::{Sensor, Settings, identity};

use super::rig::{assert_balanced, collect, has_exit, patience, run, shell};

#[test]
fn two_workers_spawn_two_thousand_and_none_is_missing() {
    let mut sensor = sensor_or_skip!();
    // Others on this host may run marked programs too.
    let own = format!("--mark={}-", std::process::id());
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            let own = own.clone();
            std::thread::spawn(move || {
                for number in 0..1_000 {
                    let mark = format!("{own}{worker}-{number}");
                    Command::new("/bin/true").arg(mark).status().unwrap();
                }
            })
        })
        .collect();
    let mut events = Vec::new();
    let marks = |events: &[Event]| -> Vec<Vec<u8>> {
        let processes = events.iter().filter(|event| event.kind == Kind::Exec);
        let args = processes.filter_map(|event| event.process.as_ref().unwrap().argv.get(1));
        args.filter(|arg| arg.as_bytes().starts_with(own.as_bytes()))
            .map(|arg| arg.as_bytes().to_vec())
            .collect()
    };
    let begun = Instant::now();
    let mut seen = Vec::new();
    while seen.len() < 2_000 && begun.elapsed() < patience(60) {
        events.clear();
        sensor
            .poll(Duration::from_millis(100), &mut events)
            .unwrap();
        seen.extend(marks(&events));
    }
    for worker in workers {
        worker.join().unwrap();
    }
    sensor.stop(&mut events).unwrap();
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (2_000, 2_000));
    assert_balanced(&sensor.ledger());
    assert_eq!(sensor.missing(), 0);
}

#[test]
fn a_stalled_reader_loses_and_the_loss_is_exact() {
    let mut sensor = sensor_or_skip!(|settings: &mut Settings| settings.ring_bytes = 64 * 1024);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let made = 600;
    for number in 0..made {
        Command::new("/bin/true")
            .arg(format!("--stalled={number}"))
            .status()
            .unwrap();
    }
    run(
        "i=0; while [ $i -lt 600 ]; do : > f$i; i=$((i+1)); done",
        &root,
    );
    let mut events = Vec::new();
    sensor
        .poll(Duration::from_millis(100), &mut events)
        .unwrap();
    sensor.stop(&mut events).unwrap();
    let ledger = sensor.ledger();
    assert_balanced(&ledger);
    let lost: u64 = ledger.iter().map(|line| line.lost).sum();
    let submitted: u64 = ledger.iter().map(|line| line.submitted).sum();
    let delivered = events
        .iter()
        .filter(|event| event.kind != Kind::Loss)
        .count() as u64;
    eprintln!(
        "lost {lost}, submitted {submitted}, missing numbers {}",
        sensor.missing()
    );
    assert!(lost > 0);
    assert_eq!(submitted, delivered);
    assert_eq!(sensor.missing(), lost);
    let execs = ledger.iter().find(|line| line.kind == Kind::Exec).unwrap();
    assert!(execs.generated >= made);
    assert!(events.iter().any(|event| event.kind == Kind::Loss));
}

#[test]
fn what_is_held_for_who_cannot_take_it_comes_whole_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let watched = root.clone();
    let mut sensor = sensor_or_skip!(move |settings: &mut Settings| {
        settings.ring_bytes = 64 * 1024;
        settings.watch = vec![watched];
    });
    // Together some ten times what the ring holds.
    for round in 0..40 {
        run(
            &format!("i=0; while [ $i -lt 40 ]; do : > f{round}-$i; i=$((i+1)); done"),
            &root,
        );
        assert!(sensor.keep(Duration::from_millis(1)));
    }
    let mut events = Vec::new();
    sensor.stop(&mut events).unwrap();
    let ledger = sensor.ledger();
    assert_balanced(&ledger);
    assert_eq!(ledger.iter().map(|line| line.lost).sum::<u64>(), 0);
    assert_eq!(sensor.missing(), 0);
    let made: BTreeSet<_> = events
        .iter()
        .filter(|event| event.kind == Kind::FileCreate)
        .filter_map(|event| Some(event.file()?.path.clone()))
        .collect();
    assert_eq!(made.len(), 1_600);
    assert!(events.is_sorted_by_key(|event| event.boot_ns));
}

#[test]
fn after_the_last_word_nothing_is_counted_any_more() {
    let mut sensor = sensor_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let pid = run("true", &root);
    let mut events = collect(&mut sensor, |events| has_exit(events, pid));
    let begun = Instant::now();
    sensor.stop(&mut events).unwrap();
    let took = begun.elapsed();
    let closed = sensor.ledger();
    assert_balanced(&closed);
    assert_eq!(sensor.missing(), 0);
    run(
        "echo a > a; mv a b; chmod 600 b; rm b; mkdir c; /bin/true",
        &root,
    );
    assert_eq!(sensor.ledger(), closed);
    // Long before the kernel has let go of all system calls.
    assert!(took < patience(1), "{took:?}");
}

#[test]
fn a_recording_replays_to_the_events_that_were_seen() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("records");
    let settings = |file: Option<PathBuf>| {
        let mut settings = Settings::new(identity::boot_id().unwrap());
        settings.recording = file;
        settings
    };
    let file = recording.clone();
    let mut sensor = sensor_or_skip!(move |all: &mut Settings| *all = settings(Some(file)));
    let work = tempfile::tempdir().unwrap();
    let pid = run("echo a > a; mv a b; rm b", work.path());
    let mut events = collect(&mut sensor, |events| has_exit(events, pid));
    sensor.stop(&mut events).unwrap();
    let told = |events: &[Event]| -> Vec<String> {
        let mine = events.iter().filter(|event| {
            event
                .process
                .as_ref()
                .is_some_and(|process| process.pid == pid)
        });
        mine.map(|event| format!("{} {:?}", event.kind, event.detail))
            .collect()
    };
    let replayed = replay::events(&settings(None), &fs::read(&recording).unwrap());
    assert!(told(&events).len() >= 4);
    assert_eq!(told(&replayed), told(&events));
}

#[test]
fn what_the_governor_leaves_out_is_counted_and_no_exec_is_among_it() {
    let mut sensor = sensor_or_skip!(|settings: &mut Settings| settings.cpu_percent = 1);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let storm = "while :; do n=0; while [ $n -lt 50 ]; do echo $n > f; n=$((n+1)); done; \
                 chmod 600 f; mv f g; rm g; done";
    let mut storm = shell(storm, &root);
    let is_shed = |sensor: &KernelSensor| {
        let ledger = sensor.ledger();
        ledger.iter().map(|line| line.lost_by.shed).sum::<u64>() > 0
    };
    let has_many_execs = |sensor: &KernelSensor| {
        let ledger = sensor.ledger();
        let mut execs = ledger.iter().filter(|line| line.kind == Kind::Exec);
        execs.any(|line| line.submitted > 1_000)
    };
    let mut all = Vec::new();
    let begun = Instant::now();
    while !(is_shed(&sensor) && has_many_execs(&sensor)) && begun.elapsed() < patience(60) {
        sensor.poll(Duration::from_millis(10), &mut all).unwrap();
    }
    storm.kill().unwrap();
    storm.wait().unwrap();
    sensor.stop(&mut all).unwrap();
    let ledger = sensor.ledger();
    assert_balanced(&ledger);
    for line in &ledger {
        assert!(
            line.lost_by.shed == 0 || SHEDDABLE.contains(&line.kind),
            "{line:?}"
        );
    }
    assert!(is_shed(&sensor), "{ledger:?}");
    let execs = ledger.iter().find(|line| line.kind == Kind::Exec).unwrap();
    assert!(execs.submitted > 1_000 && execs.lost == 0, "{execs:?}");
    assert!(all.iter().any(|event| event.kind == Kind::Loss));
}

/// What the governor may leave out; see `docs/sensors.md`.
const SHEDDABLE: &[Kind] = &[
    Kind::FileAttr,
    Kind::FileLink,
    Kind::NetClose,
    Kind::NetAccept,
    Kind::Dns,
    Kind::FileCreate,
    Kind::FileModify,
    Kind::FileDelete,
    Kind::FileRename,
    Kind::NetConnect,
    Kind::NetListen,
];
