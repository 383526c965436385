//! What the source `audit` promises beyond what every source does.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, HookState, Kind, Source};
use picket_sensor::{Secret, Sensor, Settings, identity, open_audit};

use super::rig::{assert_balanced, can_mark_files, has_exit, patience, run, shell};

fn sensor(change: impl FnOnce(&mut Settings)) -> Option<Box<dyn Sensor>> {
    let mut settings = Settings::new(identity::boot_id().unwrap());
    change(&mut settings);
    let opened = open_audit(settings);
    opened
        .inspect_err(|error| eprintln!("SKIPPED: no audit sensor here: {error}"))
        .ok()
}

fn collect(sensor: &mut dyn Sensor, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    let begun = Instant::now();
    while !enough(&events) && begun.elapsed() < patience(10) {
        let poll = sensor.poll(Duration::from_millis(100), &mut events);
        poll.unwrap();
    }
    events
}

fn of(events: &[Event], kind: Kind, pid: u32) -> Vec<&Event> {
    let of_pid = |event: &&Event| {
        let process = event.process.as_ref();
        event.kind == kind && process.is_some_and(|process| process.pid == pid)
    };
    events.iter().filter(of_pid).collect()
}

#[test]
fn every_hook_of_the_announcing_kernel_is_proved() {
    let Some(sensor) = sensor(|_| {}) else { return };
    let hooks = sensor.hooks();
    let mut names = vec![
        "proc_connector",
        "proc_connector_ids",
        "proc_connector_ptrace",
    ];
    if can_mark_files() {
        names.extend(["fanotify", "fanotify_open"]);
    }
    for name in names {
        let hook = hooks.iter().find(|hook| hook.name == name).unwrap();
        assert_eq!(hook.state, HookState::Proved, "{hook:?}");
    }
}

#[test]
fn nothing_of_the_canary_is_told_and_its_folder_is_gone() {
    let Some(mut sensor) = sensor(|_| {}) else {
        return;
    };
    let mut events = Vec::new();
    sensor.stop(&mut events).unwrap();
    let own = format!("picket-canary-{}-", std::process::id());
    assert!(!events.iter().any(is_canarys));
    let mut left = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    assert!(!left.any(|entry| entry.file_name().to_string_lossy().starts_with(&own)));
    let ledger = sensor.ledger();
    let exec = ledger.iter().find(|line| line.kind == Kind::Exec).unwrap();
    assert!(exec.filtered > 0);
    assert_balanced(&ledger);
}

#[test]
fn a_child_that_becomes_nobody_changes_its_credentials_once() {
    let Some(mut sensor) = sensor(|_| {}) else {
        return;
    };
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "sleep 0.3; :"]).uid(65_534).gid(65_534);
    let mut child = command.spawn().unwrap();
    child.wait().unwrap();
    let pid = child.id();
    let events = collect(sensor.as_mut(), |events| has_exit(events, pid));
    let changes = of(&events, Kind::CredChange, pid);
    assert!(!changes.is_empty());
    let process = changes.last().unwrap().process.as_ref().unwrap();
    assert_eq!(process.user.as_ref().unwrap().uid, 65_534);
    assert_eq!(
        (process.effective_uid, process.gid),
        (Some(65_534), Some(65_534))
    );
    let full: Vec<_> = changes
        .iter()
        .filter_map(|event| match &event.detail {
            Some(Detail::Cred(change)) => Some(*change),
            _ => None,
        })
        .collect();
    for change in full.iter().rev().take(1) {
        assert_eq!(
            (
                change.new.uid,
                change.new.saved_uid,
                change.new.caps_effective
            ),
            (65_534, 65_534, 0)
        );
    }
    let exec = of(&events, Kind::Exec, pid)[0].process.clone().unwrap();
    assert_eq!(exec.user.unwrap().uid, 65_534);
    let exit = of(&events, Kind::Exit, pid)[0].process.clone().unwrap();
    assert_eq!(exit.uid, exec.uid);
    assert_eq!(exit.user.unwrap().uid, 65_534);
}

#[test]
fn opening_a_secret_is_told_with_who_did_and_so_is_its_successor() {
    if !can_mark_files() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for name in ["token", "other"] {
        fs::write(root.join(name), "x").unwrap();
    }
    let (watched, secret) = (root.clone(), root.join("token"));
    let change = move |settings: &mut Settings| {
        settings.watch = vec![watched];
        settings.secrets = vec![Secret::File(secret)];
    };
    let Some(mut sensor) = sensor(change) else {
        return;
    };
    let first = run("read a < token; read a < other; :", &root);
    let mut events = collect(sensor.as_mut(), |events| has_exit(events, first));
    // The new file is marked when its renaming is read, so it is opened a moment later.
    let script = "echo y > new; mv new token; sleep 0.5; read a < token; :";
    let mut child = shell(script, &root);
    let second = child.id();
    events.extend(collect(sensor.as_mut(), |events| has_exit(events, second)));
    child.wait().unwrap();
    for pid in [first, second] {
        let opened = of(&events, Kind::FileOpen, pid);
        assert_eq!(opened.len(), 1, "{opened:#?}");
        let file = opened[0].file().unwrap();
        assert!(file.sensitive && file.path.as_bytes().ends_with(b"/token"));
        assert_eq!(opened[0].source, Source::Audit);
    }
}

#[test]
fn an_empty_file_and_a_file_that_is_only_read_are_not_modified() {
    if !can_mark_files() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    fs::write(root.join("old"), "old").unwrap();
    let wait = Instant::now();
    while wait.elapsed() < Duration::from_millis(100) {
        std::thread::yield_now();
    }
    let watched = root.clone();
    let Some(mut sensor) = sensor(move |settings| settings.watch = vec![watched]) else {
        return;
    };
    let pid = run(
        ": > new; read line < old; : >> old; sleep 0.3; : > old",
        &root,
    );
    let events = collect(sensor.as_mut(), |events| has_exit(events, pid));
    let modified = of(&events, Kind::FileModify, pid);
    assert_eq!(modified.len(), 1, "{modified:#?}");
    assert_eq!(modified[0].file().unwrap().size, Some(0));
    assert_eq!(of(&events, Kind::FileCreate, pid).len(), 1);
}

#[test]
fn what_was_done_to_a_file_lies_between_the_exec_and_the_end_of_who_did_it() {
    if !can_mark_files() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let watched = root.clone();
    let Some(mut sensor) = sensor(move |settings| settings.watch = vec![watched]) else {
        return;
    };
    let mut events = Vec::new();
    for _ in 0..20 {
        let pid = run("exec touch made", &root);
        events.extend(collect(sensor.as_mut(), |events| has_exit(events, pid)));
        let at = |kind: Kind| {
            let is_it = |event: &Event| {
                let process = event.process.as_ref();
                event.kind == kind && process.is_some_and(|process| process.pid == pid)
            };
            events.iter().rposition(is_it)
        };
        let (exec, end) = (at(Kind::Exec).unwrap(), at(Kind::Exit).unwrap());
        let made = [Kind::FileCreate, Kind::FileModify, Kind::FileAttr];
        let made: Vec<usize> = made.into_iter().filter_map(at).collect();
        assert!(!made.is_empty());
        assert!(made.iter().all(|made| exec < *made && *made < end));
        fs::remove_file(root.join("made")).unwrap();
    }
}

#[test]
fn a_process_whose_threads_die_together_or_run_another_program_ends_once() {
    let Some(mut sensor) = sensor(|_| {}) else {
        return;
    };
    let together = "import os,threading\nhold=threading.Event()\n\
                    [threading.Thread(target=hold.wait).start() for _ in range(20)]\nos._exit(7)\n";
    let another = "import os,threading\n\
                   threading.Thread(target=lambda: os.execv('/bin/true', ['true'])).start()\n\
                   threading.Event().wait()\n";
    let mut events = Vec::new();
    let mut pids = Vec::new();
    for (script, code) in [(together, 7), (another, 0)].repeat(10) {
        let mut command = Command::new("/usr/bin/python3");
        let mut child = match command.args(["-c", script]).spawn() {
            Ok(child) => child,
            Err(error) => return eprintln!("SKIPPED: no python3: {error}"),
        };
        child.wait().unwrap();
        pids.push((child.id(), code));
        let pid = child.id();
        events.extend(collect(sensor.as_mut(), |events| has_exit(events, pid)));
    }
    sensor.stop(&mut events).unwrap();
    for (pid, code) in pids {
        let ends = of(&events, Kind::Exit, pid);
        assert_eq!(ends.len(), 1);
        let told = match &ends[0].detail {
            Some(Detail::Exit(exit)) => exit.code,
            _ => None,
        };
        assert_eq!(told, Some(code));
    }
}

/// A reader that is away while two thousand threads begin and end loses messages, and knows how many: the buffer has room for
/// six hundred at most.
#[test]
fn what_the_connector_drops_is_counted_by_its_numbers() {
    let Some(mut sensor) = sensor(|settings| settings.ring_bytes = 64 * 1024) else {
        return;
    };
    for _ in 0..2_000 {
        std::thread::spawn(|| {}).join().unwrap();
    }
    let pid = run(":", Path::new("/"));
    let mut events = collect(sensor.as_mut(), has_loss);
    let seen = run(":", Path::new("/"));
    events.extend(collect(sensor.as_mut(), |events| has_exit(events, seen)));
    sensor.stop(&mut events).unwrap();
    let ledger = sensor.ledger();
    assert_balanced(&ledger);
    let lost = ledger.iter().find(|line| line.kind == Kind::Exec);
    let lost = lost.unwrap().lost;
    eprintln!("{lost} of 4,000 lost");
    assert!((3_400..6_000).contains(&lost));
    assert!(has_loss(&events) && has_exit(&events, seen));
    assert!(!has_exit(&events, pid), "what came last was lost first");
}

fn has_loss(events: &[Event]) -> bool {
    events.iter().any(|event| event.kind == Kind::Loss)
}

#[test]
fn it_is_proved_again_and_nobody_sees_how() {
    let Some(mut sensor) = sensor(|settings| settings.prove_every = Duration::from_millis(600))
    else {
        return;
    };
    let filtered = |sensor: &dyn Sensor| {
        let ledger = sensor.ledger().into_iter();
        let exec = ledger.filter(|line| line.kind == Kind::Exec);
        exec.map(|line| line.filtered).sum::<u64>()
    };
    let once = filtered(sensor.as_ref());
    let mut events = Vec::new();
    // On a machine that is busy enough the first proof may come too late, and the second says so.
    let begun = Instant::now();
    while !is_connector_proved(sensor.as_ref()) && begun.elapsed() < patience(10) {
        let poll = sensor.poll(Duration::from_millis(100), &mut events);
        poll.unwrap();
    }
    events.clear();
    let states = states(sensor.as_ref());
    let begun = Instant::now();
    while begun.elapsed() < patience(10) && filtered(sensor.as_ref()) < 3 * once {
        let poll = sensor.poll(Duration::from_millis(100), &mut events);
        poll.unwrap();
    }
    sensor.stop(&mut events).unwrap();
    assert!(filtered(sensor.as_ref()) >= 3 * once);
    assert_eq!(self::states(sensor.as_ref()), states);
    let changes = events.iter().filter(|event| event.kind == Kind::Sensor);
    assert_eq!(changes.collect::<Vec<_>>(), Vec::<&Event>::new());
    assert!(!events.iter().any(is_canarys));
    assert_balanced(&sensor.ledger());
}

/// Other sensors may have a canary too, so only our own counts: its folder and our children.
fn is_canarys(event: &Event) -> bool {
    let own = std::process::id();
    let parent = event.process.as_ref().map(|process| process.ppid);
    parent == Some(own) || format!("{event:?}").contains(&format!("picket-canary-{own}-"))
}

fn is_connector_proved(sensor: &dyn Sensor) -> bool {
    let connector = ("proc_connector".to_owned(), HookState::Proved);
    states(sensor).contains(&connector)
}

fn states(sensor: &dyn Sensor) -> Vec<(String, HookState)> {
    let hooks = sensor.hooks().into_iter();
    hooks.map(|hook| (hook.name, hook.state)).collect()
}
