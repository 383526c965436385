//! Rules, policy and configuration that operators sign, with the real programs: from a file to what a host does by itself.

use std::fs;
use std::path::PathBuf;

use picket_tests::programs::{Ended, Programs};
use picket_tests::rig::{PATIENCE, Rig, portable_agent, write_file};
use picket_tests::service::Service;
use picket_tests::wait;
use serde_json::Value;

use crate::prey::Prey;

const ID: &str = "5e1b6c1e-90a5-4e0c-9f0e-2b1d4e6a7c01";

#[test]
fn a_host_stops_by_itself_what_a_signed_rule_and_policy_name_also_while_the_collector_is_away() {
    let mut place = Place::new(&[]);
    place.push("rules", &rule(&place.mark)).unwrap();
    place.push("policy", &policy("act", "suspend")).unwrap();
    let prey = Prey::saying("by-policy", &place.mark);
    let receipt = place.receipt("executed");
    assert_eq!(receipt["action"], "suspend", "{receipt}");
    assert_eq!(receipt["cause"]["entry"], "marked");
    assert_eq!(receipt["cause"]["id"], ID);
    assert_eq!(receipt["cause"]["process_uid"], prey.uid().to_string());
    assert_eq!(receipt["signers"], serde_json::json!(["alice"]));
    assert!(prey.stands_still());
    let host = place.rig.hosts().unwrap().remove(0);
    let resumed = place
        .rig
        .ctl(&["contain", "resume", &prey.pid(), "--host", &host, "--wait"]);
    let resumed = resumed.unwrap();
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert!(!prey.stands_still());
    place.rig.verify().unwrap();
    // The collector is gone; the host goes on judging, and tells it later.
    place.rig.crash_collector();
    let alone = Prey::saying("alone", &place.mark);
    let stopped = wait::until("the host stops it alone", PATIENCE, || {
        Ok(alone.stands_still().then_some(()))
    });
    stopped.unwrap();
    place.rig.restart_collector().unwrap();
    let uid = alone.uid().to_string();
    let told = wait::until("the receipt of what was done alone", PATIENCE, || {
        let told = place.rig.receipts()?;
        let of_it = |one: &&Value| one["cause"]["process_uid"] == uid;
        Ok(told.iter().find(of_it).map(|one| one["state"].clone()))
    });
    assert_eq!(told.unwrap(), "executed");
}

#[test]
fn who_is_only_asked_does_nothing_and_says_what_to_type() {
    let place = Place::new(&[]);
    place.push("rules", &rule(&place.mark)).unwrap();
    place.push("policy", &policy("ask", "suspend")).unwrap();
    let prey = Prey::saying("asked", &place.mark);
    let receipt = place.receipt("accepted");
    let typed = format!("picketctl contain suspend {}", prey.pid());
    let effect = receipt["effect"].as_str().unwrap();
    assert!(effect.contains(&typed), "{receipt}");
    assert!(!prey.stands_still());
}

#[test]
fn what_hosts_would_refuse_is_refused_before_anybody_signs_and_a_version_can_be_taken_back() {
    let place = Place::new(&[]);
    let bad = place.push("rules", "title: no rule\n").unwrap_err();
    assert_eq!(bad.code, Some(1));
    assert!(bad.stderr.contains("rules.yml"), "{}", bad.stderr);
    let bad = place.push("policy", "entry = 1\n").unwrap_err();
    assert!(bad.stderr.contains("line 1"), "{}", bad.stderr);
    place.push("policy", &policy("observe", "suspend")).unwrap();
    place.push("policy", &policy("act", "suspend")).unwrap();
    let back = ["content", "rollback", "policy", "--yes", "--settle", "0s"];
    place.rig.ctl_prints(&back).unwrap();
    let status = place.rig.ctl_json(&["content", "status"]).unwrap();
    let versions: Vec<(u64, u64, bool)> = status
        .iter()
        .map(|one| {
            let number = |name: &str| one[name].as_u64().unwrap();
            (
                number("version"),
                number("hosts_using"),
                one["everyone"] == true,
            )
        })
        .collect();
    assert_eq!(versions, [(3, 1, true), (2, 0, true), (1, 0, true)]);
    assert_eq!(status[0]["reason"], "back to 1");
    let prey = Prey::saying("observed", &place.mark);
    place.push("rules", &rule(&place.mark)).unwrap();
    let again = Prey::saying("observed-again", &place.mark);
    let receipt = place.receipt("accepted");
    assert_eq!(receipt["reason"], "observed", "{receipt}");
    assert!(!prey.stands_still() && !again.stands_still());
}

#[test]
fn a_host_starts_anew_with_settings_that_operators_signed_and_loses_nothing_by_it() {
    let mut place = Place::new(&[]);
    let own = place.push("configuration", "cpu_percent = 9\nproxy = \"p:1\"\n");
    let words = "`proxy` is the host's own";
    assert!(own.unwrap_err().stderr.contains(words));
    let quota = |status: &Value| status["spool"]["quota_bytes"].as_u64();
    let before = place.rig.status(&place.state()).unwrap();
    assert_ne!(quota(&before), Some(9_000_000));
    let signed = "spool_quota_bytes = 9000000\nenvironment = \"all\"\n";
    place.push("configuration", signed).unwrap();
    // The release waited for the host to say that it uses it; it is the same process.
    let now = place.rig.status(&place.state()).unwrap();
    assert_eq!(now["content"]["configuration"], 1, "{now}");
    assert_eq!(quota(&now), Some(9_000_000));
    assert_ne!(now["stream"], before["stream"]);
    place.agent.as_mut().unwrap().still_runs().unwrap();
    let prey = Prey::saying("after-the-start", &place.mark);
    place.rig.wait_for_execs(&place.mark, 1).unwrap();
    drop(prey);
    let proven = place.rig.verify().unwrap();
    let crashes = proven.iter().map(|line| &line["unknown_gaps"]["crash"]);
    assert!(
        crashes
            .filter_map(Value::as_u64)
            .all(|crashes| crashes == 0)
    );
    let back = "spool_quota_bytes = 10000000\n";
    place.push("configuration", back).unwrap();
    let now = place.rig.status(&place.state()).unwrap();
    let version = now["content"]["configuration"].as_u64();
    assert_eq!((version, quota(&now)), (Some(2), Some(10_000_000)));
    let ended = place.agent.take().unwrap().stop(PATIENCE).unwrap();
    assert!(ended.success(), "{ended}");
}

#[test]
fn two_persons_sign_the_same_file_and_a_host_that_is_away_takes_it_when_it_comes() {
    let mut place = Place::new(&["bob"]);
    let file = place
        .rig
        .path()
        .join("signed.content")
        .display()
        .to_string();
    let path = place.file("policy.toml", &policy("observe", "suspend"));
    let push = ["content", "push", "policy", &path, "--yes", "--file", &file];
    place.rig.ctl_prints(&push).unwrap();
    let publish = ["content", "publish", "--file", &file, "--settle", "0s"];
    let early = place.rig.ctl(&publish).unwrap();
    assert_eq!(early.code, Some(3), "{}", early.stderr);
    let agent = place.agent.take().unwrap();
    agent.stop(PATIENCE).unwrap();
    let away = wait::until("the host is away", PATIENCE, || {
        let host = place.rig.ctl_json(&["hosts"])?.remove(0);
        Ok((host["connected"] == false).then_some(()))
    });
    away.unwrap();
    for args in [&["content", "sign", "--yes", "--file", &file][..], &publish] {
        let ended = place.rig.ctl_as("bob", args).unwrap();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    place.agent = Some(portable_agent(&place.rig, &place.state()).unwrap());
    place.wait_for("policy", 1);
    let status = place
        .rig
        .ctl_json(&["content", "status"])
        .unwrap()
        .remove(0);
    assert_eq!(status["signers"], serde_json::json!(["alice", "bob"]));
    place.rig.verify().unwrap();
    let audit = place.rig.ctl_json(&["audit"]).unwrap();
    assert!(
        audit
            .iter()
            .any(|entry| entry["action"] == "content.publish")
    );
}

#[test]
fn content_of_somebody_whom_the_host_does_not_believe_is_refused_and_a_release_halts() {
    let place = Place::new(&[]);
    place.push("policy", &policy("observe", "suspend")).unwrap();
    // The host forgets its operators: another trust root, as after an enrolment elsewhere.
    let other = Place::new(&[]);
    let stolen = fs::read(other.rig.path().join("host/trust-root")).unwrap();
    let mut place = place;
    place.agent.take().unwrap().stop(PATIENCE).unwrap();
    fs::write(place.state().join("trust-root"), stolen).unwrap();
    place.agent = Some(portable_agent(&place.rig, &place.state()).unwrap());
    place.connected();
    let halted = place.push("policy", &policy("act", "suspend")).unwrap_err();
    assert_eq!(halted.code, Some(1), "{}", halted.stderr);
    for part in ["halted", "refused policy 2", "rollback"] {
        assert!(halted.stderr.contains(part), "{}", halted.stderr);
    }
    let status = place.rig.ctl_json(&["content", "status"]).unwrap();
    assert_eq!(
        (&status[0]["hosts_refusing"], &status[0]["everyone"]),
        (&1.into(), &false.into())
    );
}

/// A rule about whatever has the mark in its command line.
fn rule(mark: &str) -> String {
    format!(
        "title: The mark\nid: {ID}\nstatus: test\nlogsource: {{product: linux, category: process_creation}}\n\
         detection:\n  selection: {{CommandLine|contains: {mark}}}\n  condition: selection\nlevel: high\n"
    )
}

fn policy(mode: &str, action: &str) -> String {
    format!(
        "[[entry]]\nname = \"marked\"\nmode = \"{mode}\"\naction = \"{action}\"\nrules = [\"{ID}\"]\nwhere = \"process.exe != '/usr/bin/picketctl'\"\n"
    )
}

/// A collector, and an agent on this host that looks at processes without the kernel's help.
struct Place {
    mark: String,
    agent: Option<Service>,
    rig: Rig,
}

impl Place {
    fn new(others: &[&str]) -> Self {
        let rig = Rig::start_as(Programs::find().unwrap(), others).unwrap();
        let state = rig.enroll("host").unwrap();
        let agent = Some(portable_agent(&rig, &state).unwrap());
        let mark = format!("marked{}x", std::process::id());
        let place = Self { mark, agent, rig };
        place.connected();
        place
    }

    fn connected(&self) {
        let connected = wait::until("the host is connected", PATIENCE, || {
            let host = self.rig.ctl_json(&["hosts"])?.remove(0);
            Ok((host["connected"] == true).then_some(()))
        });
        connected.unwrap();
    }

    fn state(&self) -> PathBuf {
        self.rig.path().join("host")
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.rig.path().join(name);
        write_file(&path, text).unwrap();
        path.display().to_string()
    }

    fn push(&self, kind: &str, text: &str) -> Result<(), Ended> {
        let name = if kind == "rules" {
            "rules.yml"
        } else {
            "one.toml"
        };
        let path = self.file(name, text);
        let args = ["content", "push", kind, &path, "--yes", "--settle", "0s"];
        let ended = self.rig.ctl(&args).unwrap();
        if ended.code == Some(0) {
            return Ok(());
        }
        Err(ended)
    }

    fn wait_for(&self, kind: &str, version: u64) {
        let used = wait::until("the host uses the content", PATIENCE, || {
            let status = self.rig.ctl_json(&["content", "status"])?;
            let mut of_it = status.iter().filter(|one| one["kind"] == kind);
            let used = of_it.any(|one| one["version"] == version && one["hosts_using"] == 1);
            Ok(used.then_some(()))
        });
        used.unwrap();
    }

    /// The first receipt of the host's own decisions in this state.
    fn receipt(&self, state: &str) -> Value {
        let receipt = wait::until("a receipt with a cause", PATIENCE, || {
            let receipts = self.rig.receipts()?;
            let meant = |one: &Value| one["cause"].is_object() && one["state"] == state;
            Ok(receipts.into_iter().find(meant))
        });
        receipt.unwrap()
    }
}
