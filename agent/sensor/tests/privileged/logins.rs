//! The sessions that were open before anybody listened.

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use picket_event::{Event, Kind, KindCounts};
use picket_sensor::login::{LoginFollower, LoginSettings};
use picket_sensor::{Sensor, identity};

/// Begins an audit session of user 1 (`daemon`) that lasts until it is killed; `None` where the kernel has none.
fn session() -> Option<Child> {
    let script = "echo 1 > /proc/self/loginuid && exec sleep 60";
    let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
    for _ in 0..200 {
        let comm = fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap_or_default();
        if comm.trim() == "sleep" {
            return Some(child);
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

#[test]
fn a_session_that_was_open_is_listed_once_with_its_user_and_process() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: to begin an audit session needs root");
        return;
    }
    let Some(mut open) = session() else {
        eprintln!("SKIPPED: this kernel has no audit sessions, or this shell's cannot be changed");
        return;
    };
    let nowhere = || "/nonexistent".into();
    let boot = identity::boot_id().unwrap();
    let settings = LoginSettings {
        utmp: Some("/run/utmp".into()),
        ..LoginSettings::files(boot, nowhere(), nowhere(), Vec::new())
    };
    let mut follower = LoginFollower::open(&settings);
    let mut events: Vec<Event> = Vec::new();
    for _ in 0..3 {
        let polled = follower.poll(Duration::from_millis(50), &mut events);
        polled.unwrap();
    }
    open.kill().unwrap();
    open.wait().unwrap();
    let is_its = |event: &&Event| {
        let process = event.process.as_ref();
        process.is_some_and(|process| process.pid == open.id())
    };
    let told: Vec<&Event> = events.iter().filter(is_its).collect();
    let [session] = told.as_slice() else {
        panic!("{told:?}")
    };
    let login = session.login().unwrap();
    assert_eq!(session.kind, Kind::Session);
    assert_eq!(
        (login.outcome.as_str(), &login.user),
        ("open", &"daemon".into())
    );
    assert_eq!(login.session, session.process.as_ref().unwrap().session);
    assert_eq!(login.seen_by, ["kernel"]);
    assert!(follower.ledger().iter().all(KindCounts::balances));
}
