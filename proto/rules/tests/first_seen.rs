//! `x-first-seen`: what is new, for whom and for how long; what is learned, kept and forgotten.

use picket_event::{
    Event, Kind, Process, ProcessUid, Source as Sensor, Text, UnixNanos, User, Verdict,
};
use picket_rules::{Loaded, MOST_VALUES, MOST_VALUES_OF_ONE, RuleSet, Scratch, Source, check};
use proptest::prelude::*;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

#[test]
fn a_value_is_new_once_and_again_when_it_was_not_seen_for_so_long() {
    let mut judge = judge("fields: Image, within: 10d, learning: 1h");
    judge.pass(0, 2 * HOUR);
    assert!(judge.step(2 * HOUR, "ada", "a"));
    assert!(!judge.step(3 * HOUR, "ada", "a"));
    assert!(!judge.step(3 * HOUR + 9 * DAY, "eve", "a"), "for the host");
    assert!(judge.step(3 * HOUR + 10 * DAY, "ada", "b"));
    assert!(!judge.step(2 * HOUR + 19 * DAY, "ada", "a"), "seen since");
    assert!(judge.step(3 * HOUR + 30 * DAY, "ada", "a"));
}

#[test]
fn a_rule_is_silent_until_it_has_learned_and_then_knows_what_it_saw() {
    let mut judge = judge("fields: Image, within: 30d, learning: 2d");
    assert!(!judge.step(0, "ada", "a"));
    assert_eq!(judge.loaded.correlations.learning(), 1);
    judge.pass(0, 47 * HOUR);
    assert!(!judge.step(47 * HOUR, "ada", "b"), "still learning");
    judge.pass(47 * HOUR, 48 * HOUR);
    assert_eq!(judge.loaded.correlations.learning(), 0);
    assert!(!judge.step(49 * HOUR, "ada", "a"));
    assert!(!judge.step(49 * HOUR, "ada", "b"));
    assert!(judge.step(49 * HOUR, "ada", "c"));
}

/// A host that boots in 1970 and is then told the time must not take all that it does from then on for new.
#[test]
fn neither_a_clock_that_is_set_nor_a_host_that_was_off_teaches() {
    let mut judge = judge("fields: Image, within: 30d, learning: 2d");
    judge.pass(0, HOUR);
    assert!(!judge.step(20_000 * DAY, "ada", "a"), "the clock was set");
    assert!(!judge.step(20_010 * DAY, "ada", "b"), "off for ten days");
    assert!(!judge.step(20_009 * DAY, "ada", "c"), "back by a day");
    assert!(!judge.step(DAY, "ada", "d"), "back by years");
    judge.pass(DAY, DAY + 45 * HOUR);
    assert_eq!(judge.loaded.correlations.learning(), 0);
}

#[test]
fn values_of_several_fields_count_together_and_per_user_each_has_their_own() {
    let mut pairs = judge("fields: [process.user.name, Image], within: 30d, learning: 1s");
    pairs.pass(0, HOUR);
    assert!(pairs.step(HOUR, "ada", "a"));
    assert!(pairs.step(HOUR, "ada", "b"));
    assert!(pairs.step(HOUR, "eve", "a"));
    assert!(!pairs.step(HOUR, "ada", "b"));
    let mut users = judge("fields: Image, per: user, within: 30d, learning: 1s");
    users.pass(0, HOUR);
    assert!(users.step(HOUR, "ada", "a"));
    assert!(users.step(HOUR, "eve", "a"));
    assert!(!users.step(HOUR, "ada", "a"));
}

#[test]
fn an_event_without_the_value_or_the_user_tells_nothing() {
    let mut judge_of = judge("fields: [Image, process.cwd], within: 30d, learning: 1s");
    judge_of.pass(0, HOUR);
    assert!(!judge_of.step(HOUR, "ada", "a"));
    let mut users = judge("fields: Image, per: user, within: 30d, learning: 1s");
    users.pass(0, HOUR);
    let mut event = exec(HOUR, "ada", "a");
    event.process.as_mut().expect("it has one").user = None;
    assert!(!users.takes(&event));
}

#[test]
fn no_more_is_remembered_than_the_bound_and_what_goes_before_its_time_is_counted() {
    let mut judge = judge("fields: Image, within: 1d, learning: 1s");
    judge.pass(0, HOUR);
    for number in 0..MOST_VALUES_OF_ONE + 7 {
        assert!(judge.step(HOUR, "ada", &format!("p{number}")));
    }
    assert_eq!(judge.loaded.correlations.forgotten().values, 7);
    assert!(!judge.step(HOUR, "ada", "p7"), "remembered");
    assert!(judge.step(HOUR, "ada", "p6"), "forgotten, so new");
    assert_eq!(judge.loaded.correlations.forgotten().values, 8);
    // What no longer counts makes room without being counted.
    assert!(judge.step(9 * DAY, "ada", "late"));
    assert_eq!(judge.loaded.correlations.forgotten().values, 8);
    assert!(judge.loaded.correlations.snapshot().len() < MOST_VALUES_OF_ONE * 25);
}

#[test]
fn all_rules_together_have_a_bound_too() {
    let rules = MOST_VALUES / MOST_VALUES_OF_ONE + 2;
    let texts = (0..rules).map(|number| {
        text("fields: Image, within: 1d, learning: 1s")
            .replace("id: new", &format!("id: new{number}"))
    });
    let mut judge = Judge::of(&texts.collect::<Vec<_>>().join("---\n"));
    judge.pass(0, HOUR);
    for number in 0..MOST_VALUES_OF_ONE {
        judge.step(HOUR, "ada", &format!("p{number}"));
    }
    let forgotten = judge.loaded.correlations.forgotten().values;
    assert_eq!(forgotten, 2 * MOST_VALUES_OF_ONE as u64);
}

#[test]
fn what_is_kept_goes_on_after_a_restart_and_a_reload_and_damage_is_refused_whole() {
    let plan = "fields: Image, per: user, within: 30d, learning: 2h";
    let mut before = judge(plan);
    before.pass(0, HOUR);
    before.step(HOUR, "ada", "a");
    let kept = before.loaded.correlations.snapshot();
    let mut after = judge(plan);
    assert!(after.loaded.correlations.restore(&kept));
    assert_eq!(after.loaded.correlations.snapshot(), kept);
    after.pass(HOUR, 2 * HOUR);
    assert!(!after.step(2 * HOUR, "ada", "a"), "seen before the restart");
    assert!(
        after.step(2 * HOUR, "ada", "b"),
        "it has learned in both runs"
    );
    let mut reloaded = judge(&plan.replace("30d", "40d"));
    reloaded
        .loaded
        .correlations
        .go_on(after.loaded.correlations);
    assert!(!reloaded.step(2 * HOUR, "ada", "b"), "the same question");
    let mut other = judge(&plan.replace("user", "host"));
    assert!(other.loaded.correlations.restore(&kept));
    assert_eq!(
        other.loaded.correlations.learning(),
        1,
        "another question begins anew"
    );
    for at in 0..kept.len() {
        let mut damaged = kept.clone();
        damaged[at] ^= 1;
        assert!(
            !judge(plan).loaded.correlations.restore(&damaged),
            "byte {at}"
        );
        assert!(
            !judge(plan).loaded.correlations.restore(&kept[..at]),
            "cut at {at}"
        );
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_line() {
    for wrong in [
        "within: 30d",
        "fields: [], within: 30d",
        "fields: Image",
        "fields: Image, within: 0d",
        "fields: Image, within: 30d, learning: soon",
        "fields: Image, within: 30d, per: moon",
        "fields: Image, within: 30d, often: 3",
        "fields: process.nothing, within: 30d",
        "fields: [Image, [Image]], within: 30d",
        "fields: [Image, Image, Image, Image, Image, Image, Image, Image, Image], within: 30d",
    ] {
        let loaded = compile(&text(wrong));
        assert_eq!(
            (loaded.correlations.len(), loaded.refused.len()),
            (0, 1),
            "{wrong}"
        );
        assert!(loaded.refused[0].line.is_some(), "{wrong}");
    }
    let lines =
        text("fields: Image, within: 30d").replace("category: process_creation", "service: sshd");
    assert_eq!(compile(&lines).refused.len(), 1, "lines have no fields");
}

#[test]
fn examples_are_judged_as_if_it_had_learned() {
    let examples = "
x-tests:
  hits:
    - {kind: exec, process: {exe: /opt/a}}
    - [{kind: exec, process: {exe: /opt/a}}, {kind: exec, process: {exe: /opt/b}}]
  misses:
    - [{kind: exec, process: {exe: /opt/a}}, {kind: exec, process: {exe: /opt/a}}]
";
    let text = text("fields: Image, within: 30d") + examples;
    let name = "rule".to_owned();
    let checked = check(&Source { name, text });
    assert!(checked[0].ok && checked[0].reason.is_none(), "{checked:?}");
}

proptest! {
    /// Against the plain meaning, in whatever order of time events come.
    #[test]
    fn new_is_what_was_not_seen_within_the_time_before(
        events in prop::collection::vec((0_i64..20, 0_usize..4), 1..80),
    ) {
        let mut judge = judge("fields: Image, within: 5s, learning: 1s");
        judge.pass(0, HOUR);
        let names = ["a", "b", "c", "d"];
        let mut last = [None::<i64>; 4];
        for (second, name) in events {
            let expected = last[name].is_none_or(|last| last < second - 5);
            prop_assert_eq!(judge.step(HOUR + second, "ada", names[name]), expected);
            last[name] = Some(last[name].map_or(second, |last| last.max(second)));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_kept_as_they_are(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut judge = judge("fields: Image, within: 5s");
        prop_assert!(!judge.loaded.correlations.restore(&bytes));
    }
}

struct Judge {
    loaded: Loaded,
    scratch: Scratch,
}

impl Judge {
    fn of(text: &str) -> Self {
        let loaded = compile(text);
        assert_eq!(loaded.refused, [], "{text}");
        Self {
            loaded,
            scratch: Scratch::default(),
        }
    }

    /// Other events from one time to another, one in every minute.
    fn pass(&mut self, from: i64, to: i64) {
        for second in (from..=to).step_by(60) {
            let mut event = exec(second, "root", "x");
            event.kind = Kind::Exit;
            assert!(!self.takes(&event));
        }
    }

    fn step(&mut self, second: i64, user: &str, name: &str) -> bool {
        self.takes(&exec(second, user, name))
    }

    fn takes(&mut self, event: &Event) -> bool {
        let mut hits = Vec::new();
        self.loaded
            .rules
            .evaluate(event, &mut self.scratch, &mut hits);
        let verdicts = self.loaded.correlations.step(event, &hits);
        assert!(
            verdicts
                .iter()
                .all(|verdict| matches!(verdict, Verdict::Rule(_)))
        );
        !verdicts.is_empty()
    }
}

fn judge(plan: &str) -> Judge {
    Judge::of(&text(plan))
}

fn text(plan: &str) -> String {
    format!(
        "title: new
id: new
logsource: {{product: linux, category: process_creation}}
detection:
  ran: {{Image|startswith: /opt/}}
  condition: ran
x-first-seen: {{{plan}}}
"
    )
}

fn compile(text: &str) -> Loaded {
    RuleSet::compile(&[Source {
        name: "rules".into(),
        text: text.to_owned(),
    }])
}

fn exec(second: i64, user: &str, name: &str) -> Event {
    let mut process = Process::new(ProcessUid::new([7; 16]), 10);
    process.exe = Text::from(format!("/opt/{name}"));
    process.user = Some(User {
        uid: 1000,
        name: user.into(),
    });
    let time = UnixNanos(second * 1_000_000_000);
    Event::new(Kind::Exec, time, Sensor::Replay).by(process)
}
