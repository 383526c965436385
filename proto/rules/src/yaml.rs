//! YAML text as a small tree that remembers its lines.
//!
//! # Invariants
//!
//! - The work is bounded by [`MAX_BYTES`], [`MAX_DEPTH`] and [`MAX_NODES`]; aliases are refused, so a
//!   small text cannot grow into a large tree.
//! - A scalar keeps its text as written; only an unquoted one can be null.
//! - Keys of one map are distinct.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::refusal::{Fault, Reason};

/// Longest text that is read, in bytes.
pub(crate) const MAX_BYTES: usize = 512 * 1024;
/// Deepest nesting of lists and maps.
pub(crate) const MAX_DEPTH: usize = 24;
/// Most keys of one map.
const MAX_KEYS: usize = 1_000;
/// Most nodes in one text, over all its documents.
pub(crate) const MAX_NODES: usize = 50_000;

/// One node and the line on which it begins, counted from 1.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Scalar, Node)>),
}

/// A word of the text. `quoted` covers block scalars too.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) quoted: bool,
}

/// Reads every document of `text`.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, Fault> {
    if text.len() > MAX_BYTES {
        return Err(Reason::TooLarge { limit: MAX_BYTES }.nowhere());
    }
    let mut builder = Builder::default();
    for step in Parser::new_from_str(text) {
        let (event, span) = step.map_err(|error| scan_fault(&error))?;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

impl Node {
    /// The value under `key`, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.map()?
            .iter()
            .find(|(name, _)| name.text == key)
            .map(|(_, node)| node)
    }

    pub(crate) fn map(&self) -> Option<&[(Scalar, Self)]> {
        match &self.value {
            Value::Map(pairs) => Some(pairs),
            Value::Scalar(_) | Value::List(_) => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            Value::Scalar(_) | Value::Map(_) => None,
        }
    }

    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The text of a scalar that is not null.
    pub(crate) fn text(&self) -> Option<&str> {
        self.scalar()
            .filter(|scalar| !scalar.is_null())
            .map(|scalar| scalar.text.as_str())
    }

    /// A fault at the line of this node.
    pub(crate) fn fault(&self, reason: Reason) -> Fault {
        Fault {
            line: Some(self.line),
            reason,
        }
    }
}

impl Scalar {
    pub(crate) fn is_null(&self) -> bool {
        !self.quoted && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The truth value of an unquoted or quoted `true` or `false`.
    pub(crate) fn truth(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        }
    }
}

/// Grows the tree from parser events without recursion.
#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    nodes: usize,
}

/// A list or map that is not closed yet.
struct Open {
    line: u64,
    value: Value,
    key: Option<Scalar>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line() as u64;
        match event {
            Event::Scalar(text, style, _, tag) => {
                if tag.is_some() {
                    return Err(Reason::YamlTag.at(line));
                }
                let quoted = style != ScalarStyle::Plain;
                self.scalar(
                    line,
                    Scalar {
                        text: text.into_owned(),
                        quoted,
                    },
                )
            }
            Event::SequenceStart(_, None) => self.open(line, Value::List(Vec::new())),
            Event::MappingStart(_, None) => self.open(line, Value::Map(Vec::new())),
            Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                Err(Reason::YamlTag.at(line))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(_) => Err(Reason::YamlAlias.at(line)),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    /// A scalar is a key where a map waits for one, else a value.
    fn scalar(&mut self, line: u64, scalar: Scalar) -> Result<(), Fault> {
        if let Some(Open {
            value: Value::Map(pairs),
            key,
            ..
        }) = self.open.last_mut()
            && key.is_none()
        {
            if pairs.len() >= MAX_KEYS {
                return Err(Reason::TooManyNodes { limit: MAX_KEYS }.at(line));
            }
            if pairs.iter().any(|(name, _)| name.text == scalar.text) {
                return Err(Reason::DuplicateKey { key: scalar.text }.at(line));
            }
            *key = Some(scalar);
            return Ok(());
        }
        self.put(Node {
            line,
            value: Value::Scalar(scalar),
        })
    }

    fn open(&mut self, line: u64, value: Value) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Reason::TooDeep { limit: MAX_DEPTH }.at(line));
        }
        if let Some(Open {
            value: Value::Map(_),
            key: None,
            ..
        }) = self.open.last()
        {
            return Err(Reason::NotYaml {
                detail: "a key is not a word".into(),
            }
            .at(line));
        }
        self.open.push(Open {
            line,
            value,
            key: None,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(Open { line, value, .. }) = self.open.pop() else {
            return Err(Reason::NotYaml {
                detail: "an end without a start".into(),
            }
            .nowhere());
        };
        self.put(Node { line, value })
    }

    fn put(&mut self, node: Node) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Reason::TooManyNodes { limit: MAX_NODES }.at(node.line));
        }
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open {
                value: Value::List(items),
                ..
            }) => items.push(node),
            Some(Open {
                value: Value::Map(pairs),
                key,
                line,
            }) => match key.take() {
                Some(key) => pairs.push((key, node)),
                None => {
                    return Err(Reason::NotYaml {
                        detail: "a value has no key".into(),
                    }
                    .at(*line));
                }
            },
            Some(Open {
                value: Value::Scalar(_),
                ..
            }) => {}
        }
        Ok(())
    }
}

fn scan_fault(error: &ScanError) -> Fault {
    let line = error.marker().line() as u64;
    Reason::NotYaml {
        detail: error.info().to_owned(),
    }
    .at(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_remembers_its_lines() {
        let documents = parse("title: x\ndetection:\n  - a\n  - 'b'\n").unwrap();
        let list = documents[0].get("detection").unwrap();
        assert_eq!((list.line, list.list().unwrap()[1].line), (3, 4));
    }

    #[test]
    fn aliases_are_refused_before_they_grow() {
        let fault = parse("a: &x [1]\nb: *x\n").unwrap_err();
        assert!(matches!(fault.reason, Reason::YamlAlias));
        assert_eq!(fault.line, Some(2));
    }

    #[test]
    fn nesting_is_bounded() {
        let fault = parse(&"[".repeat(100)).unwrap_err();
        assert!(matches!(fault.reason, Reason::TooDeep { .. }), "{fault:?}");
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        let fault = parse("a: 1\na: 2\n").unwrap_err();
        assert!(matches!(fault.reason, Reason::DuplicateKey { .. }));
    }

    #[test]
    fn only_an_unquoted_word_is_null() {
        let documents = parse("a: null\nb: 'null'\nc:\n").unwrap();
        let null = |key| documents[0].get(key).unwrap().scalar().unwrap().is_null();
        assert_eq!((null("a"), null("b"), null("c")), (true, false, true));
    }
}
