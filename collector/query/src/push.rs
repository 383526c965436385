//! From the conditions that were pushed down to what the store is asked.
//!
//! # Invariants
//!
//! - A value of a type that the column does not have is left to SQLite, which knows its own rules of comparison.

use std::collections::HashSet;

use picket_event::{HostId, Kind, Severity};
use picket_store::{KindSet, RowForm, RowQuery, RowTest};

use crate::columns::{EventColumn, From, Holds};
use crate::fleet::Names;
use crate::moment;
use crate::plan::Op;

/// A value of a condition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    Text(String),
    Integer(i64),
    /// It is equal to nothing, and before or after nothing.
    Null,
    /// A real number, or bytes.
    Other,
}

/// What is asked of the store so far.
pub(crate) struct Asking<'n> {
    pub(crate) rows: RowQuery,
    names: &'n Names,
    /// Nothing can meet all conditions.
    pub(crate) nothing: bool,
}

impl<'n> Asking<'n> {
    pub(crate) fn of(holds: Holds, names: &'n Names) -> Self {
        let mut rows = RowQuery::default();
        rows.query.kinds = holds.kinds();
        if holds == Holds::Judged {
            rows.query.min_severity = Some(Severity::Low);
        }
        Self {
            rows,
            names,
            nothing: false,
        }
    }

    /// Takes one condition in, as far as the store understands it.
    pub(crate) fn push(&mut self, column: &EventColumn, op: Op, given: &[Given]) {
        let some: Vec<Given>;
        let given = if given.contains(&Given::Null) {
            let others = given.iter().filter(|one| **one != Given::Null);
            some = others.cloned().collect();
            some.as_slice()
        } else {
            given
        };
        if given.is_empty() {
            self.nothing = true;
            return;
        }
        match (op, column.from) {
            (Op::AtLeast, From::Stored(RowForm::Time)) => self.since(column, given),
            (Op::AtMost, From::Stored(RowForm::Time)) => self.until(column, given),
            (Op::Equal, From::Stored(RowForm::Time)) => {
                self.since(column, given);
                self.until(column, given);
            }
            (Op::AtLeast, _) => self.severity(given),
            (Op::Glob, _) => self.glob(column, given),
            (Op::Equal | Op::In, _) => self.equal(column, given),
            (Op::AtMost, _) => {}
        }
    }

    fn since(&mut self, column: &EventColumn, given: &[Given]) {
        if let ("time", [Given::Text(text)]) = (column.name.as_str(), given)
            && let Some(time) = moment::parse(text)
        {
            self.rows.query.since = self.rows.query.since.max(Some(time));
        }
    }

    fn until(&mut self, column: &EventColumn, given: &[Given]) {
        if let ("time", [Given::Text(text)]) = (column.name.as_str(), given)
            && let Some(time) = moment::parse(text)
        {
            let before = self.rows.query.until;
            self.rows.query.until = Some(before.map_or(time, |before| before.min(time)));
        }
    }

    fn severity(&mut self, given: &[Given]) {
        if let [Given::Integer(least)] = given {
            let least = i32::try_from(*least).ok().and_then(Severity::from_wire);
            self.rows.query.min_severity = self.rows.query.min_severity.max(least);
        }
    }

    fn equal(&mut self, column: &EventColumn, given: &[Given]) {
        if column.name == "severity_id" {
            return self.severity(given);
        }
        if column.from == From::Stored(RowForm::Number) {
            if let Some(numbers) = integers(given) {
                self.test(column, RowTest::Numbers(numbers));
            }
            return;
        }
        let Some(texts) = texts(given) else {
            return;
        };
        match (column.from, column.name.as_str()) {
            (From::HostName, _) => self.hosts(self.names.ids_of(&texts)),
            (_, "host_id") => {
                let ids = texts.iter().filter_map(|text| HostId::parse(text).ok());
                self.hosts(ids.collect());
            }
            (_, "kind") => self.kinds(&texts),
            _ => self.test(column, RowTest::Texts(texts)),
        }
    }

    fn hosts(&mut self, ids: HashSet<HostId>) {
        let both = match self.rows.query.hosts.take() {
            Some(before) => before.intersection(&ids).copied().collect(),
            None => ids,
        };
        self.nothing |= both.is_empty();
        self.rows.query.hosts = Some(both);
    }

    fn kinds(&mut self, names: &HashSet<String>) {
        let before = self.rows.query.kinds;
        let kinds = names.iter().filter_map(|name| Kind::from_name(name));
        let kinds = kinds.filter(|kind| before.is_empty() || before.holds(*kind));
        let kinds: KindSet = kinds.collect();
        // No kind at all would mean every kind.
        self.nothing |= kinds.is_empty();
        self.rows.query.kinds = kinds;
    }

    fn glob(&mut self, column: &EventColumn, given: &[Given]) {
        let [Given::Text(pattern)] = given else {
            return;
        };
        let inner = pattern.trim_matches('*');
        if inner.is_empty() || inner.contains(['*', '?', '[', ']', '\u{fffd}']) {
            return;
        }
        let inner = inner.to_owned();
        let test = match (pattern.starts_with('*'), pattern.ends_with('*')) {
            (true, true) => RowTest::Contains(inner),
            (false, true) => RowTest::Begins(inner),
            (true, false) => RowTest::Ends(inner),
            (false, false) => RowTest::Texts(HashSet::from([inner])),
        };
        self.test(column, test);
    }

    fn test(&mut self, column: &EventColumn, test: RowTest) {
        self.rows.tests.push((column.name.clone(), test));
    }
}

fn texts(given: &[Given]) -> Option<HashSet<String>> {
    let text = |given: &Given| match given {
        Given::Text(text) => Some(text.clone()),
        Given::Integer(_) | Given::Null | Given::Other => None,
    };
    given.iter().map(text).collect()
}

fn integers(given: &[Given]) -> Option<HashSet<i64>> {
    let integer = |given: &Given| match given {
        Given::Integer(integer) => Some(*integer),
        Given::Text(_) | Given::Null | Given::Other => None,
    };
    given.iter().map(integer).collect()
}
