//! Which rules of a group an event can match at all, found without asking each of them.
//!
//! Every rule gives the rarest set of texts of which one must be there if it matches: whole values,
//! file names, or parts of a value. An event looks its values up in tables and runs one automaton
//! over each indexed field; rules whose texts were seen are the candidates. Rules without such a
//! set are always candidates.
//!
//! # Invariants
//!
//! - No rule that would match is left out: the set is necessary for a match, in lower case.
//! - The work per event depends on the event's text, not on the number of rules.

use std::collections::BTreeMap;

use memchr::memchr;

use crate::grams::Grams;
use crate::hash::TextMap;
use crate::pattern::{Pattern, Piece, name};
use crate::program::{Program, Question, Test};
use crate::record::{FieldId, Record};
use crate::scratch::Scratch;

/// The tables of one group of rules. Rules are numbered within the group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    fields: Vec<FieldIndex>,
    always: Vec<u32>,
    rules: usize,
}

/// What is looked up in one field.
#[derive(Clone, Debug)]
struct FieldIndex {
    field: FieldId,
    exact: TextMap<Vec<u32>>,
    names: TextMap<Vec<u32>>,
    parts: Parts,
}

/// Substrings by their length, each with its rules.
#[derive(Clone, Debug, Default)]
struct Parts {
    long: Option<Grams<4>>,
    short: Option<Grams<2>>,
    bytes: Vec<(u8, Vec<u32>)>,
}

/// One text whose presence makes a rule a candidate.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Trigger {
    field: FieldId,
    form: Form,
    text: Vec<u8>,
}

/// A text to look up, and the rules that wait for it.
type Posting = (Form, Vec<u8>, Vec<u32>);

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Form {
    Exact,
    Name,
    Part,
}

impl Index {
    /// The tables for `programs`; `is_dear` says which fields are better not looked up.
    pub(crate) fn new<'a>(
        programs: impl Iterator<Item = &'a Program>,
        is_dear: impl Fn(FieldId) -> bool,
    ) -> Self {
        let mut index = Self::default();
        let mut postings: BTreeMap<Trigger, Vec<u32>> = BTreeMap::new();
        for (number, program) in (0_u32..).zip(programs) {
            index.rules += 1;
            match required(program, &is_dear) {
                Some(set) => {
                    for trigger in set.triggers {
                        postings.entry(trigger).or_default().push(number);
                    }
                }
                None => index.always.push(number),
            }
        }
        index.file(postings);
        index
    }

    /// Sorts the postings into tables, field by field.
    fn file(&mut self, postings: BTreeMap<Trigger, Vec<u32>>) {
        let mut by_field: BTreeMap<FieldId, Vec<Posting>> = BTreeMap::new();
        for (Trigger { field, form, text }, rules) in postings {
            by_field.entry(field).or_default().push((form, text, rules));
        }
        for (field, entries) in by_field {
            let mut table = FieldIndex {
                field,
                exact: TextMap::default(),
                names: TextMap::default(),
                parts: Parts::default(),
            };
            let mut parts = Vec::new();
            for (form, text, mut rules) in entries {
                rules.dedup();
                match form {
                    Form::Exact => drop(table.exact.insert(text, rules)),
                    Form::Name => drop(table.names.insert(text, rules)),
                    Form::Part => parts.push((text, rules)),
                }
            }
            table.parts = Parts::new(parts);
            self.fields.push(table);
        }
    }

    /// Marks the candidates for `record` in `scratch`.
    pub(crate) fn mark<R: Record>(&self, record: &R, scratch: &mut Scratch) {
        scratch.no_candidates(self.rules);
        let mut candidates = std::mem::take(&mut scratch.candidates);
        set(&mut candidates, &self.always);
        for table in &self.fields {
            if record.lacks(table.field) {
                continue;
            }
            let slot = scratch.load(record, table.field);
            for value in slot.lowered(scratch) {
                table.mark(value, &mut candidates);
            }
        }
        scratch.candidates = candidates;
    }

    /// Rules that no text can rule out beforehand.
    pub(crate) fn always(&self) -> &[u32] {
        &self.always
    }

    /// Memory of what finds parts of values, in bytes.
    pub(crate) fn parts_bytes(&self) -> usize {
        self.fields.iter().map(|table| table.parts.memory()).sum()
    }
}

impl FieldIndex {
    fn mark(&self, value: &[u8], candidates: &mut [u64]) {
        if !self.exact.is_empty()
            && let Some(rules) = self.exact.get(value)
        {
            set(candidates, rules);
        }
        if !self.names.is_empty()
            && let Some(rules) = name(value).and_then(|name| self.names.get(name))
        {
            set(candidates, rules);
        }
        self.parts.mark(value, candidates);
    }
}

impl Parts {
    /// Texts are not empty.
    fn new(entries: Vec<(Vec<u8>, Vec<u32>)>) -> Self {
        let mut parts = Self::default();
        let (mut long, mut short) = (Vec::new(), Vec::new());
        for (text, rules) in entries {
            match text.as_slice() {
                [] => {}
                [byte] => parts.bytes.push((*byte, rules)),
                [_, _] | [_, _, _] => short.push((text, rules)),
                _ => long.push((text, rules)),
            }
        }
        parts.long = Grams::new(long, bits);
        parts.short = Grams::new(short, bits);
        parts
    }

    fn mark(&self, value: &[u8], candidates: &mut [u64]) {
        if let Some(long) = &self.long {
            long.find(value, |rules| set(candidates, rules));
        }
        if let Some(short) = &self.short {
            short.find(value, |rules| set(candidates, rules));
        }
        for (byte, rules) in &self.bytes {
            if memchr(*byte, value).is_some() {
                set(candidates, rules);
            }
        }
    }

    fn memory(&self) -> usize {
        self.long.as_ref().map_or(0, Grams::bytes) + self.short.as_ref().map_or(0, Grams::bytes)
    }
}

fn set(candidates: &mut [u64], rules: &[u32]) {
    for rule in rules {
        if let Some(word) = candidates.get_mut(*rule as usize / 64) {
            *word |= 1 << (rule % 64);
        }
    }
}

/// Texts of which one must be there, and how often that is expected.
#[derive(Clone, Debug)]
struct Required {
    triggers: Vec<Trigger>,
    frequency: f64,
}

/// The rarest required set of `program`; `None` if nothing is required.
fn required(program: &Program, is_dear: &impl Fn(FieldId) -> bool) -> Option<Required> {
    match program {
        Program::All(parts) => parts
            .iter()
            .filter_map(|part| required(part, is_dear))
            .min_by(|a, b| a.frequency.total_cmp(&b.frequency)),
        Program::Any(parts) => {
            let mut union = Required {
                triggers: Vec::new(),
                frequency: 0.0,
            };
            for part in parts {
                let part = required(part, is_dear)?;
                union.triggers.extend(part.triggers);
                union.frequency += part.frequency;
            }
            Some(union)
        }
        Program::Not(_) => None,
        Program::Test(test) => {
            let mut required = required_by(test)?;
            if is_dear(test.field) {
                required.frequency *= DEAR;
            }
            Some(required)
        }
    }
}

fn required_by(test: &Test) -> Option<Required> {
    let (Question::Text(patterns) | Question::CasedText(patterns)) = &test.question else {
        return None;
    };
    let mut required = Required {
        triggers: Vec::new(),
        frequency: 0.0,
    };
    for pattern in patterns.all() {
        let (form, text) = trigger(pattern)?;
        let text = text.to_ascii_lowercase();
        required.frequency += frequency(form, &text);
        required.triggers.push(Trigger {
            field: test.field,
            form,
            text,
        });
    }
    Some(required)
}

/// What must be there for `pattern` to accept a value.
fn trigger(pattern: &Pattern) -> Option<(Form, &[u8])> {
    match pattern {
        Pattern::Exact(text) => Some((Form::Exact, text)),
        Pattern::Name(text) => Some((Form::Name, text)),
        Pattern::Prefix(text) | Pattern::Suffix(text) | Pattern::Contains(text) => {
            (!text.is_empty()).then_some((Form::Part, text))
        }
        Pattern::Anything => None,
        Pattern::Glob(pieces) => {
            let literals = pieces.iter().filter_map(|piece| match piece {
                Piece::Literal(text) => Some(text.as_slice()),
                Piece::Any | Piece::One | Piece::Dash => None,
            });
            literals
                .max_by_key(|text| text.len())
                .map(|text| (Form::Part, text))
        }
    }
}

/// A dear field must be so much rarer than another one to be looked up in its place.
const DEAR: f64 = 100.0;

/// Values that a large part of all events has.
const EVERYWHERE: [&[u8]; 11] = [
    b"0", b"create", b"cwd", b"execve", b"exec", b"false", b"normal", b"path", b"root", b"syscall",
    b"true",
];

/// Programs that every host runs all day.
const COMMON: [&[u8]; 19] = [
    b"bash",
    b"cat",
    b"cp",
    b"curl",
    b"dash",
    b"find",
    b"grep",
    b"id",
    b"ls",
    b"mkdir",
    b"perl",
    b"ps",
    b"python3",
    b"rm",
    b"sed",
    b"sh",
    b"sleep",
    b"sudo",
    b"systemctl",
];

/// Expected hits per event, from the look of the text alone: only the order matters.
fn frequency(form: Form, text: &[u8]) -> f64 {
    let bits = |text: &[u8]| text.iter().map(|byte| bits(*byte)).sum::<f64>();
    match form {
        // A text of less than four bytes needs a pass of its own.
        Form::Part if text.len() < 4 => (50.0 * (-bits(text)).exp2()).clamp(0.2, 1.0),
        Form::Part => (50.0 * (-bits(text)).exp2()).clamp(1e-9, 1.0),
        Form::Exact | Form::Name if EVERYWHERE.contains(&text) => 0.5,
        Form::Exact | Form::Name if COMMON.contains(&name(text).unwrap_or(text)) => 0.05,
        // Options of one letter are on every second command line.
        Form::Exact if text.len() <= 3 => 0.05,
        Form::Exact | Form::Name => (0.1 * (-bits(text) / 4.0).exp2()).clamp(1e-5, 1e-2),
    }
}

/// Surprise of one byte of a command line or a path.
fn bits(byte: u8) -> f64 {
    match byte {
        b' ' | b'/' | b'-' | b'e' | b's' | b't' | b'a' | b'i' | b'n' | b'r' | b'o' => 2.0,
        b'a'..=b'z' | b'.' => 3.0,
        b'0'..=b'9' | b'_' | b'=' | b':' => 4.0,
        _ => 5.0,
    }
}
