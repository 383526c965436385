//! Thinning the log: payloads that are old go, and the headers that were signed over them stay.
//!
//! # Invariants
//!
//! - A segment is written anew beside the old one, synced, and put in its place as a whole: a crash leaves the one or the other.
//! - Nothing that follows the log is within a segment that is thinned; who reads all of it pins it ([`Reader::pin`]).
//! - A payload that tells of gaps stays, as it explains headers without one; a segment with damage stays as it is.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use picket_event::{Kind, UnixNanos};
use prost::Message;

use crate::disk::Disk;
use crate::frame::{Found, Frames};
use crate::index::Segment as Written;
use crate::record::Record;
use crate::segment::Segment;
use crate::{Cursor, Limit, Reader, Sealer, StoreError, Summary};

/// What a step of thinning did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ThinReport {
    /// The segment that was thinned; 0: none is due.
    pub segment: u32,
    /// Payloads that went.
    pub payloads: u64,
    /// Bytes that the disk has back.
    pub bytes: u64,
    /// A segment that is due and stays, as it is damaged; 0: none.
    pub damaged: u32,
}

/// Bytes of a batch that thinning would take away.
pub(crate) fn thinnable(payload: &[u8], summary: Summary) -> u64 {
    if summary.kinds.holds(Kind::Gap) {
        0
    } else {
        payload.len() as u64
    }
}

/// Readers of the whole log, or the one who changes it: never both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pins(Arc<AtomicUsize>);

/// Held by whoever reads all of the log: as long, no segment is thinned.
#[derive(Debug)]
pub struct Pin(Pins);

impl Pins {
    /// Waits for the moment that a change takes.
    pub(crate) fn pin(&self) -> Pin {
        let one_more = |pins: usize| (pins != CHANGING).then(|| pins.saturating_add(1));
        while self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .is_err()
        {
            std::thread::park_timeout(MOMENT);
        }
        Pin(self.clone())
    }

    /// Does it while nobody reads; `None`: somebody does.
    fn change<T>(&self, change: impl FnOnce() -> T) -> Option<T> {
        let free = self
            .0
            .compare_exchange(0, CHANGING, Ordering::AcqRel, Ordering::Acquire);
        free.ok()?;
        let done = change();
        self.0.store(0, Ordering::Release);
        Some(done)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Reader {
    /// Keeps the log as it is while a reader goes through all of it in several steps.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.pins().pin()
    }
}

impl Sealer {
    /// Thins the oldest segment that is beyond the limit, if there is one. Only what is sealed and before `followed` is touched.
    ///
    /// An age counts from when the segment was written. Its headers, signatures and successions stay, and with them the chains, the books and
    /// the checkpoints.
    pub fn thin(
        &mut self,
        limit: Limit,
        followed: Cursor,
        now: UnixNanos,
    ) -> Result<ThinReport, StoreError> {
        self.check()?;
        let mut report = ThinReport::default();
        let Some(segment) = self.due(limit, followed, now) else {
            return Ok(report);
        };
        let beside = segment.path.with_extension("wal.thin");
        let written = write(self.disk.as_mut(), &segment, &beside, &mut report.payloads);
        let length = match written {
            Ok(ControlFlow::Continue(length)) => length,
            Ok(ControlFlow::Break(())) => {
                self.disk.remove(&beside).unwrap_or_default();
                self.unthinnable.insert(segment.number);
                report = ThinReport {
                    damaged: segment.number,
                    ..ThinReport::default()
                };
                return Ok(report);
            }
            Err(failed) => {
                // What cannot be removed now is removed before the next try.
                self.disk.remove(&beside).unwrap_or_default();
                return Err(failed);
            }
        };
        let (index, pins) = (self.reader().index().clone(), self.reader().pins().clone());
        let placed = pins.change(|| {
            self.disk.replace(&beside, &segment.path)?;
            index.shorten(segment.number, length);
            Ok(())
        });
        match placed {
            None => {
                self.disk.remove(&beside).unwrap_or_default();
                Ok(ThinReport::default())
            }
            Some(Ok(())) => {
                report.segment = segment.number;
                report.bytes = segment.length.saturating_sub(length);
                Ok(report)
            }
            Some(Err(source)) => {
                // Nobody knows which of the two is there.
                self.stop();
                Err(StoreError::io("replace", &segment.path, source))
            }
        }
    }

    fn due(&self, limit: Limit, followed: Cursor, now: UnixNanos) -> Option<Written> {
        let index = self.reader().index().read();
        let oldest = limit.age.map(|age| now.minus(age));
        let full = limit.bytes.is_some_and(|most| index.bytes() > most);
        let before = self.cursor().segment.min(followed.segment);
        let (_open, closed) = index.segments.split_last()?;
        let mut candidates = closed.iter().filter(|info| {
            let number = info.segment.number;
            info.payloads > 0 && number < before && !self.unthinnable.contains(&number)
        });
        let due = candidates.find(|info| {
            let old = |oldest| written_at(&info.segment.path).is_some_and(|at| at < oldest);
            full || oldest.is_some_and(old)
        });
        due.map(|info| info.segment.clone())
    }
}

/// Writes a segment without its payloads. Returns its length, or breaks off at damage.
fn write(
    disk: &mut dyn Disk,
    segment: &Written,
    beside: &Path,
    payloads: &mut u64,
) -> Result<ControlFlow<(), u64>, StoreError> {
    let failed = |source| StoreError::io("read segment", &segment.path, source);
    disk.remove(beside)
        .map_err(|source| StoreError::io("remove", beside, source))?;
    let mut frames = Frames::open(&segment.path, Some(segment.length))?;
    let mut thin = Segment::create_as(disk, PathBuf::from(beside), segment.number)?;
    while let Some(found) = frames.next().map_err(failed)? {
        let Found::Body { body, .. } = found else {
            return Ok(ControlFlow::Break(()));
        };
        let Ok(record) = Record::decode(body.as_slice()) else {
            return Ok(ControlFlow::Break(()));
        };
        match without_payload(record) {
            Some(record) => {
                *payloads = payloads.saturating_add(1);
                thin.append(&record.encode_to_vec())?;
            }
            None => thin.append(&body)?,
        }
    }
    thin.sync()?;
    Ok(ControlFlow::Continue(thin.written()))
}

/// `None`: it stays as it is.
fn without_payload(mut record: Record) -> Option<Record> {
    let summary = record.summary();
    let batch = record.batch.as_mut()?;
    if thinnable(&batch.payload, summary) == 0 {
        return None;
    }
    batch.payload.clear();
    record.retired = true;
    Some(record)
}

/// When the file was written last, as its file system says.
fn written_at(path: &Path) -> Option<UnixNanos> {
    let at = std::fs::metadata(path).ok()?.modified().ok()?;
    let since = at.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok().map(UnixNanos)
}

const CHANGING: usize = usize::MAX;
const MOMENT: Duration = Duration::from_millis(1);
