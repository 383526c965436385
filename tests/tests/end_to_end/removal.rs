//! The package's own script, run as a package manager runs it, with the real agent, collector and operator: it refuses, is told,
//! and lets the package go when an operator said so. Nothing of this machine is removed or stopped: what the script calls stands in a
//! folder of the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use picket_tests::rig::{PATIENCE, Rig, parse, write_file};
use picket_tests::service::Service;
use picket_tests::wait;
use serde_json::Value;

struct Host {
    rig: Rig,
    agent: Option<Service>,
    state: PathBuf,
    config: PathBuf,
}

impl Host {
    fn new(settings: &str) -> Self {
        let rig = Rig::start().unwrap();
        let state = rig.enroll("host").unwrap();
        let config = rig.path().join("agent.toml");
        write_file(&config, format!("source = \"portable\"\n{settings}\n")).unwrap();
        let agent = rig.agent(&state, Some(&config)).unwrap();
        Self {
            rig,
            agent: Some(agent),
            state,
            config,
        }
    }

    fn stop(&mut self) {
        let agent = self.agent.take().unwrap();
        assert!(agent.stop(PATIENCE).unwrap().success());
    }

    /// What the script before a removal does when it is called with this word.
    fn script(&self, word: &str) -> Output {
        let called = self.rig.path().join("called");
        let agent = self.rig.programs.path("picket-agent").unwrap();
        let wrapper = self.program(
            "agent",
            &format!(
                "exec {} \"$@\" --state {} --config {}",
                agent.display(),
                self.state.display(),
                self.config.display()
            ),
        );
        self.program("systemctl", &format!("echo \"$@\" >>{}", called.display()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let source = source.join("../packaging/scripts/agent-before-remove.sh");
        let text = fs::read_to_string(source).unwrap();
        assert!(text.contains("/usr/bin/picket-agent"));
        let text = text.replace("/usr/bin/picket-agent", &wrapper.display().to_string());
        let folder = wrapper.parent().unwrap().display();
        Command::new("/bin/sh")
            .args(["-c", &text, "prerm", word])
            .env("PATH", format!("{folder}:/usr/bin:/bin"))
            .output()
            .unwrap()
    }

    fn program(&self, name: &str, body: &str) -> PathBuf {
        let path = self.rig.path().join("programs").join(name);
        write_file(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn contain(&self, action: &str, more: &[&str]) -> Value {
        let host = self.rig.hosts().unwrap().remove(0);
        let args = [&["contain", action, &host, "--wait", "--json"][..], more].concat();
        let ended = self.rig.ctl(&args).unwrap();
        let line = ended.stdout.lines().last().unwrap_or_default();
        parse("picketctl contain", line).unwrap_or_else(|_| panic!("{}", ended.stderr))
    }

    /// The agent's own words about removals, once there is one like this.
    fn told(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let told = wait::until("what is told of a removal", PATIENCE, || {
            let receipts = self.rig.receipts()?;
            Ok(receipts.into_iter().find(|receipt| is_it(receipt)))
        });
        told.unwrap()
    }
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

#[test]
fn a_protected_package_goes_only_by_an_operators_word() {
    let mut host = Host::new("protect_removal = true");
    for word in ["remove", "0"] {
        let (code, text) = said(&host.script(word));
        assert_eq!(code, Some(1), "{text}");
        assert!(
            text.contains("the package stays") && text.contains("picketctl contain allow-removal"),
            "{text}"
        );
    }
    host.told(|one| one["action"] == "removal" && one["state"] == "refused");
    // An upgrade is no removal.
    for word in ["upgrade", "1"] {
        let (code, text) = said(&host.script(word));
        assert_eq!(code, Some(0), "{text}");
    }
    let allowed = host.contain("allow-removal", &["--for", "10m"]);
    let receipt = &allowed["hosts"][0]["receipt"];
    assert_eq!(
        (&receipt["state"], &receipt["verified"]),
        (&"executed".into(), &true.into())
    );
    let (code, text) = said(&host.script("remove"));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("allowed by alice until"), "{text}");
    host.stop();
    // What it said last arrived, though it ended right after.
    let going = host.told(|one| one["reason"] == "removing");
    assert_eq!(going["command_id"], allowed["id"]);
    // Where no agent runs the files say the same.
    let (code, text) = said(&host.script("remove"));
    assert_eq!(code, Some(0), "{text}");
    host.rig.verify().unwrap();
}

#[test]
fn a_word_can_be_taken_back_and_a_stopped_agent_refuses_too() {
    let mut host = Host::new("protect_removal = true");
    let allowed = host.contain("allow-removal", &[]);
    let back = host.contain("forbid-removal", &[]);
    assert_eq!(back["hosts"][0]["receipt"]["state"], "executed", "{back}");
    let id = allowed["id"].as_str().unwrap();
    let reverted = wait::until("the end of the allowance", PATIENCE, || {
        let shown = host.rig.ctl_json(&["command", "show", id])?.remove(0);
        Ok((shown["hosts"][0]["state"] == "reverted").then_some(()))
    });
    reverted.unwrap();
    assert_eq!(said(&host.script("remove")).0, Some(1));
    host.stop();
    assert_eq!(said(&host.script("remove")).0, Some(1));
    // What is wrong with the agent keeps nobody from removing it.
    write_file(&host.config, "no_such_setting = 1\n").unwrap();
    let (code, text) = said(&host.script("remove"));
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn an_unprotected_package_goes_and_that_is_told() {
    let host = Host::new("");
    let (code, text) = said(&host.script("remove"));
    assert_eq!(code, Some(0), "{text}");
    host.told(|one| one["action"] == "removal" && one["reason"] == "removing");
    let status = host.rig.status(&host.state).unwrap();
    assert_eq!(status["containment"]["protect_removal"], false);
    // And whom the host believes, for a good while yet.
    assert_eq!(status["trust_root"]["version"], 1);
    assert!(status["trust_root"]["seconds_left"].as_u64().unwrap() > 80 * 86_400);
}

#[test]
fn no_host_can_be_left_removable() {
    let host = Host::new("protect_removal = true");
    let id = host.rig.hosts().unwrap().remove(0);
    for lasting in ["never", "25h"] {
        let args = ["contain", "allow-removal", &id, "--for", lasting];
        let ended = host.rig.ctl(&args).unwrap();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    }
}
