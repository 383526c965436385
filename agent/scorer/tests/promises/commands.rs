//! What command lines add, and that their repetition teaches nothing.

use picket_event::{Event, Reason, ScorerVerdict};
use picket_scorer::{Scorer, Settings, recompute, sentence};

use super::world::{SECRET, at, exec, fresh, life, login};

fn grown(days: u32) -> Scorer {
    let mut scorer = fresh();
    for event in life(61, days, 1_000) {
        scorer.step(event.time, &event);
    }
    scorer
}

fn step(scorer: &mut Scorer, event: &Event) -> ScorerVerdict {
    scorer.step(event.time, event).expect("it is scored")
}

fn of<'v>(verdict: &'v ScorerVerdict, factor: &str) -> Option<&'v Reason> {
    verdict
        .reasons
        .iter()
        .find(|reason| reason.factor == factor)
}

#[test]
fn a_usual_program_with_an_unusual_line_stands_out_and_says_why() {
    let mut scorer = grown(20);
    let verdict = step(
        &mut scorer,
        &exec(at(20, 0), "/bin/bash", "/bin/cat /etc/shadow"),
    );
    let line = of(&verdict, "command line").unwrap();
    assert!(line.bits - line.usual > 10.0 && line.seen == 0, "{line:?}");
    let said = sentence(line);
    assert!(
        said.starts_with("this host has run ")
            && said.contains("; never /bin/cat /etc/shadow; ")
            && said.contains("/etc/shadow (file of "),
        "{said}"
    );
    assert!(recompute(&verdict).agrees_with(&verdict));
    let usual = step(&mut scorer, &exec(at(20, 1), "/bin/bash", "/bin/cat x"));
    assert!(usual.p > 0.05 && !usual.alert, "{usual:?}");
}

#[test]
fn repeats_and_variants_on_one_day_lower_no_score() {
    let mut scorer = grown(20);
    let strange = |n: i64| exec(at(20, n), "/bin/bash", "/bin/cat /etc/shadow");
    let first = step(&mut scorer, &strange(0));
    for n in 1..500 {
        let again = step(&mut scorer, &strange(n));
        let lower = again.bits < first.bits || again.p > first.p;
        assert!(!lower && !again.alert, "{n}: {again:?}");
    }
    for (n, length) in (500..1_000).zip((0..40).cycle()) {
        let variant = format!("/bin/cat /etc/shadow -{}", "ab".repeat(length));
        step(&mut scorer, &exec(at(20, n), "/bin/bash", &variant));
        let again = step(&mut scorer, &strange(n));
        assert!(again.bits >= first.bits && !again.alert, "{n}: {again:?}");
    }
}

#[test]
fn a_value_repeated_a_thousand_times_a_day_stays_strange_for_five_days() {
    let mut scorer = grown(20);
    let strange = |day, n| exec(at(day, n), "/usr/sbin/nginx", "/tmp/x -c id");
    let first = step(&mut scorer, &strange(20, 0));
    assert!(first.alert);
    for day in 20..24 {
        for n in 1..1_000 {
            let again = step(&mut scorer, &strange(day, n));
            assert!(again.p < 0.01 && !again.alert, "day {day}: {again:?}");
            let child = of(&again, "child of parent").unwrap();
            assert!(
                sentence(child).contains("which does not count yet"),
                "{}",
                sentence(child)
            );
        }
    }
    let usual = (24..40).any(|day| {
        let first = step(&mut scorer, &strange(day, 0));
        for n in 1..200 {
            step(&mut scorer, &strange(day, n));
        }
        first.p >= 0.01
    });
    assert!(usual, "it never becomes usual");
}

#[test]
fn a_login_in_the_night_is_dearer_than_one_an_hour_early() {
    let mut scorer = fresh();
    for day in 0..30 {
        for hour in 9..17 {
            step(
                &mut scorer,
                &login(at(day, hour * 3_600), "ann", "203.0.113.1", "publickey"),
            );
        }
    }
    let at_hour = |scorer: &Scorer, hour: i64| {
        let mut scorer = scorer.clone();
        step(
            &mut scorer,
            &login(at(30, hour * 3_600), "ann", "203.0.113.1", "publickey"),
        )
    };
    let (night, early, usual) = (
        at_hour(&scorer, 3),
        at_hour(&scorer, 8),
        at_hour(&scorer, 12),
    );
    let hour = of(&night, "hour of user").unwrap();
    assert!(hour.bits > 8.0, "{hour:?}");
    assert!(of(&early, "hour of user").is_none_or(|hour| hour.bits < 6.0));
    assert!(
        night.p < early.p && night.p < usual.p / 10.0,
        "{night:?} {usual:?}"
    );
    assert!(
        sentence(hour).contains("; never 3:00 UTC"),
        "{}",
        sentence(hour)
    );
}

#[test]
fn lines_held_back_survive_a_snapshot() {
    let mut scorer = grown(20);
    step(
        &mut scorer,
        &exec(at(20, 0), "/bin/bash", "/bin/cat /etc/shadow"),
    );
    let mut back = Scorer::restore(Settings::new(SECRET), &scorer.snapshot()).unwrap();
    for event in life(62, 30, 300)
        .into_iter()
        .filter(|event| event.time > at(20, 1))
    {
        assert_eq!(
            back.step(event.time, &event),
            scorer.step(event.time, &event)
        );
    }
    assert_eq!(back.snapshot(), scorer.snapshot());
}
