//! Events made again of the columns of a sealed file.

use std::borrow::Cow;
use std::cell::Cell as Kept;

use arrow_array::{
    Array, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use picket_event::{BootId, Event, HostId, StreamId, UnixNanos};

use super::columns::{BOOT, EVENT, HOST, RECEIVED, REST, STREAM};
use super::rest::{Cell, HELD, restore};

/// The columns of which an event and its origin are made again.
pub(crate) struct Shown<'b> {
    received: &'b TimestampNanosecondArray,
    host: &'b StringArray,
    boot: &'b StringArray,
    stream: &'b StringArray,
    event: &'b BinaryArray,
    /// Missing: every event is whole.
    rest: Option<&'b BinaryArray>,
    /// In the order of [`HELD`].
    held: Vec<Option<Values<'b>>>,
    /// Whose the event in this row is; mostly the next is too.
    last: Kept<Option<(usize, Whose)>>,
}

enum Values<'b> {
    Text(&'b StringArray),
    Number(&'b Int64Array),
    Time(&'b TimestampNanosecondArray),
}

/// Whose an event is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose {
    pub(crate) host: HostId,
    pub(crate) boot: BootId,
    pub(crate) stream: StreamId,
    pub(crate) received: UnixNanos,
}

impl<'b> Shown<'b> {
    pub(crate) fn of(batch: &'b RecordBatch) -> Option<Self> {
        let rest = column(batch, REST);
        let held = HELD.iter().map(|held| values(batch, held.column));
        Some(Self {
            received: column(batch, RECEIVED)?,
            host: column(batch, HOST)?,
            boot: column(batch, BOOT)?,
            stream: column(batch, STREAM)?,
            event: column(batch, EVENT)?,
            held: rest.map_or_else(Vec::new, |_| held.collect()),
            rest,
            last: Kept::new(None),
        })
    }

    pub(crate) fn whose(&self, at: usize) -> Option<Whose> {
        let received = UnixNanos(self.received.value(at));
        if let Some((last, whose)) = self.last.get()
            && self.host.value(last) == self.host.value(at)
            && self.boot.value(last) == self.boot.value(at)
            && self.stream.value(last) == self.stream.value(at)
        {
            return Some(Whose { received, ..whose });
        }
        let whose = Whose {
            host: HostId::parse(self.host.value(at)).ok()?,
            boot: BootId::parse(self.boot.value(at)).ok()?,
            stream: StreamId::parse(self.stream.value(at)).ok()?,
            received,
        };
        self.last.set(Some((at, whose)));
        Some(whose)
    }

    /// The exact bytes of an event.
    pub(crate) fn bytes(&self, at: usize) -> Option<Cow<'b, [u8]>> {
        if !self.event.is_null(at) {
            return Some(Cow::Borrowed(self.event.value(at)));
        }
        let mut bytes = Vec::new();
        self.restored(at)?.encode(&mut bytes);
        Some(Cow::Owned(bytes))
    }

    /// The exact bytes of all events; null where they cannot be made again.
    pub(crate) fn all_bytes(&self) -> BinaryArray {
        (0..self.event.len()).map(|at| self.bytes(at)).collect()
    }

    pub(crate) fn event(&self, at: usize) -> Option<(Whose, Event)> {
        let event = if self.event.is_null(at) {
            self.restored(at)?
        } else {
            Event::decode(self.event.value(at)).ok()?
        };
        Some((self.whose(at)?, event))
    }

    /// An event of which the columns hold what `event_rest` lacks.
    fn restored(&self, at: usize) -> Option<Event> {
        let rest = self.rest.filter(|rest| !rest.is_null(at))?;
        let mut event = Event::decode(rest.value(at)).ok()?;
        let cell = |place: usize| self.held.get(place)?.as_ref()?.cell(at);
        restore(&mut event, cell)?;
        Some(event)
    }
}

impl<'b> Values<'b> {
    fn cell(&self, at: usize) -> Option<Cell<'b>> {
        match self {
            Self::Text(values) => (!values.is_null(at)).then(|| Cell::Text(values.value(at))),
            Self::Number(values) => (!values.is_null(at)).then(|| Cell::Number(values.value(at))),
            Self::Time(values) => (!values.is_null(at)).then(|| Cell::Number(values.value(at))),
        }
    }
}

fn values<'b>(batch: &'b RecordBatch, name: &str) -> Option<Values<'b>> {
    let any = batch.column_by_name(name)?.as_any();
    if let Some(values) = any.downcast_ref() {
        return Some(Values::Text(values));
    }
    if let Some(values) = any.downcast_ref() {
        return Some(Values::Number(values));
    }
    any.downcast_ref().map(Values::Time)
}

fn column<'b, A: Array + 'static>(batch: &'b RecordBatch, name: &str) -> Option<&'b A> {
    batch.column_by_name(name)?.as_any().downcast_ref()
}

/// What [`Shown`] needs of any file.
pub(crate) const NAMED: &[&str] = &[RECEIVED, HOST, BOOT, STREAM, EVENT];

/// What [`Shown`] needs, as far as a file has it.
pub(crate) fn shown() -> Vec<&'static str> {
    let held = HELD.iter().map(|held| held.column);
    NAMED.iter().copied().chain([REST]).chain(held).collect()
}
