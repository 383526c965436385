//! Correlations: what counts, what does not, in what order, and within what bounds.

use picket_event::{
    Detail, Event, Kind, Login, MOST_EVIDENCE, Source as Sensor, Text, UnixNanos, Verdict,
};
use picket_rules::{Correlations, MOST_GROUPS, RuleSet, Scratch, Source};

const RULES: &str = "
title: refused
id: refused
name: refused_login
logsource: {category: login_failed}
detection: {s: {login.outcome: failure}, condition: s}
---
title: taken
id: taken
logsource: {category: login}
detection: {s: {login.outcome: success}, condition: s}
";

#[test]
fn so_many_hits_in_the_span_are_a_correlation_and_it_begins_anew() {
    let mut judge = judge(
        "{type: event_count, rules: [refused_login], group-by: login.source_ip, timespan: 10s, condition: {gte: 3}}",
    );
    assert!(!judge.step(&refused(1, "ada", "203.0.113.1")));
    assert!(!judge.step(&refused(2, "ada", "203.0.113.2")));
    assert!(!judge.step(&refused(3, "ada", "203.0.113.1")));
    assert!(judge.step(&refused(4, "ada", "203.0.113.1")));
    assert!(!judge.step(&refused(5, "ada", "203.0.113.1")));
}

#[test]
fn the_verdict_names_the_events_it_rests_on() {
    let mut judge = judge(
        "{type: event_count, rules: [refused], group-by: login.source_ip, timespan: 1h, condition: {gte: 20}}",
    );
    for second in 0..19 {
        assert!(!judge.step(&refused(second, "ada", "203.0.113.1")));
        assert!(!judge.step(&refused(second, "ada", "203.0.113.9")) || second == 19);
    }
    let verdicts = judge.verdicts(&refused(19, "ada", "203.0.113.1"));
    let [Verdict::Rule(rule)] = verdicts.as_slice() else {
        panic!("one verdict: {verdicts:?}");
    };
    assert_eq!(
        (rule.id.as_str(), rule.rests_on.len()),
        ("many", MOST_EVIDENCE)
    );
    let seconds = rule
        .rests_on
        .iter()
        .map(|event| (event.time.0 / 1_000_000_000) - 1_000);
    assert_eq!(seconds.collect::<Vec<_>>(), (4..20).collect::<Vec<_>>());
}

#[test]
fn what_is_older_than_the_span_does_not_count() {
    let mut judge = judge("{type: event_count, rules: refused, timespan: 10s, condition: {gt: 1}}");
    assert!(!judge.step(&refused(1, "ada", "203.0.113.1")));
    assert!(!judge.step(&refused(12, "ada", "203.0.113.1")));
    assert!(judge.step(&refused(22, "ada", "203.0.113.1")));
}

#[test]
fn only_different_values_are_counted() {
    let mut judge = judge(
        "{type: value_count, rules: [refused], group-by: [login.source_ip], timespan: 1m, condition: {field: login.user, gte: 3}}",
    );
    for second in 0..20 {
        assert!(!judge.step(&refused(second, "ada", "203.0.113.1")));
    }
    assert!(!judge.step(&refused(21, "bob", "203.0.113.1")));
    assert!(judge.step(&refused(22, "eve", "203.0.113.1")));
}

#[test]
fn together_means_in_any_order_and_ordered_in_theirs() {
    let together =
        "{type: temporal, rules: [refused, taken], group-by: [login.user], timespan: 10s}";
    let mut judge_of = judge(together);
    assert!(!judge_of.step(&taken(1, "ada")));
    assert!(!judge_of.step(&refused(2, "bob", "203.0.113.1")));
    assert!(judge_of.step(&refused(3, "ada", "203.0.113.1")));
    let mut ordered = judge(&together.replace("temporal", "temporal_ordered"));
    assert!(!ordered.step(&taken(1, "ada")));
    assert!(!ordered.step(&refused(2, "ada", "203.0.113.1")));
    assert!(ordered.step(&taken(3, "ada")));
    assert!(!ordered.step(&refused(4, "ada", "203.0.113.1")));
    assert!(!ordered.step(&taken(15, "ada")));
}

#[test]
fn an_event_without_a_field_of_the_group_counts_for_none() {
    let mut judge = judge(
        "{type: event_count, rules: [refused], group-by: [login.tty], timespan: 1h, condition: {gte: 1}}",
    );
    assert!(!judge.step(&refused(1, "ada", "203.0.113.1")));
    assert_eq!(judge.correlations.groups(), 0);
}

#[test]
fn no_more_groups_are_kept_than_the_bound() {
    let mut judge = judge(
        "{type: event_count, rules: [refused], group-by: [login.user], timespan: 1d, condition: {gte: 2}}",
    );
    for number in 0..MOST_GROUPS + 100 {
        assert!(!judge.step(&refused(1, &format!("u{number}"), "203.0.113.1")));
    }
    assert_eq!(judge.correlations.groups(), MOST_GROUPS);
    assert!(!judge.step(&refused(2, "u0", "203.0.113.1")), "forgotten");
    let last = format!("u{}", MOST_GROUPS + 99);
    assert!(judge.step(&refused(2, &last, "203.0.113.1")), "kept");
}

#[test]
fn what_is_wrong_is_refused_with_its_reason() {
    for wrong in [
        "{type: event_count, rules: [refused], timespan: 10s, condition: {lt: 3}}",
        "{type: event_count, rules: [refused], timespan: 10s, condition: {gte: 0}}",
        "{type: event_count, rules: [refused], timespan: 10s, condition: {gte: 10001}}",
        "{type: event_count, rules: [refused], timespan: 10s}",
        "{type: event_count, rules: [refused], timespan: 10x, condition: {gte: 3}}",
        "{type: event_count, rules: [nobody], timespan: 10s, condition: {gte: 3}}",
        "{type: event_count, rules: [], timespan: 10s, condition: {gte: 3}}",
        "{type: value_count, rules: [refused], timespan: 10s, condition: {gte: 3}}",
        "{type: temporal, rules: [refused], timespan: 10s, condition: {gte: 3}}",
        "{type: sometimes, rules: [refused], timespan: 10s}",
        "{type: temporal, rules: [refused], group-by: [login.nothing], timespan: 10s}",
        "{type: temporal, rules: [refused], aliases: {a: b}, timespan: 10s}",
        "[]",
    ] {
        let (taken, refused) = compile(wrong);
        assert_eq!((taken.1.rules().count(), refused), (0, 1), "{wrong}");
    }
}

struct Judge {
    rules: RuleSet,
    correlations: Correlations,
}

impl Judge {
    fn step(&mut self, event: &Event) -> bool {
        !self.verdicts(event).is_empty()
    }

    fn verdicts(&mut self, event: &Event) -> Vec<Verdict> {
        let mut hits = Vec::new();
        self.rules
            .evaluate(event, &mut Scratch::default(), &mut hits);
        self.correlations.step(event, &hits)
    }
}

fn judge(correlation: &str) -> Judge {
    let ((rules, correlations), refused) = compile(correlation);
    assert_eq!(refused, 0, "{correlation}");
    Judge {
        rules,
        correlations,
    }
}

fn compile(correlation: &str) -> ((RuleSet, Correlations), usize) {
    let sources = [Source {
        name: "rules".into(),
        text: format!("{RULES}---\ntitle: many\nid: many\ncorrelation: {correlation}\n"),
    }];
    let loaded = RuleSet::compile(&sources);
    ((loaded.rules, loaded.correlations), loaded.refused.len())
}

fn refused(second: i64, user: &str, from: &str) -> Event {
    event(Kind::LoginFailed, second, user, "failure", from)
}

fn taken(second: i64, user: &str) -> Event {
    event(Kind::Login, second, user, "success", "203.0.113.1")
}

fn event(kind: Kind, second: i64, user: &str, outcome: &str, from: &str) -> Event {
    let login = Login {
        user: Text::from(user),
        outcome: outcome.into(),
        source_ip: from.into(),
        ..Login::default()
    };
    let time = UnixNanos(1_000_000_000_000 + second * 1_000_000_000);
    Event::new(kind, time, Sensor::Replay).with(Detail::Login(login))
}
