//! What a policy is read as, what it refuses, and which entries an event calls for.

#![cfg(test)]

use picket_seal::Digest;
use proptest::prelude::*;

use super::*;
use crate::{CHANGE_WINDOW, Process, ProcessUid, Reason, Source, Text, UnixNanos, User};

const MINER: &str = r#"
[[entry]]
name = "miner"
mode = "act"
action = "suspend"
for = "30m"
attack = ["T1496"]
where = "process.user.name != 'build'"
"#;

fn rule(id: &str, severity: Severity, attack: &str) -> Verdict {
    Verdict::Rule(RuleVerdict {
        id: id.to_owned(),
        title: "A rule".to_owned(),
        severity,
        attack: vec![attack.to_owned()],
        author: String::new(),
        license: String::new(),
        rests_on: Vec::new(),
    })
}

fn score(p: f64) -> Verdict {
    Verdict::Scorer(ScorerVerdict {
        bits: 20.0,
        p,
        reasons: Vec::new(),
        alert: false,
    })
}

fn exec(verdict: Verdict) -> Event {
    let mut process = Process::new(ProcessUid::new([7; 16]), 4242);
    process.exe = Text::from("/tmp/x");
    process.sha256 = Some(Digest::of(b"x"));
    process.user = Some(User {
        uid: 1000,
        name: Text::from("ada"),
    });
    let mut event = Event::new(Kind::Exec, UnixNanos(1), Source::Ebpf).by(process);
    event.verdicts.push(verdict);
    event
}

fn due(policy: &str, event: &Event) -> Vec<(String, Option<Action>)> {
    let policy = Policy::parse(policy).unwrap();
    policy
        .due(event)
        .map(|due| (due.entry.name.clone(), due.action.clone()))
        .collect()
}

#[test]
fn an_entry_acts_on_whom_the_event_names_for_a_technique_or_one_below_it() {
    for technique in ["T1496", "T1496.001"] {
        let event = exec(rule("r", Severity::High, technique));
        let [(name, Some(Action::Suspend(target)))] = &due(MINER, &event)[..] else {
            panic!("{technique}");
        };
        assert_eq!((name.as_str(), target.pid), ("miner", 4242));
    }
    for other in ["T1497", "T14960", "T149"] {
        assert!(due(MINER, &exec(rule("r", Severity::High, other))).is_empty());
    }
    assert!(due(MINER, &exec(score(1e-9))).is_empty());
}

#[test]
fn the_condition_of_an_entry_is_looked_at_too() {
    let mut event = exec(rule("r", Severity::High, "T1496"));
    event.process.as_mut().unwrap().user.as_mut().unwrap().name = Text::from("build");
    assert!(due(MINER, &event).is_empty());
}

#[test]
fn all_that_an_entry_says_of_rules_must_hold_for_one_of_them() {
    let policy = r#"
        [[entry]]
        name = "grave"
        mode = "observe"
        action = "kill"
        rules = ["a", "b"]
        level = "high"
    "#;
    let events = |verdicts: Vec<Verdict>| {
        let mut event = exec(score(0.5));
        event.verdicts = verdicts;
        due(policy, &event).len()
    };
    assert_eq!(events(vec![rule("b", Severity::Critical, "")]), 1);
    assert_eq!(events(vec![rule("b", Severity::Medium, "")]), 0);
    let two = vec![
        rule("c", Severity::Critical, ""),
        rule("a", Severity::Low, ""),
    ];
    assert_eq!(events(two), 0);
}

#[test]
fn a_score_counts_where_the_entry_says_how_unlikely_it_must_be() {
    let policy = r#"
        [[entry]]
        name = "odd"
        mode = "act"
        action = "block-hash"
        score_p = 1e-6
    "#;
    assert_eq!(due(policy, &exec(score(1e-7))).len(), 1);
    assert_eq!(due(policy, &exec(score(1e-5))).len(), 0);
    for (alert, acts) in [(false, 0), (true, 1)] {
        let Verdict::Scorer(mut of_an_upgrade) = score(1e-7) else {
            panic!("a score")
        };
        of_an_upgrade.alert = alert;
        of_an_upgrade.reasons.push(Reason {
            factor: CHANGE_WINDOW.into(),
            ..Reason::default()
        });
        let event = exec(Verdict::Scorer(of_an_upgrade));
        assert_eq!(due(policy, &event).len(), acts);
    }
    assert_eq!(
        due(policy, &exec(rule("r", Severity::Critical, "T1"))).len(),
        0
    );
}

#[test]
fn who_is_not_named_by_the_event_is_nobody() {
    let policy = r#"
        irreversible = true
        [[entry]]
        name = "lock"
        mode = "act"
        action = "lock-user"
        level = "low"
    "#;
    let mut event = exec(rule("r", Severity::High, "T1"));
    assert_eq!(
        due(policy, &event)[0].1,
        Some(Action::LockUser("ada".to_owned()))
    );
    event.process.as_mut().unwrap().user = Some(User {
        uid: 0,
        name: Text::from("root"),
    });
    assert_eq!(due(policy, &event)[0].1, None);
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_entry() {
    let entry = |rest: &str| {
        let text = format!("[[entry]]\nname = \"e\"\nmode = \"act\"\n{rest}\n");
        Policy::parse(&text).unwrap_err().to_string()
    };
    for (rest, expected) in [
        ("action = \"kill\"\nlevel = \"high\"", "cannot be undone"),
        ("action = \"suspend\"", "rests on nothing"),
        ("action = \"suspend\"\nlevel = \"worst\"", "no level"),
        ("action = \"suspend\"\nscore_p = 2.0", "score_p"),
        (
            "action = \"suspend\"\nlevel = \"high\"\nfor = \"5h\"",
            "at most 4h",
        ),
        (
            "action = \"suspend\"\nlevel = \"high\"\nfor = \"0s\"",
            "no duration",
        ),
        ("action = \"suspend\"\nattack = [\"x\"]", "no technique"),
        ("action = \"reboot\"\nlevel = \"high\"", "unknown variant"),
        (
            "action = \"suspend\"\nlevel = \"high\"\nwhere = \"no.such = 1\"",
            "where:",
        ),
        (
            "action = \"suspend\"\nlevel = \"high\"\nwhen = 1",
            "unknown field",
        ),
    ] {
        let refused = entry(rest);
        assert!(refused.contains(expected), "{rest}: {refused}");
    }
    let twice = format!("{MINER}{MINER}");
    assert!(
        Policy::parse(&twice)
            .unwrap_err()
            .to_string()
            .contains("twice")
    );
    let line = Policy::parse("\n\nbudgets = 1").unwrap_err().to_string();
    assert!(line.starts_with("line 3"), "{line}");
}

#[test]
fn the_page_on_policy_shows_policies_that_are_read() {
    let page = include_str!("../../../../docs/policy.md");
    let mut policies = page.split("```toml").skip(1);
    let shown = policies.all(|rest| {
        let text = rest.split("```").next().unwrap_or_default();
        Policy::parse(text)
            .inspect_err(|e| eprintln!("{e}"))
            .is_ok()
    });
    assert!(shown && page.contains("```toml"));
    let defaults = Budgets::default();
    for (name, number) in [
        ("kill_per_hour", defaults.kill_per_hour),
        ("suspend_per_hour", defaults.suspend_per_hour),
        ("quarantine_per_hour", defaults.quarantine_per_hour),
        ("block_hash_per_hour", defaults.block_hash_per_hour),
        ("lock_user_per_day", defaults.lock_user_per_day),
        ("isolate_per_day", defaults.isolate_per_day),
    ] {
        assert!(page.contains(&format!("{name} = {number}")), "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_it(text in ".{0,200}") {
        drop(Policy::parse(&text));
    }
}
