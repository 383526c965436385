//! Isolation by the real programs: an operator's word, the host in a network namespace of its own, its collector in another.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use picket_isolation::Table;
use picket_tests::failure::Failure;
use picket_tests::ground::{Ground, PEER, speaks};
use picket_tests::programs::{Ended, Programs};
use picket_tests::rig::{PATIENCE, Rig, write_file};
use picket_tests::service::Service;
use picket_tests::wait;
use serde_json::Value;

/// How long something that must not arrive is waited for.
const SILENCE: Duration = Duration::from_millis(500);

struct Scene {
    agent: Option<Service>,
    rig: Rig,
    state: PathBuf,
    config: PathBuf,
    /// A way out that nobody needs but an attacker.
    elsewhere: SocketAddr,
    ground: Ground,
}

impl Scene {
    fn new() -> Self {
        let ground = Ground::new().unwrap();
        let programs = Programs::find().unwrap();
        let start = || Rig::start_at(programs, &PEER.to_string());
        let rig = ground.peer.inside(start).unwrap();
        let state = ground.host.inside(|| rig.enroll("host")).unwrap();
        let config = rig.path().join("agent.toml");
        write_file(&config, "source = \"portable\"\n").unwrap();
        let elsewhere = ground.peer.echo(PEER, 4444).unwrap();
        let mut scene = Self {
            agent: None,
            rig,
            state,
            config,
            elsewhere,
            ground,
        };
        scene.start_agent();
        scene
    }

    fn start_agent(&mut self) {
        let start = || self.rig.agent(&self.state, Some(&self.config));
        self.agent = Some(self.ground.host.inside(start).unwrap());
        wait::until("a connection", PATIENCE, || {
            Ok((self.status()?["link"]["state"] == "connected").then_some(()))
        })
        .unwrap();
    }

    fn crash_agent(&mut self) {
        self.agent.take().unwrap().crash();
    }

    fn status(&self) -> Result<Value, Failure> {
        self.rig.status(&self.state)
    }

    fn contain(&self, words: &[&str]) -> Ended {
        let host = self.rig.hosts_inside(&self.ground).unwrap().remove(0);
        let args = [&["contain", words[0], &host, "--wait"], &words[1..]].concat();
        self.ground.peer.inside(|| self.rig.ctl(&args)).unwrap()
    }

    /// Waits for a receipt with this state and reason at the collector.
    fn receipt(&self, state: &str, reason: &str) -> Value {
        wait::until(&format!("a receipt {state} {reason}"), PATIENCE, || {
            let receipts = self.ground.peer.inside(|| self.rig.receipts())?;
            let mut receipts = receipts.into_iter();
            let is_meant = |receipt: &Value| {
                let found = receipt["reason"].as_str().unwrap_or_default();
                receipt["state"] == state && found == reason
            };
            Ok(receipts.find(is_meant))
        })
        .unwrap()
    }

    fn agent_says(&self, words: &[&str]) -> Ended {
        let state = self.state.display().to_string();
        let args = [words, &["--state", &state]].concat();
        let run = || self.rig.programs.run("picket-agent", &args);
        self.ground.host.inside(run).unwrap()
    }

    fn leaves(&self) -> bool {
        self.ground.host.connect(self.elsewhere).unwrap().is_some()
    }

    fn attack(&self) -> TcpStream {
        self.ground.host.connect(self.elsewhere).unwrap().unwrap()
    }

    /// What somebody with root does, or a reboot.
    fn remove_table(&self) {
        let remove = || {
            // The agent may be quicker than the look whether it is gone.
            drop(Table::open().unwrap().remove());
            Ok(())
        };
        self.ground.host.inside(remove).unwrap();
    }
}

trait Inside {
    fn hosts_inside(&self, ground: &Ground) -> Result<Vec<String>, Failure>;
}

impl Inside for Rig {
    fn hosts_inside(&self, ground: &Ground) -> Result<Vec<String>, Failure> {
        ground.peer.inside(|| self.hosts())
    }
}

fn code(ended: &Ended) -> String {
    let line = ended
        .stderr
        .lines()
        .find_map(|line| line.split_once("break-glass code "));
    line.unwrap().1.trim().to_owned()
}

#[test]
fn an_isolated_host_has_its_collector_and_nobody_else_until_it_is_released() {
    let scene = Scene::new();
    let shell = scene.attack();
    assert!(speaks(&shell, PATIENCE) && scene.leaves());
    let isolated = scene.contain(&["isolate", "--reason", "beacon"]);
    assert_eq!(isolated.code, Some(0), "{isolated:?}");
    let receipt = scene.receipt("executed", "");
    assert_eq!(receipt["verified"], true, "{receipt}");
    assert!(
        receipt["effect"].as_str().unwrap().contains("IPv4 blocked"),
        "{receipt}"
    );
    assert!(!speaks(&shell, SILENCE) && !scene.leaves());
    let status = scene.status().unwrap();
    assert_eq!(status["link"]["state"], "connected");
    assert_eq!(
        status["containment"]["in_force"][0]["action"], "isolate",
        "{status}"
    );
    // Whoever empties the firewall finds it as it was, and the operator hears of it.
    scene.remove_table();
    let repaired = scene.receipt("executed", "repaired");
    assert!(
        repaired["effect"]
            .as_str()
            .unwrap()
            .contains("in force again"),
        "{repaired}"
    );
    assert!(!scene.leaves());
    let released = scene.contain(&["release"]);
    assert_eq!(released.code, Some(0), "{released:?}");
    assert!(speaks(&shell, PATIENCE) && scene.leaves());
    scene.receipt("reverted", "undone");
    assert_eq!(
        scene.status().unwrap()["containment"]["in_force"],
        serde_json::json!([])
    );
    let again = scene.contain(&["release"]);
    assert_eq!(again.code, Some(3), "nothing is in force: {again:?}");
}

#[test]
fn an_isolation_outlives_its_agent_and_ends_by_a_code_on_the_host() {
    let mut scene = Scene::new();
    let isolated = scene.contain(&["isolate", "--for", "30m", "--break-glass"]);
    assert_eq!(isolated.code, Some(0), "{isolated:?}");
    let code = code(&isolated);
    scene.crash_agent();
    assert!(!scene.leaves(), "the agent is dead");
    scene.start_agent();
    assert!(!scene.leaves(), "and back, with its collector");
    let wrong = scene.agent_says(&["release", "--code", "00000-00000-00000-00000-00000"]);
    assert_eq!(wrong.code, Some(3), "{wrong:?}");
    assert!(wrong.stderr.contains("1 wrong so far"), "{}", wrong.stderr);
    assert!(!scene.leaves());
    scene.receipt("executed", "wrong_code");
    let right = scene.agent_says(&["release", "--code", &code.to_lowercase()]);
    assert_eq!(right.code, Some(0), "{right:?}");
    assert!(scene.leaves());
    scene.receipt("reverted", "break_glass");
    let again = scene.agent_says(&["release", "--code", &code]);
    assert_eq!(again.code, Some(1), "{again:?}");
}

#[test]
fn at_boot_nobody_is_let_through_and_the_code_works_without_an_agent() {
    let mut scene = Scene::new();
    let isolated = scene.contain(&["isolate", "--for", "30m", "--break-glass"]);
    assert_eq!(isolated.code, Some(0), "{isolated:?}");
    let code = code(&isolated);
    scene.crash_agent();
    scene.remove_table();
    assert!(scene.leaves(), "as after a reboot");
    let boot = scene.agent_says(&["containment", "--apply-boot"]);
    assert_eq!(boot.code, Some(0), "{boot:?}");
    assert!(!scene.leaves());
    let collector: SocketAddr = scene.rig.addresses.agents.parse().unwrap();
    assert!(
        scene.ground.host.connect(collector).unwrap().is_none(),
        "nobody, not even the agent"
    );
    let wrong = scene.agent_says(&["release", "--code", "nonsense"]);
    assert_eq!(wrong.code, Some(3), "{wrong:?}");
    let right = scene.agent_says(&["release", "--code", &code]);
    assert_eq!(right.code, Some(0), "{right:?}");
    assert!(scene.leaves());
    let boot = scene.agent_says(&["containment", "--apply-boot"]);
    assert_eq!(boot.code, Some(0), "{boot:?}");
    assert!(scene.leaves(), "it is over");
    scene.start_agent();
    scene.receipt("reverted", "break_glass");
    assert!(scene.leaves());
}

#[test]
fn an_isolation_ends_by_itself_with_its_agent_dead() {
    let mut scene = Scene::new();
    let isolated = scene.contain(&["isolate", "--for", "8s"]);
    assert_eq!(isolated.code, Some(0), "{isolated:?}");
    scene.crash_agent();
    assert!(!scene.leaves());
    wait::until("the end", PATIENCE, || Ok(scene.leaves().then_some(()))).unwrap();
    scene.start_agent();
    scene.receipt("reverted", "auto_release");
}
