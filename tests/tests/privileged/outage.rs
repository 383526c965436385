//! Crashes in the middle of the work: nothing acknowledged is lost, nothing is doubled, and what is missing is said.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use picket_tests::failure::Failure;
use picket_tests::rig::{PATIENCE, Rig, execs_taken};
use picket_tests::service::Service;
use picket_tests::wait;
use serde_json::Value;

/// Execs in a storm.
const EXECS: usize = 2_000;

#[test]
fn two_thousand_execs_all_arrive_once_although_the_collector_is_killed_in_the_middle() {
    let Some((mut rig, agent)) = kernel_agent() else {
        return;
    };
    let marker = marker("storm");
    let storm = std::thread::spawn({
        let marker = marker.clone();
        move || storm(&marker, EXECS)
    });
    // In the middle: some have arrived, most have not even happened.
    rig.wait_for_execs(&marker, 100).unwrap();
    rig.crash_collector();
    assert!(
        !storm.is_finished(),
        "the collector died while the execs went on"
    );
    wait::pause(std::time::Duration::from_millis(300));
    rig.restart_collector().unwrap();
    storm.join().unwrap();
    rig.wait_for_execs(&marker, EXECS).unwrap();
    agent.stop(PATIENCE).unwrap();
    assert_each_once(&rig, &marker, EXECS);
    assert_no_gap(&rig.verify().unwrap());
}

#[test]
fn an_agent_that_is_killed_goes_on_from_its_spool_and_says_that_it_was_killed() {
    let Some((mut rig, agent)) = kernel_agent() else {
        return;
    };
    let state = rig.path().join("host");
    let (before, during, after) = (marker("before"), marker("during"), marker("after"));
    storm(&before, 50);
    rig.wait_for_execs(&before, 50).unwrap();
    let taken = execs_taken(&rig.status(&state).unwrap());
    rig.crash_collector();
    storm(&during, 300);
    rig.wait_until_kept(&state, taken + 300).unwrap();
    agent.crash();
    rig.restart_collector().unwrap();
    let agent = rig.agent(&state, None).unwrap();
    rig.wait_for_execs(&during, 300).unwrap();
    storm(&after, 50);
    rig.wait_for_execs(&after, 50).unwrap();
    agent.stop(PATIENCE).unwrap();
    assert_each_once(&rig, &before, 50);
    assert_each_once(&rig, &during, 300);
    assert_each_once(&rig, &after, 50);
    let proven = rig.verify().unwrap();
    let streams: Vec<_> = proven.iter().map(|line| line["stream"].clone()).collect();
    assert!(
        streams.iter().any(|stream| *stream != streams[0]),
        "two runs: {proven:?}"
    );
    let crashes = proven.iter().map(|line| &line["unknown_gaps"]["crash"]);
    assert!(
        crashes.filter_map(Value::as_u64).sum::<u64>() >= 1,
        "the end is a gap: {proven:?}"
    );
}

#[test]
fn a_collector_that_is_killed_again_and_again_serves_what_it_acknowledged() {
    let Some((mut rig, agent)) = kernel_agent() else {
        return;
    };
    let marker = marker("again");
    for round in 1..=4 {
        storm(&format!("{marker}-{round}"), 50);
        rig.wait_for_execs(&marker, round * 50).unwrap();
        rig.restart_collector().unwrap();
        assert_eq!(
            rig.execs(&marker).unwrap().len(),
            round * 50,
            "after crash {round}"
        );
    }
    agent.stop(PATIENCE).unwrap();
    assert_each_once(&rig, &marker, 200);
    rig.verify().unwrap();
}

/// A rig with an agent on the kernel sensor, or `None` with a word about why this proves nothing here.
fn kernel_agent() -> Option<(Rig, Service)> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: the kernel sensor needs root");
        return None;
    }
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let agent = rig.agent(&state, None).unwrap();
    let status = rig.status(&state).unwrap();
    if status["sensor"]["backend"] != "ebpf" {
        eprintln!("SKIPPED: no kernel sensor here: {}", status["sensor"]);
        return None;
    }
    Some((rig, agent))
}

fn marker(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// So many runs of `/bin/true` by two workers, each with an argument of its own.
fn storm(marker: &str, count: usize) {
    std::thread::scope(|scope| {
        for worker in 0..2 {
            scope.spawn(move || (worker..count).step_by(2).for_each(|n| run_true(marker, n)));
        }
    });
}

fn run_true(marker: &str, number: usize) {
    let mut command = Command::new("/bin/true");
    command
        .arg(format!("{marker}-{number}"))
        .stdin(Stdio::null());
    assert!(command.status().unwrap().success());
}

fn assert_each_once(rig: &Rig, marker: &str, count: usize) {
    let times = times(rig, marker).unwrap();
    assert_eq!(times.len(), count, "each is there");
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "doubled: {doubled:?}");
}

fn times(rig: &Rig, marker: &str) -> Result<BTreeMap<String, usize>, Failure> {
    let mut times = BTreeMap::new();
    for event in rig.execs(marker)? {
        let argument = event["process"]["argv"][1].as_str().unwrap_or_default();
        *times.entry(argument.to_owned()).or_insert(0) += 1;
    }
    Ok(times)
}

fn assert_no_gap(proven: &[Value]) {
    for line in proven {
        assert_eq!(line["gaps"], serde_json::json!({}), "{line}");
        assert_eq!(line["unknown_gaps"], serde_json::json!({}), "{line}");
    }
}
