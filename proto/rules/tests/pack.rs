//! Our own rules: each is good, explains itself, judges its examples as it says, and keeps quiet
//! about ordinary work.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use picket_event::Event;
use picket_rules::{RuleSet, Scratch, Source, check, examples};

#[test]
fn every_rule_is_taken_without_a_remark() {
    for source in pack() {
        for checked in check(&source) {
            assert!(checked.ok && checked.reason.is_none(), "{checked:?}");
        }
    }
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
    for rule in loaded.rules.rules() {
        assert_eq!(rule.author, "Picket authors", "{}", rule.file);
        assert_eq!(rule.license, "Apache-2.0", "{}", rule.file);
        assert!(!rule.attack.is_empty(), "{}", rule.file);
        assert!(
            is_uuid(&rule.id) && ids.insert(rule.id.clone()),
            "{}",
            rule.file
        );
    }
    assert!(ids.len() >= 10, "{}", ids.len());
}

/// A hit on an example of another rule is fine where both are true, but never on its misses.
#[test]
fn the_pack_as_a_whole_finds_every_example() {
    let sources = pack();
    let loaded = RuleSet::compile(&sources);
    assert_eq!(loaded.refused, []);
    for source in &sources {
        for json in examples(&source.text)
            .expect("the examples can be read")
            .hits
        {
            let found = found(&loaded.rules, &event(&json));
            assert!(
                found.contains(&source.name),
                "{}: {json} found by {found:?}",
                source.name
            );
        }
    }
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

#[test]
fn ordinary_work_raises_no_alert() {
    let loaded = RuleSet::compile(&pack());
    let mut lines = 0;
    for line in include_str!("data/ordinary.jsonl").lines() {
        let json: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        assert_eq!(
            found(&loaded.rules, &event(&json)),
            Vec::<String>::new(),
            "{line}"
        );
        lines += 1;
    }
    assert!(lines >= 30, "{lines}");
}

fn pack() -> Vec<Source> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../agent/rules");
    let entries = fs::read_dir(folder).expect("the pack lies in agent/rules");
    let mut sources: Vec<Source> = entries
        .flatten()
        .filter(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "yml")
        })
        .map(|entry| Source {
            name: entry.file_name().to_string_lossy().into_owned(),
            text: fs::read_to_string(entry.path()).expect("a rule file is text"),
        })
        .collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
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

fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    let hex = text
        .bytes()
        .all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    parts == [8, 4, 4, 4, 12] && hex
}
