//! Each hook is proved, and proving leaves no trace.

use std::time::Duration;

use picket_event::HookState;
use picket_sensor::Sensor;

use super::rig::assert_balanced;

#[test]
fn every_hook_is_proved_by_its_canary() {
    let sensor = sensor_or_skip!();
    for hook in sensor.hooks() {
        eprintln!("{:<20} {:?} {}", hook.name, hook.state, hook.detail);
        if let Some(reason) = excused(&hook.name) {
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

/// Why a hook cannot be had or proved on this kernel, looked up apart from the sensor.
fn excused(hook: &str) -> Option<&'static str> {
    let old = |major: u32, minor: u32| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut parts = release
            .split('.')
            .map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (major, minor)
    };
    let has = |path: &str| std::path::Path::new(path).exists();
    match hook {
        "module" if !has("/proc/modules") => Some("this kernel has no modules"),
        "credentials_of_exec" if old(6, 10) => Some("sched_prepare_exec came with 6.10"),
        "credentials_of_exec" if !has("/usr/bin/su") && !has("/usr/bin/mount") => {
            Some("no set-user-ID program is here")
        }
        "io_uring_submit" if old(6, 3) => Some("io_uring_submit_req came with 6.3"),
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
