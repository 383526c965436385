//! Fields of an event by the path that the contract gives them, for rules and searches.
//!
//! # Invariants
//!
//! - A path means here what it means in the JSON of the contract.
//! - What is not known is `None`, never an empty text.

mod every;
mod file;
mod kernel;
mod network;
mod own;
mod process;
mod read;

use crate::Event;

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Host text.
    Text(&'a [u8]),
    /// A word of our own: a name, an identifier, a time.
    Word(String),
    /// A whole number.
    Number(i64),
    /// A real number.
    Real(f64),
    /// Yes or no.
    Flag(bool),
    /// Several texts, as `process.argv`.
    List(Vec<&'a [u8]>),
    /// Several words, as `verdicts.id`.
    Words(Vec<String>),
}

type Reader = for<'a> fn(&'a Event) -> Option<Value<'a>>;
type Row = (&'static str, Reader);

/// A field that exists: its path, looked up once.
#[derive(Clone, Copy, Debug)]
pub struct Field(&'static str, Reader);

impl Field {
    /// The field of this path.
    pub fn named(path: &str) -> Option<Self> {
        rows()
            .find(|(name, _)| *name == path)
            .map(|(name, reader)| Self(name, *reader))
    }

    /// All paths, for help and for naming near ones.
    pub fn paths() -> impl Iterator<Item = &'static str> {
        rows().map(|(name, _)| *name)
    }

    /// Its path.
    pub fn path(&self) -> &'static str {
        self.0
    }

    /// What it holds in this event.
    pub fn of<'a>(&self, event: &'a Event) -> Option<Value<'a>> {
        (self.1)(event)
    }
}

/// What the field of this path holds; `None` too if there is no such field.
pub fn lookup<'a>(event: &'a Event, path: &str) -> Option<Value<'a>> {
    Field::named(path)?.of(event)
}

fn rows() -> impl Iterator<Item = &'static Row> {
    GROUPS.iter().copied().flatten()
}

const GROUPS: &[&[Row]] = &[
    every::FIELDS,
    process::FIELDS,
    file::FIELDS,
    network::FIELDS,
    kernel::FIELDS,
    own::FIELDS,
];
