//! The thread itself: appends what waits, class by class, and syncs it in groups.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use picket_event::Class;
use picket_spool::{Record, Spool, SpoolError};

use super::{Shared, index, spool_class};
use crate::failure::chain;
use crate::health::SharedHealth;
use crate::seal::Sealed;

/// How long to wait before a disk that refused is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often a disk that refuses is tried at the end.
const LAST_TRIES: u32 = 4;
/// The most batches that one group has; fewer than may wait, so that the path never waits for a group to fill.
const GROUP: usize = 24;
/// How long a group is gathered.
const GATHER: Duration = Duration::from_millis(20);

/// What the thread holds.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    health: SharedHealth,
    held: [VecDeque<Sealed>; 3],
    /// Appended and not yet synced: class, end, gap numbers.
    unsynced: Vec<(Class, u64, u64)>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, health: SharedHealth) -> Self {
        Self {
            shared,
            health,
            held: Default::default(),
            unsynced: Vec::new(),
        }
    }

    /// Works until nobody can send any more, and then until the disk has taken everything or refused
    /// it several times.
    pub(super) fn work(mut self, waiting: &Receiver<Sealed>) {
        loop {
            let wait = if self.is_idle() {
                Duration::from_hours(1)
            } else {
                RETRY
            };
            match waiting.recv_timeout(wait) {
                Ok(batch) => self.hold(batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.gather(waiting);
            self.keep();
        }
        for _ in 0..LAST_TRIES {
            self.keep();
            if self.is_idle() {
                return;
            }
            thread::park_timeout(RETRY);
        }
    }

    /// Takes what follows soon, so that one sync does for all of it. An alert waits for nothing.
    fn gather(&mut self, waiting: &Receiver<Sealed>) {
        let until = Instant::now() + GATHER;
        for _ in 0..GROUP {
            let is_urgent = !self.held[index(Class::Alert)].is_empty();
            let left = until.saturating_duration_since(Instant::now());
            let wait = if is_urgent { Duration::ZERO } else { left };
            match waiting.recv_timeout(wait) {
                Ok(batch) => self.hold(batch),
                Err(_) => return,
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.unsynced.is_empty() && self.held.iter().all(VecDeque::is_empty)
    }

    fn hold(&mut self, batch: Sealed) {
        self.held[index(batch.class)].push_back(batch);
    }

    /// While a sync fails nothing more is appended: the spool would keep it in memory.
    fn keep(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut spool = shared.spool();
        let mut failed = if self.unsynced.is_empty() {
            None
        } else {
            spool.sync().err()
        };
        let mut refused = [failed.is_some(); 3];
        if failed.is_none() {
            for class in Class::ALL {
                if let Err(error) = self.append(*class, &mut spool) {
                    refused[index(*class)] = true;
                    failed = Some(error);
                }
            }
            if let Err(error) = spool.sync() {
                refused = [true; 3];
                failed = Some(error);
            } else {
                self.note_synced();
            }
        }
        drop(spool);
        for (flag, refused) in self.shared.refusing.iter().zip(refused) {
            flag.store(refused, Ordering::Release);
        }
        self.say(failed);
    }

    fn append(&mut self, class: Class, spool: &mut Spool) -> Result<(), SpoolError> {
        while let Some(batch) = self.held[index(class)].front() {
            let appended = spool.append(record(batch))?;
            let mut lost = self
                .shared
                .lost
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            lost.extend(appended.lost);
            drop(lost);
            let seq_end = batch.seq_first.saturating_add(batch.count);
            self.unsynced.push((class, seq_end, batch.gaps));
            self.held[index(class)].pop_front();
        }
        Ok(())
    }

    fn note_synced(&mut self) {
        for (class, seq_end, gaps) in self.unsynced.drain(..) {
            self.shared.note(class, seq_end, gaps);
        }
        self.shared.wake.notify_one();
    }

    fn say(&self, failed: Option<SpoolError>) {
        let error = failed.map(|error| chain(&error)).unwrap_or_default();
        let mut status = self.health.status();
        match (status.spool_error.as_str(), error.as_str()) {
            ("", "") => {}
            ("", error) => tracing::error!(error, "spool refuses batches; keeping some in memory"),
            (_, "") => tracing::info!("spool can be written again"),
            (_, _) => {}
        }
        status.spool_error = error;
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
