//! Filter documents of Sigma: conditions that narrow rules of the same log source.
//!
//! A filter that cannot be used is refused and changes no rule; the rules are then told more often, never less.

use std::collections::HashMap;

use crate::logsource::{self, Scope};
use crate::program::Program;
use crate::record::Fields;
use crate::refusal::{Fault, Reason};
use crate::rule::draft::Draft;
use crate::rule::{self, Rule};
use crate::yaml::Node;

/// A filter, ready to be put on rules.
#[derive(Debug)]
pub(crate) struct Filter {
    scope: Scope,
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
    let scope = logsource::parse(rule::required(document, "logsource")?)?;
    let mut draft = Draft::new(node, &["condition", "rules"], fields)?;
    let program = rule::whole(node, &mut draft)?;
    rule::never(&program, scope.view, fields).map_err(|reason| node.fault(reason))?;
    Ok(Filter {
        scope,
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
    if rules.text() == Some("any") {
        return Ok(Rules::Any);
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
                .filter(|place| rules.get(*place).and_then(Rule::scope) == Some(self.scope))
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
            match rules.get(place).and_then(Rule::scope) {
                Some(scope) if scope != self.scope => {
                    let rule = name.clone();
                    Err(Reason::FilterElsewhere { rule }.at(self.line))
                }
                Some(_) | None => Ok(place),
            }
        };
        called.iter().map(place).collect()
    }
}
