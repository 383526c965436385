//! Of important files each change has the hash before it, and what changed while the agent was away is found when it is back.

use std::fs;
use std::path::{Path, PathBuf};

use picket_tests::rig::{PATIENCE, Rig, write_file};
use picket_tests::service::Service;
use picket_tests::{wait, watch};
use serde_json::Value;

/// SHA-256 of `abc` and of `def`, as any other program gives them.
const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const OF_DEF: &str = "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34";
const FILES: [&str; 4] = ["changed", "removed", "meanwhile", "gone"];

#[test]
fn a_change_has_the_hash_before_and_what_changed_meanwhile_is_found_at_the_start() {
    let Some(host) = Host::start() else { return };
    host.act("printf def > changed; rm removed");
    let changed = host.event("file_modify", "changed");
    assert_eq!(hashes(&changed), [OF_ABC, OF_DEF]);
    assert_eq!(changed["process"]["exe"], sh(), "who did it is known");
    let removed = host.event("file_delete", "removed");
    assert_eq!(removed["file"]["sha256_before"], OF_ABC);
    host.wait_until_kept();
    let host = host.stopped();
    fs::write(host.folder.join("meanwhile"), "def").unwrap();
    fs::write(host.folder.join("new"), "abc").unwrap();
    fs::remove_file(host.folder.join("gone")).unwrap();
    let host = host.started();
    let meanwhile = host.event("file_modify", "meanwhile");
    assert_eq!(hashes(&meanwhile), [OF_ABC, OF_DEF]);
    let gone = host.event("file_delete", "gone");
    assert_eq!(gone["file"]["sha256_before"], OF_ABC);
    let new = host.event("file_create", "new");
    assert_eq!(new["file"]["sha256_after"], OF_ABC);
    for found in [&meanwhile, &gone, &new] {
        assert_eq!(found["source"], "agent");
        assert!(found["process"].is_null(), "nobody saw who: {found}");
    }
    let told = host.events("changed").len();
    assert_eq!(told, 1, "what an event told is not found again");
    host.stopped();
}

#[test]
fn a_damaged_baseline_is_said_to_be_so_and_built_again() {
    let Some(host) = Host::start() else { return };
    host.wait_until_kept();
    let host = host.stopped();
    let kept = host.state.join("integrity.baseline");
    let mut bytes = fs::read(&kept).unwrap();
    bytes[30] ^= 1;
    fs::write(&kept, bytes).unwrap();
    fs::write(host.folder.join("meanwhile"), "def").unwrap();
    let host = host.started();
    let status = host.built();
    assert_eq!(status["integrity"]["note"], "checksum is wrong");
    assert!(host.state.join("integrity.baseline.damaged").exists());
    let host = host.stopped();
    assert!(
        host.state.join("integrity.baseline").exists(),
        "built again"
    );
    let host = host.started();
    let status = host.built();
    assert_eq!(status["integrity"]["note"], "");
    assert!(
        host.events("meanwhile").is_empty(),
        "nothing to compare with"
    );
    host.stopped();
}

/// A rig whose agent keeps a baseline of one folder.
struct Host {
    rig: Rig,
    state: PathBuf,
    folder: PathBuf,
    agent: Option<Service>,
}

impl Host {
    /// `None` with a word about why this proves nothing here.
    fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: the kernel sensor needs root");
            return None;
        }
        let rig = Rig::start().unwrap();
        let state = rig.enroll("host").unwrap();
        let folder = rig.path().join("important").canonicalize();
        let folder =
            folder.unwrap_or_else(|_| rig.path().canonicalize().unwrap().join("important"));
        for name in FILES {
            write_file(&folder.join(name), "abc").unwrap();
        }
        let settings = format!("watch_paths = [{folder:?}]\nintegrity_paths = [{folder:?}]\n");
        write_file(&rig.path().join("agent.toml"), settings).unwrap();
        let host = Self {
            rig,
            state,
            folder,
            agent: None,
        };
        let host = host.started();
        let status = host.built();
        if status["sensor"]["backend"] != "ebpf" {
            eprintln!("SKIPPED: no kernel sensor here: {}", status["sensor"]);
            return None;
        }
        Some(host)
    }

    fn started(mut self) -> Self {
        let settings = self.rig.path().join("agent.toml");
        self.agent = Some(self.rig.agent(&self.state, Some(&settings)).unwrap());
        self
    }

    fn stopped(mut self) -> Self {
        self.agent.take().unwrap().stop(PATIENCE).unwrap();
        self
    }

    /// The status, once the baseline has all files. Those that are new are looked at only when they are two seconds old.
    fn built(&self) -> Value {
        let built = wait::until("a complete baseline", PATIENCE, || {
            let status = self.rig.status(&self.state)?;
            let files = &status["integrity"];
            let all = files["files"] == FILES.len() && !files["built"].is_null();
            Ok(all.then_some(status))
        });
        built.unwrap()
    }

    /// Waits until the baseline is on disk.
    fn wait_until_kept(&self) {
        let kept = self.state.join("integrity.baseline");
        wait::until("the baseline on disk", PATIENCE, || {
            Ok(kept.exists().then_some(()))
        })
        .unwrap();
    }

    fn act(&self, script: &str) {
        watch::shell(&self.folder, script).unwrap();
    }

    /// All events of the file of this name, at the collector.
    fn events(&self, name: &str) -> Vec<Value> {
        let path = self.folder.join(name);
        let filter = format!("file.path = '{}'", path.display());
        let args = ["events", "--limit", "1000", "--where", &filter];
        self.rig.ctl_json(&args).unwrap()
    }

    /// The first event of this kind, once it is at the collector.
    fn event(&self, kind: &str, name: &str) -> Value {
        let found = wait::until(&format!("{kind} of {name}"), PATIENCE, || {
            let mut events = self.events(name).into_iter();
            Ok(events.find(|event| event["kind"] == kind))
        });
        found.unwrap()
    }
}

fn hashes(event: &Value) -> [&str; 2] {
    ["sha256_before", "sha256_after"].map(|name| event["file"][name].as_str().unwrap_or_default())
}

/// What the shell of this host is called once links are resolved.
fn sh() -> String {
    let path = Path::new("/bin/sh").canonicalize().unwrap();
    path.display().to_string()
}
