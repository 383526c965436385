//! Reading what is synced, by as many as like to, while the writer writes.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use picket_event::batch::Header;
use picket_event::{Class, HostId, StreamId, UnixNanos};
use picket_proto::v1;

use crate::index::{Head, HostLedger, Segment};
use crate::sealed::{Counted, FileScan, Plan, SealedFile, SharedSealed, Snapshot};
use crate::stack::{Counting, Stacking};
use crate::store::SharedIndex;
use crate::thin::Pins;
use crate::unread::Noting;
use crate::walk::{Visit, Walk};
use crate::{
    Cancel, ChainKey, Cursor, Order, Query, ScanReport, SignedBy, SignedSpan, StoreError,
    StoredEvent, Unread,
};

/// Reads the store. Cloning costs nothing.
#[derive(Clone, Debug)]
pub struct Reader {
    index: SharedIndex,
    sealed: SharedSealed,
    cancel: Cancel,
    noting: Noting,
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
    /// The payload was stored and went by the collector's own limit.
    pub retired: bool,
    /// The place in the log behind it.
    pub end: Cursor,
}

impl Reader {
    pub(crate) fn new(index: SharedIndex, sealed: SharedSealed) -> Self {
        Self {
            index,
            sealed,
            cancel: Cancel::default(),
            noting: Noting::default(),
        }
    }

    /// The same, whose searches end with an error once this is cancelled.
    #[must_use]
    pub fn until(&self, cancel: Cancel) -> Self {
        Self {
            cancel,
            ..self.clone()
        }
    }

    /// The same, whose searches go past damaged sealed files and note them here. Without this they fail at the first.
    #[must_use]
    pub fn noting(&self, unread: &Unread) -> Self {
        Self {
            noting: Noting::by(unread.clone()),
            ..self.clone()
        }
    }

    /// Somebody who reads a [`crate::View`] could not read this file: whoever seals looks at it.
    pub fn suspect(&self, number: u64) {
        self.sealed.suspect(number);
    }

    pub(crate) fn note(&self) -> &Noting {
        &self.noting
    }

    pub(crate) fn sealed(&self) -> &SharedSealed {
        &self.sealed
    }

    pub(crate) fn pins(&self) -> &Pins {
        self.index.pins()
    }

    pub(crate) fn index(&self) -> &SharedIndex {
        &self.index
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

    /// Who signed a number of a chain.
    pub fn signed_by(&self, host: &HostId, key: ChainKey, seq: u64) -> Option<SignedBy> {
        self.index.read().signed_by(host, &key, seq)
    }

    /// Who signed what of a host, chain by chain.
    pub fn signed_spans(&self, host: &HostId) -> Vec<SignedSpan> {
        self.index.read().signed_spans(host)
    }

    /// Bytes in all segments.
    pub fn bytes(&self) -> u64 {
        self.index.read().bytes()
    }

    /// Behind everything that is synced now.
    pub fn end(&self) -> Cursor {
        self.index.read().end()
    }

    /// Shows each wanted event to `visit` until it breaks off: what is sealed in the order of time, file by file, then the rest
    /// in the order of arrival; or all of it backwards.
    pub fn scan(
        &self,
        query: &Query,
        order: Order,
        visit: &mut dyn FnMut(StoredEvent) -> ControlFlow<()>,
    ) -> Result<ScanReport, StoreError> {
        let mut report = ScanReport::default();
        let (now, plan) = (self.sealed.now(), Plan::of(query));
        let mut parts = self.parts(&now, &plan);
        if order == Order::NewestFirst {
            parts.reverse();
        }
        for part in parts {
            let seen = match part {
                Part::Sealed(file) => {
                    let seen = self.past_damage(file, || {
                        let scan = FileScan::begin(file, &plan, &self.cancel)?;
                        scan.events(order, &mut report, visit)
                    })?;
                    seen.unwrap_or(ControlFlow::Continue(()))
                }
                Part::Live(segment) => {
                    let mut walk = self.walk(segment, query, &mut report)?;
                    walk.skip_to(now.begin());
                    walk.events(order, &mut |event| visit_once(&now, event, visit))?
                }
            };
            if seen.is_break() {
                break;
            }
        }
        Ok(report)
    }

    /// The latest `limit` wanted events by their own time, in the order of time.
    ///
    /// Segments, records, files and row groups whose latest event is too early are passed by.
    pub fn newest(&self, query: &Query, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let mut report = ScanReport::default();
        let (now, plan) = (self.sealed.now(), Plan::of(query));
        let mut newest = Newest::new(limit);
        let mut parts = self.parts(&now, &plan);
        parts.sort_by_key(|part| Reverse(part.last()));
        for part in parts {
            if newest.is_past(part.last()) {
                break;
            }
            match part {
                Part::Sealed(file) => {
                    self.past_damage(file, || {
                        let scan = FileScan::begin(file, &plan, &self.cancel)?;
                        scan.newest(&mut newest, &mut report)
                    })?;
                }
                Part::Live(segment) => {
                    let mut walk = self.walk(segment, query, &mut report)?;
                    walk.skip_to(now.begin());
                    newest_of(&mut walk, &now, &mut newest)?;
                }
            }
        }
        Ok(newest.in_order())
    }

    /// Counts the values of a field in what is wanted: in columns where they say enough, else in the events.
    pub(crate) fn columns(
        &self,
        query: &Query,
        what: Stacking,
        counting: &mut Counting,
    ) -> Result<(), StoreError> {
        let counted = Counted::of(what).filter(|_| query.filter.is_none() && query.marks.is_none());
        let Some(counted) = counted else {
            return self.count_events(query, what, counting);
        };
        let mut report = ScanReport::default();
        let (now, plan) = (self.sealed.now(), Plan::of(query));
        for part in self.parts(&now, &plan) {
            match part {
                Part::Sealed(file) => {
                    self.past_damage(file, || {
                        let scan = FileScan::begin(file, &plan, &self.cancel)?;
                        scan.count(&counted, counting)
                    })?;
                }
                Part::Live(segment) => {
                    let mut walk = self.walk(segment, query, &mut report)?;
                    walk.skip_to(now.begin());
                    let _all = walk.events(Order::OldestFirst, &mut |event| {
                        visit_once(&now, event, &mut |stored| {
                            counting.event(&stored.host, &stored.event, what);
                            ControlFlow::Continue(())
                        })
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Reads some of a file. `None`: it is damaged, and that is noted.
    fn past_damage<T>(
        &self,
        file: &SealedFile,
        read: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.noting.past(&self.sealed, file, read)
    }

    /// What may hold something wanted: sealed files, then what is behind them in the log.
    fn parts<'s>(&self, now: &'s Snapshot, plan: &Plan<'_>) -> Vec<Part<'s>> {
        let files = now.files.iter().filter(|file| plan.may_want(&file.entry));
        let live = self.index.read().segments_for(now.begin(), plan.query);
        files
            .map(|file| Part::Sealed(file))
            .chain(live.into_iter().map(Part::Live))
            .collect()
    }

    fn walk<'q>(
        &self,
        segment: Segment,
        query: &'q Query,
        report: &'q mut ScanReport,
    ) -> Result<Walk<'q>, StoreError> {
        Ok(Walk::begin(segment, query, report)?.until(&self.cancel))
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
            let mut walk = self.walk(segment, query, &mut report)?;
            walk.skip_to(from);
            if step(&mut walk)?.is_break() {
                return Ok(walk.cursor());
            }
            cursor = end;
        }
        Ok(cursor)
    }
}

/// A part of the store that is searched by itself.
enum Part<'s> {
    Sealed(&'s SealedFile),
    Live(Segment),
}

impl Part<'_> {
    /// The time of its latest event.
    fn last(&self) -> UnixNanos {
        match self {
            Self::Sealed(file) => file.entry.summary.last,
            Self::Live(segment) => segment.summary.last,
        }
    }
}

/// An event of the log that is in a sealed file too was shown from there.
fn visit_once(now: &Snapshot, event: StoredEvent, visit: &mut Visit<'_>) -> ControlFlow<()> {
    if now.holds(&event) {
        return ControlFlow::Continue(());
    }
    visit(event)
}

fn newest_of(walk: &mut Walk<'_>, now: &Snapshot, newest: &mut Newest) -> Result<(), StoreError> {
    let mut places = walk.places()?;
    places.sort_by_key(|place| Reverse(place.last));
    for place in places {
        if newest.is_past(place.last) {
            break;
        }
        walk.events_at(place, &mut |event| {
            visit_once(now, event, &mut |event| newest.offer(event))
        })?;
    }
    Ok(())
}

/// Keeps the latest so many.
pub(crate) struct Newest {
    limit: usize,
    heap: BinaryHeap<Reverse<ByTime>>,
}

impl Newest {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            heap: BinaryHeap::new(),
        }
    }

    /// How many are kept.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether nothing up to this instant can get in any more.
    pub(crate) fn is_past(&self, last: UnixNanos) -> bool {
        let earliest = self.heap.peek();
        self.limit == 0
            || self.heap.len() >= self.limit
                && earliest.is_some_and(|Reverse(earliest)| earliest.0.event.time > last)
    }

    pub(crate) fn offer(&mut self, event: StoredEvent) -> ControlFlow<()> {
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
