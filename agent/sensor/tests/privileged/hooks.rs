//! Each hook is proved, and proving leaves no trace.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, Hook, HookState, Kind};
use picket_sensor::{Sensor, Settings};

use super::rig::{assert_balanced, collect, is_before};

#[test]
fn every_hook_is_proved_by_its_canary() {
    let sensor = sensor_or_skip!();
    for hook in sensor.hooks() {
        eprintln!("{:<20} {:?} {}", hook.name, hook.state, hook.detail);
        if let Some(reason) = excused(&hook) {
            eprintln!("SKIPPED: {}: {reason}", hook.name);
            continue;
        }
        assert_eq!(
            hook.state,
            HookState::Proved,
            "{}: {}",
            hook.name,
            hook.detail
        );
    }
}

/// Why a hook cannot be had or proved on this kernel, looked up apart from the sensor as far as that is possible.
fn excused(hook: &Hook) -> Option<&'static str> {
    let has = |path: &str| std::path::Path::new(path).exists();
    let raises = |path: &str| fs::metadata(path).is_ok_and(|found| found.mode() & 0o4000 > 0);
    match hook.name.as_str() {
        "module" if !has("/proc/modules") => Some("this kernel has no modules"),
        "credentials_of_exec" if is_before(6, 10) => Some("sched_prepare_exec came with 6.10"),
        "credentials_of_exec" if !raises("/usr/bin/su") && !raises("/usr/bin/mount") => {
            Some("no set-user-ID program is here")
        }
        name if name.starts_with("io_uring_file_") && is_before(5, 17) => {
            Some("what programs on functions need came with 5.17")
        }
        "io_uring_submit" if is_before(6, 3) => Some("io_uring_submit_req came with 6.3"),
        "protect" => Some("nobody asked for it; protect.rs does"),
        "block" => Some("nobody asked for it; block.rs does"),
        name if name.starts_with("io_uring_file_")
            && hook.detail.contains("Operation not permitted") =>
        {
            Some("this kernel lets nobody have programs on its functions")
        }
        _ => None,
    }
}

#[test]
fn the_canary_is_not_delivered() {
    let mut sensor = sensor_or_skip!();
    let mut events = Vec::new();
    sensor
        .poll(Duration::from_millis(300), &mut events)
        .unwrap();
    let canary = format!("{events:?}").contains("picket-canary");
    assert!(!canary, "{events:#?}");
    assert_balanced(&sensor.ledger());
}

#[test]
fn hooks_are_proved_again_and_nobody_sees_how() {
    let mut sensor = sensor_or_skip!(
        |settings: &mut Settings| settings.prove_every = Duration::from_millis(600)
    );
    let before = sensor.hooks();
    let mut events = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        sensor
            .poll(Duration::from_millis(100), &mut events)
            .unwrap();
    }
    sensor.stop(&mut events).unwrap();
    assert_eq!(sensor.hooks(), before);
    let execs = sensor.ledger().into_iter();
    let execs = execs
        .filter(|line| line.kind == Kind::Exec)
        .map(|line| line.filtered);
    // Each proof runs four programs that exist.
    assert!(execs.sum::<u64>() >= 8);
    let own = |event: &&Event| {
        let process = event.process.as_ref();
        event.kind == Kind::Sensor
            || process.is_some_and(|process| process.pid == std::process::id())
    };
    let own: Vec<&Event> = events.iter().filter(own).collect();
    assert!(own.is_empty(), "{own:#?}");
    assert_balanced(&sensor.ledger());
}

#[test]
fn a_sensor_that_went_blind_says_so() {
    let mut sensor = sensor_or_skip!(
        |settings: &mut Settings| settings.prove_every = Duration::from_millis(600)
    );
    let proved = |hooks: &[Hook]| {
        let proved = hooks.iter().filter(|hook| hook.state == HookState::Proved);
        proved.count()
    };
    let before = proved(&sensor.hooks());
    assert!(before > 20, "{before}");
    close_links();
    let events = collect(&mut sensor, |events| {
        events.iter().any(|event| event.kind == Kind::Sensor)
    });
    let told = events.iter().find_map(|event| match &event.detail {
        Some(Detail::Sensor(state)) => Some(state.clone()),
        _ => None,
    });
    let told = told.unwrap();
    assert_eq!(told.change, "hook_lost");
    assert_eq!(proved(&told.hooks), 0);
    assert_eq!(told.hooks, sensor.hooks());
}

/// Puts something harmless in the place of every link between a kernel program and its hook, so that they let go.
#[expect(
    unsafe_code,
    reason = "no safe call replaces a descriptor that another part of the process owns"
)]
fn close_links() {
    let nothing = File::open("/dev/null").unwrap();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let name = target.to_string_lossy();
        if name.contains("bpf_link") || name.contains("bpf-link") || name.contains("perf_event") {
            let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: both descriptors are open; whoever owns `number` closes /dev/null in its place later.
            let result = unsafe { libc::dup2(nothing.as_raw_fd(), number) };
            assert_eq!(result, number);
        }
    }
}
