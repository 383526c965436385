//! The sensor without kernel programs, on real processes and files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, Fidelity, HookState, Kind, KindCounts, ProcessUid, Source};
use picket_sensor::{Secret, Sensor, Settings, identity, open_portable};

/// A sensor that watches a folder of its own.
struct Watched {
    folder: tempfile::TempDir,
    sensor: Box<dyn Sensor>,
    events: Vec<Event>,
}

impl Watched {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, b"hidden").unwrap();
        let settings = Settings {
            watch: vec![folder.path().to_owned()],
            secrets: vec![Secret::File(secret)],
            ..Settings::new(identity::boot_id().unwrap())
        };
        Self {
            folder,
            sensor: open_portable(settings).unwrap(),
            events: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Polls until an event is as wanted, or gives up.
    fn wait_for(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let begin = Instant::now();
        loop {
            if let Some(event) = self.events.iter().find(|event| wanted(event)) {
                return event.clone();
            }
            assert!(
                begin.elapsed() < Duration::from_secs(8),
                "{what} in {:#?}",
                self.events
            );
            self.sensor
                .poll(Duration::from_millis(300), &mut self.events)
                .unwrap();
        }
    }

    fn wait_for_file(&mut self, kind: Kind, path: &Path) -> Event {
        let name = path.to_str().unwrap().to_owned();
        self.wait_for(&name, |event| {
            event.kind == kind && event.file().is_some_and(|file| is(&file.path, path))
        })
    }

    fn poll_for(&mut self, duration: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < duration {
            self.sensor
                .poll(Duration::from_millis(100), &mut self.events)
                .unwrap();
        }
    }

    /// Stops, and checks the ledger against what was given.
    fn close(mut self) -> Vec<KindCounts> {
        self.sensor.stop(&mut self.events).unwrap();
        let ledger = self.sensor.ledger();
        for line in &ledger {
            assert!(line.balances(), "{line:?}");
            let given = self
                .events
                .iter()
                .filter(|event| event.kind == line.kind)
                .count();
            assert_eq!(line.submitted, u64::try_from(given).unwrap(), "{line:?}");
        }
        ledger
    }
}

fn is(text: &picket_event::Text, path: &Path) -> bool {
    text.as_str() == path.to_str()
}

fn of(pid: u32, kind: Kind) -> impl Fn(&Event) -> bool {
    move |event| {
        event.kind == kind
            && event
                .process
                .as_ref()
                .is_some_and(|process| process.pid == pid)
    }
}

fn sleep(seconds: &str) -> Child {
    Command::new("/bin/sleep")
        .arg(seconds)
        .current_dir("/")
        .spawn()
        .unwrap()
}

#[test]
fn a_process_that_lives_three_seconds_is_seen_with_its_arguments_and_its_end() {
    let mut watched = Watched::new();
    let mut child = sleep("3");
    let pid = child.id();
    let uid = ProcessUid::from_ticks(
        &identity::boot_id().unwrap(),
        pid,
        identity::start_ticks(pid).unwrap(),
    );
    let exec = watched
        .wait_for("the exec", of(pid, Kind::Exec))
        .process
        .unwrap();
    let argv: Vec<&str> = exec
        .argv
        .iter()
        .filter_map(|argument| argument.as_str())
        .collect();
    assert_eq!((argv.as_slice(), exec.argc), (&["/bin/sleep", "3"][..], 2));
    assert_eq!((exec.uid, exec.fidelity), (uid, Some(Fidelity::Sampled)));
    assert_eq!(
        (exec.ppid, exec.cwd.as_str()),
        (std::process::id(), Some("/"))
    );
    assert_eq!(
        exec.exe.as_str(),
        fs::canonicalize("/bin/sleep").unwrap().to_str()
    );
    assert!(exec.user.is_some() && exec.parent_uid.is_some() && exec.start_time.is_some());
    let exit = watched.wait_for("the exit", of(pid, Kind::Exit));
    child.wait().unwrap();
    assert_eq!(
        (exit.process.unwrap().uid, exit.source),
        (uid, Source::Portable)
    );
    let Some(Detail::Exit(exit)) = exit.detail else {
        panic!("an exit says how");
    };
    assert_eq!((exit.code, exit.signal), (Some(0), None));
    let lived = Duration::from_nanos(exit.duration_ns.unwrap());
    assert!((2_900..6_000).contains(&lived.as_millis()), "{lived:?}");
    watched.close();
}

#[test]
fn a_killed_process_says_by_which_signal() {
    let mut watched = Watched::new();
    let mut child = sleep("30");
    watched.wait_for("the exec", of(child.id(), Kind::Exec));
    child.kill().unwrap();
    let exit = watched.wait_for("the exit", of(child.id(), Kind::Exit));
    child.wait().unwrap();
    assert!(matches!(exit.detail, Some(Detail::Exit(exit)) if exit.signal == Some(9)));
}

#[test]
fn an_exec_within_a_known_process_is_noticed() {
    let mut watched = Watched::new();
    let script = "sleep 1.5; exec /bin/sleep 7.25";
    let mut child = Command::new("/bin/sh")
        .args(["-c", script])
        .spawn()
        .unwrap();
    watched.wait_for("the first exec", of(child.id(), Kind::Exec));
    let pid = child.id();
    let second = watched.wait_for("the second exec", move |event| {
        of(pid, Kind::Exec)(event)
            && event
                .process
                .as_ref()
                .is_some_and(|process| process.argv.get(1) == Some(&"7.25".into()))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        second.process.unwrap().uid,
        watched.events_of(pid)[0].process.as_ref().unwrap().uid
    );
}

#[test]
fn a_child_that_runs_its_parents_program_is_a_fork() {
    let mut watched = Watched::new();
    let pipe = watched.path("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let script = r#"(read -r line < "$0") & wait"#;
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .arg(&pipe)
        .spawn()
        .unwrap();
    let fork = watched.wait_for("the fork", of(child.id(), Kind::Fork));
    fs::write(&pipe, b"go on\n").unwrap();
    child.wait().unwrap();
    let Some(Detail::Fork(fork)) = fork.detail else {
        panic!("a fork names its child");
    };
    watched.wait_for("the end of the child", of(fork.child_pid, Kind::Exit));
    let execs = watched
        .events
        .iter()
        .filter(|event| of(fork.child_pid, Kind::Exec)(event));
    assert_eq!(execs.count(), 0);
}

#[test]
fn a_thread_is_no_process() {
    let mut watched = Watched::new();
    let (go_on, waits) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || waits.recv().is_err());
    let mut child = sleep("30");
    watched.wait_for("a later exec", of(child.id(), Kind::Exec));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(go_on);
    assert!(thread.join().unwrap());
    let own = std::process::id();
    let forks_of_threads = watched.events.iter().filter(|event| match &event.detail {
        Some(Detail::Fork(fork)) => {
            PathBuf::from(format!("/proc/{own}/task/{}", fork.child_pid)).exists()
        }
        _ => false,
    });
    assert_eq!(forks_of_threads.count(), 0);
    let numbers: Vec<u32> = watched
        .sensor
        .snapshot()
        .iter()
        .map(|process| process.pid)
        .collect();
    let tasks = fs::read_dir(format!("/proc/{own}/task")).unwrap();
    let tasks = tasks.filter_map(|task| task.unwrap().file_name().to_str()?.parse::<u32>().ok());
    assert_eq!(tasks.filter(|task| numbers.contains(task)).count(), 1);
}

#[test]
fn processes_that_nobody_saw_are_counted() {
    let mut watched = Watched::new();
    watched.poll_for(Duration::from_millis(300));
    for _ in 0..200 {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
    watched.poll_for(Duration::from_secs(1));
    let ledger = watched.close();
    let line = |kind: Kind| *ledger.iter().find(|line| line.kind == kind).unwrap();
    let (exec, fork) = (line(Kind::Exec), line(Kind::Fork));
    assert!(exec.lost >= 100, "{exec:?}");
    assert!(
        exec.lost + exec.submitted + fork.submitted >= 195,
        "{exec:?} {fork:?}"
    );
}

#[test]
fn a_loss_is_also_an_event() {
    let mut watched = Watched::new();
    for _ in 0..50 {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
    watched.sensor.stop(&mut watched.events).unwrap();
    assert!(watched.events.iter().any(|event| event.kind == Kind::Loss));
}

#[test]
fn files_are_seen_from_creation_to_deletion() {
    let mut watched = Watched::new();
    let (first, second) = (watched.path("first"), watched.path("second"));
    fs::write(&first, b"some text").unwrap();
    let created = watched.wait_for_file(Kind::FileCreate, &first);
    assert!(created.process.is_none(), "nobody knows who");
    let modified = watched.wait_for_file(Kind::FileModify, &first);
    assert_eq!(modified.file().unwrap().size, Some(9));
    fs::rename(&first, &second).unwrap();
    let renamed = watched.wait_for_file(Kind::FileRename, &first);
    assert!(is(&renamed.file().unwrap().new_path, &second));
    fs::remove_file(&second).unwrap();
    watched.wait_for_file(Kind::FileDelete, &second);
    assert!(
        watched
            .events
            .iter()
            .all(|event| event.source == Source::Portable)
    );
    watched.close();
}

#[test]
fn what_is_made_in_a_new_folder_at_once_is_seen_once() {
    let mut watched = Watched::new();
    let deep = watched.path("a/b/c");
    fs::create_dir_all(&deep).unwrap();
    let file = deep.join("file");
    fs::write(&file, b"x").unwrap();
    watched.wait_for_file(Kind::FileCreate, &file);
    let second = deep.join("second");
    fs::write(&second, b"x").unwrap();
    watched.wait_for_file(Kind::FileCreate, &second);
    watched.poll_for(Duration::from_millis(300));
    let created = |path: &Path| {
        let of_path = watched.events.iter().filter(|event| {
            event.kind == Kind::FileCreate && event.file().is_some_and(|file| is(&file.path, path))
        });
        of_path.count()
    };
    assert_eq!(
        (created(&file), created(&second), created(&deep)),
        (1, 1, 1)
    );
    watched.close();
}

#[test]
fn opening_a_secret_is_an_event_and_opening_another_file_is_not() {
    let mut watched = Watched::new();
    let (secret, other) = (watched.path("secret"), watched.path("other"));
    fs::write(&other, b"x").unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"x");
    assert_eq!(fs::read(&secret).unwrap(), b"hidden");
    let opened = watched.wait_for_file(Kind::FileOpen, &secret);
    assert!(opened.file().unwrap().sensitive);
    let opens = watched
        .events
        .iter()
        .filter(|event| event.kind == Kind::FileOpen);
    assert_eq!(opens.count(), 1);
    watched.close();
}

#[test]
fn a_storm_of_files_balances_and_every_loss_is_counted() {
    let mut watched = Watched::new();
    for number in 0..6_000 {
        let file = watched.path(&format!("storm-{number}"));
        fs::write(&file, b"x").unwrap();
        fs::remove_file(&file).unwrap();
    }
    watched.poll_for(Duration::from_secs(1));
    let ledger = watched.close();
    let line = |kind: Kind| *ledger.iter().find(|line| line.kind == kind).unwrap();
    let overflowed = line(Kind::FileModify).lost > 0;
    assert!(
        line(Kind::FileCreate).generated == 6_000 || overflowed,
        "{ledger:#?}"
    );
    assert!(
        line(Kind::FileDelete).generated == 6_000 || overflowed,
        "{ledger:#?}"
    );
}

#[test]
fn hooks_say_what_is_proved_and_what_cannot_be_watched() {
    let settings = Settings {
        watch: vec!["/no/such/folder".into()],
        secrets: Vec::new(),
        ..Settings::new(identity::boot_id().unwrap())
    };
    let mut sensor = open_portable(settings).unwrap();
    let hooks = sensor.hooks();
    let state = |name: &str| {
        hooks
            .iter()
            .find(|hook| hook.name == name)
            .map(|hook| hook.state)
    };
    assert_eq!(state("processes"), Some(HookState::Proved));
    assert_eq!(state("exits"), Some(HookState::Proved));
    assert_eq!(state("inotify"), Some(HookState::Proved));
    assert_eq!(
        state("inotify /no/such/folder"),
        Some(HookState::Unavailable)
    );
    let own = std::process::id();
    assert!(sensor.snapshot().iter().any(|process| process.pid == own));
}

impl Watched {
    fn events_of(&self, pid: u32) -> Vec<&Event> {
        let of_pid = |event: &&Event| {
            event
                .process
                .as_ref()
                .is_some_and(|process| process.pid == pid)
        };
        self.events.iter().filter(of_pid).collect()
    }
}
