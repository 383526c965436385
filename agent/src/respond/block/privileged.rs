//! A blocked content on a kernel that refuses: what starts, what is killed and what is refused, and what is told of it. Only
//! programs of the test are ever refused. Skips loudly where BPF LSM is not active.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, Stdio};
use std::time::{Duration, Instant};

use picket_event::HookState;
use picket_event::command::Action;
use picket_sensor::{Sensor, Settings, open_ebpf};

use super::*;
use crate::respond::tests::{Ask, Bench, command};

const EPERM: i32 = 1;

/// A host with a sensor that refuses and a gate behind it.
struct Host {
    bench: Bench,
    responder: Responder,
    sensor: Box<dyn Sensor>,
    gate: Gate,
    answers: Receiver<Input>,
    dir: tempfile::TempDir,
}

impl Host {
    /// `None` with a word about why this proves nothing here.
    fn set() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(crate::clock::boot_id());
        settings.block = Some(dir.path().to_owned());
        let sensor = match open_ebpf(settings) {
            Ok(sensor) => sensor,
            Err(error) => {
                eprintln!("SKIPPED: no kernel sensor here: {error}");
                return None;
            }
        };
        let hook = sensor.hooks().into_iter().find(|hook| hook.name == "block");
        let hook = hook.unwrap();
        if hook.state == HookState::Unavailable {
            eprintln!("SKIPPED: no program is refused here: {}", hook.detail);
            return None;
        }
        assert_eq!(hook.state, HookState::Proved, "{}", hook.detail);
        let bench = Bench::new();
        let responder = bench.responder();
        let kernel = Box::new(sensor.blocker().unwrap());
        let list = responder.blocklist();
        list.arm_with(kernel, &dir.path().join(KEPT));
        let (inputs, answers) = sync_channel(64);
        let boot = crate::clock::boot_id();
        let gate = Gate::open(list, Protection::new(boot, Vec::new()), boot, inputs).unwrap();
        Some(Self {
            bench,
            responder,
            sensor,
            gate,
            answers,
            dir,
        })
    }

    /// A copy of `sleep` with a content that nothing else has.
    fn program(&self, name: &str) -> (PathBuf, Digest) {
        let mut bytes = fs::read("/bin/sleep").unwrap();
        bytes.extend_from_slice(b"of the test");
        let path = self.dir.path().join(name);
        fs::write(&path, &bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        (path, Digest::of(&bytes))
    }

    fn ask(&mut self, number: u8, action: Action) -> Containment {
        let signed = self.bench.sign(&command(number, action));
        self.responder.ask(&signed).unwrap()
    }

    /// Hands what the sensor sees to the gate until something is told.
    fn told(&mut self) -> Containment {
        let begun = Instant::now();
        while begun.elapsed() < patience(20) {
            let mut events = Vec::new();
            let poll = Duration::from_millis(50);
            self.sensor.poll(poll, &mut events).unwrap();
            for event in &events {
                self.gate.pass(event);
            }
            if let Ok(Input::Outcome(told)) = self.answers.try_recv() {
                return *told;
            }
        }
        panic!("nothing was told");
    }
}

fn patience(seconds: u64) -> Duration {
    let slowness = std::env::var("PICKET_TEST_SLOWNESS").ok();
    let times = slowness.and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds.saturating_mul(times))
}

fn start(path: &Path) -> Result<Child, i32> {
    let started = Program::new(path).arg("60").stdin(Stdio::null()).spawn();
    started.map_err(|error| error.raw_os_error().unwrap())
}

#[track_caller]
fn assert_runs(path: &Path) {
    let mut child = start(path).unwrap();
    std::thread::park_timeout(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none(), "it was ended");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_copy_is_killed_at_its_first_start_and_refused_from_then_on() {
    let Some(mut host) = Host::set() else {
        return;
    };
    let (bad, digest) = host.program("bad");
    let blocked = host.ask(1, Action::BlockHash(digest));
    assert_eq!(
        (blocked.state, blocked.reason.as_str()),
        (ReceiptState::Partial, "prevented_where_known")
    );
    let mut first = start(&bad).unwrap();
    let told = host.told();
    assert_eq!(
        (told.reason.as_str(), told.affected[0].outcome.as_str()),
        ("not_prevented", "dead"),
        "{told:?}"
    );
    assert!(!first.wait().unwrap().success());
    let begun = Instant::now();
    let list = host.responder.blocklist();
    while list.refused_files(digest) == Some(0) && begun.elapsed() < patience(10) {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert_eq!(start(&bad).unwrap_err(), EPERM);
    let told = host.told();
    assert_eq!(
        (told.state, told.reason.as_str()),
        (ReceiptState::Partial, "prevented"),
        "{told:?}"
    );
    let affected = &told.affected[0];
    assert_eq!(affected.outcome, "refused");
    assert_eq!(affected.object, Text::from(bad.to_str().unwrap()));
    assert!(affected.pid > 0 && affected.process_uid.is_some());
    let renamed = host.dir.path().join("renamed");
    fs::rename(&bad, &renamed).unwrap();
    assert_eq!(start(&renamed).unwrap_err(), EPERM);
    let told = host.told();
    assert!(
        told.effect.contains("it has the blocked content"),
        "{told:?}"
    );
    let undone = host.ask(2, Action::UnblockHash(digest));
    assert!(undone.verified, "{undone:?}");
    assert_runs(&renamed);
}

#[test]
fn a_program_that_runs_as_it_is_blocked_goes_on_and_does_not_start_again() {
    let Some(mut host) = Host::set() else {
        return;
    };
    let (bad, digest) = host.program("bad");
    let mut running = start(&bad).unwrap();
    host.ask(1, Action::BlockHash(digest));
    let list = host.responder.blocklist();
    let begun = Instant::now();
    while list.refused_files(digest) == Some(0) && begun.elapsed() < patience(60) {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(running.try_wait().unwrap().is_none(), "it goes on");
    assert_eq!(start(&bad).unwrap_err(), EPERM);
    running.kill().unwrap();
    running.wait().unwrap();
    // As after a restart: what was known is refused before it is found again.
    let begun = Instant::now();
    let kept = host.dir.path().join(KEPT);
    while kept::read(&kept).is_empty() && begun.elapsed() < patience(10) {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(kept::read(&kept).len(), 1);
    let mut events = Vec::new();
    host.sensor.stop(&mut events).unwrap();
    assert_runs(&bad);
}
