//! Our own rules: each is good, explains itself, judges its examples as it says, and keeps quiet
//! about ordinary work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use picket_event::{Event, Severity, UnixNanos, Verdict};
use picket_rules::{Loaded, RuleSet, Scratch, Source, check, examples};

#[path = "support/shared.rs"]
mod shared;

#[test]
fn every_rule_is_taken_without_a_remark() {
    let wrong: Vec<String> = pack()
        .iter()
        .flat_map(check)
        .filter(|checked| !checked.ok || checked.reason.is_some())
        .map(|checked| format!("{}: {}", checked.file, checked.reason.unwrap_or_default()))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

/// Names of techniques and tactics are checked where the list of them lies beside the workspace.
#[test]
fn tags_are_techniques_of_linux_with_their_tactics() {
    let Some(data) = shared::data() else {
        return;
    };
    let text = fs::read_to_string(data.join("attack_linux.json")).expect("the list can be read");
    let known: serde_json::Value = serde_json::from_str(&text).expect("the list is JSON");
    let mut wrong = Vec::new();
    for source in pack() {
        let (techniques, tactics) = tags(&source.text);
        let tactics_of = |technique: &str| -> BTreeSet<String> {
            let listed = known[technique.to_uppercase()]["tactics"].as_array();
            let names = listed
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str());
            names.map(str::to_owned).collect()
        };
        let possible: BTreeSet<String> = techniques.iter().flat_map(|it| tactics_of(it)).collect();
        wrong.extend(techniques.iter().filter_map(|technique| {
            let named: Vec<_> = tactics_of(technique)
                .intersection(&tactics)
                .cloned()
                .collect();
            named
                .is_empty()
                .then(|| format!("{}: {technique}", source.name))
        }));
        wrong.extend(
            tactics
                .difference(&possible)
                .map(|tactic| format!("{}: {tactic}", source.name)),
        );
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_rule_carries_two_examples_of_both_kinds() {
    for source in pack() {
        let examples = examples(&source.text).expect("the examples can be read");
        assert!(examples.hits.len() >= 2, "{}", source.name);
        assert!(examples.misses.len() >= 2, "{}", source.name);
    }
}

#[test]
fn every_rule_says_who_wrote_it_and_what_it_finds() {
    let loaded = RuleSet::compile(&pack());
    let mut ids = BTreeSet::new();
    for rule in loaded
        .rules
        .rules()
        .iter()
        .chain(loaded.correlations.rules())
    {
        assert_eq!(rule.author, "Picket authors", "{}", rule.file);
        assert_eq!(rule.license, "Apache-2.0", "{}", rule.file);
        assert!(!rule.attack.is_empty(), "{}", rule.file);
        assert!(
            is_uuid(&rule.id) && ids.insert(rule.id.clone()),
            "{}",
            rule.file
        );
    }
    assert!(ids.len() >= 120, "{}", ids.len());
}

/// A hit on an example of another rule is fine where both are true, but never on its misses.
#[test]
fn the_pack_as_a_whole_finds_every_example() {
    let sources = pack();
    let mut loaded = RuleSet::compile(&sources);
    assert_eq!(loaded.refused, []);
    let mut missed = Vec::new();
    for source in &sources {
        let examples = examples(&source.text).expect("the examples can be read");
        for events in examples.hits {
            let found = found_last(&mut loaded, &events);
            if !found.contains(&source.name) {
                missed.push(format!("{}: {events:?} found by {found:?}", source.name));
            }
        }
    }
    assert_eq!(missed, Vec::<String>::new());
}

#[test]
fn rules_do_not_know_the_tests_they_are_scored_by() {
    for source in pack() {
        let text = source
            .text
            .split("falsepositives:")
            .next()
            .unwrap_or_default();
        let detection = text
            .split("detection:")
            .nth(1)
            .unwrap_or_default()
            .to_lowercase();
        for word in ["atomic", "evil", "redcanary", "t1"] {
            assert!(!detection.contains(word), "{}: {word}", source.name);
        }
    }
}

/// Once as it was recorded, and once as if one process had done all of it within seconds, in one session, on a host that knows
/// nothing: whatever rules over several events could see in ordinary work, they do not.
#[test]
fn ordinary_work_raises_no_alert() {
    for crowded in [false, true] {
        let mut loaded = RuleSet::compile(&pack());
        loaded.correlations.forget(true);
        let (mut scratch, mut hits, mut alerts) = (Scratch::default(), Vec::new(), Vec::new());
        for (number, line) in (0..).zip(ORDINARY.lines()) {
            let mut event = event_of(line);
            if crowded {
                crowd(&mut event, number);
            }
            loaded.rules.evaluate(&event, &mut scratch, &mut hits);
            let mut verdicts = loaded.rules.verdicts(&event, &mut scratch);
            verdicts.extend(loaded.correlations.step(&event, &hits));
            alerts.extend(
                verdicts
                    .iter()
                    .filter(|verdict| verdict.severity() >= Severity::Medium)
                    .map(|verdict| format!("{verdict:?}: {line}")),
            );
        }
        assert_eq!(alerts, Vec::<String>::new());
    }
    assert!(ORDINARY.lines().count() >= 30);
}

/// One second after the one before, in one session.
fn crowd(event: &mut Event, number: i64) {
    event.time = UnixNanos(1_767_607_200_000_000_000 + number * 1_000_000_000);
    if let Some(process) = &mut event.process {
        process.session = Some(7);
    }
}

/// What is said of ordinary work below an alert is small and known.
#[test]
fn ordinary_work_is_remarked_on_by_known_rules_only() {
    let loaded = RuleSet::compile(&pack());
    let mut remarks: BTreeMap<String, usize> = BTreeMap::new();
    for line in ORDINARY.lines() {
        for file in found(&loaded.rules, &event_of(line)) {
            *remarks.entry(file).or_default() += 1;
        }
    }
    let remarks: Vec<(&str, usize)> = remarks
        .iter()
        .map(|(file, count)| (file.as_str(), *count))
        .collect();
    assert_eq!(remarks, [("permissions_changed.yml", 2)]);
}

/// One event of ordinary work in each line.
const ORDINARY: &str = include_str!("data/ordinary.jsonl");

fn event_of(line: &str) -> Event {
    event(&serde_json::from_str(line).expect("a line is JSON"))
}

fn pack() -> Vec<Source> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../agent/rules");
    let mut sources = shared::sources(&folder);
    for source in &mut sources {
        let name = Path::new(&source.name).file_name();
        source.name = name.unwrap_or_default().to_string_lossy().into_owned();
    }
    sources
}

fn event(json: &serde_json::Value) -> Event {
    picket_event::json::from_value(json)
        .expect("an example is an event")
        .event
}

/// The files of the rules that match.
fn found(rules: &RuleSet, event: &Event) -> Vec<String> {
    let (mut scratch, mut hits) = (Scratch::default(), Vec::new());
    rules.evaluate(event, &mut scratch, &mut hits);
    hits.iter()
        .filter_map(|hit| rules.rule(hit.rule))
        .map(|rule| rule.file.clone())
        .collect()
}

/// The files of the rules, of one event or several, that speak of the last of these.
fn found_last(loaded: &mut Loaded, events: &[serde_json::Value]) -> Vec<String> {
    let verdicts = loaded.verdicts_on(events, &mut Scratch::default());
    let ids: BTreeSet<String> = verdicts
        .expect("examples are events")
        .into_iter()
        .filter_map(|verdict| match verdict {
            Verdict::Rule(rule) => Some(rule.id),
            Verdict::Scorer(_) => None,
        })
        .collect();
    let rules = loaded.rules.rules().iter();
    let files = rules
        .chain(loaded.correlations.rules())
        .filter(|rule| ids.contains(&rule.id))
        .map(|rule| rule.file.clone());
    files.collect()
}

/// The techniques and the tactics that a rule names, in lower case.
fn tags(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let tags = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- attack."));
    tags.map(str::to_owned)
        .partition(|tag| tag.starts_with("t1"))
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    let hex = text
        .bytes()
        .all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    parts == [8, 4, 4, 4, 12] && hex
}
