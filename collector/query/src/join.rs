//! The inner side of a join, held in memory once that is cheaper than to ask the store again for each outer row.
//!
//! SQLite joins by asking the inner table again for each row of the outer one. Which conditions change from one time to the next shows as it
//! asks; the others are the same for all. Beside answering, the rows that meet those others are read, for as long as the answering took, and
//! kept by the values that change. When all are there, SQLite is answered from them.
//!
//! # Invariants
//!
//! - A join takes at most some three times as long as without this, and all sides together hold no more than [`Room`] has.
//! - What is held has every row that meets the conditions that do not change; SQLite checks all conditions again.
//! - A side that does not fit is let go, and the store is asked for each row as before.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use picket_store::{RowAt, RowForm, RowScan, StoreError};
use rusqlite::types::Value;

use crate::columns::{EventColumn, From};
use crate::plan::{Op, Plan};
use crate::push::Given;

/// What all sides of a statement may hold together.
#[derive(Debug)]
pub(crate) struct Room {
    most: u64,
    taken: AtomicU64,
    /// Whether a side did not fit.
    refused: AtomicBool,
}

impl Room {
    pub(crate) const fn of(most: u64) -> Self {
        Self {
            most,
            taken: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        }
    }

    /// In MiB, if a side did not fit.
    pub(crate) fn refused(&self) -> Option<u64> {
        let refused = self.refused.load(Ordering::Relaxed);
        refused.then_some(self.most >> 20)
    }

    fn take(&self, bytes: u64) -> bool {
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.most;
        if !fits {
            self.refused.store(true, Ordering::Relaxed);
        }
        fits
    }
}

/// What one cursor knows of the join that it is in.
#[derive(Default)]
pub(crate) struct Join {
    plan: Option<Plan>,
    /// The values of the time before.
    last: Vec<Vec<Given>>,
    /// Which of them change.
    moves: Vec<bool>,
    side: Side,
    since: Option<Instant>,
}

#[derive(Default)]
enum Side {
    /// Nothing is read yet.
    #[default]
    Unknown,
    Going(Box<Going>),
    Whole(Arc<Held>),
    /// It does not fit.
    None,
}

struct Going {
    scan: RowScan,
    held: Held,
}

/// The rows of a side by their keys.
struct Held {
    room: Arc<Room>,
    bytes: u64,
    rows: Vec<RowAt>,
    /// Of each row the next with the same key, or the end.
    next: Vec<u32>,
    /// The first and the last row of a key.
    keys: HashMap<u64, (u32, u32)>,
    /// Rows that were read together share memory.
    parts: HashSet<usize>,
    state: RandomState,
}

/// Rows of a side that are being shown.
pub(crate) struct Found {
    held: Arc<Held>,
    at: u32,
    /// All, because the values that are asked for are not of the columns' types.
    all: bool,
}

/// Where a key's values stand: among the given ones, and in which column.
type Key = (usize, usize);

impl Join {
    /// Learns from what is asked this time.
    pub(crate) fn asked(&mut self, plan: &Plan, given: &[Vec<Given>]) {
        if self.plan.as_ref() != Some(plan) || self.last.len() != given.len() {
            *self = Self {
                plan: Some(plan.clone()),
                moves: vec![false; given.len()],
                ..Self::default()
            };
        } else {
            let pairs = self.moves.iter_mut().zip(given.iter().zip(&self.last));
            let mut more = false;
            for (moves, (now, before)) in pairs {
                if !*moves && now != before {
                    *moves = true;
                    more = true;
                }
            }
            if more && !matches!(self.side, Side::None) {
                self.side = Side::Unknown;
            }
        }
        self.last = given.to_vec();
    }

    /// Whether a condition is the same each time.
    pub(crate) fn stays(&self, at: usize) -> bool {
        !self.moves.get(at).copied().unwrap_or(true)
    }

    /// The columns that the side is kept by.
    pub(crate) fn keys(&self, columns: &[EventColumn]) -> Vec<Key> {
        let pushed = self.plan.iter().flat_map(|plan| plan.pushed.iter());
        let moving = pushed.enumerate().filter(|(at, one)| {
            let column = columns.get(one.column);
            one.op == Op::Equal && !self.stays(*at) && column.is_some_and(is_key)
        });
        moving.map(|(at, one)| (at, one.column)).collect()
    }

    /// The rows for these values, if all of the side is there.
    pub(crate) fn found(
        &self,
        given: &[Vec<Given>],
        keys: &[Key],
        columns: &[EventColumn],
    ) -> Option<Found> {
        let Side::Whole(held) = &self.side else {
            return None;
        };
        let values = keys.iter().map(|(at, column)| {
            let given = given.get(*at)?.first()?;
            Part::given(given, columns.get(*column)?)
        });
        let values: Option<Vec<Part<'_>>> = values.collect();
        let first = values.as_ref().map(|values| {
            let key = held.state.hash_one(values);
            held.keys.get(&key).map_or(END, |(first, _)| *first)
        });
        Some(Found {
            held: Arc::clone(held),
            at: first.unwrap_or_default(),
            all: first.is_none(),
        })
    }

    /// Reads on in the side, for as long as the answering took. `begin` begins a scan of all of it; `value` is what a column of a row has.
    pub(crate) fn go_on(
        &mut self,
        room: &Arc<Room>,
        begin: impl FnOnce() -> RowScan,
        key_of: impl Fn(&RowAt) -> Option<Vec<Value>>,
    ) -> Result<(), StoreError> {
        let spent = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let until = Instant::now() + spent.saturating_mul(2).min(LONGEST_STEP);
        if matches!(self.side, Side::Unknown) {
            self.side = Side::Going(Box::new(Going {
                scan: begin(),
                held: Held::new(room),
            }));
        }
        let Side::Going(going) = &mut self.side else {
            return Ok(());
        };
        loop {
            let Some(row) = going.scan.next_row()? else {
                break;
            };
            let added = key_of(&row).is_some_and(|key| going.held.add(row, &key));
            if !added {
                self.side = Side::None;
                return Ok(());
            }
            if going.held.rows.len().is_multiple_of(BETWEEN) && Instant::now() >= until {
                return Ok(());
            }
        }
        if let Side::Going(going) = std::mem::take(&mut self.side) {
            self.side = Side::Whole(Arc::new(going.held));
        }
        Ok(())
    }

    /// Whether all of the side is there, or never will be.
    pub(crate) const fn is_known(&self) -> bool {
        matches!(self.side, Side::Whole(_) | Side::None)
    }

    /// From now on the store answers.
    pub(crate) fn answering(&mut self) {
        self.since = Some(Instant::now());
    }
}

/// Whether a value of the column says exactly which rows are meant.
fn is_key(column: &EventColumn) -> bool {
    matches!(
        column.from,
        From::Stored(RowForm::Text | RowForm::Number) | From::HostName
    )
}

/// A part of a key.
#[derive(Hash)]
enum Part<'v> {
    Text(&'v str),
    Integer(i64),
}

impl<'v> Part<'v> {
    /// `None`: it is not of the column's type, and SQLite has its own rules for that.
    fn given(given: &'v Given, column: &EventColumn) -> Option<Self> {
        match (given, column.from) {
            (Given::Integer(integer), From::Stored(RowForm::Number)) => {
                Some(Self::Integer(*integer))
            }
            (Given::Text(text), From::Stored(RowForm::Text) | From::HostName) => {
                Some(Self::Text(text))
            }
            _ => None,
        }
    }

    fn value(value: &'v Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(Self::Text(text)),
            Value::Integer(integer) => Some(Self::Integer(*integer)),
            // Null is equal to nothing.
            Value::Null | Value::Real(_) | Value::Blob(_) => None,
        }
    }
}

impl Held {
    fn new(room: &Arc<Room>) -> Self {
        Self {
            room: Arc::clone(room),
            bytes: 0,
            rows: Vec::new(),
            next: Vec::new(),
            keys: HashMap::new(),
            parts: HashSet::new(),
            state: RandomState::new(),
        }
    }

    /// Whether there was room.
    fn add(&mut self, row: RowAt, key: &[Value]) -> bool {
        let parts: Option<Vec<Part<'_>>> = key.iter().map(Part::value).collect();
        let Some(parts) = parts else {
            return true;
        };
        let key = self.state.hash_one(&parts);
        let mut bytes = ROW;
        if self.parts.insert(row.part()) {
            bytes = bytes.saturating_add(row.part_bytes());
        }
        self.bytes = self.bytes.saturating_add(bytes);
        let place = u32::try_from(self.rows.len()).unwrap_or(END);
        if !self.room.take(bytes) || place == END {
            return false;
        }
        self.rows.push(row);
        self.next.push(END);
        match self.keys.get_mut(&key) {
            Some((_, last)) => {
                let before = usize::try_from(*last).unwrap_or_default();
                if let Some(next) = self.next.get_mut(before) {
                    *next = place;
                }
                *last = place;
            }
            None => {
                self.keys.insert(key, (place, place));
            }
        }
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Iterator for Found {
    type Item = RowAt;

    fn next(&mut self) -> Option<RowAt> {
        let at = usize::try_from(self.at).ok()?;
        let row = self.held.rows.get(at)?.clone();
        self.at = if self.all {
            self.at.saturating_add(1)
        } else {
            self.held.next.get(at).copied().unwrap_or(END)
        };
        Some(row)
    }
}

/// No row has this number.
const END: u32 = u32::MAX;

/// What a row takes beside the part that it was read in, in bytes: itself, its key, and room that a growing table has to spare.
const ROW: u64 = 96;

/// Rows that are read between two looks at the clock.
const BETWEEN: usize = 256;

/// The longest that is read on at a time, so that the statement's own clock is looked at.
const LONGEST_STEP: Duration = Duration::from_millis(250);
