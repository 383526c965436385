//! Reads correlation documents.

use std::collections::HashMap;

use super::condition::{Bound, MOST_WANTED, Operator, Wanted};
use super::{Correlation, CorrelationKind, Metric, Place};
use crate::program::number;
use crate::record::Fields;
use crate::refusal::{Fault, Reason};
use crate::rule::{self, RuleInfo};
use crate::view::event::Field;
use crate::yaml::{Node, Scalar};

/// More rules than this cannot be waited for at once.
const MOST_RULES: usize = 64;

/// What other tools call the host that an event is of. Here all are of the one host, so nothing is told apart by it.
const HOST: [&str; 8] = [
    "Computer",
    "ComputerName",
    "Hostname",
    "HostName",
    "hostname",
    "host",
    "host.name",
    "host_name",
];

/// What a document says, before it is known which rules and fields it means.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) file: &'a str,
    pub(super) document: &'a Node,
    node: &'a Node,
    info: RuleInfo,
    kind: CorrelationKind,
    wanted: Wanted,
    rules: Vec<String>,
    group_by: Vec<String>,
    values: Vec<String>,
    aliases: HashMap<String, Vec<(String, String)>>,
    span: i64,
    generate: bool,
}

/// The correlation in `document`.
pub(super) fn parse<'a>(document: &'a Node, file: &'a str) -> Result<Draft<'a>, Fault> {
    let node = document.get("correlation").unwrap_or(document);
    refuse_unknown_keys(node)?;
    let rules = texts(node, "rules")?;
    if rules.is_empty() || rules.len() > MOST_RULES {
        return Err(shape(node, "correlation.rules", "a list of 1 to 64 rules"));
    }
    let group_by = texts(node, "group-by").or_else(|fault| absent(node, "group-by", fault))?;
    let kind = kind(node)?;
    let wanted = wanted(node, kind, &rules)?;
    if let Some(detail) = wanted.never(kind, rules.len()) {
        let reason = Reason::Condition {
            detail: detail.into(),
        };
        return Err(node.get("condition").unwrap_or(node).fault(reason));
    }
    let mut info = rule::info(document, file)?;
    if let (None, Some(name)) = (
        rule::id(document),
        document.get("name").and_then(Node::text),
    ) {
        name.clone_into(&mut info.id);
    }
    Ok(Draft {
        file,
        document,
        node,
        info,
        kind,
        wanted,
        rules,
        group_by,
        values: values(node, kind)?,
        aliases: aliases(node)?,
        span: span(node)?,
        generate: generate(document)? || generate(node)?,
    })
}

fn refuse_unknown_keys(node: &Node) -> Result<(), Fault> {
    let known = [
        "type",
        "rules",
        "group-by",
        "timespan",
        "condition",
        "aliases",
        "generate",
    ];
    let pairs = node
        .map()
        .ok_or_else(|| shape(node, "correlation", "a map"))?;
    let unknown = pairs
        .iter()
        .find(|(key, _)| !known.contains(&key.text.as_str()));
    unknown.map_or(Ok(()), |(key, value)| {
        Err(wrong(value, "correlation", &key.text, "not supported"))
    })
}

fn absent(node: &Node, key: &str, fault: Fault) -> Result<Vec<String>, Fault> {
    match node.get(key) {
        None => Ok(Vec::new()),
        Some(_) => Err(fault),
    }
}

impl Draft<'_> {
    /// Whether all that it waits for has a number.
    pub(super) fn is_ready(&self, names: &HashMap<String, usize>) -> bool {
        self.rules.iter().all(|rule| names.contains_key(rule))
    }

    /// What others call it.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let keys = ["id", "name"].into_iter();
        keys.filter_map(|key| self.document.get(key)?.text().map(str::to_owned))
    }

    pub(super) fn waits_for(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(String::as_str)
    }

    /// Whether what it counts is told by itself too.
    pub(super) const fn generates(&self) -> bool {
        self.generate
    }

    /// Why it never got ready.
    pub(super) fn missing(&self, names: &HashMap<String, usize>) -> Fault {
        let missing = self.rules.iter().find(|rule| !names.contains_key(*rule));
        let name = missing.map(String::as_str).unwrap_or_default();
        let detail = "no rule has this id or name, or they wait for each other";
        wrong(self.node, "correlation.rules", name, detail)
    }

    /// The numbers of its rules, and the correlation over them.
    pub(super) fn bound(
        &self,
        names: &HashMap<String, usize>,
        fields: &mut Fields,
    ) -> Result<(Vec<usize>, Correlation), Fault> {
        let number = |rule: &String| names.get(rule).copied();
        let numbers: Option<Vec<usize>> = self.rules.iter().map(number).collect();
        let numbers = numbers.ok_or_else(|| self.missing(names))?;
        let mut places = Vec::new();
        for rule in &self.rules {
            let mut ids = |called: &[String]| {
                let told_apart = called.iter().filter(|name| !HOST.contains(&name.as_str()));
                let names = told_apart.map(|name| self.named(name, rule, names));
                names
                    .map(|name| field(self.node, name, fields))
                    .collect::<Result<Vec<_>, Fault>>()
            };
            places.push(Place {
                group_by: ids(&self.group_by)?,
                values: ids(&self.values)?,
            });
        }
        let correlation = Correlation {
            info: self.info.clone(),
            kind: self.kind,
            wanted: self.wanted.clone(),
            places,
            span: self.span,
        };
        Ok((numbers, correlation))
    }

    /// The field that `name` stands for in the events of a rule.
    fn named<'a>(&'a self, name: &'a str, rule: &str, names: &HashMap<String, usize>) -> &'a str {
        let meant = names.get(rule);
        let of_rule = |(other, _): &&(String, String)| other == rule || names.get(other) == meant;
        let mapped = self
            .aliases
            .get(name)
            .and_then(|map| map.iter().find(of_rule));
        mapped.map_or(name, |(_, field)| field.as_str())
    }
}

fn kind(node: &Node) -> Result<CorrelationKind, Fault> {
    let name = node.get("type").and_then(Node::text).unwrap_or_default();
    Ok(match name {
        "event_count" => CorrelationKind::Events,
        "value_count" => CorrelationKind::Values,
        "value_sum" => CorrelationKind::Metric(Metric::Sum),
        "value_avg" => CorrelationKind::Metric(Metric::Average),
        "value_median" => CorrelationKind::Metric(Metric::Percentile(50)),
        "value_percentile" => CorrelationKind::Metric(Metric::Percentile(percentile(node)?)),
        "temporal" => CorrelationKind::Together,
        "temporal_ordered" => CorrelationKind::InOrder,
        other => {
            let detail = "not a type that is known";
            return Err(wrong(node, "correlation.type", other, detail));
        }
    })
}

fn percentile(node: &Node) -> Result<u8, Fault> {
    let text = node.get("condition").and_then(|it| it.get("percentile"));
    let text = text.and_then(Node::text).unwrap_or_default();
    let number = text.parse().ok().filter(|number| *number <= 100);
    let key = "correlation.condition.percentile";
    number.ok_or_else(|| wrong(node, key, text, "not a whole number from 0 to 100"))
}

/// The fields whose values are counted.
fn values(node: &Node, kind: CorrelationKind) -> Result<Vec<String>, Fault> {
    let condition = node.get("condition");
    let field = condition.filter(|condition| condition.get("field").is_some());
    let values = match (kind, field) {
        (CorrelationKind::Values | CorrelationKind::Metric(_), Some(condition)) => {
            texts(condition, "field")?
        }
        (CorrelationKind::Values | CorrelationKind::Metric(_), None) => Vec::new(),
        _ => return Ok(Vec::new()),
    };
    let most = if kind == CorrelationKind::Values {
        8
    } else {
        1
    };
    if values.is_empty() || values.len() > most {
        return Err(shape(node, "correlation.condition.field", "a field"));
    }
    Ok(values)
}

/// What the condition waits for. Rules together need none: all of them.
fn wanted(node: &Node, kind: CorrelationKind, rules: &[String]) -> Result<Wanted, Fault> {
    let of_rules = matches!(kind, CorrelationKind::Together | CorrelationKind::InOrder);
    let missing = || {
        shape(
            node,
            "correlation.condition",
            "a map with `gte`, `gt`, `lte`, `lt`, `eq` or `neq`",
        )
    };
    let Some(condition) = node.get("condition") else {
        return of_rules
            .then(|| Wanted::all(rules.len()))
            .ok_or_else(missing);
    };
    if let (Some(text), true) = (condition.text(), of_rules) {
        return Wanted::of_rules(text, rules).map_err(|reason| condition.fault(reason));
    }
    let mut bounds = Vec::new();
    for (key, value) in condition.map().ok_or_else(missing)? {
        let (key, is_number) = (key.text.as_str(), !of_rules);
        match (key, Operator::named(key)) {
            ("field" | "percentile", _) if is_number => {}
            (_, Some(operator)) => bounds.push(bound(operator, value, kind)?),
            _ => return Err(wrong(value, "correlation.condition", key, "not known")),
        }
    }
    if bounds.is_empty() {
        return Err(missing());
    }
    Ok(Wanted::Number(bounds))
}

fn bound(operator: Operator, value: &Node, kind: CorrelationKind) -> Result<Bound, Fault> {
    let text = value.text().unwrap_or_default();
    let key = "correlation.condition";
    let limit = number(text.as_bytes()).ok_or_else(|| wrong(value, key, text, "not a number"))?;
    let of_events = !matches!(kind, CorrelationKind::Metric(_));
    let least = match operator {
        Operator::GreaterOrEqual | Operator::Equal => 1.0,
        _ => 0.0,
    };
    if of_events && !(least..=f64::from(MOST_WANTED)).contains(&limit) {
        return Err(wrong(value, key, text, "not a number from 1 to 10,000"));
    }
    Ok(Bound { operator, limit })
}

/// For each alias, the field that it stands for in the events of each rule.
fn aliases(node: &Node) -> Result<HashMap<String, Vec<(String, String)>>, Fault> {
    let mut aliases = HashMap::new();
    let Some(all) = node.get("aliases") else {
        return Ok(aliases);
    };
    let fault = |node: &Node| {
        shape(
            node,
            "correlation.aliases",
            "a map of aliases to maps of rules to fields",
        )
    };
    for (alias, fields) in all.map().ok_or_else(|| fault(all))? {
        let mut of_rules = Vec::new();
        for (rule, field) in fields.map().ok_or_else(|| fault(fields))? {
            let field = field.text().ok_or_else(|| fault(field))?;
            of_rules.push((rule.text.clone(), field.to_owned()));
        }
        aliases.insert(alias.text.clone(), of_rules);
    }
    Ok(aliases)
}

fn generate(node: &Node) -> Result<bool, Fault> {
    let Some(value) = node.get("generate") else {
        return Ok(false);
    };
    let truth = value.scalar().and_then(Scalar::truth);
    truth.ok_or_else(|| shape(value, "generate", "true or false"))
}

/// `30s`, `5m`, `2h`, `1d`, in nanoseconds.
fn span(node: &Node) -> Result<i64, Fault> {
    let text = node.get("timespan").and_then(Node::text);
    let text = text.unwrap_or_default();
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
