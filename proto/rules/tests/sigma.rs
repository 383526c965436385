//! Rules of the Sigma project, unchanged: they load or are refused by name, and hit what three
//! other evaluators agree on.

#[path = "support/shared.rs"]
mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use picket_event::Kind;
use picket_rules::{FieldId, Reason, Record, RuleSet, Scratch, Source, Values};
use serde_json::{Map, Value};

const LIVE: [&str; 3] = ["rules", "rules-emerging-threats", "rules-threat-hunting"];

#[test]
fn every_live_rule_loads() {
    let Some(data) = shared::data() else { return };
    let sources = live(&data);
    let loaded = RuleSet::compile(&sources);
    let refused: Vec<String> = loaded.refused.iter().map(ToString::to_string).collect();
    assert_eq!(refused, Vec::<String>::new());
    assert_eq!((sources.len(), loaded.rules.rules().len()), (248, 248));
}

#[test]
fn abolished_pipes_are_refused_by_name() {
    let Some(data) = shared::data() else { return };
    let loaded = RuleSet::compile(&shared::sources(&data.join("sigma-linux/unsupported")));
    let pipes = loaded
        .refused
        .iter()
        .filter(|refusal| refusal.reason == Reason::Pipe)
        .count();
    let refused: Vec<String> = loaded.refused.iter().map(ToString::to_string).collect();
    assert_eq!(pipes, 6, "{refused:#?}");
}

#[test]
fn rules_hit_what_other_evaluators_agree_on() {
    let Some(data) = shared::data() else { return };
    let loaded = RuleSet::compile(&live(&data));
    let ids: BTreeSet<&str> = loaded
        .rules
        .rules()
        .iter()
        .map(|rule| rule.id.as_str())
        .collect();
    let expected: BTreeSet<(usize, String)> = golden(&data)
        .into_iter()
        .filter(|(_, id)| ids.contains(id.as_str()))
        .collect();
    assert_eq!(hits(&data, &loaded.rules), expected);
}

/// The index may only leave out what cannot match: a set of one rule, whose condition is also
/// negated twice so that no text is required, is asked about every event.
#[test]
fn the_index_leaves_out_no_rule_that_matches() {
    let Some(data) = shared::data() else { return };
    let with_index = RuleSet::compile(&live(&data));
    let without: Vec<Source> = live(&data)
        .into_iter()
        .map(|source| Source {
            text: without_index(&source.text),
            ..source
        })
        .collect();
    let without = RuleSet::compile(&without);
    assert_eq!(with_index.rules.rules().len(), without.rules.rules().len());
    assert!(
        without.rules.figures().always > 160,
        "{:?}",
        without.rules.figures()
    );
    assert_eq!(hits(&data, &with_index.rules), hits(&data, &without.rules));
}

fn without_index(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| match line.trim_start().strip_prefix("condition: ") {
            Some(condition) => format!("    condition: not (not ({condition}))"),
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}

fn live(data: &Path) -> Vec<Source> {
    LIVE.iter()
        .flat_map(|set| shared::sources(&data.join("sigma-linux").join(set)))
        .collect()
}

/// Event line and rule id.
fn golden(data: &Path) -> BTreeSet<(usize, String)> {
    let text = fs::read_to_string(data.join("recordings/sigma_golden_hits.tsv"));
    let text = text.expect("the golden hits are text");
    let lines = text.lines().map(|line| {
        let (line, id) = line.split_once('\t').expect("a line number and an id");
        (line.parse().expect("a number"), id.to_owned())
    });
    lines.collect()
}

fn hits(data: &Path, rules: &RuleSet) -> BTreeSet<(usize, String)> {
    let text = fs::read_to_string(data.join("recordings/sigma_events.jsonl"));
    let text = text.expect("the events are text");
    let (mut scratch, mut hits, mut found) = (Scratch::default(), Vec::new(), BTreeSet::new());
    for (number, line) in text.lines().enumerate() {
        let event: Map<String, Value> = serde_json::from_str(line).expect("an event is JSON");
        let record = Recorded {
            fields: rules.fields(),
            event,
        };
        rules.evaluate_record(&record, &mut scratch, &mut hits);
        let ids = hits.iter().filter_map(|hit| rules.rule(hit.rule));
        found.extend(ids.map(|rule| (number, rule.id.clone())));
    }
    found
}

/// A recorded event whose fields have Sigma's names already.
struct Recorded<'a> {
    fields: &'a [String],
    event: Map<String, Value>,
}

impl Record for Recorded<'_> {
    fn kind(&self) -> Kind {
        match self.event.get("_cat").and_then(Value::as_str) {
            Some("file_event") => Kind::FileCreate,
            Some("network_connection") => Kind::NetConnect,
            _ => Kind::Exec,
        }
    }

    fn visit(&self, field: FieldId, values: &mut Values<'_>) {
        match self.event.get(&self.fields[field.index()]) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => values.bytes(text.as_bytes()),
            Some(other) => values.text(other),
        }
    }
}

#[test]
fn authors_and_techniques_travel_with_the_rule() {
    let Some(data) = shared::data() else { return };
    let loaded = RuleSet::compile(&live(&data));
    let mut techniques = BTreeMap::new();
    for rule in loaded.rules.rules() {
        assert!(!rule.author.is_empty(), "{}", rule.id);
        for technique in &rule.attack {
            *techniques.entry(technique.as_str()).or_insert(0) += 1;
        }
    }
    assert!(techniques.contains_key("T1059.004"), "{techniques:?}");
    assert!(techniques.len() > 80, "{}", techniques.len());
}
