//! Reads correlation documents.

use std::collections::HashMap;

use super::{Correlation, CorrelationKind};
use crate::record::Fields;
use crate::refusal::{Fault, Reason};
use crate::rule;
use crate::view::event::Field;
use crate::yaml::Node;

/// A group would hold as many times or values: more is refused.
const MOST_WANTED: usize = 10_000;
/// More rules than this cannot be waited for at once.
const MOST_RULES: usize = 64;

/// The places of these rules; one that is not there is a fault.
pub(super) fn places(
    node: &Node,
    rules: &[String],
    names: &HashMap<String, usize>,
) -> Result<Vec<usize>, Fault> {
    let place = |rule: &String| {
        names.get(rule).copied().ok_or_else(|| {
            let value = rule.clone();
            wrong(
                node,
                "correlation.rules",
                &value,
                "no rule has this id or name",
            )
        })
    };
    rules.iter().map(place).collect()
}

/// The correlation in `node` of `document`.
pub(super) fn parse(
    document: &Node,
    node: &Node,
    file: &str,
    fields: &mut Fields,
) -> Result<Correlation, Fault> {
    if node.map().is_none() {
        return Err(shape(node, "correlation", "a map"));
    }
    for (key, value) in node.map().unwrap_or_default() {
        let known = ["type", "rules", "group-by", "timespan", "condition"];
        if !known.contains(&key.text.as_str()) {
            return Err(wrong(value, "correlation", &key.text, "not supported"));
        }
    }
    let rules = texts(node, "rules")?;
    if rules.is_empty() || rules.len() > MOST_RULES {
        return Err(shape(node, "correlation.rules", "a list of 1 to 64 rules"));
    }
    let mut group_by = Vec::new();
    for name in texts(node, "group-by").or_else(|fault| absent(node, "group-by", fault))? {
        group_by.push(field(node, &name, fields)?);
    }
    Ok(Correlation {
        info: rule::info(document, file)?,
        kind: kind(node, fields)?,
        rules,
        group_by,
        span: span(node)?,
    })
}

fn absent(node: &Node, key: &str, fault: Fault) -> Result<Vec<String>, Fault> {
    match node.get(key) {
        None => Ok(Vec::new()),
        Some(_) => Err(fault),
    }
}

fn kind(node: &Node, fields: &mut Fields) -> Result<CorrelationKind, Fault> {
    let name = node.get("type").and_then(Node::text).unwrap_or_default();
    let counts = matches!(name, "event_count" | "value_count");
    if !counts && node.get("condition").is_some() {
        return Err(wrong(
            node,
            "correlation.condition",
            name,
            "only counts have one",
        ));
    }
    match name {
        "event_count" => Ok(CorrelationKind::Events(wanted(node)?)),
        "value_count" => {
            let condition = node.get("condition");
            let name = condition
                .and_then(|it| it.get("field"))
                .and_then(Node::text);
            let name = name.ok_or_else(|| shape(node, "correlation.condition.field", "a field"))?;
            let name = name.to_owned();
            Ok(CorrelationKind::Values(
                field(node, &name, fields)?,
                wanted(node)?,
            ))
        }
        "temporal" => Ok(CorrelationKind::Together),
        "temporal_ordered" => Ok(CorrelationKind::InOrder),
        other => Err(wrong(
            node,
            "correlation.type",
            other,
            "not a type that is known",
        )),
    }
}

/// How many there must be: `gte: n`, or `gt: n`, which is one more. Fewer than so many would only be
/// known when the time is over, and is refused.
fn wanted(node: &Node) -> Result<usize, Fault> {
    let condition = node.get("condition");
    let pairs = condition.and_then(Node::map).unwrap_or_default();
    let mut wanted = None;
    for (key, value) in pairs {
        let more = match key.text.as_str() {
            "field" => continue,
            "gte" => 0,
            "gt" => 1,
            other => {
                return Err(wrong(
                    value,
                    "correlation.condition",
                    other,
                    "not `gt` or `gte`",
                ));
            }
        };
        let text = value.text().unwrap_or_default();
        let number = text
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_add(more));
        let number = number.filter(|number| (1..=MOST_WANTED).contains(number));
        let fault = || {
            wrong(
                value,
                "correlation.condition",
                text,
                "not a number from 1 to 10,000",
            )
        };
        wanted = Some(number.ok_or_else(fault)?);
    }
    wanted.ok_or_else(|| shape(node, "correlation.condition", "a map with `gte` or `gt`"))
}

/// `30s`, `5m`, `2h`, `1d`, in nanoseconds.
fn span(node: &Node) -> Result<i64, Fault> {
    let text = node
        .get("timespan")
        .and_then(Node::text)
        .unwrap_or_default();
    crate::span::nanoseconds(text)
        .ok_or_else(|| wrong(node, "correlation.timespan", text, "not a time as `5m`"))
}

fn field(node: &Node, name: &str, fields: &mut Fields) -> Result<crate::FieldId, Fault> {
    if Field::of_name(name).is_none() {
        return Err(node.fault(Reason::Field {
            field: name.to_owned(),
        }));
    }
    fields
        .intern(name)
        .ok_or_else(|| wrong(node, "correlation", name, "too many fields"))
}

/// A list of texts, or one.
fn texts(node: &Node, key: &str) -> Result<Vec<String>, Fault> {
    let fault = || shape(node, key, "a text or a list of texts");
    let value = node.get(key).ok_or_else(fault)?;
    if let Some(text) = value.text() {
        return Ok(vec![text.to_owned()]);
    }
    let items = value.list().ok_or_else(fault)?.iter();
    items
        .map(|item| item.text().map(str::to_owned).ok_or_else(fault))
        .collect()
}

fn shape(node: &Node, key: &str, wanted: &'static str) -> Fault {
    node.fault(Reason::Shape {
        key: key.to_owned(),
        wanted,
    })
}

fn wrong(node: &Node, key: &str, value: &str, detail: &'static str) -> Fault {
    node.fault(Reason::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        detail,
    })
}
