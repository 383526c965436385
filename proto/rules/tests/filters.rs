//! Filter documents: which rules they narrow, and why some are refused.

use picket_rules::{Loaded, Reason, RuleSet, Scratch, Source};
use serde_json::json;

const RULES: &str = "
title: shells
id: shells
name: shells_by_name
logsource: {product: linux, category: process_creation}
detection: {s: {Image|endswith: /sh}, condition: s}
---
title: writes
id: writes
logsource: {product: linux, category: file_event}
detection: {s: {TargetFilename|startswith: /etc/}, condition: s}
---
title: twice
id: twice
logsource: {product: linux, category: process_creation}
detection: {s: {Image|endswith: /twice}, condition: s}
x-sequence: {steps: [s, s], by: host, maxspan: 1m}
";

#[test]
fn a_filter_narrows_the_rules_that_it_names_wherever_they_stand() {
    for rules in ["[shells]", "[shells_by_name]", "any"] {
        for order in [true, false] {
            let mut loaded = with(rules, "not admin", "process_creation", order);
            assert_eq!(loaded.refused, [], "{rules}");
            assert!(hits(&mut loaded, "/bin/sh", "eve"), "{rules}");
            assert!(!hits(&mut loaded, "/bin/sh", "adm_ada"), "{rules}");
        }
    }
    let mut other = with("[twice]", "not admin", "process_creation", true);
    assert!(hits(&mut other, "/bin/sh", "adm_ada"), "not named");
}

/// One that names neither category nor service is for rules of all log sources.
#[test]
fn a_filter_may_be_for_all_log_sources() {
    for rules in ["[shells, writes]", "any", "shells"] {
        let mut sources = vec![source("rules", RULES)];
        let filter = format!(
            "title: f\nid: f\nlogsource: {{product: linux}}\nfilter: {{rules: {rules}, admin: {{User|startswith: adm_}}, condition: not admin}}\n"
        );
        sources.push(source("filter", &filter));
        let mut loaded = RuleSet::compile(&sources);
        assert_eq!(loaded.refused, [], "{rules}");
        assert!(hits(&mut loaded, "/bin/sh", "eve"), "{rules}");
        assert!(!hits(&mut loaded, "/bin/sh", "adm_ada"), "{rules}");
    }
}

#[test]
fn of_a_sequence_the_last_step_is_narrowed() {
    let mut loaded = with("[twice]", "not admin", "process_creation", true);
    assert!(twice(&mut loaded, ["adm_ada", "eve"]));
    assert!(!twice(&mut loaded, ["eve", "adm_ada"]));
}

#[test]
fn a_filter_that_means_nothing_is_refused_and_changes_no_rule() {
    let refused = |rules, condition, category| {
        let mut loaded = with(rules, condition, category, true);
        assert!(hits(&mut loaded, "/bin/sh", "adm_ada"));
        loaded.refused.remove(0).reason
    };
    let category = "process_creation";
    assert!(matches!(
        refused("[nobody]", "not admin", category),
        Reason::Value { .. }
    ));
    assert!(matches!(
        refused("[shells, nobody]", "not admin", category),
        Reason::Value { .. }
    ));
    assert!(matches!(
        refused("[]", "not admin", category),
        Reason::Shape { .. }
    ));
    assert!(matches!(
        refused("[shells]", "not moon", category),
        Reason::UnknownSearch { .. }
    ));
    assert!(matches!(
        refused("[writes]", "not admin", category),
        Reason::FilterElsewhere { .. }
    ));
    assert!(matches!(
        refused("any", "not admin", "moon"),
        Reason::LogSource { .. }
    ));
}

fn with(rules: &str, condition: &str, category: &str, after: bool) -> Loaded {
    let filter = format!(
        "title: administrators
id: filter
logsource: {{product: linux, category: {category}}}
filter:
  rules: {rules}
  admin: {{User|startswith: adm_}}
  condition: {condition}
"
    );
    let mut sources = vec![source("rules", RULES), source("filter", &filter)];
    if !after {
        sources.reverse();
    }
    RuleSet::compile(&sources)
}

fn source(name: &str, text: &str) -> Source {
    Source {
        name: name.into(),
        text: text.into(),
    }
}

fn exec(exe: &str, user: &str) -> serde_json::Value {
    json!({
        "kind": "exec", "time": "2026-01-05T10:00:00Z", "source": "replay",
        "process": {"uid": "0".repeat(32), "pid": 1, "exe": exe, "user": {"uid": 7, "name": user}}
    })
}

fn hits(loaded: &mut Loaded, exe: &str, user: &str) -> bool {
    let verdicts = loaded.verdicts_on(&[exec(exe, user)], &mut Scratch::default());
    !verdicts.expect("it is an event").is_empty()
}

fn twice(loaded: &mut Loaded, users: [&str; 2]) -> bool {
    let events = users.map(|user| exec("/opt/twice", user));
    let verdicts = loaded.verdicts_on(&events, &mut Scratch::default());
    !verdicts.expect("they are events").is_empty()
}
