//! Events made from a rule's own literals: as they are, in the other case, and missing by a little. The same in every run.

use std::collections::BTreeMap;

use picket_event::Kind;
use picket_rules::{FieldId, Record, Values};
use serde_json::{Map, Value};
use serde_norway::Value as Yaml;

/// Events made from each rule; set `PICKET_ORACLE` for more.
const EVENTS: usize = 60;

/// How many events are made from each rule; of each there are three forms.
pub(crate) fn events() -> usize {
    let wanted = std::env::var("PICKET_ORACLE").ok();
    wanted.and_then(|n| n.parse().ok()).unwrap_or(EVENTS)
}

/// The searches of a rule.
pub(crate) fn searches(document: &Yaml) -> Vec<Yaml> {
    let detection = document.get("detection").and_then(Yaml::as_mapping);
    let detection = detection.into_iter().flatten();
    let searches = detection.filter(|(name, _)| name.as_str() != Some("condition"));
    searches.map(|(_, search)| search.clone()).collect()
}

/// An event in which some of the searches are met, after the same in the other case and the same missing by a character. Words
/// without a field are in the field without a name.
pub(crate) fn three(searches: &[Yaml], random: &mut Random) -> [Map<String, Value>; 3] {
    let event = event(searches, random);
    [flipped(&event), missed(&event, random), event]
}

fn event(searches: &[Yaml], random: &mut Random) -> Map<String, Value> {
    let mut texts: BTreeMap<String, Value> = BTreeMap::new();
    for search in searches {
        if random.below(4) == 0 {
            continue;
        }
        let map = match search.as_sequence() {
            Some(maps) => &maps[random.below(maps.len())],
            None => search,
        };
        if map.as_mapping().is_none() {
            meet("|contains", map, &mut texts, random);
        }
        for (key, values) in map.as_mapping().into_iter().flatten() {
            let key = key.as_str().expect("keys are texts");
            meet(key, values, &mut texts, random);
        }
    }
    texts.into_iter().collect()
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
pub(crate) struct Made<'a> {
    pub(crate) kind: Kind,
    pub(crate) fields: &'a [String],
    pub(crate) event: &'a Map<String, Value>,
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
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or(0) % bound.max(1)
    }
}
