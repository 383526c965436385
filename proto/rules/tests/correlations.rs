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
---
title: again
id: again
logsource: {category: login_failed}
detection: {s: {login.outcome: failure}, condition: s}
---
title: connected
id: connected
logsource: {category: network_connection}
detection: {s: {DestinationPort|gt: 0}, condition: s}
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
        "{type: event_count, rules: [refused], timespan: 10s, condition: {lt: 1}}",
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
        "{type: temporal, rules: [refused, taken], timespan: 10s, condition: refused and not taken}",
        "{type: temporal, rules: [refused, taken], timespan: 10s, condition: refused and connected}",
        "{type: temporal_ordered, rules: [refused, taken], timespan: 10s, condition: refused or taken}",
        "{type: temporal_ordered, rules: [refused, taken], timespan: 10s, condition: {lt: 2}}",
        "{type: value_sum, rules: [refused], timespan: 10s, condition: {gte: 3}}",
        "{type: value_percentile, rules: [refused], timespan: 10s, condition: {field: login.user, gte: 3}}",
        "{type: event_count, rules: [refused], timespan: 10s, generate: maybe, condition: {gte: 3}}",
        "{type: event_count, rules: [many], timespan: 10s, condition: {gte: 3}}",
        "[]",
    ] {
        let (taken, refused) = compile(wrong);
        assert_eq!((taken.1.rules().count(), refused), (0, 1), "{wrong}");
    }
}

#[test]
fn a_condition_is_asked_at_each_event_of_the_span_that_ends_with_it() {
    let counts = |condition: &str, events: i64| {
        let text = format!(
            "{{type: event_count, rules: [refused], timespan: 1h, condition: {condition}}}"
        );
        let mut judge = judge(&text);
        let hits = (0..events).filter(|second| judge.step(&refused(*second, "ada", "203.0.113.1")));
        hits.collect::<Vec<i64>>()
    };
    assert_eq!(counts("{gt: 2}", 5), [2]);
    assert_eq!(counts("{eq: 2}", 5), [1, 3]);
    assert_eq!(counts("{gt: 1, lte: 3}", 3), [1]);
    assert_eq!(counts("{lt: 2}", 2), [0, 1]);
    assert_eq!(counts("{neq: 1}", 2), [1]);
}

#[test]
fn numbers_in_a_field_are_summed_and_put_in_their_order() {
    let ports = [10, 20, 30, 60];
    let found = |kind: &str, condition: &str| {
        let text = format!(
            "{{type: {kind}, rules: [connected], group-by: [network.remote_ip], timespan: 1h, condition: {{field: DestinationPort, {condition}}}}}"
        );
        let mut judge = judge(&text);
        (0..)
            .zip(ports)
            .filter(|(second, port)| judge.step(&connected(*second, *port)))
            .map(|(_, port)| port)
            .collect::<Vec<u16>>()
    };
    assert_eq!(found("value_sum", "gte: 60"), [30, 60]);
    assert_eq!(found("value_sum", "gt: 60"), [60]);
    assert_eq!(found("value_avg", "gte: 20"), [30, 60]);
    assert_eq!(found("value_median", "gte: 25"), [60]);
    assert_eq!(
        found("value_percentile", "gte: 29, percentile: 95"),
        [30, 60]
    );
    assert_eq!(found("value_percentile", "gte: 29.5, percentile: 95"), [60]);
    assert_eq!(found("value_sum", "lt: 11"), [10]);
}

#[test]
fn values_of_several_fields_are_counted_together() {
    let mut judge = judge(
        "{type: value_count, rules: [refused], timespan: 1m, condition: {field: [login.user, login.source_ip], gte: 3}}",
    );
    assert!(!judge.step(&refused(1, "ada", "203.0.113.1")));
    assert!(!judge.step(&refused(2, "ada", "203.0.113.2")));
    assert!(!judge.step(&refused(3, "ada", "203.0.113.1")));
    assert!(judge.step(&refused(4, "bob", "203.0.113.1")));
}

#[test]
fn rules_together_may_be_some_of_them() {
    let three = "rules: [refused, taken, connected], timespan: 1h";
    let mut two = judge(&format!(
        "{{type: temporal, {three}, condition: {{gte: 2}}}}"
    ));
    assert!(!two.step(&refused(1, "ada", "203.0.113.1")));
    assert!(!two.step(&refused(2, "ada", "203.0.113.1")));
    assert!(two.step(&connected(3, 80)));
    let mut either = judge(&format!(
        "{{type: temporal, {three}, condition: refused AND (taken or connected)}}"
    ));
    assert!(!either.step(&taken(1, "ada")));
    assert!(!either.step(&connected(2, 80)));
    assert!(either.step(&refused(3, "ada", "203.0.113.1")));
    let ordered = format!("{{type: temporal_ordered, {three}, condition: {{gte: 2}}}}");
    let mut judge_of = judge(&ordered);
    assert!(!judge_of.step(&connected(1, 80)));
    assert!(!judge_of.step(&taken(2, "ada")));
    assert!(!judge_of.step(&refused(3, "ada", "203.0.113.1")));
    assert!(judge_of.step(&connected(4, 80)));
    let all =
        format!("{{type: temporal_ordered, {three}, condition: refused and taken and connected}}");
    let mut judge_of = judge(&all);
    assert!(!judge_of.step(&refused(1, "ada", "203.0.113.1")));
    assert!(!judge_of.step(&connected(2, 80)));
    assert!(!judge_of.step(&taken(3, "ada")));
    assert!(judge_of.step(&connected(4, 80)));
}

/// Two rules may find the same event: it is one event, and not two steps.
#[test]
fn an_event_counts_once_and_is_one_step() {
    let both = "rules: [refused, again], timespan: 1h";
    let mut count = judge(&format!(
        "{{type: event_count, {both}, condition: {{gte: 2}}}}"
    ));
    assert!(!count.step(&refused(1, "ada", "203.0.113.1")));
    assert!(count.step(&refused(2, "ada", "203.0.113.1")));
    let mut ordered = judge(&format!("{{type: temporal_ordered, {both}}}"));
    assert!(!ordered.step(&refused(1, "ada", "203.0.113.1")));
    assert!(ordered.step(&refused(2, "ada", "203.0.113.1")));
    let mut together = judge(&format!("{{type: temporal, {both}}}"));
    assert!(together.step(&refused(1, "ada", "203.0.113.1")));
}

#[test]
fn an_alias_is_another_field_in_each_rule() {
    let mut judge = judge(
        "{type: temporal, rules: [refused_login, connected], group-by: [peer, ComputerName], timespan: 1h, aliases: {peer: {refused: login.source_ip, connected: DestinationIp}}}",
    );
    assert!(!judge.step(&refused(1, "ada", "203.0.113.8")));
    assert!(!judge.step(&connected(2, 80)));
    assert!(judge.step(&refused(3, "ada", "203.0.113.9")));
}

#[test]
fn correlations_may_wait_for_correlations_wherever_they_stand() {
    let many = "---\ntitle: many\nid: many\nname: many_refused\ncorrelation: {type: event_count, rules: [refused], group-by: [login.user], timespan: 1h, condition: {gte: 2}}\n";
    let then = "---\ntitle: then\nid: then\ncorrelation: {type: temporal_ordered, rules: [many_refused, taken], group-by: [login.user], timespan: 1h}\n";
    for text in [
        format!("{RULES}{many}{then}"),
        format!("{RULES}{then}{many}"),
    ] {
        let (rules, correlations, refusals) = compile_all(&text);
        assert_eq!(refusals, 0, "{text}");
        let mut judge = Judge {
            rules,
            correlations,
        };
        assert!(!judge.step(&taken(0, "ada")));
        assert!(!judge.step(&refused(1, "ada", "203.0.113.1")));
        assert!(
            !judge.step(&refused(2, "ada", "203.0.113.1")),
            "it is counted alone"
        );
        assert!(!judge.step(&taken(3, "bob")));
        assert!(judge.step(&taken(4, "ada")));
    }
    let round = many.replace("[refused]", "[then]");
    let (_, correlations, refusals) = compile_all(&format!("{RULES}{round}{then}"));
    assert_eq!(
        (correlations.len(), refusals),
        (0, 2),
        "they wait for each other"
    );
    let whole = Source {
        name: "rules".into(),
        text: format!("{RULES}{round}{then}"),
    };
    let names = picket_rules::names(std::slice::from_ref(&whole));
    let checked = picket_rules::check_beside(&whole, &names);
    let refused = checked.iter().filter(|checked| !checked.ok).count();
    assert_eq!(refused, 2, "also beside others: {checked:?}");
}

#[test]
fn what_a_correlation_counts_is_told_by_itself_only_where_it_says_so() {
    for (generate, told) in [("", 0), ("generate: false\n", 0), ("generate: true\n", 1)] {
        let text = format!(
            "{RULES}---\ntitle: many\nid: many\n{generate}correlation: {{type: event_count, rules: [refused], timespan: 1h, condition: {{gte: 9}}}}\n"
        );
        let (rules, _, refusals) = compile_all(&text);
        assert_eq!(refusals, 0);
        let count = |event: &Event| rules.verdicts(event, &mut Scratch::default()).len();
        let again = 1;
        assert_eq!(
            count(&refused(1, "ada", "203.0.113.1")),
            told + again,
            "{generate}"
        );
        assert_eq!(count(&taken(1, "ada")), 1, "not counted");
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

fn compile_all(text: &str) -> (RuleSet, Correlations, usize) {
    let sources = [Source {
        name: "rules".into(),
        text: text.into(),
    }];
    let loaded = RuleSet::compile(&sources);
    (loaded.rules, loaded.correlations, loaded.refused.len())
}

fn connected(second: i64, port: u16) -> Event {
    let json = serde_json::json!({
        "kind": "net_connect", "time": "2026-01-05T10:00:00Z", "source": "replay",
        "network": {"proto": "tcp", "direction": "outbound", "remote_ip": "203.0.113.9", "remote_port": port},
    });
    let mut event = picket_event::json::from_value(&json)
        .expect("it is an event")
        .event;
    event.time = UnixNanos(1_000_000_000_000 + second * 1_000_000_000);
    event
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
