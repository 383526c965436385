//! Walking over the records of one segment, up to its synced length.

use std::ops::ControlFlow;

use picket_event::batch::Header;
use picket_event::{Event, UnixNanos};
use prost::Message;

use crate::cancel::Cancel;
use crate::frame::{Found, Frames};
use crate::index::Segment;
use crate::record::Record;
use crate::{Cursor, Order, Query, ScanReport, StoreError, StoredBatch, StoredEvent, payload};

/// What a walk does with an event.
pub(crate) type Visit<'a> = dyn FnMut(StoredEvent) -> ControlFlow<()> + 'a;

/// One segment that is being walked over.
pub(crate) struct Walk<'a> {
    frames: Frames,
    segment: Segment,
    query: &'a Query,
    report: &'a mut ScanReport,
    cancel: Cancel,
}

/// Where a wanted record is, and the time of its latest event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) last: UnixNanos,
    offset: u64,
}

impl<'a> Walk<'a> {
    pub(crate) fn begin(
        segment: Segment,
        query: &'a Query,
        report: &'a mut ScanReport,
    ) -> Result<Self, StoreError> {
        let frames = Frames::open(&segment.path, Some(segment.length))?;
        Ok(Self {
            frames,
            segment,
            query,
            report,
            cancel: Cancel::default(),
        })
    }

    /// Ends with an error once nobody waits any more.
    pub(crate) fn until(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// Goes on at a place that was between two records.
    pub(crate) fn skip_to(&mut self, cursor: Cursor) {
        if cursor.segment == self.segment.number {
            self.frames.skip_to(cursor.offset);
        }
    }

    /// Behind the last record that was shown.
    pub(crate) fn cursor(&self) -> Cursor {
        Cursor {
            segment: self.segment.number,
            offset: self.frames.offset(),
        }
    }

    /// Shows every wanted event.
    pub(crate) fn events(
        &mut self,
        order: Order,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        if order == Order::NewestFirst {
            return self.events_backwards(visit);
        }
        while let Some(record) = self.next_wanted()? {
            if self.show(record, visit).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Frames can be found forward only, so their places are found first and then visited backwards.
    fn events_backwards(&mut self, visit: &mut Visit<'_>) -> Result<ControlFlow<()>, StoreError> {
        for place in self.places()?.into_iter().rev() {
            let mut events = Vec::new();
            self.events_at(place, &mut |event| {
                events.push(event);
                ControlFlow::Continue(())
            })?;
            if events
                .into_iter()
                .rev()
                .try_for_each(&mut *visit)
                .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The places of all wanted records.
    pub(crate) fn places(&mut self) -> Result<Vec<Place>, StoreError> {
        let mut places = Vec::new();
        let mut offset = self.frames.offset();
        while let Some(record) = self.next()? {
            if self.query.may_want_record(&record) {
                places.push(Place {
                    last: record.summary().last,
                    offset,
                });
            }
            offset = self.frames.offset();
        }
        Ok(places)
    }

    /// Shows the wanted events of one record.
    pub(crate) fn events_at(
        &mut self,
        place: Place,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        self.frames.skip_to(place.offset);
        if let Some(record) = self.next_wanted()? {
            let _always_all = self.show(record, visit);
        }
        Ok(())
    }

    /// Shows each wanted batch.
    pub(crate) fn batches(
        &mut self,
        visit: &mut dyn FnMut(StoredBatch) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        while let Some(record) = self.next_wanted()? {
            let Some(batch) = stored_batch(record, self.cursor()) else {
                self.unreadable();
                continue;
            };
            if visit(batch).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Shows the wanted events of each record; a break takes effect behind the record.
    pub(crate) fn whole_records(
        &mut self,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        while let Some(record) = self.next_wanted()? {
            let mut enough = false;
            let _always_all = self.show(record, &mut |event| {
                enough |= visit(event).is_break();
                ControlFlow::Continue(())
            });
            if enough {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Hands over each record, until it is enough; a break takes effect behind the record.
    pub(crate) fn records(
        &mut self,
        take: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        while let Some(record) = self.next()? {
            if take(record).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Hands over each record with the place behind it.
    pub(crate) fn records_with_ends(
        &mut self,
        take: &mut dyn FnMut(Record, Cursor) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        while let Some(record) = self.next()? {
            if take(record, self.cursor()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn next_wanted(&mut self) -> Result<Option<Record>, StoreError> {
        while let Some(record) = self.next()? {
            if self.query.may_want_record(&record) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn next(&mut self) -> Result<Option<Record>, StoreError> {
        loop {
            self.cancel.check()?;
            let found = self.frames.next();
            let failed = |source| StoreError::io("read segment", &self.segment.path, source);
            let record = match found.map_err(failed)? {
                None => return Ok(None),
                Some(Found::Body { body, .. }) => Record::decode(body.as_slice()).ok(),
                Some(Found::Damage { .. } | Found::Torn { .. }) => None,
            };
            match record {
                Some(record) => return Ok(Some(record)),
                None => self.unreadable(),
            }
        }
    }

    fn show(&mut self, record: Record, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let received = UnixNanos(record.received_unix_ns);
        let Some(header) = record.header() else {
            self.unreadable();
            return ControlFlow::Continue(());
        };
        let payload = record.batch.map(|batch| batch.payload).unwrap_or_default();
        let Ok(events) = payload::open(&payload) else {
            self.unreadable();
            return ControlFlow::Continue(());
        };
        for event in events {
            let Ok(event) = event else {
                self.unreadable();
                break;
            };
            self.report.events = self.report.events.saturating_add(1);
            if self.query.wants(&header.host, &header.boot, &event) {
                let stored = stored_event(&header, received, event);
                if self.query.wants_mark(&stored) {
                    visit(stored)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn unreadable(&mut self) {
        self.report.unreadable = self.report.unreadable.saturating_add(1);
    }
}

fn stored_event(header: &Header, received: UnixNanos, event: Event) -> StoredEvent {
    StoredEvent {
        host: header.host,
        boot: header.boot,
        stream: header.stream,
        class: header.class,
        received,
        event,
    }
}

fn stored_batch(record: Record, end: Cursor) -> Option<StoredBatch> {
    let header = record.header()?;
    let received = UnixNanos(record.received_unix_ns);
    let retired = record.retired;
    Some(StoredBatch {
        host: header.host,
        received,
        header,
        batch: record.batch?,
        retired,
        end,
    })
}
