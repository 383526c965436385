//! From the searches under `detection` to programs.
//!
//! A map asks for all its keys, a list for one of its items, words without a field for a part of
//! the event's text. Every value that cannot be used is a reason, never left out.

use std::sync::Arc;

use regex::bytes::RegexBuilder;

use crate::encode;
use crate::expression;
use crate::modifier::{self, Key, RegexFlags, Relation};
use crate::pattern::{Pattern, Patterns};
use crate::program::{Cased, Network, Program, Question, Test, number};
use crate::record::{FieldId, Fields};
use crate::refusal::{Fault, Reason};
use crate::yaml::{Node, Scalar, Value};

/// The field that stands for the whole text of an event.
pub(crate) const TEXT: &str = "";
/// Most memory of one compiled regular expression, in bytes.
const REGEX_BYTES: usize = 512 * 1024;

/// Compiles searches, giving fields their numbers through `fields`.
#[derive(Debug)]
pub(crate) struct Compiler<'a> {
    pub(crate) fields: &'a mut Fields,
}

impl Compiler<'_> {
    /// The program of one search.
    pub(crate) fn search(&mut self, node: &Node) -> Result<Program, Fault> {
        match &node.value {
            Value::Map(_) => self.map(node),
            Value::List(items) if items.is_empty() => {
                Err(node.fault(shape("detection", "a search with content")))
            }
            Value::List(items) => {
                let parts = items.iter().map(|item| self.item(item));
                parts.collect::<Result<_, _>>().map(Program::Any)
            }
            Value::Scalar(_) => self.item(node),
        }
    }

    /// One item of a list: a map, or a word of the event's text.
    fn item(&mut self, node: &Node) -> Result<Program, Fault> {
        match &node.value {
            Value::Map(_) => self.map(node),
            Value::Scalar(scalar) if !scalar.is_null() => {
                let key = Key {
                    relation: Relation::Contains,
                    ..Key::default()
                };
                self.values(TEXT, &key, std::slice::from_ref(node))
            }
            Value::Scalar(_) | Value::List(_) => {
                Err(node.fault(shape("detection", "a map, a word, or a list of them")))
            }
        }
    }

    fn map(&mut self, node: &Node) -> Result<Program, Fault> {
        let pairs = node.map().unwrap_or_default();
        if pairs.is_empty() {
            return Err(node.fault(shape("detection", "a search with content")));
        }
        let parts = pairs
            .iter()
            .map(|(name, value)| self.pair(&name.text, value));
        parts.collect::<Result<_, _>>().map(Program::All)
    }

    /// One key of a map with its value or values.
    fn pair(&mut self, name: &str, node: &Node) -> Result<Program, Fault> {
        let mut key = modifier::parse(name).map_err(|reason| node.fault(reason))?;
        if key.field.is_empty() && key.relation == Relation::Equals {
            key.relation = Relation::Contains;
        }
        match &node.value {
            Value::Scalar(_) => self.values(name, &key, std::slice::from_ref(node)),
            Value::List(items) if !items.is_empty() => self.values(name, &key, items),
            Value::List(_) | Value::Map(_) => {
                Err(node.fault(shape(name, "a value or a list of values")))
            }
        }
    }

    /// The values of a key: one of them must match, or all with `all`.
    fn values(&mut self, name: &str, key: &Key, nodes: &[Node]) -> Result<Program, Fault> {
        let line = nodes.first().map(|node| node.line);
        let fault = |reason| Fault { line, reason };
        let limit = usize::from(u16::MAX);
        let field = self
            .fields
            .intern(&key.field)
            .ok_or_else(|| fault(Reason::TooManyTests { limit }))?;
        let mut parts = Vec::new();
        let mut patterns = Vec::new();
        for node in nodes {
            let part = self.value(name, key, field, node)?;
            match part {
                Part::Patterns(mut more) if !key.all => patterns.append(&mut more),
                Part::Patterns(one) => parts.push(text(field, one, key.cased)),
                Part::Program(program) => parts.push(program),
            }
        }
        if !patterns.is_empty() {
            parts.push(text(field, patterns, key.cased));
        }
        let joined = if key.all {
            Program::All(parts)
        } else {
            Program::Any(parts)
        };
        Ok(if key.not_equal {
            Program::Not(Box::new(joined))
        } else {
            joined
        })
    }

    fn value(&mut self, name: &str, key: &Key, field: FieldId, node: &Node) -> Result<Part, Fault> {
        let Some(scalar) = node.scalar() else {
            return Err(node.fault(shape(name, "a value or a list of values")));
        };
        let refuse = |detail| {
            let (key, value) = (name.to_owned(), scalar.text.clone());
            node.fault(Reason::Value { key, value, detail })
        };
        if scalar.is_null() {
            if key.relation != Relation::Equals || !key.transforms.is_empty() {
                return Err(refuse("null cannot be part of a text"));
            }
            return Ok(Part::Program(Program::Not(Box::new(known(field)))));
        }
        let question = match key.relation {
            relation if let Some(part) = key.part => number(scalar.text.as_bytes())
                .map(|limit| Question::ComparePart(part, relation, limit))
                .ok_or("not a number"),
            _ if key.field_reference => self.reference(key, scalar).ok_or("too many fields"),
            Relation::Regex(flags) => regex(&scalar.text, flags)
                .map_err(|reason| node.fault(reason))
                .map(Ok)?,
            Relation::Cidr => Network::parse(&scalar.text)
                .map(|network| Question::Cidr(vec![network]))
                .ok_or("not an address block"),
            Relation::Exists => {
                return exists(field, scalar).ok_or_else(|| refuse("not true or false"));
            }
            Relation::Equals | Relation::Contains | Relation::StartsWith | Relation::EndsWith => {
                return patterns(key, scalar).map(Part::Patterns).map_err(refuse);
            }
            relation => number(scalar.text.as_bytes())
                .map(|limit| Question::Compare(relation, limit))
                .ok_or("not a number"),
        };
        let question = question.map_err(refuse)?;
        Ok(Part::Program(Program::Test(Test { field, question })))
    }

    fn reference(&mut self, key: &Key, scalar: &Scalar) -> Option<Question> {
        let other = self.fields.intern(&scalar.text)?;
        let cased = if key.cased { Cased::Yes } else { Cased::No };
        Some(Question::Field(other, key.relation, cased))
    }
}

/// What one value becomes: patterns can be tested together.
enum Part {
    Patterns(Vec<Pattern>),
    Program(Program),
}

fn text(field: FieldId, patterns: Vec<Pattern>, cased: bool) -> Program {
    let patterns = Arc::new(Patterns::new(patterns));
    let question = if cased {
        Question::CasedText(patterns)
    } else {
        Question::Text(patterns)
    };
    Program::Test(Test { field, question })
}

fn known(field: FieldId) -> Program {
    Program::Test(Test {
        field,
        question: Question::Known,
    })
}

fn exists(field: FieldId, scalar: &Scalar) -> Option<Part> {
    let program = if scalar.truth()? {
        known(field)
    } else {
        Program::Not(Box::new(known(field)))
    };
    Some(Part::Program(program))
}

/// The patterns of a text value: several where a transformation gives several forms.
fn patterns(key: &Key, scalar: &Scalar) -> Result<Vec<Pattern>, &'static str> {
    let forms = encode::forms(&scalar.text, &key.transforms)?;
    Ok(forms
        .into_iter()
        .map(|form| Pattern::new(form, key.relation, key.cased))
        .collect())
}

fn regex(text: &str, flags: RegexFlags) -> Result<Question, Reason> {
    RegexBuilder::new(&expression::translated(text))
        .case_insensitive(flags.ignore_case)
        .multi_line(flags.multi_line)
        .dot_matches_new_line(flags.dot_all)
        .size_limit(REGEX_BYTES)
        .dfa_size_limit(REGEX_BYTES)
        .nest_limit(50)
        .build()
        .map(Question::Regex)
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => Reason::RegexTooLarge { limit },
            other => Reason::Regex {
                detail: last_line(&other.to_string()),
            },
        })
}

/// The parser of regular expressions draws the place; its last line says what is wrong.
fn last_line(text: &str) -> String {
    let line = text
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default();
    line.trim().trim_start_matches("error: ").to_owned()
}

fn shape(key: &str, wanted: &'static str) -> Reason {
    let key = if key.is_empty() { "a keyword" } else { key };
    Reason::Shape {
        key: key.to_owned(),
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn program(text: &str) -> Result<Program, Fault> {
        let mut fields = Fields::default();
        let node = yaml::parse(text)?.remove(0);
        Compiler {
            fields: &mut fields,
        }
        .search(&node)
    }

    #[test]
    fn values_of_one_key_become_one_test() {
        let program = program("Image|endswith: [/bash, /sh, /zsh]\nUser: root\n").unwrap();
        assert_eq!(program.tests(), 2);
    }

    #[test]
    fn all_asks_for_every_value() {
        let program = program("CommandLine|contains|all: [a, b, c]\n").unwrap();
        assert_eq!(program.tests(), 3);
    }

    #[test]
    fn values_that_cannot_be_used_are_refused_with_their_line() {
        for text in [
            "a|re: '('",
            "a|re: '(?=x)'",
            "a|re: '\\w{900}{900}'",
            "a|cidr: x",
            "a|gt: many",
            "a|exists: maybe",
            "a|contains: null",
            "a|base64: 'x*'",
            "a: {b: c}",
            "a: []",
            "[[a]]",
        ] {
            let fault = program(text).unwrap_err();
            assert!(fault.line.is_some(), "{text}");
        }
    }
}
