//! The kernel's word of devices, heard by somebody who asked for it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use picket_event::{Detail, Device, Event, HookState, Kind, Source};
use picket_sensor::Sensor;
use picket_sensor::device::DeviceFollower;

use super::rig::{assert_balanced, patience};

#[test]
fn a_device_that_is_announced_again_is_an_event_and_others_are_counted() {
    let Some(disk) = first_below("/sys/class/block") else {
        return eprintln!("SKIPPED: no block device here");
    };
    let mut follower = DeviceFollower::open();
    assert_eq!(follower.hooks()[0].state, HookState::Attached);
    // Asks the kernel to say `change` once more; nothing of the devices changes.
    fs::write("/sys/class/mem/null/uevent", "change").unwrap();
    fs::write(disk.join("uevent"), "change").unwrap();
    let mut events = Vec::new();
    let begun = Instant::now();
    while !events.iter().any(|event| is_of(event, &disk)) && begun.elapsed() < patience(10) {
        follower
            .poll(Duration::from_millis(100), &mut events)
            .unwrap();
    }
    follower.stop(&mut events).unwrap();
    let told = events.iter().find(|event| is_of(event, &disk)).unwrap();
    let device = device(told).unwrap();
    assert_eq!((told.kind, told.source), (Kind::Device, Source::Uevent));
    assert_eq!(
        (device.action.as_str(), device.subsystem.as_str()),
        ("change", "block")
    );
    let name = disk.file_name().unwrap().to_str();
    assert_eq!((device.name.as_str(), told.boot_ns > 0), (name, true));
    assert_eq!(follower.hooks()[0].state, HookState::Proved);
    let ledger = follower.ledger();
    assert_balanced(&ledger);
    assert!(ledger[0].filtered >= 1, "memory devices: {ledger:?}");
    assert_eq!(ledger[0].lost, 0);
}

fn device(event: &Event) -> Option<&Device> {
    match &event.detail {
        Some(Detail::Device(device)) => Some(device),
        _ => None,
    }
}

fn is_of(event: &Event, disk: &std::path::Path) -> bool {
    let name = disk.file_name().and_then(|name| name.to_str());
    device(event).is_some_and(|device| device.name.as_str() == name)
}

fn first_below(folder: &str) -> Option<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).ok()?.flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    entries.first().map(fs::DirEntry::path)
}

#[test]
fn what_the_kernel_had_no_room_for_is_counted() {
    let mut follower = DeviceFollower::open();
    let announce = |times: u64| {
        for _ in 0..times {
            fs::write("/sys/class/mem/null/uevent", "change").unwrap();
        }
    };
    let mut events = Vec::new();
    announce(FLOOD);
    let mut read = |follower: &mut DeviceFollower| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(500) {
            follower
                .poll(Duration::from_millis(100), &mut events)
                .unwrap();
        }
    };
    read(&mut follower);
    announce(1);
    read(&mut follower);
    let ledger = follower.ledger();
    assert_balanced(&ledger);
    let line = ledger[0];
    assert!(
        line.lost > 0,
        "nobody read, and the room is bounded: {line:?}"
    );
    let others = line.generated.checked_sub(FLOOD + 1);
    assert!(others.is_some_and(|others| others < 100), "{line:?}");
    assert!(events.iter().any(|event| event.kind == Kind::Loss));
}

/// More than there is room for.
const FLOOD: u64 = 8_000;
