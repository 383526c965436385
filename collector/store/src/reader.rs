//! Reading what is synced, by as many as like to, while the writer writes.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use picket_event::batch::Header;
use picket_event::{Class, HostId, StreamId, UnixNanos};
use picket_proto::v1;
use prost::Message;

use crate::frame::{Found, Frames};
use crate::index::{Head, HostLedger, SegmentInfo};
use crate::record::Record;
use crate::store::SharedIndex;
use crate::{Order, Query, ScanReport, StoreError, StoredEvent, payload};

/// Reads the store. Cloning costs nothing.
#[derive(Clone, Debug)]
pub struct Reader {
    index: SharedIndex,
}

/// A place between two records.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cursor {
    segment: u32,
    offset: u64,
}

impl Cursor {
    /// Before the first record.
    pub const START: Self = Self {
        segment: 0,
        offset: 0,
    };

    /// As 12 bytes: segment u32 le, offset u64 le.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let parts = self
            .segment
            .to_le_bytes()
            .into_iter()
            .chain(self.offset.to_le_bytes());
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        bytes
    }

    /// From these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (segment, offset) = bytes.split_first_chunk()?;
        let offset = u64::from_le_bytes(offset.try_into().ok()?);
        Some(Self {
            segment: u32::from_le_bytes(*segment),
            offset,
        })
    }
}

/// A batch as it was signed.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredBatch {
    /// Of which host.
    pub host: HostId,
    /// When it arrived.
    pub received: UnixNanos,
    /// Its header, checked.
    pub header: Header,
    /// The exact bytes.
    pub batch: v1::SignedBatch,
}

impl Reader {
    pub(crate) fn new(index: SharedIndex) -> Self {
        Self { index }
    }

    /// How far the host's chains are on disk, the latest first, at most `limit`.
    pub fn heads(&self, host: &HostId, limit: usize) -> Vec<Head> {
        self.index.read().heads(host, limit)
    }

    /// How far one chain is on disk.
    pub fn durable_seq(&self, host: &HostId, stream: StreamId, class: Class) -> u64 {
        self.index
            .read()
            .head(host, &crate::ChainKey { stream, class })
    }

    /// The host's ledger, the latest chain first.
    pub fn ledger(&self, host: &HostId) -> HostLedger {
        self.index.read().ledger(host)
    }

    /// Behind everything that is synced now.
    pub fn end(&self) -> Cursor {
        let index = self.index.read();
        index
            .segments
            .last()
            .map_or(Cursor::START, |segment| Cursor {
                segment: segment.number,
                offset: segment.length,
            })
    }

    /// Shows what was synced behind `from`, in the order of arrival, and says how far it came.
    ///
    /// A break takes effect behind the batch that it came in, so that a follower who goes on from
    /// there misses nothing, however slow it is.
    pub fn follow(
        &self,
        from: Cursor,
        query: &Query,
        visit: &mut dyn FnMut(StoredEvent) -> ControlFlow<()>,
    ) -> Result<Cursor, StoreError> {
        let mut scan = Scan {
            query,
            order: Order::OldestFirst,
            report: ScanReport::default(),
        };
        let mut cursor = from;
        for segment in self.segments_from(from) {
            let mut records = Records::open(&segment)?;
            if segment.number == from.segment {
                records.frames.skip_to(from.offset);
            }
            while let Some(record) = records.next(&mut scan.report)? {
                cursor = Cursor {
                    segment: segment.number,
                    offset: records.frames.offset(),
                };
                let mut enough = false;
                let shown = scan.record(record, &mut |event| {
                    enough |= visit(event).is_break();
                    ControlFlow::Continue(())
                });
                if enough || shown.is_break() {
                    return Ok(cursor);
                }
            }
            cursor = Cursor {
                segment: segment.number,
                offset: segment.length,
            };
        }
        Ok(cursor)
    }

    /// Bytes in all segments.
    pub fn bytes(&self) -> u64 {
        let index = self.index.read();
        index
            .segments
            .iter()
            .fold(0, |sum, segment| sum.saturating_add(segment.length))
    }

    /// Shows each wanted event to `visit`, in the order of arrival, until it breaks off.
    pub fn scan(
        &self,
        query: &Query,
        order: Order,
        visit: &mut dyn FnMut(StoredEvent) -> ControlFlow<()>,
    ) -> Result<ScanReport, StoreError> {
        let mut scan = Scan {
            query,
            order,
            report: ScanReport::default(),
        };
        for segment in self.segments(query, order) {
            if scan.segment(&segment, visit)?.is_break() {
                break;
            }
        }
        Ok(scan.report)
    }

    /// The latest `limit` wanted events by their own time, in the order of time.
    pub fn newest(&self, query: &Query, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let mut segments = self.segments(query, Order::NewestFirst);
        segments.sort_by_key(|segment| Reverse(segment.summary.last));
        let mut newest = Newest {
            limit,
            heap: BinaryHeap::new(),
        };
        let mut scan = Scan {
            query,
            order: Order::NewestFirst,
            report: ScanReport::default(),
        };
        for segment in segments {
            if newest.is_past(segment.summary.last) {
                break;
            }
            let ended = scan.segment(&segment, &mut |event| newest.offer(event))?;
            debug_assert!(ended.is_continue(), "the heap never breaks off");
        }
        Ok(newest.in_order())
    }

    /// Shows each batch to `visit` in the order of arrival, until it breaks off.
    pub fn batches(
        &self,
        query: &Query,
        visit: &mut dyn FnMut(StoredBatch) -> ControlFlow<()>,
    ) -> Result<ScanReport, StoreError> {
        let mut report = ScanReport::default();
        for segment in self.segments(query, Order::OldestFirst) {
            let mut records = Records::open(&segment)?;
            while let Some(record) = records.next(&mut report)? {
                let wanted = query.may_want_record(&record);
                let Some(batch) = Some(record).filter(|_| wanted).and_then(stored_batch) else {
                    continue;
                };
                if visit(batch).is_break() {
                    return Ok(report);
                }
            }
        }
        Ok(report)
    }

    fn segments_from(&self, from: Cursor) -> Vec<SegmentInfo> {
        let index = self.index.read();
        let behind = |segment: &&SegmentInfo| {
            let here = segment.number == from.segment && segment.length > from.offset;
            here || segment.number > from.segment
        };
        index.segments.iter().filter(behind).cloned().collect()
    }

    fn segments(&self, query: &Query, order: Order) -> Vec<SegmentInfo> {
        let index = self.index.read();
        let wanted = index
            .segments
            .iter()
            .filter(|segment| query.may_want_segment(segment));
        let mut segments: Vec<_> = wanted.cloned().collect();
        if order == Order::NewestFirst {
            segments.reverse();
        }
        segments
    }
}

fn stored_batch(record: Record) -> Option<StoredBatch> {
    let header = record.header()?;
    let received = UnixNanos(record.received_unix_ns);
    Some(StoredBatch {
        host: header.host,
        received,
        header,
        batch: record.batch?,
    })
}

/// The records of one segment, up to its synced length.
struct Records {
    frames: Frames,
    segment: SegmentInfo,
}

impl Records {
    fn open(segment: &SegmentInfo) -> Result<Self, StoreError> {
        let frames = Frames::open(&segment.path, Some(segment.length))?;
        Ok(Self {
            frames,
            segment: segment.clone(),
        })
    }

    fn next(&mut self, report: &mut ScanReport) -> Result<Option<Record>, StoreError> {
        let failed = |source| StoreError::io("read segment", &self.segment.path, source);
        while let Some(found) = self.frames.next().map_err(failed)? {
            let record = match found {
                Found::Body { body, .. } => Record::decode(body.as_slice()).ok(),
                Found::Damage { .. } | Found::Torn { .. } => None,
            };
            match record {
                Some(record) => return Ok(Some(record)),
                None => report.unreadable = report.unreadable.saturating_add(1),
            }
        }
        Ok(None)
    }
}

struct Scan<'a> {
    query: &'a Query,
    order: Order,
    report: ScanReport,
}

impl Scan<'_> {
    fn segment(
        &mut self,
        segment: &SegmentInfo,
        visit: &mut dyn FnMut(StoredEvent) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let mut records = Records::open(segment)?;
        if self.order == Order::OldestFirst {
            while let Some(record) = records.next(&mut self.report)? {
                if self.record(record, visit).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            return Ok(ControlFlow::Continue(()));
        }
        // Frames can only be walked forward: the wanted ones of one segment are kept, which is
        // bounded by its length.
        let mut wanted = Vec::new();
        while let Some(record) = records.next(&mut self.report)? {
            if self.query.may_want_record(&record) {
                wanted.push(record);
            }
        }
        for record in wanted.into_iter().rev() {
            if self.record(record, visit).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn record(
        &mut self,
        record: Record,
        visit: &mut dyn FnMut(StoredEvent) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !self.query.may_want_record(&record) {
            return ControlFlow::Continue(());
        }
        let Some(header) = record.header() else {
            return self.unreadable();
        };
        let Ok(events) = payload::open(
            record
                .batch
                .map(|b| b.payload)
                .unwrap_or_default()
                .as_slice(),
        ) else {
            return self.unreadable();
        };
        let received = UnixNanos(record.received_unix_ns);
        let mut wanted = Vec::new();
        for event in events {
            self.report.events = self.report.events.saturating_add(1);
            match event {
                Err(_) => return self.unreadable(),
                Ok(event) if !self.query.wants(&header.host, &event) => {}
                Ok(event) if self.order == Order::NewestFirst => wanted.push(event),
                Ok(event) => visit(stored(&header, received, event))?,
            }
        }
        let mut backwards = wanted.into_iter().rev();
        backwards.try_for_each(|event| visit(stored(&header, received, event)))
    }

    fn unreadable(&mut self) -> ControlFlow<()> {
        self.report.unreadable = self.report.unreadable.saturating_add(1);
        ControlFlow::Continue(())
    }
}

fn stored(header: &Header, received: UnixNanos, event: picket_event::Event) -> StoredEvent {
    StoredEvent {
        host: header.host,
        boot: header.boot,
        stream: header.stream,
        class: header.class,
        received,
        event,
    }
}

/// Keeps the latest so many.
struct Newest {
    limit: usize,
    heap: BinaryHeap<Reverse<ByTime>>,
}

impl Newest {
    /// Whether nothing up to this instant can get in any more.
    fn is_past(&self, last: UnixNanos) -> bool {
        let earliest = self.heap.peek();
        self.limit == 0
            || self.heap.len() >= self.limit
                && earliest.is_some_and(|Reverse(earliest)| earliest.0.event.time > last)
    }

    fn offer(&mut self, event: StoredEvent) -> ControlFlow<()> {
        self.heap.push(Reverse(ByTime(event)));
        if self.heap.len() > self.limit {
            self.heap.pop();
        }
        ControlFlow::Continue(())
    }

    fn in_order(self) -> Vec<StoredEvent> {
        let mut events: Vec<_> = self.heap.into_iter().map(|Reverse(event)| event).collect();
        events.sort();
        events.into_iter().map(|ByTime(event)| event).collect()
    }
}

/// Orders events by time; where that is the same, so that the order never changes between calls.
struct ByTime(StoredEvent);

impl ByTime {
    fn key(&self) -> (UnixNanos, HostId, StreamId, Class, u64) {
        let StoredEvent {
            host,
            stream,
            class,
            event,
            ..
        } = &self.0;
        (event.time, *host, *stream, *class, event.seq)
    }
}

impl PartialEq for ByTime {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ByTime {}

impl PartialOrd for ByTime {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByTime {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
