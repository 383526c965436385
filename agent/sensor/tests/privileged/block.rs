//! Files that are listed do not start where BPF LSM is active, and who tried is told. Only files of the test are ever listed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, HookState, Kind};
use picket_sensor::ebpf::KernelSensor;
use picket_sensor::{Blocker, FileKey, Refusal, Refusals, Sensor};

use super::rig::{assert_balanced, collect, patience};

const EPERM: i32 = 1;

/// A kernel that refuses, and files of the test. The sensor goes first.
struct Scene {
    sensor: KernelSensor,
    blocker: Blocker,
    refusals: Refusals,
    folder: tempfile::TempDir,
}

impl Scene {
    /// `None` with a word about why this proves nothing here.
    fn set() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let sensor = sensor(folder.path())?;
        let blocker = sensor.blocker().unwrap();
        let refusals = blocker.refusals().unwrap();
        let mut scene = Self {
            sensor,
            blocker,
            refusals,
            folder,
        };
        // The canary's own.
        assert_eq!(scene.refused(1).len(), 1);
        Some(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that ends well, with a content of its own.
    fn program(&self, name: &str) -> PathBuf {
        let mut bytes = fs::read("/bin/true").unwrap();
        bytes.extend_from_slice(name.as_bytes());
        self.write(name, &bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn list(&self, path: &Path) -> FileKey {
        let state = FileKey::of(&fs::metadata(path).unwrap());
        self.blocker.block(&state).unwrap();
        state
    }

    fn refused(&mut self, enough: usize) -> Vec<Refusal> {
        let mut refused = Vec::new();
        let begun = Instant::now();
        while refused.len() < enough && begun.elapsed() < patience(5) {
            refused.extend(self.refusals.wait(Duration::from_millis(50)));
        }
        refused
    }
}

/// The kernel sensor with the hook that refuses, proved in `folder`.
fn sensor(folder: &Path) -> Option<KernelSensor> {
    let sensor = super::rig::sensor(|settings| settings.block = Some(folder.to_owned()))?;
    let hook = sensor.hooks().into_iter().find(|hook| hook.name == "block");
    let hook = hook.unwrap();
    if hook.state == HookState::Unavailable {
        eprintln!("SKIPPED: no program is refused here: {}", hook.detail);
        return None;
    }
    assert_eq!(hook.state, HookState::Proved, "{}", hook.detail);
    assert!(sensor.blocker().unwrap().is_proved());
    Some(sensor)
}

/// Runs it to its end. Gives its number, or the error of its start.
fn run(path: &Path) -> Result<u32, i32> {
    let mut child = Command::new(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.raw_os_error().unwrap())?;
    assert!(child.wait().unwrap().success(), "{}", path.display());
    Ok(child.id())
}

#[track_caller]
fn assert_refused(path: &Path) {
    assert_eq!(run(path), Err(EPERM), "{}", path.display());
}

#[track_caller]
fn assert_runs(path: &Path) {
    assert!(run(path).is_ok(), "{}: {:?}", path.display(), run(path));
}

#[test]
fn a_listed_file_does_not_start_under_any_name_and_who_tried_is_told() {
    let Some(mut scene) = Scene::set() else {
        return;
    };
    let bad = scene.program("bad");
    let other = scene.program("other");
    assert_runs(&bad);
    let state = scene.list(&bad);
    assert_refused(&bad);
    assert_runs(&other);
    fs::hard_link(&bad, scene.path("linked")).unwrap();
    assert_refused(&scene.path("linked"));
    symlink(&bad, scene.path("symbolic")).unwrap();
    assert_refused(&scene.path("symbolic"));
    fs::rename(&bad, scene.path("renamed")).unwrap();
    assert_refused(&scene.path("renamed"));
    fs::set_permissions(scene.path("renamed"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_refused(&scene.path("renamed"));
    // Another inode: nobody knows yet that it has the content.
    fs::copy(scene.path("renamed"), scene.path("copy")).unwrap();
    assert_runs(&scene.path("copy"));

    let refused = scene.refused(5);
    let given: Vec<&[u8]> = refused.iter().map(|one| one.given.as_bytes()).collect();
    let names = ["bad", "linked", "symbolic", "renamed", "renamed"];
    let paths = names.map(|name| scene.path(name));
    let paths = paths.iter().map(|path| path.as_os_str().as_encoded_bytes());
    assert_eq!(given, paths.collect::<Vec<_>>());
    assert_eq!(refused[0].file, state);
    for one in &refused {
        assert_eq!((one.file.dev, one.file.inode), (state.dev, state.inode));
        assert!(one.pid > 0 && one.start_ns > 0 && one.uid == 0, "{one:?}");
    }
    assert!(refused[4].file.ctime_ns > state.ctime_ns);
    assert_eq!(scene.refusals.untold().unwrap(), 0);
    let events = collect(&mut scene.sensor, |events| failed(events).len() >= 5);
    let failed = failed(&events);
    for one in &refused {
        assert!(failed.contains(&one.pid), "{} in {failed:?}", one.pid);
    }
    assert_balanced(&scene.sensor.ledger());
}

/// Who could not start a program because it was not permitted.
fn failed(events: &[Event]) -> Vec<u32> {
    let failed = events.iter().filter(|event| event.kind == Kind::ExecFailed);
    let failed = failed.filter(|event| match &event.detail {
        Some(Detail::ExecFailed(failed)) => failed.result == -EPERM,
        _ => false,
    });
    failed
        .filter_map(|event| Some(event.process.as_ref()?.pid))
        .collect()
}

#[test]
fn a_file_that_is_written_anew_is_another_file() {
    let Some(scene) = Scene::set() else {
        return;
    };
    let bad = scene.program("bad");
    scene.list(&bad);
    assert_refused(&bad);
    scene.write("bad", &fs::read("/bin/true").unwrap());
    assert_runs(&bad);
    scene.list(&bad);
    assert_refused(&bad);
    // The same size: the time of the change is enough.
    std::thread::park_timeout(Duration::from_millis(50));
    scene.write("bad", &fs::read("/bin/true").unwrap());
    assert_runs(&bad);
}

#[test]
fn a_script_does_not_start_if_it_or_its_interpreter_is_listed() {
    let Some(mut scene) = Scene::set() else {
        return;
    };
    let script = scene.write("script", b"#!/bin/sh\nexit 0\n");
    assert_runs(&script);
    let state = scene.list(&script);
    assert_refused(&script);
    assert_eq!(scene.refused(1)[0].file, state);
    let shell = scene.path("shell");
    fs::copy("/bin/sh", &shell).unwrap();
    let text = format!("#!{}\nexit 0\n", shell.display());
    let other = scene.write("other", text.as_bytes());
    assert_runs(&other);
    scene.list(&shell);
    assert_refused(&other);
    let refused = scene.refused(1);
    let given = shell.as_os_str().as_encoded_bytes();
    assert_eq!(refused[0].given.as_bytes(), given, "the interpreter's name");
    // A shell that is told to read the file opens it: that is no start of it.
    let read = Command::new("/bin/sh").arg(&script).status().unwrap();
    assert!(read.success());
}

#[test]
fn what_is_taken_from_the_list_starts_and_so_does_everything_when_the_sensor_ends() {
    let Some(scene) = Scene::set() else {
        return;
    };
    let (one, other) = (scene.program("one"), scene.program("other"));
    let state = scene.list(&one);
    scene.list(&other);
    assert_refused(&one);
    scene.blocker.unblock(&state).unwrap();
    scene.blocker.unblock(&state).unwrap();
    assert_runs(&one);
    assert_refused(&other);
    let Scene {
        mut sensor,
        folder,
        refusals,
        blocker,
    } = scene;
    let mut events = Vec::new();
    sensor.stop(&mut events).unwrap();
    assert_runs(&other);
    drop((sensor, refusals, blocker));
    assert_runs(&other);
    drop(folder);
}

#[test]
fn a_killed_agent_leaves_nothing_that_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad");
    fs::copy("/bin/true", &bad).unwrap();
    let mut agent = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "privileged::block::agent",
            "--ignored",
            "--nocapture",
        ])
        .env("PICKET_BLOCKED", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = agent.stdout.take().unwrap();
    let mut lines = BufReader::new(out).lines().map_while(Result::ok);
    let said = lines.find(|line| line.starts_with("on") || line.starts_with("SKIPPED"));
    if said.as_deref() != Some("on") {
        eprintln!("{}", said.unwrap_or_default());
        agent.wait().unwrap();
        return;
    }
    assert_refused(&bad);
    agent.kill().unwrap();
    agent.wait().unwrap();
    let begun = Instant::now();
    while run(&bad).is_err() {
        assert!(
            begun.elapsed() < patience(10),
            "still refused after the end"
        );
    }
}

#[test]
#[ignore = "not a test: the agent that lists a file and is killed"]
fn agent() {
    let Some(folder) = std::env::var_os("PICKET_BLOCKED").map(PathBuf::from) else {
        return;
    };
    let Some(sensor) = sensor(&folder) else {
        return println!("\nSKIPPED: no program is refused here");
    };
    let state = FileKey::of(&fs::metadata(folder.join("bad")).unwrap());
    sensor.blocker().unwrap().block(&state).unwrap();
    println!("\non");
    // Until it is killed, or nobody is there any more.
    let ended = std::io::stdin().lines().count();
    assert_eq!(ended, 0);
}
