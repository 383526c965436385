//! Another evaluator, sigma-rust, over the shared rules: events are made from each rule's own literals (as they are, in the
//! other case, and missing by a little), and both must say the same of every one.
//!
//! The two differ by design in types: to sigma-rust `80` is not `'80'`. The events have the type that the rule writes.

#[path = "support/shared.rs"]
mod shared;

use std::collections::BTreeMap;

use picket_event::Kind;
use picket_rules::{FieldId, Record, RuleSet, Scratch, Source, Values};
use serde_json::{Map, Value};
use serde_norway::Value as Yaml;
use sigma_rust::Event;

/// Events made from each rule; set `PICKET_ORACLE` for more.
const EVENTS: usize = 60;

#[test]
fn sigma_rust_says_the_same_of_events_made_from_the_rules_own_words() {
    let Some(data) = shared::data() else { return };
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut compared = Compared::default();
    let live = ["rules", "rules-emerging-threats", "rules-threat-hunting"];
    for set in live {
        for source in shared::sources(&data.join("sigma-linux").join(set)) {
            if let Some(rule) = Both::new(source) {
                rule.compare(&mut random, &mut compared);
            }
        }
    }
    let Compared {
        rules,
        events,
        hits,
        wrong,
    } = compared;
    eprintln!(
        "{rules} rules, {events} events, {hits} hits, {} differences",
        wrong.len()
    );
    assert_eq!(wrong, Vec::<String>::new());
    assert!(
        rules >= 150 && hits * 10 > events,
        "{rules} rules, {hits} of {events} hit"
    );
}

#[derive(Default)]
struct Compared {
    rules: usize,
    events: usize,
    hits: usize,
    wrong: Vec<String>,
}

/// One rule in both evaluators.
struct Both {
    name: String,
    ours: RuleSet,
    theirs: sigma_rust::Rule,
    kind: Kind,
    searches: Vec<Yaml>,
}

impl Both {
    /// Rules in Sigma's categories. Those for auditd see records and those without a category lines, of which sigma-rust knows
    /// nothing: `sigma.rs` and `text.rs` judge them.
    fn new(source: Source) -> Option<Self> {
        let document: Yaml = serde_norway::from_str(&source.text).expect("a rule is YAML");
        let kind = match document.get("logsource")?.get("category")?.as_str()? {
            "process_creation" => Kind::Exec,
            "file_event" => Kind::FileCreate,
            "network_connection" => Kind::NetConnect,
            other => unreachable!("category {other}"),
        };
        let theirs = sigma_rust::rule_from_yaml(&source.text).expect("sigma-rust takes the rule");
        let detection = document.get("detection")?.as_mapping()?.iter();
        let searches = detection.filter(|(name, _)| name.as_str() != Some("condition"));
        let searches = searches.map(|(_, search)| search.clone()).collect();
        let name = source.name.clone();
        let loaded = RuleSet::compile(&[source]);
        assert_eq!(loaded.refused, []);
        Some(Self {
            name,
            ours: loaded.rules,
            theirs,
            kind,
            searches,
        })
    }

    fn compare(&self, random: &mut Random, compared: &mut Compared) {
        compared.rules += 1;
        let (mut scratch, mut hits) = (Scratch::default(), Vec::new());
        for _ in 0..events() {
            let event = self.event(random);
            for event in [flipped(&event), missed(&event, random), event] {
                let theirs = Event::try_from(Value::Object(event.clone())).expect("an event");
                let theirs = self.theirs.is_match(&theirs);
                let record = Made {
                    kind: self.kind,
                    fields: self.ours.fields(),
                    event: &event,
                };
                self.ours.evaluate_record(&record, &mut scratch, &mut hits);
                compared.events += 1;
                compared.hits += usize::from(theirs);
                if theirs == hits.is_empty() && compared.wrong.len() < 20 {
                    let event = Value::Object(event);
                    compared.wrong.push(format!(
                        "{}: sigma-rust says {theirs} of {event}",
                        self.name
                    ));
                }
            }
        }
    }

    /// An event in which some of the searches are met.
    fn event(&self, random: &mut Random) -> Map<String, Value> {
        let mut texts: BTreeMap<String, Value> = BTreeMap::new();
        for search in &self.searches {
            if random.below(4) == 0 {
                continue;
            }
            let map = match search.as_sequence() {
                Some(maps) => &maps[random.below(maps.len())],
                None => search,
            };
            for (key, values) in map.as_mapping().into_iter().flatten() {
                let key = key.as_str().expect("keys are texts");
                meet(key, values, &mut texts, random);
            }
        }
        texts.into_iter().collect()
    }
}

fn events() -> usize {
    let wanted = std::env::var("PICKET_ORACLE").ok();
    wanted.and_then(|n| n.parse().ok()).unwrap_or(EVENTS)
}

/// Adds to the field of `key` what meets its values; a regular expression is left to what others put there.
fn meet(key: &str, values: &Yaml, texts: &mut BTreeMap<String, Value>, random: &mut Random) {
    let mut modifiers = key.split('|');
    let field = modifiers.next().unwrap_or_default();
    let modifiers: Vec<&str> = modifiers.collect();
    let values: Vec<&Yaml> = match values.as_sequence() {
        Some(list) => list.iter().collect(),
        None => vec![values],
    };
    let chosen = if modifiers.contains(&"all") {
        values
    } else {
        vec![values[random.below(values.len())]]
    };
    for value in chosen {
        let made = match value {
            Yaml::Number(number) => Value::from(number.as_i64()),
            Yaml::Bool(truth) => Value::from(*truth),
            Yaml::String(text) => match made(text, &modifiers, random) {
                Some(text) => Value::from(text),
                None => continue,
            },
            other => unreachable!("value {other:?}"),
        };
        let joined = match (texts.get(field), &made) {
            (Some(Value::String(before)), Value::String(after)) if random.below(4) > 0 => {
                let ends = modifiers.contains(&"startswith");
                let (first, second) = if ends {
                    (after, before)
                } else {
                    (before, after)
                };
                Value::from(format!("{first} {second}"))
            }
            _ => made,
        };
        texts.insert(field.to_owned(), joined);
    }
}

/// A text that a value with these modifiers accepts.
fn made(value: &str, modifiers: &[&str], random: &mut Random) -> Option<String> {
    if modifiers.contains(&"re") {
        return None;
    }
    if modifiers.contains(&"cidr") {
        return value.split('/').next().map(str::to_owned);
    }
    let plain = value.replace('*', ["", "w", "/w w"][random.below(3)]);
    let around = ["", "x", " -y ", "/usr"];
    let around = |random: &mut Random| around[random.below(around.len())];
    let (before, after) = (around(random), around(random));
    Some(if modifiers.contains(&"contains") {
        format!("{before}{plain}{after}")
    } else if modifiers.contains(&"startswith") {
        format!("{plain}{after}")
    } else if modifiers.contains(&"endswith") {
        format!("{before}{plain}")
    } else {
        plain
    })
}

/// Every letter in its other case.
fn flipped(event: &Map<String, Value>) -> Map<String, Value> {
    let flip = |c: char| {
        if c.is_ascii_lowercase() {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        }
    };
    changed(event, |text| text.chars().map(flip).collect())
}

/// One character of each text is gone or another.
fn missed(event: &Map<String, Value>, random: &mut Random) -> Map<String, Value> {
    changed(event, |text| {
        let at = random.below(text.chars().count());
        let other = random.below(2) == 0;
        let chars = text.chars().enumerate();
        let kept = chars.filter(|(place, _)| *place != at || other);
        kept.map(|(place, c)| if place == at { '~' } else { c })
            .collect()
    })
}

fn changed(
    event: &Map<String, Value>,
    mut change: impl FnMut(&str) -> String,
) -> Map<String, Value> {
    let pairs = event.iter().map(|(field, value)| {
        let value = match value {
            Value::String(text) => Value::from(change(text)),
            other => other.clone(),
        };
        (field.clone(), value)
    });
    pairs.collect()
}

/// An event in the words of Sigma.
struct Made<'a> {
    kind: Kind,
    fields: &'a [String],
    event: &'a Map<String, Value>,
}

impl Record for Made<'_> {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn visit(&self, field: FieldId, values: &mut Values<'_>) {
        match self.event.get(&self.fields[field.index()]) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => values.bytes(text.as_bytes()),
            Some(other) => values.text(other),
        }
    }
}

/// xorshift64*: the same events in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or(0) % bound.max(1)
    }
}
