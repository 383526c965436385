//! Rule collections of old: documents with `action` that say how those after them are to be read.
//!
//! `global` is merged into every rule that follows, `reset` ends that, `repeat` is the rule before with what it says itself. What a
//! document says wins over what is merged into it.
//!
//! # Invariants
//!
//! - All documents of a text together never have more than [`MAX_NODES`] nodes.

use crate::refusal::{Fault, Reason};
use crate::yaml::{MAX_NODES, Node, Value};

/// The documents of a text as if each stood for itself, those that are refused with the reason.
pub(crate) fn apart(documents: Vec<Node>) -> Vec<Result<Node, Fault>> {
    let collected = documents.iter().any(|document| action(document).is_some());
    if !collected {
        return documents.into_iter().map(Ok).collect();
    }
    let mut collection = Collection::default();
    let documents = documents.into_iter();
    documents
        .filter_map(|document| collection.take(document).transpose())
        .collect()
}

fn action(document: &Node) -> Option<&Node> {
    document.get("action")
}

#[derive(Default)]
struct Collection {
    global: Option<Node>,
    /// The rule before.
    last: Option<Node>,
    nodes: usize,
}

impl Collection {
    /// The rule that `document` makes, if it makes one.
    fn take(&mut self, mut document: Node) -> Result<Option<Node>, Fault> {
        let is_rule = ["correlation", "filter"]
            .iter()
            .all(|key| document.get(key).is_none());
        let word =
            action(&document).map(|node| (node.line, node.text().unwrap_or_default().to_owned()));
        if let Value::Map(pairs) = &mut document.value {
            pairs.retain(|(key, _)| key.text != "action");
        }
        match word {
            None if !is_rule => Ok(Some(document)),
            None => self.rule(self.global.clone(), document).map(Some),
            Some((line, word)) => match word.as_str() {
                "global" => self.set(document).map(|()| None),
                "reset" => {
                    self.global = None;
                    Ok(None)
                }
                "repeat" => self.rule(self.last.clone(), document).map(Some),
                _ => Err(Reason::Collection { action: word }.at(line)),
            },
        }
    }

    fn set(&mut self, document: Node) -> Result<(), Fault> {
        let before = self.global.take();
        self.global = Some(self.merged(before, document)?);
        Ok(())
    }

    fn rule(&mut self, base: Option<Node>, document: Node) -> Result<Node, Fault> {
        let rule = self.merged(base, document)?;
        self.last = Some(rule.clone());
        Ok(rule)
    }

    fn merged(&mut self, base: Option<Node>, document: Node) -> Result<Node, Fault> {
        let line = document.line;
        let merged = match base {
            None => document,
            Some(base) => merge(base, document),
        };
        self.nodes = self.nodes.saturating_add(merged.size());
        if self.nodes > MAX_NODES {
            return Err(Reason::TooManyNodes { limit: MAX_NODES }.at(line));
        }
        Ok(merged)
    }
}

/// `over` with what only `base` has; maps are merged key by key.
fn merge(base: Node, over: Node) -> Node {
    let (mut pairs, own) = match (base.value, over.value) {
        (Value::Map(base), Value::Map(own)) => (base, own),
        (_, value) => {
            let line = over.line;
            return Node { line, value };
        }
    };
    for (key, value) in own {
        match pairs.iter_mut().find(|(name, _)| name.text == key.text) {
            Some((_, slot)) => {
                let empty = Node {
                    line: slot.line,
                    value: Value::List(Vec::new()),
                };
                let before = std::mem::replace(slot, empty);
                *slot = merge(before, value);
            }
            None => pairs.push((key, value)),
        }
    }
    Node {
        line: over.line,
        value: Value::Map(pairs),
    }
}
