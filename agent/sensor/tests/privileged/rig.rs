//! What all these tests do: open the sensor, act through children, wait for what comes.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use picket_event::{Event, Kind, KindCounts};
use picket_sensor::ebpf::KernelSensor;
use picket_sensor::{Sensor, Settings, identity};

/// The kernel sensor, or `None` with a word about why this test proves nothing here.
pub(super) fn sensor(change: impl FnOnce(&mut Settings)) -> Option<KernelSensor> {
    let mut settings = Settings::new(identity::boot_id().unwrap());
    change(&mut settings);
    match KernelSensor::open(settings) {
        Ok(sensor) => Some(sensor),
        Err(error) => {
            eprintln!("SKIPPED: no kernel sensor here: {error}");
            None
        }
    }
}

macro_rules! sensor_or_skip {
    () => {
        sensor_or_skip!(|_| {})
    };
    ($change:expr) => {
        match super::rig::sensor($change) {
            Some(sensor) => sensor,
            None => return,
        }
    };
}

/// How long a test waits at most: so many seconds here, and `PICKET_TEST_SLOWNESS` times as many where a test is told that
/// everything is slower (an emulated machine). A deadline only: what is asserted is the same everywhere.
pub(super) fn patience(seconds: u64) -> Duration {
    let slowness = std::env::var("PICKET_TEST_SLOWNESS").ok();
    let times = slowness.and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds.saturating_mul(times))
}

/// Whether the kernel is older than this version of Linux.
pub(super) fn is_before(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (major, minor)
}

/// Polls until `enough`, at most for ten seconds.
pub(super) fn collect(sensor: &mut KernelSensor, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    let begun = Instant::now();
    while !enough(&events) && begun.elapsed() < patience(10) {
        sensor
            .poll(Duration::from_millis(100), &mut events)
            .unwrap();
    }
    events
}

/// The sensor ignores what its own process does with files, so the tests act through children.
pub(super) fn shell(script: &str, folder: &Path) -> Child {
    Command::new("/bin/sh")
        .args(["-c", script])
        .current_dir(folder)
        .spawn()
        .unwrap()
}

pub(super) fn run(script: &str, folder: &Path) -> u32 {
    let mut child = shell(script, folder);
    assert!(child.wait().unwrap().success(), "{script}");
    child.id()
}

pub(super) fn execs_of(events: &[Event], pid: u32) -> Vec<&Event> {
    let of_pid = |event: &&Event| {
        event.kind == Kind::Exec
            && event
                .process
                .as_ref()
                .is_some_and(|process| process.pid == pid)
    };
    events.iter().filter(of_pid).collect()
}

pub(super) fn has_exit(events: &[Event], pid: u32) -> bool {
    events.iter().any(|event| is_exit_of(event, pid))
}

pub(super) fn is_exit_of(event: &Event, pid: u32) -> bool {
    let process = event.process.as_ref();
    event.kind == Kind::Exit && process.is_some_and(|process| process.pid == pid)
}

pub(super) fn assert_balanced(ledger: &[KindCounts]) {
    for line in ledger {
        assert!(line.balances(), "{line:?}");
    }
}

/// Whether fanotify can mark the file system of the temporary folder: a tmpfs has no number before Linux 5.13.
pub(super) fn can_mark_files() -> bool {
    let can = rustix::fs::statvfs(std::env::temp_dir()).unwrap().f_fsid != 0;
    if !can {
        eprintln!("SKIPPED: the temporary folder's file system cannot be marked on this kernel");
    }
    can
}
