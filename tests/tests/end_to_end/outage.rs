//! Crashes in the middle of the work, on every user's sensor; the storms that need the kernel's are in `privileged`.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use picket_tests::rig::{PATIENCE, Rig, execs_taken, portable_agent};
use serde_json::Value;

#[test]
fn what_happens_while_the_collector_is_dead_arrives_once_although_the_agent_is_killed_too() {
    let mut rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    let marker = format!("outage-{}", std::process::id());
    let mut sleepers = sleepers(&format!("{marker}-before"), 5);
    rig.wait_for_execs(&marker, 5).unwrap();
    let taken = execs_taken(&rig.status(&state).unwrap());
    rig.crash_collector();
    sleepers.extend(self::sleepers(&format!("{marker}-during"), 10));
    let kept = rig.wait_until_kept(&state, taken + 10).unwrap();
    agent.crash();
    rig.restart_collector().unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    rig.wait_for_execs(&marker, 15).unwrap();
    agent.stop(PATIENCE).unwrap();
    let found = rig.execs(&marker).unwrap();
    let distinct: BTreeSet<_> = found
        .iter()
        .map(|event| event["process"]["pid"].as_u64())
        .collect();
    assert_eq!((found.len(), distinct.len()), (15, 15), "each once");
    let proven = rig.verify().unwrap();
    assert_arrived(&kept, &proven);
    let crashes = proven
        .iter()
        .map(|line| line["unknown_gaps"]["crash"].as_u64());
    assert!(
        crashes.flatten().sum::<u64>() >= 1,
        "the end of the first run is a gap: {proven:?}"
    );
    for sleeper in &mut sleepers {
        // Closes its input first.
        sleeper.wait().unwrap();
    }
}

/// Every number that the first run had given when these books were made is stored, as an event or as a gap.
fn assert_arrived(kept: &Value, proven: &[Value]) {
    for line in kept["ledger"]["transport"].as_array().unwrap() {
        let same =
            |there: &&Value| there["stream"] == line["stream"] && there["class"] == line["class"];
        let there = proven.iter().find(same);
        let reached = there
            .and_then(|there| there["seq_next"].as_u64())
            .unwrap_or_default();
        assert!(
            reached >= line["numbered"].as_u64().unwrap(),
            "{line} came as {there:?}"
        );
    }
}

/// Processes that wait until the test closes their input, each with an argument of its own.
fn sleepers(marker: &str, count: usize) -> Vec<Child> {
    let start = |number| {
        let marker = format!("{marker}-{number}");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read line; true", &marker]);
        shell.stdin(Stdio::piped()).stdout(Stdio::null());
        shell.spawn().unwrap()
    };
    (0..count).map(start).collect()
}
