//! `x-ancestor`: a question about the parents of a process.
//!
//! `any` wants one of the parents to match, `none` wants none of them to.

use crate::logsource::{Scope, View};
use crate::program::Program;
use crate::record::Fields;
use crate::refusal::{Fault, Reason};
use crate::search::Compiler;
use crate::view::event;
use crate::yaml::{Node, Value};

/// What `x-ancestor` asks.
pub(super) fn ancestor(node: &Node, scope: Scope, fields: &mut Fields) -> Result<Program, Fault> {
    let wrong = |node: &Node, wanted| {
        node.fault(Reason::Shape {
            key: "x-ancestor".into(),
            wanted,
        })
    };
    if matches!(scope.view, View::Audit | View::Text) {
        return Err(wrong(node, "for log source auditd, or for text"));
    }
    let pairs = node.map().filter(|pairs| !pairs.is_empty());
    let pairs = pairs.ok_or_else(|| wrong(node, "a map with `any` or `none`"))?;
    let mut parts = Vec::new();
    for (name, search) in pairs {
        let program = ancestor_search(search, fields)?;
        match name.text.as_str() {
            "any" => parts.push(program),
            "none" => parts.push(Program::Not(Box::new(program))),
            _ => return Err(wrong(search, "a map with `any` or `none`")),
        }
    }
    Ok(Program::All(parts))
}

/// `Image` with modifiers, once: several keys would each be free to choose another ancestor.
fn ancestor_search(node: &Node, fields: &mut Fields) -> Result<Program, Fault> {
    let wanted = "a map with one key, `Image` and its modifiers";
    let wrong = || {
        node.fault(Reason::Shape {
            key: "x-ancestor".into(),
            wanted,
        })
    };
    let Some([(key, value)]) = node.map() else {
        return Err(wrong());
    };
    let modifiers = key.text.strip_prefix("Image").ok_or_else(wrong)?;
    if !(modifiers.is_empty() || modifiers.starts_with('|')) {
        return Err(wrong());
    }
    let mut key = key.clone();
    key.text = format!("{}{modifiers}", event::ANCESTRY);
    let search = Node {
        line: node.line,
        value: Value::Map(vec![(key, value.clone())]),
    };
    Compiler { fields }.search(&search)
}
