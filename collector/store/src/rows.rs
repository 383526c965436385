//! Events as rows of columns, for engines that ask for columns: the sealed files and the log as one.
//!
//! # Invariants
//!
//! - A row has in each column what a sealed file has there, whether its event is sealed yet or not.
//! - A test never passes by a row that meets it; rows that do not meet it may be shown.
//! - What the query itself says (hosts, kinds, times, severity) is exact.
//! - Rows are read piece by piece: a scan holds one piece of each file that it is in the middle of.

mod live;
mod merge;
mod sealed;
mod slice;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use memchr::memmem::Finder;

use self::live::LiveRows;
use self::merge::Merge;
use self::sealed::SealedRows;
pub use self::slice::{RowAt, RowCell, Slice};
use crate::index::Segment;
use crate::sealed::{
    COLUMNS, Check, Condition, EVENT, Form, HOST, NAMED, Plan, SealedFile, SharedSealed, Snapshot,
    TIME, column_of, schema,
};
use crate::unread::Noting;
use crate::{Query, Reader, StoreError};

/// What is asked of rows.
#[derive(Clone, Debug, Default)]
pub struct RowQuery {
    /// Hosts, kinds, times, severity. An expression is not for rows and is not looked at.
    pub query: Query,
    /// What columns must hold, all of it.
    pub tests: Vec<(String, RowTest)>,
    /// Which columns are read.
    pub columns: Vec<String>,
    /// In which order.
    pub order: RowOrder,
}

/// In which order rows come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RowOrder {
    /// As they lie, the newest files first.
    #[default]
    AsStored,
    /// By their time, the first first.
    OldestFirst,
    /// By their time, the last first.
    NewestFirst,
}

/// What a column must hold.
#[derive(Clone, Debug)]
pub enum RowTest {
    /// One of these texts.
    Texts(HashSet<String>),
    /// One of these numbers.
    Numbers(HashSet<i64>),
    /// A text that begins so.
    Begins(String),
    /// A text that ends so.
    Ends(String),
    /// A text with this in it.
    Contains(String),
}

/// A column that rows have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RowColumn {
    /// Its name, as in a sealed file.
    pub name: String,
    /// What it holds.
    pub form: RowForm,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RowForm {
    /// An instant.
    Time,
    /// Text.
    Text,
    /// A whole number.
    Number,
    /// A real number.
    Real,
    /// Yes or no.
    Flag,
    /// Several texts.
    Texts,
    /// The event's own bytes.
    Bytes,
}

/// All columns, in the order of a sealed file.
pub fn row_columns() -> Vec<RowColumn> {
    let schema = schema();
    let fields = schema.fields().iter();
    fields
        .map(|field| RowColumn {
            name: field.name().clone(),
            form: form_of(field.name()),
        })
        .collect()
}

fn form_of(name: &str) -> RowForm {
    match name {
        "time" | "received" => RowForm::Time,
        "severity_id" => RowForm::Number,
        EVENT => RowForm::Bytes,
        _ => {
            let column = COLUMNS.iter().find(|column| column.name() == name);
            match column.map(|column| column.form) {
                Some(Form::Number) => RowForm::Number,
                Some(Form::Real) => RowForm::Real,
                Some(Form::Flag) => RowForm::Flag,
                Some(Form::Texts) => RowForm::Texts,
                Some(Form::Text) | None => RowForm::Text,
            }
        }
    }
}

/// Rows, one after the other.
pub struct RowScan {
    from: From,
}

enum From {
    AsStored(Parts),
    Merged(Merge),
}

impl std::fmt::Debug for RowScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowScan").finish_non_exhaustive()
    }
}

impl Reader {
    /// Begins to read rows. The order of time needs all that is wanted of the log in memory at once.
    pub fn rows(&self, asked: RowQuery) -> RowScan {
        let order = asked.order;
        let parts = Parts::of(self, asked);
        let from = match order {
            RowOrder::AsStored => From::AsStored(parts),
            RowOrder::OldestFirst => From::Merged(Merge::of(parts, false)),
            RowOrder::NewestFirst => From::Merged(Merge::of(parts, true)),
        };
        RowScan { from }
    }
}

impl RowScan {
    /// The next row; none behind the last.
    pub fn next_row(&mut self) -> Result<Option<RowAt>, StoreError> {
        match &mut self.from {
            From::AsStored(parts) => parts.next(),
            From::Merged(merge) => merge.next(),
        }
    }
}

/// What every part of a scan knows.
struct Asked {
    row_query: RowQuery,
    /// The columns that are read, with those that the scan itself needs.
    read: Vec<String>,
    snapshot: Arc<Snapshot>,
    shared: SharedSealed,
    noting: Noting,
}

impl Asked {
    /// Reads some of a file. `None`: it is damaged, and that is noted.
    fn past_damage<T>(
        &self,
        file: &SealedFile,
        read: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.noting.past(&self.shared, file, read)
    }
}

/// The parts of the store that may have what is wanted.
struct Parts {
    asked: Arc<Asked>,
    files: VecDeque<Arc<SealedFile>>,
    segments: Vec<Segment>,
    /// The part that is being read.
    current: Option<Part>,
}

enum Part {
    Sealed(Box<SealedRows>),
    Live(LiveRows),
}

impl Parts {
    fn of(reader: &Reader, row_query: RowQuery) -> Self {
        let snapshot = reader.sealed().now();
        let plan = Plan::of(&row_query.query);
        let files = snapshot.files.iter();
        // The newest first: `files` is in the order of their first event.
        let files = files.rev().filter(|file| plan.may_want(&file.entry));
        let files = files.map(Arc::clone).collect();
        let segments = reader
            .index()
            .read()
            .segments_for(snapshot.begin(), &row_query.query);
        let asked = Asked {
            read: read_of(&row_query),
            row_query,
            snapshot,
            shared: reader.sealed().clone(),
            noting: reader.note().clone(),
        };
        Self {
            asked: Arc::new(asked),
            files,
            segments,
            current: None,
        }
    }

    fn next(&mut self) -> Result<Option<RowAt>, StoreError> {
        loop {
            let row = match &mut self.current {
                Some(Part::Sealed(rows)) => rows.next()?,
                Some(Part::Live(rows)) => rows.next()?,
                None => None,
            };
            if row.is_some() {
                return Ok(row);
            }
            self.current = self.begin_next()?;
            if self.current.is_none() {
                return Ok(None);
            }
        }
    }

    fn begin_next(&mut self) -> Result<Option<Part>, StoreError> {
        if let Some(segment) = self.segments.pop() {
            let rows = LiveRows::begin(segment, Arc::clone(&self.asked))?;
            return Ok(Some(Part::Live(rows)));
        }
        while let Some(file) = self.files.pop_front() {
            if let Some(rows) = SealedRows::begin(file, &self.asked, true)? {
                return Ok(Some(Part::Sealed(Box::new(rows))));
            }
        }
        Ok(None)
    }
}

/// The columns that are asked for, and those that the scan needs to answer.
fn read_of(row_query: &RowQuery) -> Vec<String> {
    let mut read: Vec<String> = row_query.columns.clone();
    let mut also = |name: &str| {
        if !read.iter().any(|one| one == name) {
            read.push(name.to_owned());
        }
    };
    if row_query.columns.iter().any(|name| name == EVENT) {
        for name in NAMED {
            also(name);
        }
    }
    if row_query.order != RowOrder::AsStored || row_query.columns.is_empty() {
        also(TIME);
    }
    read
}

impl RowTest {
    /// What a sealed file's column must hold for it.
    fn condition(&self, column: &str) -> Condition {
        let path = COLUMNS.iter().find(|one| one.name() == column);
        let bloom = column == HOST || path.is_some_and(|one| one.bloom);
        Condition::new(column, self.check(), bloom)
    }

    fn check(&self) -> Check {
        match self {
            Self::Texts(texts) => Check::Texts(texts.clone()),
            Self::Numbers(numbers) => Check::Numbers(numbers.clone()),
            Self::Begins(text) => Check::Begins(text.clone()),
            Self::Ends(text) => Check::Ends(text.clone()),
            Self::Contains(text) => Check::Contains(Box::new(Finder::new(text).into_owned())),
        }
    }
}

/// The path of the field that a column holds.
fn path_of(column: &str) -> Option<&'static str> {
    let found = COLUMNS.iter().find(|one| one.name() == column)?;
    column_of(found.path).map(|column| column.path)
}
