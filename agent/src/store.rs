//! The spool's thread: takes sealed batches, makes them durable in groups, wakes the uplink.
//!
//! # Queues
//!
//! | queue | bound | full |
//! | --- | --- | --- |
//! | sealed batches | [`QUEUE`] batches | the path waits, and with it the sensors' threads: the kernel's rings hold what they can and count the rest as lost |
//! | batches that the disk refuses | [`HELD`] batches | the same |
//!
//! # Invariants
//!
//! - Batches reach the spool in the order in which they were sealed.
//! - The uplink sees a batch only after its `sync`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use picket_event::{Class, StreamId};
use picket_spool::{Lost, Record, Spool, SpoolError};
use tokio::sync::Notify;

use crate::failure::{Code, Failure, chain};
use crate::health::{SharedHealth, TransportLine};
use crate::seal::{Numbered, Sealed};

/// Sealed batches that may wait for the disk.
const QUEUE: usize = 32;
/// Batches that are kept in memory while the disk refuses them.
const HELD: usize = 128;
/// How long to wait before the disk is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The spool, shared by its thread and the uplink.
#[derive(Debug)]
pub(crate) struct Shared {
    spool: Mutex<Spool>,
    /// Rings when something new can be sent.
    pub(crate) wake: Notify,
    synced: [AtomicU64; 3],
    gaps: Mutex<Gaps>,
    lost: Mutex<Vec<Lost>>,
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
    /// Around an open spool.
    pub(crate) fn new(spool: Spool) -> Arc<Self> {
        Arc::new(Self {
            spool: Mutex::new(spool),
            wake: Notify::new(),
            synced: Default::default(),
            gaps: Mutex::default(),
            lost: Mutex::default(),
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

    /// Everything below `durable_seq` is safe at the collector.
    pub(crate) fn ack(
        &self,
        stream: StreamId,
        class: Class,
        durable_seq: u64,
    ) -> Result<(), SpoolError> {
        self.spool()
            .ack(*stream.as_bytes(), spool_class(class), durable_seq)
    }

    /// What the quota or the disk took since the last call.
    pub(crate) fn take_lost(&self) -> Vec<Lost> {
        std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Numbers of a batch of this run became gaps after they were sealed.
    pub(crate) fn note_dropped(&self, class: Class, seq_end: u64, count: u64) {
        let mut gaps = self.gaps();
        let dropped = &mut gaps.dropped[index(class)];
        *dropped = dropped.saturating_add(count);
        gaps.add(class, seq_end, count);
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

    fn note(&self, sealed: &[(Class, u64, u64)]) {
        let mut gaps = self.gaps();
        for (class, seq_end, count) in sealed {
            self.synced[index(*class)].store(*seq_end, Ordering::Release);
            if *count > 0 {
                gaps.add(*class, *seq_end, *count);
            }
        }
    }
}

impl Gaps {
    fn add(&mut self, class: Class, seq_end: u64, count: u64) {
        self.ahead.push_back((class, seq_end, count));
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
        let (sealed, waiting) = sync_channel(QUEUE);
        let thread = thread::Builder::new().name("spool".to_owned());
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            health,
            held: VecDeque::new(),
            unsynced: Vec::new(),
        };
        let thread = thread.spawn(move || keeper.work(&waiting));
        let thread = thread.map_err(|error| Failure::new(Code::Failed, &error))?;
        Ok(Self {
            sealed: Some(sealed),
            thread: Some(thread),
            shared,
        })
    }

    /// Gives a batch to the thread; waits while it has too many.
    pub(crate) fn put(&self, batch: Sealed) -> Result<(), Failure> {
        let gone = || Failure::line(Code::Failed, "the spool's thread has ended");
        self.sealed
            .as_ref()
            .ok_or_else(gone)?
            .send(batch)
            .map_err(|_returned| gone())
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

struct Keeper {
    shared: Arc<Shared>,
    health: SharedHealth,
    held: VecDeque<Sealed>,
    unsynced: Vec<(Class, u64, u64)>,
}

impl Keeper {
    fn work(mut self, waiting: &Receiver<Sealed>) {
        loop {
            let wait = if self.held.is_empty() {
                Duration::from_hours(1)
            } else {
                RETRY
            };
            let open = self.held.len() >= HELD
                || match waiting.recv_timeout(wait) {
                    Ok(batch) => {
                        self.held.push_back(batch);
                        self.held.extend(waiting.try_iter().take(QUEUE));
                        true
                    }
                    Err(RecvTimeoutError::Timeout) => true,
                    Err(RecvTimeoutError::Disconnected) => false,
                };
            let kept = self.keep();
            if !open {
                return;
            }
            if !kept && self.held.len() >= HELD {
                thread::park_timeout(RETRY);
            }
        }
    }

    /// Appends and syncs what is held; whether the disk took it.
    fn keep(&mut self) -> bool {
        let mut result = Ok(());
        let mut spool = self.shared.spool();
        while let Some(batch) = self.held.front() {
            match spool.append(record(batch)) {
                Ok(appended) => {
                    self.shared
                        .lost
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(appended.lost);
                    let seq_end = batch.seq_first.saturating_add(batch.count);
                    self.unsynced.push((batch.class, seq_end, batch.gaps));
                    self.held.pop_front();
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let synced = spool.sync();
        drop(spool);
        if synced.is_ok() {
            self.shared.note(&self.unsynced);
            self.unsynced.clear();
            self.shared.wake.notify_one();
        }
        self.say(synced.and(result))
    }

    fn say(&self, result: Result<(), SpoolError>) -> bool {
        let error = result.err().map(|error| chain(&error)).unwrap_or_default();
        let mut status = self.health.status();
        if !error.is_empty() && status.spool_error != error {
            tracing::error!(error, "spool cannot be written; keeping batches in memory");
        }
        status.spool_error.clone_from(&error);
        error.is_empty()
    }
}

fn record(batch: &Sealed) -> Record {
    Record {
        stream: *batch.stream.as_bytes(),
        class: spool_class(batch.class),
        seq_first: batch.seq_first,
        count: batch.count,
        header: batch.header.clone(),
        payload: batch.payload.clone(),
        signature: *batch.signature.as_bytes(),
        extra: Vec::new(),
        payload_dropped: false,
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
mod tests {
    use picket_seal::Digest;

    use super::*;

    fn own(given: u64, gaps: u64) -> Numbered {
        Numbered {
            class: Class::Bulk,
            given,
            gaps,
            sealed: given,
            head: Digest::ZERO,
        }
    }

    #[test]
    fn the_ledger_balances_before_and_after_an_ack() {
        let stream = StreamId::new([0; 16]);
        let mut gaps = Gaps::default();
        gaps.add(Class::Bulk, 10, 3);
        gaps.add(Class::Bulk, 20, 2);
        for durable in [0, 10, 20, 25] {
            let line = gaps.line(stream, &own(25, 5), durable);
            let gaps_stored = if durable >= 20 {
                5
            } else if durable >= 10 {
                3
            } else {
                0
            };
            let stored = durable - gaps_stored;
            assert_eq!(
                line.numbered,
                stored + line.spooled + line.gaps,
                "durable {durable}"
            );
        }
    }
}
