//! Whether a rule file is good: for authors, before it goes into a pack.
//!
//! A file may carry example events under `x-tests`; a rule that does not judge its own examples as
//! it says is not good.

use std::collections::BTreeSet;

use picket_event::Event;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::refusal::{Fault, Reason};
use crate::ruleset::{Loaded, RuleSet, Source};
use crate::scratch::Scratch;
use crate::yaml::{self, Node, Scalar, Value};

/// The answer for one document of a rule file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Checked {
    /// The source.
    pub file: String,
    /// The rule's id, if it could be read.
    pub id: Option<String>,
    /// Whether it would be taken, and judges its own examples as it says.
    pub ok: bool,
    /// Why not; of a good rule, what its author should know.
    pub reason: Option<String>,
    /// The line to blame, counted from 1.
    pub line: Option<u64>,
}

/// Checks every document of `source` by itself.
pub fn check(source: &Source) -> Vec<Checked> {
    check_beside(source, &BTreeSet::new())
}

/// The ids and names that correlations may call the rules of these sources by.
pub fn names(sources: &[Source]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in sources {
        for document in yaml::parse(&source.text).unwrap_or_default() {
            let keys = ["id", "name"].into_iter();
            let known = keys.filter_map(|key| document.get(key)?.text().map(str::to_owned));
            names.extend(known);
        }
    }
    names
}

/// Checks every document of `source`, beside rules that have these ids and names.
pub fn check_beside(source: &Source, elsewhere: &BTreeSet<String>) -> Vec<Checked> {
    let Loaded {
        rules,
        correlations,
        refused,
        notes,
    } = RuleSet::compile_beside(std::slice::from_ref(source), elsewhere);
    let wrong_examples = wrong_examples(source, &rules);
    let taken = rules
        .rules()
        .iter()
        .chain(correlations.rules())
        .map(|info| {
            let remarks = notes.iter().filter(|note| note.id == info.id);
            let remarks: Vec<String> = remarks.map(|note| note.remark.to_string()).collect();
            let remarks = (!remarks.is_empty()).then(|| remarks.join("; "));
            Checked {
                file: source.name.clone(),
                id: Some(info.id.clone()),
                ok: wrong_examples.is_none(),
                reason: wrong_examples.clone().or(remarks),
                line: None,
            }
        });
    let refused = refused.into_iter().map(|refusal| Checked {
        file: refusal.file,
        id: refusal.id,
        ok: false,
        reason: Some(refusal.reason.to_string()),
        line: refusal.line,
    });
    taken.chain(refused).collect()
}

/// Example events of a rule file, as JSON of the contract.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// Events that a rule of the file must match.
    pub hits: Vec<Json>,
    /// Events that no rule of the file may match.
    pub misses: Vec<Json>,
}

/// The examples under `x-tests`, of all documents of `text`. Time, source and process ids may be
/// left out there.
pub fn examples(text: &str) -> Result<Examples, Reason> {
    let mut examples = Examples::default();
    for document in yaml::parse(text).map_err(|fault| fault.reason)? {
        let Some(tests) = document.get("x-tests") else {
            continue;
        };
        examples
            .hits
            .extend(events(tests, "hits").map_err(|fault| fault.reason)?);
        examples
            .misses
            .extend(events(tests, "misses").map_err(|fault| fault.reason)?);
    }
    Ok(examples)
}

fn events(tests: &Node, key: &str) -> Result<Vec<Json>, Fault> {
    let Some(node) = tests.get(key) else {
        return Ok(Vec::new());
    };
    let Some(list) = node.list() else {
        let key = format!("x-tests.{key}");
        return Err(node.fault(Reason::Shape {
            key,
            wanted: "a list of events",
        }));
    };
    Ok(list.iter().map(|node| whole(json(node))).collect())
}

/// An example says what matters to the rule; what every event has besides is filled in.
fn whole(mut example: Json) -> Json {
    let Some(event) = example.as_object_mut() else {
        return example;
    };
    let default = |map: &mut Map<String, Json>, key: &str, value: Json| {
        map.entry(key).or_insert(value);
    };
    default(event, "time", "2026-01-05T10:00:00Z".into());
    default(event, "source", "replay".into());
    let Some(process) = event.get_mut("process").and_then(Json::as_object_mut) else {
        return example;
    };
    default(process, "uid", "0".repeat(32).into());
    default(process, "pid", 4242.into());
    let ancestry = process.get_mut("ancestry").and_then(Json::as_array_mut);
    for ancestor in ancestry
        .into_iter()
        .flatten()
        .filter_map(Json::as_object_mut)
    {
        default(ancestor, "uid", "0".repeat(32).into());
        default(ancestor, "pid", 1.into());
    }
    example
}

/// The first example that is judged otherwise than the file says.
fn wrong_examples(source: &Source, rules: &RuleSet) -> Option<String> {
    let examples = match examples(&source.text) {
        Ok(examples) => examples,
        Err(reason) => return Some(reason.to_string()),
    };
    let mut scratch = Scratch::default();
    let expected = [
        ("hits", examples.hits, true),
        ("misses", examples.misses, false),
    ];
    for (list, events, must_match) in expected {
        for (number, json) in (1..).zip(events) {
            let event = match picket_event::json::from_value(&json) {
                Ok(line) => line.event,
                Err(error) => return Some(format!("example {number} of {list}: {error}")),
            };
            if matches(rules, &event, &mut scratch) != must_match {
                let found = if must_match {
                    "does not match"
                } else {
                    "matches"
                };
                return Some(format!("example {number} of {list} {found}"));
            }
        }
    }
    None
}

fn matches(rules: &RuleSet, event: &Event, scratch: &mut Scratch) -> bool {
    let mut hits = Vec::new();
    rules.evaluate(event, scratch, &mut hits);
    !hits.is_empty()
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Scalar(scalar) => word(scalar),
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| (key.text.clone(), json(value)));
            Json::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

/// An unquoted word means in JSON what it means in YAML.
fn word(scalar: &Scalar) -> Json {
    let text = scalar.text.as_str();
    if scalar.quoted {
        return Json::from(text);
    }
    if scalar.is_null() {
        return Json::Null;
    }
    let truth = scalar.truth().map(Json::from);
    truth
        .or_else(|| text.parse::<i64>().ok().map(Json::from))
        .unwrap_or_else(|| Json::from(text))
}
