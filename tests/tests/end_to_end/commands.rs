//! Commands that operators sign: done once, checked, proven, or refused with a reason.

use std::path::PathBuf;

use picket_tests::programs::Ended;
use picket_tests::rig::{PATIENCE, Rig, parse, portable_agent};
use picket_tests::service::Service;
use picket_tests::wait;
use serde_json::Value;

use crate::prey::Prey;

#[test]
fn a_killed_process_is_gone_and_its_receipt_is_verified_and_proven() {
    let (rig, _agent) = watched_host();
    let (prey, bystander) = (Prey::waiting("killed"), Prey::waiting("bystander"));
    let ended = contain(&rig, "kill", &prey, &["--reason", "miner on web-1"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let receipt = receipt_of(&ended);
    assert_eq!(receipt["state"], "executed");
    assert_eq!(receipt["verified"], true);
    assert_eq!(receipt["signers"], serde_json::json!(["alice"]));
    assert_eq!(receipt["affected"][0]["outcome"], "dead");
    assert_eq!(
        receipt["affected"][0]["process_uid"],
        prey.uid().to_string()
    );
    assert_eq!(receipt["stated_reason"], "miner on web-1");
    assert_eq!(
        (prey.running_processes(), bystander.running_processes()),
        (0, 1)
    );
    assert!(
        rig.receipts().unwrap().contains(&receipt),
        "the receipt is a stored event"
    );
    rig.verify().unwrap();
}

#[test]
fn a_tree_that_grows_again_is_killed_to_the_last_process() {
    let (rig, _agent) = watched_host();
    let (prey, bystander) = (Prey::respawning("tree"), Prey::waiting("beside-tree"));
    let grown = wait::until("a grown tree", PATIENCE, || {
        Ok((prey.running_processes() > 8).then_some(()))
    });
    grown.unwrap();
    let ended = contain(&rig, "kill-tree", &prey, &[]);
    assert_eq!(
        (ended.code, prey.running_processes()),
        (Some(0), 0),
        "{}",
        ended.stderr
    );
    let receipt = receipt_of(&ended);
    assert_eq!(
        (&receipt["state"], &receipt["verified"]),
        (&"executed".into(), &true.into())
    );
    let outcomes = receipt["affected"].as_array().unwrap().iter();
    assert!(outcomes.clone().count() > 4, "{receipt}");
    assert!(
        outcomes
            .map(|one| &one["outcome"])
            .all(|outcome| outcome == "dead"),
        "{receipt}"
    );
    wait::pause(std::time::Duration::from_millis(500));
    assert_eq!(prey.running_processes(), 0, "nothing grows again");
    assert_eq!(bystander.running_processes(), 1);
    rig.verify().unwrap();
}

#[test]
fn a_dry_run_tells_what_it_would_do_and_does_nothing() {
    let (rig, _agent) = watched_host();
    let prey = Prey::waiting("spared");
    let ended = contain(&rig, "kill", &prey, &["--dry-run"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let receipt = receipt_of(&ended);
    assert_eq!(receipt["reason"], "dry_run", "{receipt}");
    assert_eq!(receipt["affected"][0]["pid"].to_string(), prey.pid());
    assert_eq!(prey.running_processes(), 1);
}

#[test]
fn a_process_that_nobody_knows_is_refused_as_not_found() {
    let (rig, _agent) = watched_host();
    let ended = contain_uid(&rig, "kill", &"ab".repeat(16));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(receipt_of(&ended)["reason"], "not_found");
    assert!(ended.stderr.contains("not_found"), "{}", ended.stderr);
}

#[test]
fn the_agent_itself_is_protected() {
    let (rig, agent) = watched_host();
    let uid = crate::prey::uid_of(agent.pid()).to_string();
    for action in ["kill", "kill-tree"] {
        let ended = contain_uid(&rig, action, &uid);
        assert_eq!(ended.code, Some(3), "{action}: {}", ended.stderr);
        assert_eq!(receipt_of(&ended)["reason"], "protected");
    }
}

#[test]
fn a_command_waits_for_a_host_that_is_away_and_can_be_taken_back() {
    let (rig, agent) = watched_host();
    let (prey, spared) = (Prey::waiting("waited"), Prey::waiting("taken-back"));
    let (uid, spared_uid) = (prey.uid().to_string(), spared.uid().to_string());
    agent.stop(PATIENCE).unwrap();
    let taken_back = submit(&rig, &spared_uid);
    rig.ctl_prints(&["command", "cancel", &taken_back]).unwrap();
    let waiting = submit(&rig, &uid);
    let _agent = portable_agent(&rig, &state_of(&rig)).unwrap();
    let done = wait::until("the receipt", PATIENCE, || {
        let shown = rig.ctl_json(&["command", "show", &waiting])?;
        Ok((shown[0]["state"] == "done").then_some(()))
    });
    done.unwrap();
    assert_eq!(
        (prey.running_processes(), spared.running_processes()),
        (0, 1)
    );
}

/// A collector, and an agent on this host that looks at processes without the kernel's help.
fn watched_host() -> (Rig, Service) {
    let rig = Rig::start().unwrap();
    rig.enroll("host").unwrap();
    let agent = portable_agent(&rig, &state_of(&rig)).unwrap();
    (rig, agent)
}

fn state_of(rig: &Rig) -> PathBuf {
    rig.path().join("host")
}

/// As a person does it: by the number that the events show.
fn contain(rig: &Rig, action: &str, prey: &Prey, options: &[&str]) -> Ended {
    let pid = prey.pid();
    let filter = format!("process.pid = {pid}");
    let seen = wait::until("an event of the process", PATIENCE, || {
        let found = rig.ctl_json(&["events", "--kind", "exec", "--where", &filter])?;
        Ok((!found.is_empty()).then_some(()))
    });
    seen.unwrap();
    run_contain(rig, action, &pid, options)
}

fn contain_uid(rig: &Rig, action: &str, uid: &str) -> Ended {
    run_contain(rig, action, uid, &[])
}

fn run_contain(rig: &Rig, action: &str, target: &str, options: &[&str]) -> Ended {
    let host = rig.hosts().unwrap().remove(0);
    let args = [
        "contain", action, target, "--host", &host, "--ttl", "20s", "--wait", "--json",
    ];
    rig.ctl(&[&args[..], options].concat()).unwrap()
}

/// Signs and hands in a kill, without waiting; gives the command's id.
fn submit(rig: &Rig, uid: &str) -> String {
    let host = rig.hosts().unwrap().remove(0);
    let shown = rig
        .ctl_json(&["contain", "kill", uid, "--host", &host])
        .unwrap();
    shown[0]["id"].as_str().unwrap().to_owned()
}

fn receipt_of(ended: &Ended) -> Value {
    let line = ended.stdout.lines().last().unwrap_or_default();
    let shown = parse("picketctl contain", line).unwrap();
    shown["hosts"][0]["receipt"].clone()
}
