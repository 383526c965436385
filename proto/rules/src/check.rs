//! Whether a rule file is good: for authors, before it goes into a pack.
//!
//! A file may carry example events under `x-tests`, single ones or lists of some that happen one after another; a rule that
//! does not judge its own examples as it says is not good.

use std::collections::BTreeSet;

use picket_event::{UnixNanos, Verdict};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::refusal::{Fault, Reason};
use crate::rule::RuleInfo;
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
    let mut loaded = RuleSet::compile_beside(std::slice::from_ref(source), elsewhere);
    let wrong_examples = wrong_examples(source, &mut loaded);
    let Loaded {
        rules,
        correlations,
        refused,
        notes,
    } = loaded;
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

/// Example events of a rule file, as JSON of the contract. Each example is the events that happen one after another, of
/// which the last is judged; most are of one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// Those that a rule of the file must match.
    pub hits: Vec<Vec<Json>>,
    /// Those that no rule of the file may match.
    pub misses: Vec<Vec<Json>>,
}

/// The examples under `x-tests`, of all documents of `text`. Time, source and process ids may be
/// left out there.
pub fn examples(text: &str) -> Result<Examples, Reason> {
    let mut all = Examples::default();
    for document in yaml::parse(text).map_err(|fault| fault.reason)? {
        let Some(tests) = document.get("x-tests") else {
            continue;
        };
        let read = |key| listed(tests, key).map_err(|fault| fault.reason);
        all.hits.extend(read("hits")?);
        all.misses.extend(read("misses")?);
    }
    Ok(all)
}

fn listed(tests: &Node, key: &str) -> Result<Vec<Vec<Json>>, Fault> {
    let Some(node) = tests.get(key) else {
        return Ok(Vec::new());
    };
    let wrong = |node: &Node, wanted| {
        let key = format!("x-tests.{key}");
        node.fault(Reason::Shape { key, wanted })
    };
    let list = node.list().ok_or_else(|| wrong(node, "a list of events"))?;
    let example = |node: &Node| match node.list() {
        None => Ok(vec![whole(json(node), 0)]),
        Some([]) => Err(wrong(node, "a list of events, or of lists of events")),
        Some(events) => Ok((0..)
            .zip(events)
            .map(|(second, node)| whole(json(node), second))
            .collect()),
    };
    list.iter().map(example).collect()
}

/// An example says what matters to the rule; what every event has besides is filled in. Events that follow each other are
/// a second apart, and a process that is called by its number is the same in all of them.
fn whole(mut example: Json, second: i64) -> Json {
    let Some(event) = example.as_object_mut() else {
        return example;
    };
    let time = UnixNanos(BEGUN.saturating_add(second.saturating_mul(1_000_000_000)));
    default(event, "time", time.to_string().into());
    default(event, "source", "replay".into());
    let Some(process) = event.get_mut("process").and_then(Json::as_object_mut) else {
        return example;
    };
    named(process, 4242);
    let ancestry = process.get_mut("ancestry").and_then(Json::as_array_mut);
    for ancestor in ancestry
        .into_iter()
        .flatten()
        .filter_map(Json::as_object_mut)
    {
        named(ancestor, 1);
    }
    example
}

/// A process without a number has this one; one without a name is called by its number.
fn named(process: &mut Map<String, Json>, pid: u64) {
    default(process, "pid", pid.into());
    let pid = process.get("pid").and_then(Json::as_u64).unwrap_or(0);
    default(process, "uid", format!("{pid:032x}").into());
}

fn default(map: &mut Map<String, Json>, key: &str, value: Json) {
    map.entry(key).or_insert(value);
}

/// When examples happen that do not say: 2026-01-05T10:00:00Z.
const BEGUN: i64 = 1_767_607_200_000_000_000;

/// The first example that is judged otherwise than the file says.
fn wrong_examples(source: &Source, loaded: &mut Loaded) -> Option<String> {
    let examples = match examples(&source.text) {
        Ok(examples) => examples,
        Err(reason) => return Some(reason.to_string()),
    };
    let mut scratch = Scratch::default();
    let expected = [
        ("hits", examples.hits, true),
        ("misses", examples.misses, false),
    ];
    for (list, examples, must_match) in expected {
        for (number, events) in (1..).zip(examples) {
            let found = match loaded.verdicts_on(&events, &mut scratch) {
                Ok(verdicts) => !verdicts.is_empty(),
                Err(error) => return Some(format!("example {number} of {list}: {error}")),
            };
            if found != must_match {
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

impl Loaded {
    /// What is said of the last of these events, which happen one after another on a host of which nothing else is known and
    /// where rules about new values need not learn. What was remembered before is forgotten.
    pub fn verdicts_on(
        &mut self,
        events: &[Json],
        scratch: &mut Scratch,
    ) -> Result<Vec<Verdict>, picket_event::json::JsonError> {
        self.correlations.forget(true);
        let (mut hits, mut verdicts) = (Vec::new(), Vec::new());
        for json in events {
            let event = picket_event::json::from_value(json)?.event;
            self.rules.evaluate(&event, scratch, &mut hits);
            let rules = hits.iter().filter_map(|hit| self.rules.counted(hit.rule));
            verdicts = rules.map(RuleInfo::verdict).collect();
            verdicts.extend(self.correlations.step(&event, &hits));
        }
        Ok(verdicts)
    }
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
