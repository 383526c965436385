//! YAML text as a small tree that remembers its lines.
//!
//! # Invariants
//!
//! - The work is bounded by [`MAX_BYTES`], [`MAX_DEPTH`] and [`MAX_NODES`]; an alias counts as all that it
//!   stands for, so a small text cannot grow into a large tree.
//! - A scalar keeps its text as written; only an unquoted one can be null.
//! - Keys of one map are distinct.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

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

    /// How many nodes it is, itself included.
    pub(crate) fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(pairs) => pairs.iter().map(|(_, node)| node.size()).sum(),
        }
    }

    /// How deep lists and maps are nested in it.
    fn depth(&self) -> usize {
        let below = match &self.value {
            Value::Scalar(_) => return 0,
            Value::List(items) => items.iter().map(Self::depth).max(),
            Value::Map(pairs) => pairs.iter().map(|(_, node)| node.depth()).max(),
        };
        1 + below.unwrap_or(0)
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
    /// What aliases may stand for: nodes that are complete.
    anchors: HashMap<usize, Node>,
}

/// A list or map that is not closed yet.
struct Open {
    line: u64,
    value: Value,
    key: Option<Scalar>,
    /// 0: none.
    anchor: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line() as u64;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = match tag.as_deref().map(of_core).transpose() {
                    Ok(name) => name.map_or(style != ScalarStyle::Plain, |name| name == "str"),
                    Err(reason) => return Err(reason.at(line)),
                };
                let text = text.into_owned();
                self.scalar(line, Scalar { text, quoted }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(line, Value::List(Vec::new()), anchor, tag.as_deref())
            }
            Event::MappingStart(anchor, tag) => {
                self.open(line, Value::Map(Vec::new()), anchor, tag.as_deref())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(line, anchor),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    /// What stood at the anchor stands here again, and counts again.
    fn alias(&mut self, line: u64, anchor: usize) -> Result<(), Fault> {
        let node = self.anchors.get(&anchor).cloned();
        let mut node = node.ok_or_else(|| Reason::YamlAlias.at(line))?;
        node.line = line;
        if let Value::Scalar(scalar) = node.value {
            return self.scalar(line, scalar, 0);
        }
        if self.open.len() + node.depth() > MAX_DEPTH {
            return Err(Reason::TooDeep { limit: MAX_DEPTH }.at(line));
        }
        self.nodes += node.size() - 1;
        self.put(node, 0)
    }

    /// A scalar is a key where a map waits for one, else a value.
    fn scalar(&mut self, line: u64, scalar: Scalar, anchor: usize) -> Result<(), Fault> {
        let value = Value::Scalar(scalar.clone());
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
            if anchor != 0 {
                self.anchors.insert(anchor, Node { line, value });
            }
            return Ok(());
        }
        self.put(Node { line, value }, anchor)
    }

    fn open(
        &mut self,
        line: u64,
        value: Value,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), Fault> {
        if let Some(Err(reason)) = tag.map(of_core) {
            return Err(reason.at(line));
        }
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
            anchor,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(Open {
            line,
            mut value,
            anchor,
            ..
        }) = self.open.pop()
        else {
            return Err(Reason::NotYaml {
                detail: "an end without a start".into(),
            }
            .nowhere());
        };
        if let Value::Map(pairs) = &mut value {
            take_in(pairs);
        }
        self.put(Node { line, value }, anchor)
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Reason::TooManyNodes { limit: MAX_NODES }.at(node.line));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
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
                ..
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

/// `<<` stands for the keys of the map, or of the maps, behind it; those that the map has itself, or that an earlier one has, win.
fn take_in(pairs: &mut Vec<(Scalar, Node)>) {
    let merges = |key: &Scalar| !key.quoted && key.text == "<<";
    let Some(at) = pairs.iter().position(|(key, _)| merges(key)) else {
        return;
    };
    let maps = |node: &Node| {
        let maps = node
            .list()
            .map_or_else(|| vec![node.clone()], <[Node]>::to_vec);
        let all = maps.iter().all(|map| map.map().is_some());
        all.then_some(maps)
    };
    let Some(maps) = pairs.get(at).and_then(|(_, node)| maps(node)) else {
        return;
    };
    pairs.remove(at);
    for (key, node) in maps.iter().flat_map(|map| map.map().unwrap_or_default()) {
        if pairs.iter().all(|(name, _)| name.text != key.text) {
            pairs.push((key.clone(), node.clone()));
        }
    }
}

/// The name of a tag of YAML's own types: `str`, `int`, `map`...
fn of_core(tag: &Tag) -> Result<&str, Reason> {
    let known = [
        "str",
        "int",
        "float",
        "bool",
        "null",
        "seq",
        "map",
        "timestamp",
    ];
    let name = tag.suffix.as_str();
    let is_known = tag.is_yaml_core_schema() && known.contains(&name);
    is_known.then_some(name).ok_or(Reason::YamlTag)
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
    use std::fmt::Write;

    use super::*;

    #[test]
    fn a_tree_remembers_its_lines() {
        let documents = parse("title: x\ndetection:\n  - a\n  - 'b'\n").unwrap();
        let list = documents[0].get("detection").unwrap();
        assert_eq!((list.line, list.list().unwrap()[1].line), (3, 4));
    }

    #[test]
    fn an_alias_is_what_stood_at_its_anchor() {
        let text =
            "a: &x [1, 2]\nb: *x\nc: &m {k: v, l: w}\nd: {<<: *m, l: own}\ne: &s word\nf: *s\n";
        let documents = parse(text).unwrap();
        let node = |key| documents[0].get(key).unwrap();
        assert_eq!(node("b").list().unwrap().len(), 2);
        assert_eq!((node("b").line, node("f").text()), (2, Some("word")));
        assert_eq!(node("d").get("k").unwrap().text(), Some("v"));
        assert_eq!(node("d").get("l").unwrap().text(), Some("own"));
        let fault = parse("a: 1\nb: &x [*x]\n").unwrap_err();
        assert_eq!((fault.line, fault.reason), (Some(2), Reason::YamlAlias));
    }

    #[test]
    fn aliases_are_refused_before_they_grow() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(text, "a{level}: &a{level} [{below}]").unwrap();
        }
        let fault = parse(&text).unwrap_err();
        assert!(matches!(fault.reason, Reason::TooManyNodes { .. }));
        let mut text = "a0: &a0 [x]\n".to_owned();
        for level in 1..40 {
            writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
        }
        let fault = parse(&text).unwrap_err();
        assert!(matches!(fault.reason, Reason::TooDeep { .. }));
    }

    #[test]
    fn tags_of_yaml_itself_are_taken_and_others_refused() {
        let documents = parse("a: !!str null\nb: !!int 5\nc: !!map {d: e}\n").unwrap();
        let null = |key| documents[0].get(key).unwrap().scalar().unwrap().is_null();
        assert_eq!((null("a"), null("b")), (false, false));
        for text in ["a: !x y\n", "a: !!python/name:os.system x\n", "!x {a: b}\n"] {
            assert!(matches!(parse(text).unwrap_err().reason, Reason::YamlTag));
        }
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
