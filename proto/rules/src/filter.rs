//! Filter documents of Sigma: conditions that narrow rules of the same log source.
//!
//! A filter that cannot be used is refused and changes no rule; the rules are then told more often, never less.

use std::collections::HashMap;

use crate::logsource::{self, Scope, View};
use crate::program::Program;
use crate::record::Fields;
use crate::refusal::{Fault, Reason};
use crate::rule::draft::Draft;
use crate::rule::{self, Rule};
use crate::yaml::Node;

/// A filter, ready to be put on rules.
#[derive(Debug)]
pub(crate) struct Filter {
    /// Of all rules, if the log source names neither category nor service.
    scope: Option<Scope>,
    program: Program,
    rules: Rules,
    line: u64,
}

#[derive(Debug)]
enum Rules {
    /// All of its log source.
    Any,
    /// By their ids or names.
    These(Vec<String>),
}

/// Reads a document that has `filter`.
pub(crate) fn parse(document: &Node, file: &str, fields: &mut Fields) -> Result<Filter, Fault> {
    rule::info(document, file)?;
    let node = rule::required(document, "filter")?;
    let source = rule::required(document, "logsource")?;
    let scope = logsource::parse(source)?;
    let general = ["category", "service"]
        .iter()
        .all(|key| source.get(key).is_none());
    let mut draft = Draft::new(node, &["condition", "rules"], fields)?;
    let program = rule::whole(node, &mut draft)?;
    let view = if general { View::Sigma } else { scope.view };
    rule::never(&program, view, fields).map_err(|reason| node.fault(reason))?;
    Ok(Filter {
        scope: (!general).then_some(scope),
        program,
        rules: rules(node)?,
        line: node.line,
    })
}

fn rules(node: &Node) -> Result<Rules, Fault> {
    let fault = || {
        node.fault(Reason::Shape {
            key: "filter.rules".into(),
            wanted: "`any`, or a list of ids or names of rules",
        })
    };
    let rules = node.get("rules").ok_or_else(fault)?;
    match rules.text() {
        Some("any") => return Ok(Rules::Any),
        Some(one) => return Ok(Rules::These(vec![one.to_owned()])),
        None => {}
    }
    let named = rules.list().filter(|list| !list.is_empty());
    let texts = named.ok_or_else(fault)?.iter().map(Node::text);
    let texts: Option<Vec<&str>> = texts.collect();
    let texts = texts.ok_or_else(fault)?.into_iter().map(str::to_owned);
    Ok(Rules::These(texts.collect()))
}

impl Filter {
    /// Narrows its rules; `names` are the places that rules are called by. A rule that is elsewhere is left there.
    pub(crate) fn narrow(
        &self,
        rules: &mut [Rule],
        names: &HashMap<String, usize>,
    ) -> Result<(), Fault> {
        let places = match &self.rules {
            Rules::Any => (0..rules.len())
                .filter(|place| self.is_for(rules.get(*place)))
                .collect(),
            Rules::These(called) => self.places(called, rules, names)?,
        };
        for place in places {
            if let Some(rule) = rules.get_mut(place) {
                rule.narrow(&self.program);
            }
        }
        Ok(())
    }

    fn is_for(&self, rule: Option<&Rule>) -> bool {
        let scope = rule.and_then(Rule::scope);
        scope.is_some() && (self.scope.is_none() || self.scope == scope)
    }

    /// All of them, before any is changed.
    fn places(
        &self,
        called: &[String],
        rules: &[Rule],
        names: &HashMap<String, usize>,
    ) -> Result<Vec<usize>, Fault> {
        let place = |name: &String| {
            let place = names.get(name).copied().ok_or_else(|| {
                let (key, value) = ("filter.rules".into(), name.clone());
                let detail = "no rule has this id or name";
                Reason::Value { key, value, detail }.at(self.line)
            })?;
            let rule = rules.get(place);
            if rule.is_some() && !self.is_for(rule) {
                let rule = name.clone();
                return Err(Reason::FilterElsewhere { rule }.at(self.line));
            }
            Ok(place)
        };
        called.iter().map(place).collect()
    }
}
