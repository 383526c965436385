//! The constructs of Sigma's specification, each with events that it must and must not find.

use serde_json::{Map, Value};
use serde_norway::Value as Yaml;

/// A rule and what it must say.
pub(crate) struct Construct {
    pub(crate) what: String,
    /// The rule; its log source is that of processes.
    pub(crate) text: String,
    /// Events, and whether it finds them.
    pub(crate) events: Vec<(Map<String, Value>, bool)>,
    /// Why the other evaluator says otherwise of some of them, or does not take the rule.
    pub(crate) pysigma: Option<String>,
}

/// All of them.
pub(crate) fn constructs() -> Vec<Construct> {
    let text = include_str!("../data/constructs.yml");
    let all: Vec<Yaml> = serde_norway::from_str(text).expect("the constructs are YAML");
    all.iter().map(Construct::of).collect()
}

impl Construct {
    fn of(case: &Yaml) -> Self {
        let what = case.get("what").and_then(Yaml::as_str).expect("a name");
        let detection = case.get("detection").expect("a detection");
        let detection = serde_json::to_value(detection).expect("it is JSON too");
        let events = |key: &str, found: bool| {
            let events = case
                .get(key)
                .map(|events| serde_json::to_value(events).expect("JSON"));
            let events: Vec<Map<String, Value>> = events.map_or_else(Vec::new, |events| {
                serde_json::from_value(events).expect("events")
            });
            events.into_iter().map(move |event| (event, found))
        };
        Self {
            what: what.to_owned(),
            text: format!(
                "title: x\nlogsource: {{product: linux, category: process_creation}}\ndetection: {detection}\n"
            ),
            events: events("hits", true)
                .chain(events("misses", false))
                .collect(),
            pysigma: case
                .get("pysigma")
                .and_then(Yaml::as_str)
                .map(str::to_owned),
        }
    }
}
