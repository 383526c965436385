//! `x-sequence`: which steps belong together, in what time and order, and within what bounds.

use std::sync::Arc;

use picket_event::{
    Ancestor, Event, Kind, Process, ProcessUid, Source as Sensor, Text, UnixNanos, User, Verdict,
};
use picket_rules::{
    Loaded, MOST_OPEN, MOST_OPEN_OF_ONE, Remark, RuleHit, RuleSet, Scratch, Source, check,
};
use proptest::prelude::*;

const STEPS: &str = "steps: [fetched, allowed, started]";

#[test]
fn steps_in_their_order_within_the_span_are_one_hit_that_names_its_events() {
    let mut judge = judge(&format!("{STEPS}, by: host, maxspan: 1m"));
    assert!(!judge.step(&exec(1, "curl")));
    assert!(!judge.step(&exec(2, "chmod")));
    assert!(!judge.step(&exec(3, "other")));
    let verdicts = judge.verdicts(&exec(4, "payload"));
    let [Verdict::Rule(rule)] = verdicts.as_slice() else {
        panic!("one verdict: {verdicts:?}");
    };
    let seconds: Vec<i64> = rule.rests_on.iter().map(|it| second(it.time)).collect();
    assert_eq!((rule.id.as_str(), seconds), ("several", vec![1, 2, 4]));
    assert!(!judge.step(&exec(5, "payload")), "it begins anew");
}

#[test]
fn another_order_or_more_time_is_none() {
    let mut judge = judge(&format!("{STEPS}, by: host, maxspan: 10s"));
    for (second, name) in [(1, "chmod"), (8, "curl"), (20, "payload")] {
        assert!(!judge.step(&exec(second, name)), "{name}");
    }
    for (second, name) in [(30, "curl"), (35, "chmod"), (41, "payload")] {
        assert!(!judge.step(&exec(second, name)), "{name} too late");
    }
    // The younger beginning is the one that counts.
    for (second, name) in [(50, "curl"), (58, "curl"), (59, "chmod")] {
        assert!(!judge.step(&exec(second, name)));
    }
    assert!(judge.step(&exec(66, "payload")));
}

#[test]
fn one_event_is_one_step() {
    let mut judge = judge("steps: [fetched, fetched], by: host, maxspan: 10s");
    judge.condition("fetched");
    assert!(!judge.step(&exec(1, "curl")));
    assert!(judge.step(&exec(2, "curl")));
}

#[test]
fn a_tree_is_the_first_process_and_what_descends_from_it() {
    let mut judge = judge(&format!("{STEPS}, by: process_tree, maxspan: 1m"));
    let root = by(1, "curl", 10, &[9, 1]);
    judge.step(&root);
    judge.step(&by(2, "chmod", 12, &[11, 10, 9, 1]));
    assert!(!judge.step(&by(3, "payload", 13, &[9, 1])), "a sibling");
    assert!(judge.step(&by(4, "payload", 14, &[12, 11, 10, 9, 1])));
}

#[test]
fn the_tree_of_the_parent_has_siblings_but_not_all_that_process_1_started() {
    let plan = format!("{STEPS}, by: parent_tree, maxspan: 1m");
    let mut judge_of = judge(&plan);
    judge_of.step(&by(1, "curl", 10, &[9, 1]));
    judge_of.step(&by(2, "chmod", 11, &[9, 1]));
    assert!(
        !judge_of.step(&by(3, "payload", 12, &[8, 1])),
        "another shell"
    );
    assert!(judge_of.step(&by(4, "payload", 13, &[12, 9, 1])));
    let mut daemons = judge(&plan);
    daemons.step(&by(1, "curl", 10, &[1]));
    daemons.step(&by(2, "chmod", 11, &[1]));
    assert!(!daemons.step(&by(3, "payload", 12, &[1])));
}

#[test]
fn one_process_one_session_and_one_user_do_not_mix_with_others() {
    let other = |event: &Event| {
        let mut event = event.clone();
        let process = event.process.as_mut().expect("every event has one");
        process.uid = ProcessUid::new([200; 16]);
        process.session = Some(99);
        process.user = Some(user(1001, "eve"));
        event
    };
    for whose in ["process", "session", "user"] {
        let mut judge = judge(&format!("{STEPS}, by: {whose}, maxspan: 1m"));
        for (second, name) in [(1, "curl"), (2, "chmod")] {
            assert!(!judge.step(&exec(second, name)));
            assert!(!judge.step(&other(&exec(second, "payload"))), "{whose}");
        }
        assert!(judge.step(&exec(3, "payload")), "{whose}");
    }
}

#[test]
fn an_event_of_nobody_belongs_to_no_sequence() {
    for whose in ["process", "process_tree", "parent_tree", "session", "user"] {
        let mut judge = judge(&format!("{STEPS}, by: {whose}, maxspan: 1m"));
        for name in ["curl", "chmod", "payload"] {
            let mut event = exec(1, name);
            if let Some(process) = &mut event.process {
                (process.session, process.user) = (Some(u32::MAX), None);
            }
            let of_process = whose.contains("process") || whose.contains("tree");
            assert_eq!(
                judge.step(&event),
                of_process && name == "payload",
                "{whose}"
            );
        }
    }
}

#[test]
fn until_ends_what_is_open_and_not_what_comes_after() {
    let mut judge = judge(&format!("{STEPS}, by: session, maxspan: 1m, until: ended"));
    for (second, name) in [(1, "curl"), (2, "chmod"), (3, "removed"), (4, "payload")] {
        assert!(!judge.step(&exec(second, name)));
    }
    assert_eq!(judge.loaded.correlations.open_sequences(), 0);
    for (second, name) in [(5, "curl"), (6, "chmod")] {
        assert!(!judge.step(&exec(second, name)));
    }
    assert!(judge.step(&exec(7, "payload")));
}

#[test]
fn steps_of_other_log_sources_meet_in_a_value_they_have_in_common() {
    let plan = "steps: [{search: written, category: file_event, same: TargetFilename}, {search: started, same: Image}], \
                by: host, maxspan: 1m";
    let mut judge = judge(plan);
    let written = |second, path: &str| {
        let mut event = exec(second, "curl");
        event.kind = Kind::FileCreate;
        let file = picket_event::File {
            path: Text::from(path),
            ..picket_event::File::default()
        };
        event.with(picket_event::Detail::File(file))
    };
    judge.step(&written(1, "/tmp/other"));
    assert!(!judge.step(&exec(2, "payload")), "another file");
    judge.step(&written(3, "/tmp/payload"));
    assert!(judge.step(&exec(4, "payload")));
}

/// Between two sensors, or while one event waits for a hash, events pass each other: that must not hide an attack.
#[test]
fn a_step_that_comes_a_little_before_the_one_it_follows_still_counts() {
    let plan = format!("{STEPS}, by: session, maxspan: 1m");
    let order = [(1, "curl"), (2, "chmod"), (3, "payload")];
    for arrival in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut judge = judge(&plan);
        let found = arrival.iter().filter(|place| {
            let (second, name) = order[**place];
            judge.step(&exec(second, name))
        });
        assert_eq!(found.count(), 1, "{arrival:?}");
    }
    let mut judge = judge(&plan);
    judge.step(&exec(20, "chmod"));
    judge.step(&exec(21, "payload"));
    judge.step(&exec(40, "chmod"));
    assert!(!judge.step(&exec(19, "curl")), "too long ago to wait for");
}

#[test]
fn no_more_are_open_than_the_bounds_and_what_goes_before_its_time_is_counted() {
    let mut judge = judge(&format!("{STEPS}, by: process, maxspan: 1h"));
    for (second, number) in (0..).zip(1..=MOST_OPEN_OF_ONE as u128 + 10) {
        judge.step(&by(second, "curl", number, &[]));
    }
    let correlations = &judge.loaded.correlations;
    assert_eq!(correlations.open_sequences(), MOST_OPEN_OF_ONE);
    assert_eq!(correlations.forgotten().sequences, 10);
    judge.step(&by(1_100, "chmod", 1, &[]));
    assert!(!judge.step(&by(1_101, "payload", 1, &[])), "forgotten");
    judge.step(&by(1_102, "chmod", 1_000, &[]));
    assert!(judge.step(&by(1_103, "payload", 1_000, &[])), "kept");
    // What is over makes room without being counted.
    for number in 0..MOST_OPEN_OF_ONE + 10 {
        judge.step(&by(10_000, "curl", number as u128 + 10_000, &[]));
    }
    assert_eq!(judge.loaded.correlations.forgotten().sequences, 20);
}

#[test]
fn all_rules_together_have_a_bound_too() {
    let rules = 6;
    let texts = (0..rules).map(|number| {
        let text = text(&format!("{STEPS}, by: process, maxspan: 1h"));
        text.replace("id: several", &format!("id: several{number}"))
    });
    let mut judge = Judge::of(&texts.collect::<Vec<_>>().join("---\n"));
    for number in 0..1_000_u32 {
        judge.step(&by(i64::from(number), "curl", u128::from(number) + 1, &[]));
    }
    let correlations = &judge.loaded.correlations;
    assert_eq!(correlations.open_sequences(), MOST_OPEN);
    assert_eq!(correlations.forgotten().sequences, 6_000 - MOST_OPEN as u64);
}

#[test]
fn a_correlation_may_count_sequences() {
    let counted = "---\ntitle: often\nid: often\ncorrelation: {type: event_count, rules: [several], timespan: 1h, condition: {gte: 2}}\n";
    let told = format!("{counted}generate: true\n");
    assert_eq!(ids_of(&told), ["several", "several", "often"]);
    assert_eq!(ids_of(counted), ["often"]);
}

/// What is told of two sequences, with this document behind their rule.
fn ids_of(counted: &str) -> Vec<String> {
    let mut judge = Judge::of(&(text(&format!("{STEPS}, by: host, maxspan: 1m")) + counted));
    let mut ids = Vec::new();
    for (second, name) in (0..).zip(["curl", "chmod", "payload", "curl", "chmod", "payload"]) {
        ids.extend(
            judge
                .verdicts(&exec(second, name))
                .into_iter()
                .map(|verdict| match verdict {
                    Verdict::Rule(rule) => rule.id,
                    Verdict::Scorer(_) => String::new(),
                }),
        );
    }
    ids
}

#[test]
fn what_is_wrong_is_refused_with_its_line_and_what_looks_wrong_is_said() {
    for wrong in [
        "steps: [fetched], by: host, maxspan: 1m",
        "steps: [fetched, nobody], by: host, maxspan: 1m",
        "steps: [fetched, started], maxspan: 1m",
        "steps: [fetched, started], by: moon, maxspan: 1m",
        "steps: [fetched, started], by: host",
        "steps: [fetched, started], by: host, maxspan: 0m",
        "steps: [fetched, started], by: host, maxspan: 1m, after: x",
        "steps: [{search: fetched, same: Image}, started], by: host, maxspan: 1m",
        "steps: [{search: fetched, same: process.nothing}, {search: started, same: Image}], by: host, maxspan: 1m",
        "steps: [{search: fetched, category: moon}, started], by: host, maxspan: 1m",
        "steps: [{category: file_event}, started], by: host, maxspan: 1m",
        "steps: [{search: fetched, service: sshd}, started], by: process, maxspan: 1m",
        "steps: [fetched, started, fetched, started, fetched, started, fetched, started, started], by: host, maxspan: 1m",
    ] {
        let loaded = compile(&text(wrong));
        assert_eq!(
            (loaded.correlations.len(), loaded.refused.len()),
            (0, 1),
            "{wrong}"
        );
        assert!(loaded.refused[0].line.is_some(), "{wrong}");
    }
    let dead = text("steps: [fetched, dead, started], by: host, maxspan: 1m");
    let remarks: Vec<Remark> = compile(&dead)
        .notes
        .into_iter()
        .map(|note| note.remark)
        .collect();
    assert!(matches!(remarks[0], Remark::Dead { .. }), "{remarks:?}");
    assert!(matches!(remarks[1], Remark::Unused { .. }), "{remarks:?}");
}

#[test]
fn examples_may_be_events_that_follow_each_other() {
    let examples = "
x-tests:
  hits:
    - [{kind: exec, process: {exe: /usr/bin/curl}}, {kind: exec, process: {exe: /usr/bin/chmod}}, {kind: exec, process: {exe: /tmp/payload}}]
  misses:
    - {kind: exec, process: {exe: /tmp/payload}}
    - [{kind: exec, process: {exe: /usr/bin/chmod}}, {kind: exec, process: {exe: /usr/bin/curl}}, {kind: exec, process: {exe: /tmp/payload}}]
";
    let plan = format!("{STEPS}, by: process, maxspan: 1m");
    let source = |text: String| Source {
        name: "rule".into(),
        text,
    };
    let good = check(&source(text(&plan) + examples));
    assert!(good[0].ok, "{good:?}");
    let wrong = check(&source(
        text(&plan) + &examples.replace("/usr/bin/curl", "/usr/bin/true"),
    ));
    let reason = "example 1 of hits does not match";
    assert_eq!(
        (wrong[0].ok, wrong[0].reason.as_deref()),
        (false, Some(reason))
    );
}

proptest! {
    /// Against the plain meaning: some first, second and third step, each later than the one it follows, the last within the
    /// span of the first, and none of them used before.
    #[test]
    fn in_order_of_time_a_sequence_is_found_where_its_meaning_says(
        steps in prop::collection::vec((0_usize..4, 0_i64..4), 1..60),
        span in 1_i64..12,
    ) {
        let names = ["curl", "chmod", "payload", "other"];
        let mut judge = judge(&format!("{STEPS}, by: host, maxspan: {span}s"));
        let (mut now, mut past) = (0, Vec::<(usize, i64)>::new());
        for (step, passed) in steps {
            now += passed;
            let found = judge.step(&exec(now, names[step]));
            let expected = step == 2 && past.iter().enumerate().any(|(at, (step, time))| {
                *step == 0 && now - time <= span && past[at + 1..].iter().any(|(step, _)| *step == 1)
            });
            prop_assert_eq!(found, expected, "at {}", now);
            past.push((step, now));
            if found {
                past.clear();
            }
        }
    }

    #[test]
    fn any_events_in_any_order_keep_to_the_bounds_and_give_the_same_twice(
        steps in prop::collection::vec((0_usize..5, any::<i64>(), 0_u128..6), 1..200),
    ) {
        let names = ["curl", "chmod", "payload", "removed", "other"];
        let run = || {
            let mut judge = judge(&format!("{STEPS}, by: process_tree, maxspan: 1m, until: ended"));
            let events = steps.iter().map(|(step, time, pid)| {
                let mut event = by(0, names[*step], pid + 1, &[3, 2, 1]);
                event.time = UnixNanos(*time);
                event
            });
            let verdicts: Vec<Vec<Verdict>> = events.map(|event| judge.verdicts(&event)).collect();
            (verdicts, judge.loaded.correlations.open_sequences())
        };
        let (verdicts, open) = run();
        prop_assert!(open <= 6);
        prop_assert_eq!((verdicts, open), run());
    }
}

struct Judge {
    text: String,
    loaded: Loaded,
    scratch: Scratch,
}

impl Judge {
    fn of(text: &str) -> Self {
        let loaded = compile(text);
        assert_eq!(loaded.refused, [], "{text}");
        Self {
            text: text.to_owned(),
            loaded,
            scratch: Scratch::default(),
        }
    }

    fn condition(&mut self, condition: &str) {
        let text = self
            .text
            .replace("condition: started", &format!("condition: {condition}"));
        *self = Self::of(&text);
    }

    fn step(&mut self, event: &Event) -> bool {
        !self.verdicts(event).is_empty()
    }

    fn verdicts(&mut self, event: &Event) -> Vec<Verdict> {
        let mut hits: Vec<RuleHit> = Vec::new();
        self.loaded
            .rules
            .evaluate(event, &mut self.scratch, &mut hits);
        self.loaded.correlations.step(event, &hits)
    }
}

fn judge(plan: &str) -> Judge {
    Judge::of(&text(plan))
}

fn text(plan: &str) -> String {
    format!(
        "title: several
id: several
logsource: {{product: linux, category: process_creation}}
detection:
  fetched: {{Image|endswith: /curl}}
  allowed: {{Image|endswith: /chmod}}
  started: {{Image: /tmp/payload}}
  ended: {{Image|endswith: /removed}}
  written: {{TargetFilename|startswith: /tmp/}}
  dead: {{ParentCommandLine: x}}
  condition: started
x-sequence: {{{plan}}}
"
    )
}

fn compile(text: &str) -> Loaded {
    RuleSet::compile(&[Source {
        name: "rules".into(),
        text: text.to_owned(),
    }])
}

fn exec(second: i64, name: &str) -> Event {
    by(second, name, 10, &[])
}

fn by(second: i64, name: &str, pid: u128, parents: &[u128]) -> Event {
    let uid = |pid: u128| ProcessUid::new(pid.to_be_bytes());
    let number = |pid: u128| u32::try_from(pid).expect("small");
    let mut process = Process::new(uid(pid), number(pid));
    let folder = if name == "payload" {
        "/tmp"
    } else {
        "/usr/bin"
    };
    process.exe = Text::from(format!("{folder}/{name}"));
    process.session = Some(4);
    process.user = Some(user(1000, "ada"));
    let parents = parents.iter().map(|pid| Ancestor {
        uid: uid(*pid),
        pid: number(*pid),
        exe: "/bin/bash".into(),
    });
    process.ancestry = parents.collect::<Arc<[_]>>();
    let time = UnixNanos(1_000_000_000_000 + second * 1_000_000_000);
    Event::new(Kind::Exec, time, Sensor::Replay).by(process)
}

fn user(uid: u32, name: &str) -> User {
    User {
        uid,
        name: name.into(),
    }
}

fn second(time: UnixNanos) -> i64 {
    time.0 / 1_000_000_000 - 1_000
}
