//! One state directory, two lives: restored from an old copy.

use std::path::Path;
use std::process::Command;

use picket_tests::rig::{PATIENCE, Rig, portable_agent};
use picket_tests::wait;

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Starts an agent and waits until the collector has its first events.
fn live(rig: &Rig, state: &Path, marker: &str) {
    let agent = portable_agent(rig, state).unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "sleep 1; true", marker]);
    assert!(shell.status().unwrap().success());
    rig.wait_for_execs(marker, 1).unwrap();
    agent.stop(PATIENCE).unwrap();
}

#[test]
fn an_agent_on_an_old_copy_of_its_state_says_so_and_the_operator_sees_it() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    live(&rig, &state, "first-life");
    let old = rig.path().join("old");
    copy(&state, &old);
    live(&rig, &state, "second-life");
    live(&rig, &state, "third-life");
    let agent = portable_agent(&rig, &old).unwrap();
    wait::until("the agent's word about its state", PATIENCE, || {
        let status = rig.status(&old)?;
        let why = status["link"]["reason"].as_str().unwrap_or_default();
        Ok(why.contains("old copy").then_some(()))
    })
    .unwrap();
    let host = rig.hosts().unwrap().remove(0);
    let shown = rig.host(&host).unwrap();
    assert_eq!(shown["alarms"][0]["name"], "older_keys", "{shown}");
    agent.stop(PATIENCE).unwrap();
    rig.verify().unwrap();
}
