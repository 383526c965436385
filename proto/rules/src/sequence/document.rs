//! Reads `x-sequence`.

use super::{By, Sequence};
use crate::logsource::{self, Scope, View};
use crate::program::Program;
use crate::refusal::{Fault, Reason};
use crate::rule::Ask;
use crate::rule::draft::Draft;
use crate::span;
use crate::view::event::Field;
use crate::yaml::Node;

/// Most steps; each open sequence may remember as many events.
pub(super) const MOST_STEPS: usize = 8;

/// One step as it stands in the document.
struct Step {
    ask: Ask,
    same: Option<String>,
}

/// The sequence in `node`, and what it asks: its steps in order, then `until`. `whole` is the rule's condition, which
/// must hold for the last step too.
pub(crate) fn parse(
    node: &Node,
    draft: &mut Draft,
    whole: Ask,
) -> Result<(Sequence, Vec<Ask>), Fault> {
    let known = ["steps", "by", "maxspan", "until"];
    known_keys(node, &known)?;
    let steps = node.get("steps").and_then(Node::list).unwrap_or_default();
    if !(2..=MOST_STEPS).contains(&steps.len()) {
        return Err(shape(node, "a map with `steps`, a list of 2 to 8 steps"));
    }
    let (mut asks, mut same) = (Vec::new(), Vec::new());
    for step in steps {
        let step = self::step(step, draft, whole.scope)?;
        asks.push(step.ask);
        same.push(step.same);
    }
    if let Some(last) = asks.last_mut() {
        last.program = Program::All(vec![last.program.clone(), whole.program]);
    }
    let until = node.get("until");
    if let Some(until) = until {
        asks.push(step(until, draft, whole.scope)?.ask);
    }
    let by = by(node)?;
    refuse_lines(node, by, &asks)?;
    let sequence = Sequence {
        by,
        same: all_or_none(node, same)?,
        steps: steps.len(),
        span: maxspan(node)?,
        until: until.is_some(),
    };
    Ok((sequence, asks))
}

/// A condition over searches, or a map with `search`, its log source if it is another one, and `same`.
fn step(node: &Node, draft: &mut Draft, own: Scope) -> Result<Step, Fault> {
    if let Some(text) = node.text() {
        let program = draft.program(node.line, text)?;
        let ask = Ask {
            scope: own,
            program,
        };
        return Ok(Step { ask, same: None });
    }
    known_keys(node, &["search", "category", "service", "same"])?;
    let search = node.get("search");
    let text = search.and_then(Node::text);
    let text =
        text.ok_or_else(|| shape(node, "a step with `search`, a condition over searches"))?;
    let elsewhere = node.get("category").or_else(|| node.get("service"));
    let scope = match elsewhere {
        Some(_) => logsource::parse(node)?,
        None => own,
    };
    let program = draft.program(node.line, text)?;
    Ok(Step {
        ask: Ask { scope, program },
        same: node.get("same").map(same).transpose()?,
    })
}

fn same(node: &Node) -> Result<String, Fault> {
    let name = node.text().unwrap_or_default();
    match Field::of_name(name) {
        Some(_) => Ok(name.to_owned()),
        None => Err(node.fault(Reason::Field {
            field: name.to_owned(),
        })),
    }
}

/// A value that only some steps have in common would be a value of nobody.
fn all_or_none(node: &Node, same: Vec<Option<String>>) -> Result<Vec<String>, Fault> {
    let steps = same.len();
    let same: Vec<String> = same.into_iter().flatten().collect();
    if same.is_empty() || same.len() == steps {
        return Ok(same);
    }
    Err(shape(node, "with `same` at every step, or at none"))
}

fn by(node: &Node) -> Result<By, Fault> {
    let names = [
        ("process", By::Process),
        ("process_tree", By::ProcessTree),
        ("parent_tree", By::ParentTree),
        ("session", By::Session),
        ("user", By::User),
        ("host", By::Host),
    ];
    let name = node.get("by").and_then(Node::text).unwrap_or_default();
    let by = names.iter().find(|(known, _)| *known == name);
    by.map(|(_, by)| *by).ok_or_else(|| {
        let detail = "not process, process_tree, parent_tree, session, user or host";
        value(node, "x-sequence.by", name, detail)
    })
}

fn maxspan(node: &Node) -> Result<i64, Fault> {
    let text = node.get("maxspan").and_then(Node::text).unwrap_or_default();
    span::nanoseconds(text)
        .ok_or_else(|| value(node, "x-sequence.maxspan", text, "not a time as `5m`"))
}

/// Lines of logs name no process, session or user that could be told.
fn refuse_lines(node: &Node, by: By, asks: &[Ask]) -> Result<(), Fault> {
    let lines = asks.iter().any(|ask| ask.scope.view == View::Text);
    if lines && by != By::Host {
        return Err(shape(node, "for lines of logs, unless by `host`"));
    }
    Ok(())
}

fn known_keys(node: &Node, known: &[&str]) -> Result<(), Fault> {
    for (key, at) in node.map().unwrap_or_default() {
        if !known.contains(&key.text.as_str()) {
            return Err(value(
                at,
                "x-sequence",
                &key.text,
                "not a key that is known",
            ));
        }
    }
    Ok(())
}

fn shape(node: &Node, wanted: &'static str) -> Fault {
    node.fault(Reason::Shape {
        key: "x-sequence".into(),
        wanted,
    })
}

fn value(node: &Node, key: &str, value: &str, detail: &'static str) -> Fault {
    node.fault(Reason::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        detail,
    })
}
