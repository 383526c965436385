//! The rows of one segment of the log, the newest records first.

use std::ops::ControlFlow;
use std::sync::Arc;

use parquet::errors::ParquetError;
use picket_event::Event;
use picket_event::field::{Field, Value};

use super::slice::Classes;
use super::{Asked, RowAt, Slice, path_of};
use crate::index::Segment;
use crate::sealed::{Condition, EVENT, Rows, sealed};
use crate::walk::{Place, Walk};
use crate::{ScanReport, StoreError, StoredEvent};

/// Rows of a segment that is being read.
pub(super) struct LiveRows {
    segment: Segment,
    asked: Arc<Asked>,
    tests: Vec<(Field, Condition)>,
    /// The records that are left, the next at the end.
    places: Vec<Place>,
    slice: Option<Arc<Slice>>,
    /// Rows of the slice that are left.
    left: usize,
}

impl LiveRows {
    pub(super) fn begin(segment: Segment, asked: Arc<Asked>) -> Result<Self, StoreError> {
        let mut report = ScanReport::default();
        let mut walk = Walk::begin(segment.clone(), &asked.row_query.query, &mut report)?;
        walk.skip_to(asked.snapshot.begin());
        let places = walk.places()?;
        let tests = asked.row_query.tests.iter();
        let tests = tests.filter_map(|(column, test)| {
            let field = Field::named(path_of(column)?)?;
            Some((field, test.condition(column)))
        });
        Ok(Self {
            tests: tests.collect(),
            segment,
            asked,
            places,
            slice: None,
            left: 0,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<RowAt>, StoreError> {
        loop {
            if let (Some(at), Some(slice)) = (self.left.checked_sub(1), &self.slice) {
                self.left = at;
                return Ok(Some(RowAt::new(slice, at)));
            }
            if self.places.is_empty() {
                return Ok(None);
            }
            let slice = self.some()?;
            self.left = slice.rows();
            self.slice = Some(Arc::new(slice));
        }
    }

    /// The rows of the next few records.
    fn some(&mut self) -> Result<Slice, StoreError> {
        let from = self.places.len().saturating_sub(RECORDS);
        let places = self.places.split_off(from);
        let mut found = Vec::new();
        let mut report = ScanReport::default();
        let query = &self.asked.row_query.query;
        let mut walk = Walk::begin(self.segment.clone(), query, &mut report)?;
        for place in places {
            walk.events_at(place, &mut |stored| {
                if !self.asked.snapshot.holds(&stored) && self.meets(&stored.event) {
                    found.push(stored);
                }
                ControlFlow::Continue(())
            })?;
        }
        self.slice_of(&found)
    }

    fn meets(&self, event: &Event) -> bool {
        let tests = &mut self.tests.iter();
        tests.all(|(field, condition)| match field.of(event) {
            Some(Value::Text(text)) => condition.text(&String::from_utf8_lossy(text)),
            Some(Value::Word(word)) => condition.text(&word),
            Some(Value::Number(number)) => condition.number(number),
            Some(_) => true,
            None => false,
        })
    }

    fn slice_of(&self, found: &[StoredEvent]) -> Result<Slice, StoreError> {
        let read = &self.asked.read;
        let wanted = |name: &str| read.iter().any(|one| one == name);
        let mut rows = Rows::with(&|column| wanted(&column.name()));
        for stored in found {
            rows.push_stored(stored, wanted(EVENT));
        }
        let batch = rows.take().map_err(|source| {
            let source = ParquetError::External(Box::new(source));
            sealed("read", &self.segment.path, source)
        })?;
        let classes = Classes::Each(found.iter().map(|stored| stored.class).collect());
        Ok(Slice::new(batch, &self.asked.row_query.columns, classes))
    }
}

/// Records that are read at once: some thousand events.
const RECORDS: usize = 16;
