//! Rows of all parts in the order of their time.
//!
//! # Invariants
//!
//! - A file is opened no sooner than a row of it may be the next.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use picket_event::UnixNanos;

use super::live::LiveRows;
use super::sealed::SealedRows;
use super::{Asked, Parts, RowAt};
use crate::StoreError;
use crate::index::Segment;
use crate::sealed::SealedFile;

/// Parts that are read side by side.
pub(super) struct Merge {
    asked: Arc<Asked>,
    backwards: bool,
    /// Files that are not open yet, the next first.
    files: VecDeque<Arc<SealedFile>>,
    /// Segments that are not read yet.
    segments: Vec<Segment>,
    /// What was read of the log, the next at the end.
    live: Vec<RowAt>,
    heads: BinaryHeap<Head>,
}

/// The next row of one part.
struct Head {
    /// How far behind the row is; the largest is the next.
    rank: i64,
    row: RowAt,
    rest: Rest,
}

enum Rest {
    Sealed(Box<SealedRows>),
    Live,
}

impl Merge {
    pub(super) fn of(parts: Parts, backwards: bool) -> Self {
        let mut files: Vec<_> = parts.files.into();
        files.sort_by_key(|file| std::cmp::Reverse(rank(bound(file, backwards), backwards)));
        Self {
            asked: parts.asked,
            backwards,
            files: files.into(),
            segments: parts.segments,
            live: Vec::new(),
            heads: BinaryHeap::new(),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<RowAt>, StoreError> {
        self.read_log()?;
        self.open_files()?;
        let Some(head) = self.heads.pop() else {
            return Ok(None);
        };
        match head.rest {
            Rest::Sealed(rows) => self.push_sealed(rows)?,
            Rest::Live => self.push_live(),
        }
        Ok(Some(head.row))
    }

    /// The log is in the order of arrival: all that is wanted of it is put in the order of time.
    fn read_log(&mut self) -> Result<(), StoreError> {
        if self.segments.is_empty() {
            return Ok(());
        }
        for segment in std::mem::take(&mut self.segments) {
            let mut rows = LiveRows::begin(segment, Arc::clone(&self.asked))?;
            while let Some(row) = rows.next()? {
                self.live.push(row);
            }
        }
        let backwards = self.backwards;
        self.live.sort_by_key(|row| rank(row.time(), backwards));
        self.push_live();
        Ok(())
    }

    fn open_files(&mut self) -> Result<(), StoreError> {
        while let Some(file) = self.files.front() {
            let first = rank(bound(file, self.backwards), self.backwards);
            if self.heads.peek().is_some_and(|head| head.rank > first) {
                return Ok(());
            }
            if let Some(file) = self.files.pop_front()
                && let Some(rows) = SealedRows::begin(file, &self.asked, self.backwards)?
            {
                self.push_sealed(Box::new(rows))?;
            }
        }
        Ok(())
    }

    fn push_sealed(&mut self, mut rows: Box<SealedRows>) -> Result<(), StoreError> {
        if let Some(row) = rows.next()? {
            self.push(row, Rest::Sealed(rows));
        }
        Ok(())
    }

    fn push_live(&mut self) {
        if let Some(row) = self.live.pop() {
            self.push(row, Rest::Live);
        }
    }

    fn push(&mut self, row: RowAt, rest: Rest) {
        let rank = rank(row.time(), self.backwards);
        self.heads.push(Head { rank, row, rest });
    }
}

/// The time of the row of a file that comes first.
fn bound(file: &SealedFile, backwards: bool) -> UnixNanos {
    let summary = &file.entry.summary;
    if backwards {
        summary.last
    } else {
        summary.first
    }
}

/// The larger, the sooner.
fn rank(time: UnixNanos, backwards: bool) -> i64 {
    // `!` turns the order of all numbers round, the least included.
    if backwards { time.0 } else { !time.0 }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}
