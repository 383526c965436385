//! The spool's thread: takes sealed batches, makes them durable in groups, wakes the uplink.
//!
//! # Queues
//!
//! | queue | bound | full |
//! | --- | --- | --- |
//! | sealed batches, waiting for the disk or refused by it | [`ROOM`] per class | while the disk works, the path waits, and with it the sensors' threads: the kernel's rings hold what they can and count the rest as lost; while it refuses, new events of the class become gaps `spool_full` when they are numbered |
//!
//! # Invariants
//!
//! - Batches of a class reach the spool in the order in which they were sealed.
//! - The uplink sees a batch only after its `sync`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use picket_event::{Class, StreamId};
use picket_seal::Digest;
use picket_spool::{Lost, Spool};
use tokio::sync::Notify;

use crate::failure::{Code, Failure, chain};
use crate::health::{SharedHealth, TransportLine};
use crate::seal::{Numbered, Sealed};

mod keeper;
mod proof;
mod ranges;

use keeper::Keeper;
use proof::Proof;
use ranges::Ranges;

/// Batches of one class that may wait for the disk.
const ROOM: usize = 48;
/// What a class may have beyond that, so that closing the books never waits.
const SPARE: usize = 8;
/// How often the path looks whether there is room again.
const LOOK: Duration = Duration::from_millis(2);

/// The spool, shared by its thread and the uplink.
#[derive(Debug)]
pub(crate) struct Shared {
    spool: Mutex<Spool>,
    /// Rings when something new can be sent.
    pub(crate) wake: Notify,
    synced: [AtomicU64; 3],
    waiting: [AtomicUsize; 3],
    refusing: [AtomicBool; 3],
    unnoted: AtomicBool,
    gaps: Mutex<Gaps>,
    lost: Mutex<Vec<Lost>>,
    /// Holes that wait for a signature.
    pub(crate) ranges: Ranges,
    /// A signature that the uplink waits for.
    pub(crate) proof: Proof,
    checkpoint: Mutex<Option<Digest>>,
}

/// Gap numbers of this run, by whether they are behind the durable watermark.
#[derive(Debug, Default)]
struct Gaps {
    ahead: VecDeque<(Class, u64, u64)>,
    durable: [u64; 3],
    dropped: [u64; 3],
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Store {
    sealed: Option<SyncSender<Sealed>>,
    thread: Option<JoinHandle<()>>,
    /// What the thread shares.
    pub(crate) shared: Arc<Shared>,
}

impl Shared {
    /// Around an open spool that has lost so much before.
    pub(crate) fn new(spool: Spool, lost: Vec<Lost>) -> Arc<Self> {
        Arc::new(Self {
            spool: Mutex::new(spool),
            wake: Notify::new(),
            synced: Default::default(),
            waiting: Default::default(),
            refusing: Default::default(),
            unnoted: AtomicBool::new(false),
            gaps: Mutex::default(),
            lost: Mutex::new(lost),
            ranges: Ranges::default(),
            proof: Proof::default(),
            checkpoint: Mutex::default(),
        })
    }

    /// The spool, for a moment. A `sync` of the thread may take that moment as long as the disk takes.
    pub(crate) fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far a class of this run is on disk.
    pub(crate) fn synced(&self, class: Class) -> u64 {
        self.synced[index(class)].load(Ordering::Acquire)
    }

    /// Everything below `durable_seq` is safe at the collector. A disk that does not take the note
    /// costs at most a redelivery after a restart.
    pub(crate) fn ack(&self, stream: StreamId, class: Class, durable_seq: u64) {
        let done = self
            .spool()
            .ack(*stream.as_bytes(), spool_class(class), durable_seq);
        let failed_before = self.unnoted.swap(done.is_err(), Ordering::AcqRel);
        if let (Err(error), false) = (done, failed_before) {
            tracing::warn!(reason = chain(&error), "acknowledgement not noted on disk");
        }
    }

    /// The collector has signed a checkpoint of this hash. Anything else is left alone.
    pub(crate) fn hear_checkpoint(&self, hash: &[u8]) {
        if let Ok(hash) = Digest::from_slice(hash) {
            *self.newest_checkpoint() = Some(hash);
        }
    }

    /// The newest checkpoint that was heard of.
    pub(crate) fn checkpoint(&self) -> Option<Digest> {
        *self.newest_checkpoint()
    }

    fn newest_checkpoint(&self) -> MutexGuard<'_, Option<Digest>> {
        self.checkpoint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What was damaged is told: the spool may forget it.
    pub(crate) fn settle_losses(&self) {
        if let Err(error) = self.spool().settle_losses() {
            tracing::warn!(reason = chain(&error), "damaged spool files not rewritten");
        }
    }

    /// What the quota or the disk took since the last call.
    pub(crate) fn take_lost(&self) -> Vec<Lost> {
        std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Numbers of a batch of this run became gaps after they were sealed. Those that its own header calls gaps were it before.
    pub(crate) fn note_dropped(&self, class: Class, seq_end: u64, count: u64) {
        self.gaps().drop_payload(class, seq_end, count);
    }

    /// The transport ledger: this run's lines, then those of earlier runs that are still here.
    pub(crate) fn transport(&self, stream: StreamId, own: &[Numbered; 3]) -> Vec<TransportLine> {
        let status = self.spool().status();
        let mut gaps = self.gaps();
        let durable = |class: Class| {
            let own = |line: &&picket_spool::LineStatus| {
                line.stream == *stream.as_bytes() && event_class(line.class) == class
            };
            status
                .lines
                .iter()
                .find(own)
                .map_or(0, |line| line.durable_seq)
        };
        let mut lines: Vec<TransportLine> = own
            .iter()
            .map(|line| gaps.line(stream, line, durable(line.class)))
            .collect();
        let older = status
            .lines
            .iter()
            .filter(|line| line.stream != *stream.as_bytes());
        lines.extend(older.map(old_line));
        lines
    }

    fn gaps(&self) -> MutexGuard<'_, Gaps> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, class: Class, seq_end: u64, gaps: u64) {
        self.synced[index(class)].store(seq_end, Ordering::Release);
        self.waiting[index(class)].fetch_sub(1, Ordering::AcqRel);
        if gaps > 0 {
            self.gaps().add(class, seq_end, gaps);
        }
    }
}

impl Gaps {
    fn add(&mut self, class: Class, seq_end: u64, count: u64) {
        self.ahead.push_back((class, seq_end, count));
    }

    fn drop_payload(&mut self, class: Class, seq_end: u64, count: u64) {
        let first = seq_end.saturating_sub(count);
        let is_inside =
            |gap: &&(Class, u64, u64)| gap.0 == class && gap.1 > first && gap.1 <= seq_end;
        let before = self.ahead.iter().filter(is_inside).map(|gap| gap.2).sum();
        let count = count.saturating_sub(before);
        let dropped = &mut self.dropped[index(class)];
        *dropped = dropped.saturating_add(count);
        self.add(class, seq_end, count);
    }

    /// The line of one class, after gaps that the watermark has passed are moved behind it.
    fn line(&mut self, stream: StreamId, own: &Numbered, durable_seq: u64) -> TransportLine {
        let place = index(own.class);
        let mut passed = 0_u64;
        self.ahead.retain(|(class, seq_end, count)| {
            let behind = *class == own.class && *seq_end <= durable_seq;
            passed = passed.saturating_add(if behind { *count } else { 0 });
            !behind
        });
        self.durable[place] = self.durable[place].saturating_add(passed);
        let gaps = own.gaps.saturating_add(self.dropped[place]);
        let gaps_ahead = gaps.saturating_sub(self.durable[place]);
        let ahead = own.given.saturating_sub(durable_seq);
        TransportLine {
            stream,
            class: own.class,
            numbered: own.given,
            spooled: ahead.saturating_sub(gaps_ahead),
            gaps,
            durable_seq,
        }
    }
}

impl Store {
    /// Starts the thread.
    pub(crate) fn start(shared: Arc<Shared>, health: SharedHealth) -> Result<Self, Failure> {
        let (sealed, waiting) = sync_channel((ROOM + SPARE) * 3);
        let keeper = Keeper::new(Arc::clone(&shared), health);
        let thread = thread::Builder::new().name("spool".to_owned());
        let thread = thread.spawn(move || keeper.work(&waiting));
        let thread = thread.map_err(|error| Failure::new(Code::Failed, &error))?;
        Ok(Self {
            sealed: Some(sealed),
            thread: Some(thread),
            shared,
        })
    }

    /// Waits until the class has room for another batch, calling `meanwhile` now and then. `false`:
    /// the disk refuses, so there will be none soon.
    pub(crate) fn wait_for_room(&self, class: Class, mut meanwhile: impl FnMut()) -> bool {
        while !self.has_room(class) {
            let gone = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            if gone || self.shared.refusing[index(class)].load(Ordering::Acquire) {
                return false;
            }
            meanwhile();
            thread::park_timeout(LOOK);
        }
        true
    }

    /// Whether the class has room for another batch.
    pub(crate) fn has_room(&self, class: Class) -> bool {
        self.shared.waiting[index(class)].load(Ordering::Acquire) < ROOM
    }

    /// Gives a batch to the thread.
    pub(crate) fn put(&self, batch: Sealed) -> Result<(), Failure> {
        let gone = || Failure::line(Code::Failed, "the spool's thread has ended");
        self.shared.waiting[index(batch.class)].fetch_add(1, Ordering::AcqRel);
        let sealed = self.sealed.as_ref().ok_or_else(gone)?;
        sealed.send(batch).map_err(|_returned| gone())
    }

    /// Waits until everything is on disk, as far as the disk takes it.
    pub(crate) fn close(&mut self) {
        self.sealed = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the spool's thread broke");
        }
        if let Err(error) = self.shared.spool().save_cursor() {
            tracing::warn!(error = chain(&error), "spool cursor not saved");
        }
    }
}

fn old_line(line: &picket_spool::LineStatus) -> TransportLine {
    let ahead = line.next_seq.saturating_sub(line.durable_seq);
    TransportLine {
        stream: StreamId::new(line.stream),
        class: event_class(line.class),
        numbered: line.next_seq,
        spooled: line.spooled,
        gaps: ahead.saturating_sub(line.spooled),
        durable_seq: line.durable_seq,
    }
}

/// The spool's word for a class.
pub(crate) const fn spool_class(class: Class) -> picket_spool::Class {
    match class {
        Class::Alert => picket_spool::Class::Alert,
        Class::Security => picket_spool::Class::Security,
        Class::Bulk => picket_spool::Class::Bulk,
    }
}

/// Our word for the spool's class.
pub(crate) const fn event_class(class: picket_spool::Class) -> Class {
    match class {
        picket_spool::Class::Alert => Class::Alert,
        picket_spool::Class::Security => Class::Security,
        picket_spool::Class::Bulk => Class::Bulk,
    }
}

const fn index(class: Class) -> usize {
    match class {
        Class::Alert => 0,
        Class::Security => 1,
        Class::Bulk => 2,
    }
}

#[cfg(test)]
mod tests;
