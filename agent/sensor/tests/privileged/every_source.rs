//! The same deeds before every source, and what each may miss.
//!
//! The table of what may be missed is [`SOURCES`]: what stands there is allowed, everything else is not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use picket_event::{
    Detail, Event, Exit, Fidelity, Kind, KindCounts, Process, ProcessUid, Source, Text,
};
use picket_sensor::{
    FileKey, Sensor, SensorError, Settings, identity, open_audit, open_ebpf, open_portable,
};

use super::rig::{assert_balanced, can_mark_files, patience};

/// One source, and how well it sees.
struct Promise {
    source: Source,
    open: fn(Settings) -> Result<Box<dyn Sensor>, SensorError>,
    fidelity: Fidelity,
    /// Programs that are gone at once have a name and arguments all the same.
    reads_short_lives: bool,
    /// Every exec and every end is an event, however short the life.
    sees_short_lives: bool,
    /// Every end has a code or a signal.
    knows_status: bool,
    /// Files have an actor.
    knows_who: bool,
    /// Changes of attributes are events.
    sees_attributes: bool,
}

const SOURCES: [Promise; 3] = [
    Promise {
        source: Source::Ebpf,
        open: open_ebpf,
        fidelity: Fidelity::Exact,
        reads_short_lives: true,
        sees_short_lives: true,
        knows_status: true,
        knows_who: true,
        sees_attributes: true,
    },
    Promise {
        source: Source::Audit,
        open: open_audit,
        fidelity: Fidelity::Derived,
        reads_short_lives: false,
        sees_short_lives: true,
        knows_status: true,
        knows_who: true,
        sees_attributes: true,
    },
    Promise {
        source: Source::Portable,
        open: open_portable,
        fidelity: Fidelity::Sampled,
        reads_short_lives: false,
        sees_short_lives: false,
        knows_status: false,
        knows_who: false,
        sees_attributes: false,
    },
];

/// A sensor under test and what it has told.
struct Watcher {
    sensor: Box<dyn Sensor>,
    promise: &'static Promise,
    folder: tempfile::TempDir,
    events: Vec<Event>,
    executables: Vec<(ProcessUid, FileKey)>,
}

impl Watcher {
    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    /// Reads until `enough` or patience ends.
    fn read_until(&mut self, enough: impl Fn(&[Event]) -> bool) {
        let begun = Instant::now();
        while !enough(&self.events) && begun.elapsed() < patience(10) {
            self.read(Duration::from_millis(50));
        }
    }

    fn read(&mut self, patience: Duration) {
        self.sensor.poll(patience, &mut self.events).unwrap();
        self.executables.extend(self.sensor.executables());
    }

    /// Reads until a child has ended, and then until the word of it comes.
    fn reap(&mut self, mut child: Child) -> u32 {
        let pid = child.id();
        while child.try_wait().unwrap().is_none() {
            self.read(Duration::from_millis(20));
        }
        self.read_until(|events| events.iter().any(|event| is_of(event, Kind::Exit, pid)));
        pid
    }

    /// Starts a program that stays until the sensor has told of it; the sensor is read meanwhile.
    fn run_until_seen(&mut self, command: &mut Command) -> u32 {
        let mut child = command.spawn().unwrap();
        let pid = child.id();
        self.read_until(|events| {
            execs_of(events, pid)
                .iter()
                .any(|event| has_arguments(event))
        });
        child.kill().unwrap();
        self.reap(child)
    }

    fn ledger(&mut self) -> Vec<KindCounts> {
        self.sensor.stop(&mut self.events).unwrap();
        let ledger = self.sensor.ledger();
        assert_balanced(&ledger);
        ledger
    }
}

/// Does the same before every source that there is here.
fn before_every_source(deed: impl Fn(&mut Watcher)) {
    for promise in &SOURCES {
        before(promise, &deed);
    }
}

fn before(promise: &'static Promise, deed: impl Fn(&mut Watcher)) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(identity::boot_id().unwrap());
    settings.watch = vec![folder.path().canonicalize().unwrap()];
    match (promise.open)(settings) {
        Err(error) => eprintln!("SKIPPED: no {} here: {error}", promise.source.name()),
        Ok(sensor) => {
            assert_eq!(sensor.source(), promise.source);
            let mut watcher = Watcher {
                sensor,
                promise,
                folder,
                events: Vec::new(),
                executables: Vec::new(),
            };
            eprintln!("before {}", promise.source.name());
            deed(&mut watcher);
            watcher.ledger();
        }
    }
}

#[test]
fn odd_arguments_of_a_program_that_stays_arrive_byte_for_byte() {
    before_every_source(|watcher| {
        let odd: [&[u8]; 4] = [b"", b"two\nlines", b"\xff\xfe not utf-8", b" "];
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read line"]).stdin(Stdio::piped());
        command.args(odd.iter().map(|argument| OsStr::from_bytes(argument)));
        let pid = watcher.run_until_seen(&mut command);
        let exec = execs_of(&watcher.events, pid)[0].process.clone().unwrap();
        let argv: Vec<&[u8]> = exec.argv.iter().map(Text::as_bytes).collect();
        assert_eq!(argv[3..], odd);
        assert_eq!(exec.argc, 7);
        assert_eq!(exec.fidelity, Some(watcher.promise.fidelity));
        assert_eq!(exec.ppid, std::process::id());
        assert_eq!(exec.user.map(|user| user.uid), Some(0));
        let shell = fs::canonicalize("/bin/sh").unwrap();
        assert_eq!(exec.exe.as_bytes(), shell.as_os_str().as_bytes());
        let keys = &watcher.executables;
        assert!(keys.is_empty() || keys.iter().any(|(uid, _)| *uid == exec.uid));
    });
}

#[test]
fn ends_by_exit_and_by_signal_are_told_apart() {
    before_every_source(|watcher| {
        let mut leaving = Command::new("/bin/sh");
        leaving.args(["-c", "sleep 0.6; exit 3"]);
        let leaving = leaving.spawn().unwrap();
        let mut killed = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        // The source that polls does not know what it has not met.
        let is_met = |pid: u32| move |events: &[Event]| !execs_of(events, pid).is_empty();
        watcher.read_until(is_met(killed.id()));
        watcher.read_until(is_met(leaving.id()));
        killed.kill().unwrap();
        let (killed, left) = (watcher.reap(killed), watcher.reap(leaving));
        for (pid, expected) in [(left, (Some(3), None)), (killed, (None, Some(9)))] {
            let exits = exits_of(&watcher.events, pid);
            assert_eq!(exits.len(), 1);
            let told = (exits[0].code, exits[0].signal);
            let may_not_know = !watcher.promise.knows_status && told == (None, None);
            assert!(told == expected || may_not_know, "{told:?} of {expected:?}");
            assert!(exits[0].duration_ns.unwrap() > 0);
        }
    });
}

#[test]
fn a_tree_of_forks_has_the_right_parents() {
    before_every_source(|watcher| {
        let script = "(sleep 20 & echo $! > child; wait)& wait";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).current_dir(watcher.root());
        let mut top = command.spawn().unwrap();
        let leaf = watcher.root().join("child");
        watcher.read_until(|_| fs::read_to_string(&leaf).is_ok_and(|text| text.ends_with('\n')));
        let leaf: u32 = fs::read_to_string(leaf).unwrap().trim().parse().unwrap();
        watcher.read_until(|events| {
            execs_of(events, leaf)
                .iter()
                .any(|event| has_arguments(event))
        });
        let boot = identity::boot_id().unwrap();
        let uid = |pid: u32| {
            let start = identity::start_ticks(pid).unwrap();
            ProcessUid::from_ticks(&boot, pid, start)
        };
        let stat = fs::read(format!("/proc/{leaf}/stat")).unwrap();
        let middle = identity::Stat::parse(&stat).unwrap().ppid;
        let exec = execs_of(&watcher.events, leaf)[0].process.clone().unwrap();
        assert_eq!((exec.ppid, exec.uid), (middle, uid(leaf)));
        assert_eq!(exec.parent_uid, Some(uid(middle)));
        let fork = watcher.events.iter().find(
            |event| matches!(&event.detail, Some(Detail::Fork(fork)) if fork.child_pid == middle),
        );
        if watcher.promise.sees_short_lives || fork.is_some() {
            let parent = fork.unwrap().process.as_ref().unwrap();
            assert_eq!((parent.pid, parent.uid), (top.id(), uid(top.id())));
        }
        for pid in [leaf, middle] {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _gone = top.kill();
        watcher.reap(top);
    });
}

#[test]
fn a_file_is_made_written_renamed_and_removed_by_somebody() {
    before_every_source(|watcher| {
        if watcher.promise.source == Source::Audit && !can_mark_files() {
            return;
        }
        // The pauses let the source that puts changes together tell them one by one.
        let script =
            "echo text > a; sleep 0.4; mv a b; sleep 0.4; chmod 600 b; sleep 0.4; rm b; sleep 0.6";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).current_dir(watcher.root());
        let pid = watcher.reap(command.spawn().unwrap());
        let root = watcher.root();
        watcher.read_until(|events| !changes(events, &root, Kind::FileDelete).is_empty());
        let told: Vec<Kind> = all_changes(&watcher.events, &root);
        let mut expected = vec![Kind::FileCreate, Kind::FileModify, Kind::FileRename];
        expected.extend(watcher.promise.sees_attributes.then_some(Kind::FileAttr));
        expected.push(Kind::FileDelete);
        assert_eq!(told, expected);
        let renamed = changes(&watcher.events, &root, Kind::FileRename)[0]
            .file()
            .unwrap()
            .clone();
        assert_eq!(
            renamed.path.as_bytes(),
            root.join("a").as_os_str().as_bytes()
        );
        assert_eq!(
            renamed.new_path.as_bytes(),
            root.join("b").as_os_str().as_bytes()
        );
        let created = changes(&watcher.events, &root, Kind::FileCreate)[0];
        let actor = created.process.as_ref().map(|process| process.pid);
        assert_eq!(actor, watcher.promise.knows_who.then_some(pid));
    });
}

#[test]
fn five_hundred_programs_at_once_are_told_by_the_kernel_programs() {
    five_hundred_programs(&SOURCES[0]);
}

#[test]
fn five_hundred_programs_at_once_are_told_by_the_announcing_kernel() {
    five_hundred_programs(&SOURCES[1]);
}

#[test]
fn five_hundred_programs_at_once_are_told_or_counted_by_who_polls() {
    five_hundred_programs(&SOURCES[2]);
}

fn five_hundred_programs(promise: &'static Promise) {
    before(promise, |watcher| {
        let mut command = Command::new("/bin/sh");
        command.args([
            "-c",
            "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done",
        ]);
        let mut child = command.spawn().unwrap();
        let shell = child.id();
        while child.try_wait().unwrap().is_none() {
            watcher.read(Duration::from_millis(20));
        }
        watcher.read_until(|events| events.iter().any(|event| is_of(event, Kind::Exit, shell)));
        let ledger = watcher.ledger();
        let children = |kind: Kind| {
            let of_shell = |event: &&Event| {
                let process = event.process.as_ref();
                event.kind == kind && process.is_some_and(|process| process.ppid == shell)
            };
            watcher.events.iter().filter(of_shell).collect::<Vec<_>>()
        };
        let (execs, exits) = (children(Kind::Exec), children(Kind::Exit));
        let read = execs.iter().filter(|event| has_arguments(event)).count();
        let lost = ledger
            .iter()
            .find(|line| line.kind == Kind::Exec)
            .unwrap()
            .lost;
        let (execs, exits) = (execs.len(), exits.len());
        eprintln!("{execs} execs, {read} with arguments, {exits} exits, {lost} lost");
        if watcher.promise.sees_short_lives {
            assert_eq!((execs, exits, lost), (500, 500, 0));
        }
        if watcher.promise.reads_short_lives {
            assert_eq!(read, 500);
        }
        assert!(u64::try_from(execs).unwrap() + lost >= 500);
    });
}

fn is_of(event: &Event, kind: Kind, pid: u32) -> bool {
    let process: Option<&Process> = event.process.as_ref();
    event.kind == kind && process.is_some_and(|process| process.pid == pid)
}

fn has_arguments(event: &Event) -> bool {
    let process = event.process.as_ref();
    process.is_some_and(|process| !process.argv.is_empty() && !process.exe.is_empty())
}

fn execs_of(events: &[Event], pid: u32) -> Vec<&Event> {
    let of_pid = |event: &&Event| is_of(event, Kind::Exec, pid);
    events.iter().filter(of_pid).collect()
}

fn exits_of(events: &[Event], pid: u32) -> Vec<Exit> {
    let exits = events.iter().filter(|event| is_of(event, Kind::Exit, pid));
    let exits = exits.filter_map(|event| match &event.detail {
        Some(Detail::Exit(exit)) => Some(*exit),
        _ => None,
    });
    exits.collect()
}

fn is_below(event: &Event, root: &Path) -> bool {
    let root = root.as_os_str().as_bytes();
    event
        .file()
        .is_some_and(|file| file.path.as_bytes().starts_with(root))
}

fn changes<'a>(events: &'a [Event], root: &Path, kind: Kind) -> Vec<&'a Event> {
    let of_kind = |event: &&Event| event.kind == kind && is_below(event, root);
    events.iter().filter(of_kind).collect()
}

fn all_changes(events: &[Event], root: &Path) -> Vec<Kind> {
    let below = events.iter().filter(|event| is_below(event, root));
    below.map(|event| event.kind).collect()
}
