//! What a row's columns must hold for its event to be wanted at all.
//!
//! # Invariants
//!
//! - A condition never passes by an event that the query wants; whether one is wanted is decided by the event itself.

use std::collections::HashSet;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, StringArray, TimestampNanosecondArray,
};
use memchr::memmem::Finder;
use picket_event::Kind;
use picket_event::filter::{Need, Test};

use super::catalogue::FileEntry;
use super::columns::{COMMAND_LINE, Form, HOST, SEVERITY_ID, TIME, column_of};
use crate::{KindSet, Query};

/// A query, as far as columns can answer it.
#[derive(Debug)]
pub(crate) struct Plan<'q> {
    pub(crate) query: &'q Query,
    conditions: Vec<Condition>,
}

/// One condition.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// The column's name.
    pub(crate) column: String,
    pub(crate) check: Check,
    /// Whether the file has a filter of the column's values.
    pub(crate) bloom: bool,
}

/// What a value must be; null never is.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    Texts(HashSet<String>),
    Contains(Box<Finder<'static>>),
    Begins(String),
    Ends(String),
    Numbers(HashSet<i64>),
    AtLeast(i64),
    Flag(bool),
    Between(i64, i64),
}

impl<'q> Plan<'q> {
    pub(crate) fn of(query: &'q Query) -> Self {
        let mut conditions = Vec::new();
        if let Some(hosts) = &query.hosts {
            let hosts = hosts.iter().map(ToString::to_string).collect();
            conditions.push(Condition::new(HOST, Check::Texts(hosts), true));
        }
        if !query.kinds.is_empty() {
            let wanted = Kind::ALL.iter().filter(|kind| query.kinds.holds(**kind));
            let names = wanted.map(|kind| kind.name().to_owned()).collect();
            conditions.push(Condition::new("kind", Check::Texts(names), false));
        }
        if let Some(least) = query.min_severity {
            let check = Check::AtLeast(i64::from(least.to_wire()));
            conditions.push(Condition::new(SEVERITY_ID, check, false));
        }
        let needs = query
            .filter
            .iter()
            .flat_map(picket_event::filter::Filter::needs);
        // The login of a session may have what the event itself has not.
        let own = needs.filter(|need| !need.path.starts_with("login."));
        conditions.extend(own.filter_map(Condition::of));
        Self { query, conditions }
    }

    /// Whether the file may have what is wanted.
    pub(crate) fn may_want(&self, file: &FileEntry) -> bool {
        let nobody = self.query.hosts.as_ref().is_some_and(HashSet::is_empty);
        !nobody && self.query.may_want(&file.summary)
    }

    /// The conditions that not every row of the file meets already.
    pub(crate) fn conditions_for(&self, file: &FileEntry) -> Vec<Condition> {
        let mut left: Vec<Condition> = Vec::new();
        let first = self.query.since.map_or(i64::MIN, |since| since.0);
        let last = self.query.until.map_or(i64::MAX, |until| until.0);
        if file.summary.first.0 < first || file.summary.last.0 > last {
            left.push(Condition::new(TIME, Check::Between(first, last), false));
        }
        let all_kinds = is_within(file.summary.kinds, self.query.kinds);
        let others = self.conditions.iter();
        left.extend(
            others
                .filter(|one| !(all_kinds && one.is_of_kinds()))
                .cloned(),
        );
        left
    }
}

fn is_within(some: KindSet, wanted: KindSet) -> bool {
    some.bits() & !wanted.bits() == 0
}

impl Condition {
    pub(crate) fn new(column: &str, check: Check, bloom: bool) -> Self {
        Self {
            column: column.to_owned(),
            check,
            bloom,
        }
    }

    fn is_of_kinds(&self) -> bool {
        self.column == "kind" && !self.bloom && matches!(self.check, Check::Texts(_))
    }

    /// What a need of an expression says of a column.
    fn of(need: Need) -> Option<Self> {
        if need.path == "process.argv" {
            return argument(need.test);
        }
        let column = column_of(need.path)?;
        let check = match column.form {
            Form::Text => text(need.test)?,
            Form::Number => number(need.test)?,
            Form::Flag => flag(need.test)?,
            Form::Real | Form::Texts => return None,
        };
        Some(Self::new(&column.name(), check, column.bloom))
    }

    /// Which rows meet it.
    pub(crate) fn rows(&self, values: &ArrayRef) -> BooleanArray {
        if let Some(texts) = values.as_any().downcast_ref::<StringArray>() {
            return marked(texts.iter().map(|text| text.is_some_and(|t| self.text(t))));
        }
        if let Some(numbers) = values.as_any().downcast_ref::<Int64Array>() {
            return marked(
                numbers
                    .iter()
                    .map(|one| one.is_some_and(|n| self.number(n))),
            );
        }
        if let Some(times) = values.as_any().downcast_ref::<TimestampNanosecondArray>() {
            return marked(times.iter().map(|one| one.is_some_and(|n| self.number(n))));
        }
        if let Some(flags) = values.as_any().downcast_ref::<BooleanArray>() {
            let wanted = matches!(self.check, Check::Flag(true));
            return marked(flags.iter().map(|flag| flag == Some(wanted)));
        }
        // A column of another form is of another version: the event itself decides.
        marked(std::iter::repeat_n(true, values.len()))
    }

    pub(crate) fn text(&self, text: &str) -> bool {
        match &self.check {
            Check::Texts(wanted) => wanted.contains(text),
            Check::Contains(wanted) => wanted.find(text.as_bytes()).is_some(),
            Check::Begins(wanted) => text.starts_with(wanted.as_str()),
            Check::Ends(wanted) => text.ends_with(wanted.as_str()),
            _ => true,
        }
    }

    pub(crate) fn number(&self, number: i64) -> bool {
        match &self.check {
            Check::Numbers(wanted) => wanted.contains(&number),
            Check::AtLeast(least) => number >= *least,
            Check::Between(first, last) => (*first..=*last).contains(&number),
            _ => true,
        }
    }
}

fn marked(rows: impl Iterator<Item = bool>) -> BooleanArray {
    rows.map(Some).collect()
}

/// What is not UTF-8 stands lossily in its column, so that only whole characters can be looked for within.
fn text(test: Test) -> Option<Check> {
    let within = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    Some(match test {
        Test::OneOf(texts) => {
            let lossy = |text: &Vec<u8>| String::from_utf8_lossy(text).into_owned();
            Check::Texts(texts.iter().map(lossy).collect())
        }
        Test::Contains(text) => Check::Contains(Box::new(Finder::new(&within(text)?).into_owned())),
        Test::Begins(text) => Check::Begins(within(text)?),
        Test::Ends(text) => Check::Ends(within(text)?),
    })
}

fn number(test: Test) -> Option<Check> {
    let Test::OneOf(texts) = test else {
        return None;
    };
    let whole = |text: Vec<u8>| String::from_utf8(text).ok()?.parse().ok();
    texts
        .into_iter()
        .map(whole)
        .collect::<Option<_>>()
        .map(Check::Numbers)
}

fn flag(test: Test) -> Option<Check> {
    match test {
        Test::OneOf(texts) => match texts.as_slice() {
            [only] if only == b"true" => Some(Check::Flag(true)),
            [only] if only == b"false" => Some(Check::Flag(false)),
            _ => None,
        },
        _ => None,
    }
}

/// An argument is a part of the command line.
fn argument(test: Test) -> Option<Condition> {
    let part = match test {
        Test::OneOf(mut texts) if texts.len() == 1 => texts.pop()?,
        Test::OneOf(_) => return None,
        Test::Contains(part) | Test::Begins(part) | Test::Ends(part) => part,
    };
    let part = String::from_utf8(part).ok()?;
    let check = Check::Contains(Box::new(Finder::new(&part).into_owned()));
    Some(Condition::new(COMMAND_LINE, check, false))
}
