//! Some rows that were read together, and what stands in one of them.

use std::sync::{Arc, OnceLock};

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray, TimestampNanosecondArray,
};
use picket_event::{Class, UnixNanos};

use crate::StoredEvent;
use crate::sealed::{EVENT, Shown, TIME};

/// Some rows that were read together.
#[derive(Debug)]
pub struct Slice {
    batch: RecordBatch,
    /// In the order in which the columns were asked for; a file may be of a version without one.
    columns: Vec<Option<ArrayRef>>,
    classes: Classes,
    /// Which of them is the events' own bytes.
    events: Option<usize>,
    /// The events' own bytes, once somebody asks.
    bytes: OnceLock<ArrayRef>,
}

/// In which class the events of the rows travelled.
#[derive(Debug)]
pub(super) enum Classes {
    All(Class),
    Each(Vec<Class>),
}

/// One row.
#[derive(Clone, Debug)]
pub struct RowAt {
    slice: Arc<Slice>,
    at: usize,
}

/// What stands in one column of one row.
#[derive(Clone, Debug, PartialEq)]
pub enum RowCell<'a> {
    /// Nothing.
    Null,
    /// An instant.
    Time(UnixNanos),
    /// Text.
    Text(&'a str),
    /// A whole number.
    Number(i64),
    /// A real number.
    Real(f64),
    /// Yes or no.
    Flag(bool),
    /// Several texts.
    Texts(Vec<String>),
    /// The event's own bytes.
    Bytes(&'a [u8]),
}

impl Slice {
    pub(super) fn new(batch: RecordBatch, asked: &[String], classes: Classes) -> Self {
        let columns = asked.iter().map(|name| batch.column_by_name(name).cloned());
        Self {
            columns: columns.collect(),
            batch,
            classes,
            events: asked.iter().position(|name| name == EVENT),
            bytes: OnceLock::new(),
        }
    }

    fn column(&self, number: usize) -> Option<&ArrayRef> {
        if self.events != Some(number) {
            return self.columns.get(number)?.as_ref();
        }
        let shown = Shown::of(&self.batch)?;
        Some(
            self.bytes
                .get_or_init(|| Arc::new(shown.all_bytes()) as ArrayRef),
        )
    }

    pub(super) fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    fn time(&self, at: usize) -> UnixNanos {
        let times = self.batch.column_by_name(TIME);
        let times = times.and_then(|times| times.as_any().downcast_ref());
        times.map_or(UnixNanos(0), |times: &TimestampNanosecondArray| {
            UnixNanos(times.value(at))
        })
    }

    fn class(&self, at: usize) -> Option<Class> {
        match &self.classes {
            Classes::All(class) => Some(*class),
            Classes::Each(classes) => classes.get(at).copied(),
        }
    }
}

impl RowAt {
    pub(super) fn new(slice: &Arc<Slice>, at: usize) -> Self {
        Self {
            slice: Arc::clone(slice),
            at,
        }
    }

    /// What stands in the column that was asked for at this place.
    pub fn cell(&self, column: usize) -> RowCell<'_> {
        let values = self.slice.column(column);
        values.map_or(RowCell::Null, |values| cell(values, self.at))
    }

    /// Tells the rows that were read together from others, as long as one of them is held.
    pub fn part(&self) -> usize {
        Arc::as_ptr(&self.slice).addr()
    }

    /// What the rows that were read together with this one take in memory, in bytes.
    pub fn part_bytes(&self) -> u64 {
        let slice = &self.slice;
        let batch = slice.batch.get_array_memory_size() as u64;
        // The events' own bytes are made again when somebody asks.
        let again = if slice.events.is_some() { batch } else { 0 };
        batch.saturating_add(again).saturating_add(PART)
    }

    /// In which class the event travelled.
    pub fn class(&self) -> Option<Class> {
        self.slice.class(self.at)
    }

    /// The whole event, if the column `event` was asked for and its bytes can be read.
    pub fn event(&self) -> Option<StoredEvent> {
        let (whose, event) = Shown::of(&self.slice.batch)?.event(self.at)?;
        Some(StoredEvent {
            host: whose.host,
            boot: whose.boot,
            stream: whose.stream,
            class: self.class()?,
            received: whose.received,
            event,
        })
    }

    /// Its time, where the scan is in the order of time.
    pub(super) fn time(&self) -> UnixNanos {
        self.slice.time(self.at)
    }
}

/// What a slice takes beside its values, in bytes, roughly.
const PART: u64 = 1_024;

fn cell(values: &ArrayRef, at: usize) -> RowCell<'_> {
    if values.is_null(at) {
        return RowCell::Null;
    }
    let any = values.as_any();
    if let Some(texts) = any.downcast_ref::<StringArray>() {
        RowCell::Text(texts.value(at))
    } else if let Some(numbers) = any.downcast_ref::<Int64Array>() {
        RowCell::Number(numbers.value(at))
    } else if let Some(times) = any.downcast_ref::<TimestampNanosecondArray>() {
        RowCell::Time(UnixNanos(times.value(at)))
    } else if let Some(flags) = any.downcast_ref::<BooleanArray>() {
        RowCell::Flag(flags.value(at))
    } else if let Some(numbers) = any.downcast_ref::<Float64Array>() {
        RowCell::Real(numbers.value(at))
    } else if let Some(bytes) = any.downcast_ref::<BinaryArray>() {
        RowCell::Bytes(bytes.value(at))
    } else if let Some(lists) = any.downcast_ref::<ListArray>() {
        RowCell::Texts(texts(&lists.value(at)))
    } else {
        RowCell::Null
    }
}

fn texts(members: &ArrayRef) -> Vec<String> {
    let members = members.as_any().downcast_ref::<StringArray>();
    let texts = members.into_iter().flat_map(|members| members.iter());
    texts.flatten().map(str::to_owned).collect()
}
