//! A host whose days are all alike, by hand: what counts of it, and of an attack on it.

use picket_event::{Ancestor, Kind, Process, Source, Text};

use super::*;
use crate::coverage::record::{Outcome, Played};

const HAND: u8 = 2;
const CRON: u8 = 5;

fn uid(number: u64) -> ProcessUid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    ProcessUid::new(bytes)
}

/// A program that this parent started, at this second of that day.
fn start(day: i64, second: i64, parent: (u64, &str), exe: &str) -> Told {
    let number = u64::try_from(day * 100_000 + second + 1_000).unwrap();
    let mut process = Process::new(uid(number), 4_000);
    process.parent_uid = Some(uid(parent.0));
    process.exe = Text::from(exe);
    process.argv = vec![Text::from(exe)];
    process.ancestry = vec![Ancestor {
        uid: uid(parent.0),
        pid: 77,
        exe: Text::from(parent.1),
    }]
    .into();
    let time = UnixNanos(day * DAY + second * 1_000_000_000);
    Told {
        event: Event::new(Kind::Exec, time, Source::Ebpf).by(process),
        arrived: time,
    }
}

fn step(root: u8) -> Step {
    Step {
        guid: "g".to_owned(),
        variant: Variant::Plain,
        played: Played {
            root: Some(uid(root.into()).to_string()),
            began: 1,
            outcome: Outcome {
                exit: Some(0),
                ..Outcome::default()
            },
            ..Played::default()
        },
        ..Step::default()
    }
}

fn days(number: i64) -> Vec<Told> {
    let mut told = Vec::new();
    for day in 0..number {
        for second in 0..40 {
            told.push(start(
                day,
                second,
                (CRON.into(), "/usr/sbin/cron"),
                "/usr/bin/awk",
            ));
        }
        told.push(start(
            day,
            50,
            (HAND.into(), "/usr/bin/bash"),
            "/usr/bin/ssh",
        ));
    }
    told
}

#[test]
fn the_hand_that_plays_and_the_days_of_learning_do_not_count() {
    let host = Host::of(&step(HAND), &days(9), 12);
    assert_eq!((host.events, host.days, host.counted), (9 * 40, 9, 5));
    assert!(host.incidents.is_empty(), "{:?}", host.incidents);
}

#[test]
fn what_was_never_seen_is_above_every_day_and_what_is_done_daily_is_not() {
    let mut told = days(9);
    told.push(start(
        8,
        60,
        (CRON.into(), "/usr/sbin/cron"),
        "/usr/bin/cut",
    ));
    let host = Host::of(&step(HAND), &told, 12);
    let attack = |exe: &str| Attack {
        name: exe.to_owned(),
        technique: String::new(),
        by_rules: false,
        began: 0,
        events: vec![start(0, 1, (CRON.into(), "/usr/sbin/cron"), exe).event],
    };
    let rarity = |one: &Strength| one.rarity;
    let strange = host.meet(&attack("/tmp/x/strange")).strength;
    let daily = host.meet(&attack("/usr/bin/awk")).strength;
    // The only benign one is the program of the last day.
    let bar = host.bar(0, rarity);
    assert!(strange.rarity > host.bar(1, rarity), "{strange:?}, {bar}");
    assert!(daily.rarity < bar, "{daily:?}");
    assert!(strange.why.contains("strange"), "{}", strange.why);
    assert!(bar > host.bar(1, rarity));
    let density = |one: &Strength| one.density;
    let sum = strange.bits.max(strange.density);
    assert!(
        strange.density > 0.0 && strange.density <= sum,
        "{strange:?}"
    );
    assert!(host.bar(0, density) >= daily.density);
}

#[test]
fn a_test_that_was_not_executed_is_no_attack() {
    let told = vec![start(0, 1, (HAND.into(), "/usr/bin/bash"), "/usr/bin/awk")];
    let test = Test {
        guid: "g".to_owned(),
        executor: "sh".to_owned(),
        ..Test::default()
    };
    assert_eq!(
        attack((1, &test), &step(HAND), &told).unwrap().events.len(),
        1
    );
    let mut failed = step(HAND);
    failed.played.outcome.exit = Some(1);
    assert!(attack((1, &test), &failed, &told).is_none());
}
