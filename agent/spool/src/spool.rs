//! The spool: append, sync, read, acknowledge.

use std::fmt;
use std::io;

use crate::disk::Disk;
use crate::error::SpoolError;
use crate::index::{Lane, PerClass, Runs};
use crate::loss::{LossReason, Lost};
use crate::record::{Class, Record};

mod ack;
mod quota;
mod read;
mod recover;
mod report;
mod rewrite;
mod write;

/// Sealed batches on disk, until the collector has them.
pub struct Spool {
    disk: Box<dyn Disk>,
    limits: Limits,
    lanes: PerClass<Lane>,
    runs: Runs,
    next_segment: u64,
    /// Losses that nobody was told of yet; at most a few ranges per segment.
    lost: Vec<Lost>,
    /// Files that a failed write left behind, to be cut or removed when the disk lets us.
    debris: Vec<Debris>,
    /// Segments of which not even the owner can be read, until their loss is settled.
    useless: Vec<String>,
    acks_unsaved: u32,
}

/// How large the spool and its segments may grow, in bytes.
///
/// A segment has 4 KiB to 64 MiB and the quota holds at least two segments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most that all segments together may take, records that wait in memory included.
    pub quota_bytes: u64,
    /// A segment is closed when it would grow past this; only a single larger record passes it.
    pub segment_bytes: u64,
}

/// What [`Spool::open`] found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovery {
    /// Readable records that are not acknowledged.
    pub records: u64,
    /// The numbers that they cover.
    pub events: u64,
    /// Bytes of ends that were not written completely, left out.
    pub torn_bytes: u64,
    /// Damaged bytes that were skipped.
    pub corrupt_bytes: u64,
    /// Records that are here without their payload: why is told again, in case nobody heard it.
    pub dropped: Vec<Lost>,
    /// Numbers lost, where they can be known. Reported again by every `open` until
    /// [`Spool::settle_losses`], or until the damaged file is acknowledged to its end.
    pub lost: Vec<Lost>,
    /// Segment files of which nothing is readable (removed by [`Spool::settle_losses`]), that the
    /// disk cannot read now or that a newer version wrote (left as they are). Not part of the
    /// quota.
    pub unreadable: Vec<String>,
    /// The cursor was there and damaged: acknowledged records may be sent again.
    pub cursor_lost: bool,
    /// The disk refused to sync what was found (read-only, broken): it may not survive a power cut.
    pub unconfirmed: bool,
}

/// What an [`Spool::append`] caused.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Appended {
    /// Losses since the last report, the ones that made room for this record among them.
    pub lost: Vec<Lost>,
}

/// The place of a record in the order of its class. Means something only to the `Spool` that gave
/// it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position {
    run: u64,
    seq_end: u64,
}

impl Spool {
    /// Opens the spool and finds out what survived. A disk that cannot be written is no error.
    ///
    /// Records that were written but never confirmed by [`Spool::sync`] may be among what is found;
    /// they are synced now and count as spooled.
    pub fn open(disk: Box<dyn Disk>, limits: Limits) -> Result<(Self, Recovery), SpoolError> {
        limits.check()?;
        let mut spool = Self {
            disk,
            limits,
            lanes: PerClass::default(),
            runs: Runs::default(),
            next_segment: 0,
            lost: Vec::new(),
            debris: Vec::new(),
            useless: Vec::new(),
            acks_unsaved: 0,
        };
        let recovery = spool.recover()?;
        Ok((spool, recovery))
    }

    /// Takes a record. It survives a power cut only after [`Spool::sync`].
    ///
    /// Numbers must rise inside a stream and class, and a stream ends when another one begins. On
    /// an error the record was not taken and may be offered again. When the quota is used up,
    /// older payloads of the same or a less important class go, or else this record's own.
    pub fn append(&mut self, record: Record) -> Result<Appended, SpoolError> {
        self.check(&record)?;
        self.flush_before(&record)?;
        let record = self.make_room(record)?;
        self.take(&record);
        Ok(Appended {
            lost: self.take_lost(),
        })
    }

    /// Makes everything appended durable and visible to [`Spool::next`]: one write and one fsync
    /// for each class that has something new.
    ///
    /// On an error the records of the failed classes stay taken, and the next `sync` tries again.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        let results = Class::ALL.map(|class| self.flush(class));
        results.into_iter().collect()
    }

    /// The first record of `class` after `after`, or the first unacknowledged one when it is `None`
    /// (after a reconnect). Gives only what was synced. `None` means: nothing more for now.
    ///
    /// A record that was damaged on disk is skipped; see [`Spool::take_lost`].
    pub fn next(
        &mut self,
        class: Class,
        after: Option<Position>,
    ) -> Result<Option<(Position, Record)>, SpoolError> {
        self.read_next(class, after)
    }

    /// The newest synced record of `class`, while the spool still has it: where its chain stands.
    pub fn last(&mut self, class: Class) -> Result<Option<Record>, SpoolError> {
        self.read_last(class)
    }

    /// Everything below `durable_seq` of this stream and class is safe elsewhere.
    ///
    /// Segments that hold nothing else are deleted. Numbers that were never synced here are not
    /// taken for acknowledged, and a stream that is not known is no error. The cursor is written
    /// when a segment goes and at every 64th ack: after a crash, that many may have to be
    /// acknowledged again.
    pub fn ack(
        &mut self,
        stream: [u8; 16],
        class: Class,
        durable_seq: u64,
    ) -> Result<(), SpoolError> {
        self.accept_ack(stream, class, durable_seq)
    }

    /// Writes the cursor now. For a clean end.
    pub fn save_cursor(&mut self) -> Result<(), SpoolError> {
        self.write_cursor()
    }

    /// Losses since the last report: damage met while reading, payloads dropped.
    pub fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }

    /// Why the numbers before the first record of this stream and class that is still here are gone, as far as
    /// its files tell: [`LossReason::Folded`] or [`LossReason::Corrupt`].
    pub fn why_missing(&self, stream: [u8; 16], class: Class) -> LossReason {
        let mut segments = self.lanes.of(class).segments.iter();
        let folded = segments.any(|segment| segment.stream == stream && segment.folded);
        if folded {
            LossReason::Folded
        } else {
            LossReason::Corrupt
        }
    }

    /// Says that every loss reported so far is recorded elsewhere: damaged files are rewritten
    /// without their damage, so that the next `open` does not report it again.
    ///
    /// Does nothing while there are losses that were not taken yet.
    pub fn settle_losses(&mut self) -> Result<(), SpoolError> {
        if self.lost.is_empty() {
            self.rewrite_damaged()
        } else {
            Ok(())
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), SpoolError> {
        if !(MIN_SEGMENT..=MAX_SEGMENT).contains(&self.segment_bytes) {
            return Err(SpoolError::Limits {
                reason: "a segment has 4 KiB to 64 MiB",
            });
        }
        if self.quota_bytes / 2 < self.segment_bytes {
            return Err(SpoolError::Limits {
                reason: "the quota holds at least two segments",
            });
        }
        Ok(())
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("limits", &self.limits)
            .field("runs", &self.runs)
            .finish_non_exhaustive()
    }
}

/// A file of which only the first `keep` bytes count; none at all when `keep` is 0.
#[derive(Debug)]
struct Debris {
    name: String,
    keep: u64,
}

/// Puts the operation and the file to a disk's error.
fn failed<'a>(operation: &'static str, file: &'a str) -> impl Fn(io::Error) -> SpoolError + 'a {
    move |source| SpoolError::Io {
        operation,
        file: file.to_owned(),
        source,
    }
}

const MIN_SEGMENT: u64 = 4 << 10;
const MAX_SEGMENT: u64 = 64 << 20;
