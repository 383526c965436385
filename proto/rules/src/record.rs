//! How the evaluator sees an event: fields by number, each with any number of values as bytes.
//!
//! # Invariants
//!
//! - A field that is not known has no value; it is never an empty text.
//! - The evaluator asks a record for each field at most once.

use std::collections::HashMap;
use std::fmt::{self, Write};

use picket_event::{Kind, Text};

/// A field that some rule of a set names. Valid for the set that gave it out.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FieldId(u16);

impl FieldId {
    /// Its place in [`crate::RuleSet::fields`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One event in the words of the rules.
pub trait Record {
    /// What happened.
    fn kind(&self) -> Kind;

    /// Hands every value of `field` to `values`; none, if it is not known.
    fn visit(&self, field: FieldId, values: &mut Values<'_>);

    /// Whether `field` is known to have no value, where that can be said without looking for it.
    fn lacks(&self, _field: FieldId) -> bool {
        false
    }
}

/// Takes the values of one field.
#[derive(Debug)]
pub struct Values<'a> {
    bytes: &'a mut Vec<u8>,
    spans: &'a mut Vec<Span>,
}

/// Where a value lies in the scratch text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl<'a> Values<'a> {
    pub(crate) fn new(bytes: &'a mut Vec<u8>, spans: &'a mut Vec<Span>) -> Self {
        Self { bytes, spans }
    }

    /// A value as it is.
    pub fn bytes(&mut self, value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.end(start);
    }

    /// Host text as it is; none, if it is empty and so not known.
    pub(crate) fn known(&mut self, text: &Text) {
        if !text.is_empty() {
            self.bytes(text.as_bytes());
        }
    }

    /// A value in parts with `separator` between them.
    pub fn joined<'b>(&mut self, parts: impl Iterator<Item = &'b [u8]>, separator: u8) {
        let start = self.bytes.len();
        for (index, part) in parts.enumerate() {
            if index > 0 {
                self.bytes.push(separator);
            }
            self.bytes.extend_from_slice(part);
        }
        self.end(start);
    }

    /// A value that `build` writes to the end of the text it is given.
    pub(crate) fn built(&mut self, build: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        build(self.bytes);
        self.end(start);
    }

    /// A value by its text.
    pub fn text(&mut self, value: impl fmt::Display) {
        let start = self.bytes.len();
        // Writing into memory cannot fail; a `Display` that does leaves what it wrote so far.
        if write!(Utf8(self.bytes), "{value}").is_ok() {
            self.end(start);
        }
    }

    fn end(&mut self, start: usize) {
        self.spans.push(Span {
            start,
            end: self.bytes.len(),
        });
    }
}

/// Writes text into bytes.
struct Utf8<'a>(&'a mut Vec<u8>);

impl Write for Utf8<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The field names of a rule set, each with its number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    names: Vec<String>,
    by_name: HashMap<String, FieldId>,
}

impl Fields {
    /// The number of `name`, a new one if needed; `None` when all numbers are given out.
    pub(crate) fn intern(&mut self, name: &str) -> Option<FieldId> {
        if let Some(id) = self.by_name.get(name) {
            return Some(*id);
        }
        let id = FieldId(u16::try_from(self.names.len()).ok()?);
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), id);
        Some(id)
    }

    pub(crate) fn name(&self, id: FieldId) -> &str {
        self.names.get(id.index()).map_or("", String::as_str)
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}
