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
        assert_eq!(
            hook.state,
            HookState::Proved,
            "{}: {}",
            hook.name,
            hook.detail
        );
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
