//! Reading what is synced, by as many as like to, while the writer writes.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use picket_event::batch::Header;
use picket_event::{Class, HostId, StreamId, UnixNanos};
use picket_proto::v1;

use crate::index::{Head, HostLedger, Segment};
use crate::store::SharedIndex;
use crate::walk::Walk;
use crate::{ChainKey, Cursor, Order, Query, ScanReport, StoreError, StoredEvent};

/// Reads the store. Cloning costs nothing.
#[derive(Clone, Debug)]
pub struct Reader {
    index: SharedIndex,
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
    pub fn head(&self, host: &HostId, stream: StreamId, class: Class) -> Head {
        self.index.read().head(host, &ChainKey { stream, class })
    }

    /// The host's ledger, the latest chain first.
    pub fn ledger(&self, host: &HostId) -> HostLedger {
        self.index.read().ledger(host)
    }

    /// Bytes in all segments.
    pub fn bytes(&self) -> u64 {
        self.index.read().bytes()
    }

    /// Behind everything that is synced now.
    pub fn end(&self) -> Cursor {
        self.index.read().end()
    }

    /// Shows each wanted event to `visit`, in the order of arrival, until it breaks off.
    pub fn scan(
        &self,
        query: &Query,
        order: Order,
        visit: &mut dyn FnMut(StoredEvent) -> ControlFlow<()>,
    ) -> Result<ScanReport, StoreError> {
        let mut report = ScanReport::default();
        for segment in self.segments(query, order) {
            if Walk::begin(segment, query, &mut report)?
                .events(order, visit)?
                .is_break()
            {
                break;
            }
        }
        Ok(report)
    }

    /// The latest `limit` wanted events by their own time, in the order of time.
    ///
    /// Segments and records whose latest event is too early are passed by.
    pub fn newest(&self, query: &Query, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let mut report = ScanReport::default();
        let mut newest = Newest {
            limit,
            heap: BinaryHeap::new(),
        };
        let mut segments = self.segments(query, Order::NewestFirst);
        segments.sort_by_key(|segment| Reverse(segment.summary.last));
        for segment in segments {
            if newest.is_past(segment.summary.last) {
                break;
            }
            let mut walk = Walk::begin(segment, query, &mut report)?;
            let mut places = walk.places()?;
            places.sort_by_key(|place| Reverse(place.last));
            for place in places {
                if newest.is_past(place.last) {
                    break;
                }
                walk.events_at(place, &mut |event| newest.offer(event))?;
            }
        }
        Ok(newest.in_order())
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
        self.go_on(from, query, &mut |walk| walk.whole_records(visit))
    }

    /// As [`Reader::follow`], showing the batches as they were signed.
    pub fn follow_batches(
        &self,
        from: Cursor,
        query: &Query,
        visit: &mut dyn FnMut(StoredBatch) -> ControlFlow<()>,
    ) -> Result<Cursor, StoreError> {
        self.go_on(from, query, &mut |walk| walk.batches(visit))
    }

    fn go_on(
        &self,
        from: Cursor,
        query: &Query,
        step: &mut dyn FnMut(&mut Walk<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<Cursor, StoreError> {
        let mut report = ScanReport::default();
        let mut cursor = from;
        let segments = self.index.read().segments_behind(from);
        for segment in segments {
            let end = Cursor {
                segment: segment.number,
                offset: segment.length,
            };
            let mut walk = Walk::begin(segment, query, &mut report)?;
            walk.skip_to(from);
            if step(&mut walk)?.is_break() {
                return Ok(walk.cursor());
            }
            cursor = end;
        }
        Ok(cursor)
    }

    fn segments(&self, query: &Query, order: Order) -> Vec<Segment> {
        let mut segments = self.index.read().segments_for(query);
        if order == Order::NewestFirst {
            segments.reverse();
        }
        segments
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
