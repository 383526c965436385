//! A day on which the packages of a grown host are changed: what is told, and what cannot hide in it.

use std::sync::Arc;

use picket_event::{Ancestor, Event, Kind, ProcessUid, ScorerVerdict, User};
use picket_scorer::{Alerts, Changes, Scorer, incident_of, recompute, sentence};

use super::world::{at, exec, file, fresh, life};

const DAYS: i64 = 20;

/// A host after weeks in which init started services and shells ran scripts.
fn grown() -> (Scorer, Alerts) {
    let mut events = life(51, 20, 1_000);
    let services = [
        "/usr/sbin/webd -f",
        "/usr/bin/backup -a",
        "/usr/lib/timer -t",
    ];
    for day in 0..DAYS {
        for (n, service) in (0..40).zip(services.into_iter().cycle()) {
            let start = exec(at(day, n * 900), "/usr/lib/systemd/systemd", service);
            let script = exec(
                at(day, n * 900 + 1),
                "/usr/bin/dash",
                "/usr/bin/logrotate -s /x",
            );
            events.extend([start, script]);
        }
    }
    events.sort_by_key(|event| event.time);
    let (mut scorer, mut alerts) = (fresh(), Alerts::new(12));
    for event in events {
        step(&mut scorer, &mut alerts, &event);
    }
    (scorer, alerts)
}

fn step(scorer: &mut Scorer, alerts: &mut Alerts, event: &Event) -> (Option<ScorerVerdict>, bool) {
    let verdict = scorer.step(event.time, event);
    let told = verdict.as_ref().is_some_and(|verdict| {
        let decision = alerts.step(event.time, incident_of(event), verdict);
        decision.notifies()
    });
    (verdict, told)
}

/// The same event by root, by a process of this number below others, its parent first.
fn below(mut event: Event, uid: u32, own: u8, parents: &[(u8, &str)]) -> Event {
    let process = event.process.as_mut().expect("it has a process");
    process.uid = ProcessUid::new([own; 16]);
    process.pid = u32::from(own) + 1_000;
    process.user = Some(User {
        uid,
        name: "x".into(),
    });
    let ancestor = |(uid, exe): &(u8, &str)| Ancestor {
        uid: ProcessUid::new([*uid; 16]),
        pid: if *uid == 1 {
            1
        } else {
            u32::from(*uid) + 1_000
        },
        exe: (*exe).into(),
    };
    process.ancestry = parents.iter().map(ancestor).collect::<Arc<[_]>>();
    event
}

/// An upgrade of thirty packages by this user, with scripts, new programs and services started anew.
fn upgrade(uid: u32) -> Vec<Event> {
    let mut events = Vec::new();
    let shell: &[(u8, &str)] = &[(11, "/bin/bash"), (10, "/usr/sbin/sshd"), (1, "/sbin/init")];
    let apt = exec(at(DAYS, 0), "", "/usr/bin/apt-get -y dist-upgrade");
    events.push(below(apt, uid, 20, shell));
    let line: Vec<(u8, &str)> =
        [&[(21, "/usr/bin/dpkg"), (20, "/usr/bin/apt-get")], shell].concat();
    for package in 0..30_i64 {
        let own = 30 + u8::try_from(package).unwrap_or_default();
        let now = |second| at(DAYS, 10 + package * 20 + second);
        let unpack = format!("/usr/bin/dpkg --status-fd 9 --unpack p{package}.deb");
        events.push(below(exec(now(0), "", &unpack), uid, 21, &line[1..]));
        let daemon = format!("/usr/sbin/daemon-{}", char::from(b'a' + own - 30));
        let written = file(now(1), Kind::FileCreate, "/usr/bin/dpkg", &daemon);
        events.push(below(written, uid, 21, &line[1..]));
        let script: Vec<(u8, &str)> = [&[(own, "/usr/bin/dash")], &*line].concat();
        for command in [
            "/usr/sbin/adduser --system d",
            "/usr/bin/deb-helper --purge x",
        ] {
            let command = format!("{command}{package}");
            events.push(below(exec(now(2), "", &command), uid, own + 100, &script));
        }
        let tool = format!("/usr/lib/p{package}/setup --first-time");
        events.push(below(exec(now(3), "", &tool), uid, own + 100, &script));
        let init = [(1, "/usr/lib/systemd/systemd")];
        events.push(below(
            exec(now(5), "", &format!("{daemon} -D")),
            uid,
            own + 140,
            &init,
        ));
    }
    events
}

fn run(uid: u32) -> (u32, u32, Changes) {
    let (mut scorer, mut alerts) = grown();
    let (mut told, mut candidates) = (0, 0);
    for event in upgrade(uid) {
        let (verdict, tells) = step(&mut scorer, &mut alerts, &event);
        candidates += u32::from(verdict.is_some_and(|verdict| verdict.alert));
        told += u32::from(tells);
    }
    (told, candidates, scorer.changes())
}

#[test]
fn an_upgrade_is_told_once_at_most_and_what_is_not_told_is_counted() {
    let (told, candidates, changes) = run(0);
    assert!(told <= 1, "{told} told of {candidates}, {changes:?}");
    assert_eq!(changes.windows, 1);
    let (told_of_a_user, candidates_of_a_user, no_changes) = run(1_000);
    assert_eq!(no_changes, Changes::default());
    assert!(changes.untold > 0, "{changes:?}");
    assert!(told_of_a_user > told && candidates_of_a_user > candidates);
}

#[test]
fn a_window_stands_in_the_explanation_and_the_score_still_follows_from_it() {
    let (mut scorer, mut alerts) = grown();
    let verdicts = upgrade(0)
        .into_iter()
        .filter_map(|event| step(&mut scorer, &mut alerts, &event).0);
    for verdict in verdicts {
        assert!(recompute(&verdict).agrees_with(&verdict), "{verdict:?}");
        let window = verdict.reasons.last().unwrap();
        assert_eq!(window.factor, "change window");
        assert!(sentence(window).starts_with("In a change window ("));
    }
}

#[test]
fn what_is_urgent_is_told_from_within_a_window() {
    let (mut scorer, mut alerts) = grown();
    let mut upgrade = upgrade(0).into_iter();
    for event in upgrade.by_ref().take(40) {
        step(&mut scorer, &mut alerts, &event);
    }
    let tree: &[(u8, &str)] = &[
        (90, "/bin/bash"),
        (21, "/usr/bin/dpkg"),
        (20, "/usr/bin/apt-get"),
    ];
    let implant = exec(
        at(DAYS, 300),
        "",
        "/dev/shm/kworker -o 198.51.100.7:4444 -k",
    );
    let (verdict, told) = step(&mut scorer, &mut alerts, &below(implant, 0, 91, tree));
    assert!(told, "{verdict:?}");
}

#[test]
fn what_an_upgrade_brought_counts_at_once() {
    let (mut scorer, mut alerts) = grown();
    for event in upgrade(0) {
        step(&mut scorer, &mut alerts, &event);
    }
    let init = [(1, "/usr/lib/systemd/systemd")];
    let again = below(
        exec(at(DAYS, 80_000), "", "/usr/sbin/daemon-a -D"),
        0,
        200,
        &init,
    );
    let (verdict, _) = step(&mut scorer, &mut alerts, &again);
    let verdict = verdict.unwrap();
    let child = verdict
        .reasons
        .iter()
        .find(|reason| reason.factor == "child of parent");
    assert!(child.is_none_or(|child| child.seen > 0), "{verdict:?}");
    assert!(!verdict.alert);
}
