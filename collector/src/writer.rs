//! The one that writes: takes what is queued, appends it, syncs once, and only then answers.
//!
//! # Queues
//!
//! - `Writer::store`: at most `QUEUE` batches and `QUEUE_BYTES` bytes wait, over all hosts. Full:
//!   the host's reader waits, so its connection is no longer read, so its spool keeps the rest.

use std::sync::Arc;
use std::time::Instant;

use picket_store::{AppendError, Appended, Entry, Store, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::metrics::Metrics;
use crate::refusal::Refusal;

/// Hands batches to the thread that writes.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: mpsc::Sender<Job>,
    bytes: Arc<Semaphore>,
    synced: watch::Receiver<u64>,
}

/// Where a batch's answer comes from.
pub type Answer = oneshot::Receiver<Result<Stored, Refusal>>;

/// A batch is on disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stored {
    /// The chain's first number that is not.
    pub durable_seq: u64,
}

/// The thread's end of the queue.
#[derive(Debug)]
pub struct Work {
    queue: mpsc::Receiver<Job>,
    synced: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Job {
    /// A batch to write.
    Store(Box<Queued>),
    /// Somebody who wants to know whether anything is still done.
    Ask(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Queued {
    entry: Entry,
    answer: oneshot::Sender<Result<Stored, Refusal>>,
    _bytes: OwnedSemaphorePermit,
}

impl Writer {
    /// A writer and the work that a thread must do for it.
    pub fn new(metrics: Arc<Metrics>) -> (Self, Work) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let (told, synced) = watch::channel(0);
        let writer = Self {
            queue: sender,
            bytes: Arc::new(Semaphore::new(QUEUE_BYTES)),
            synced,
        };
        (
            writer,
            Work {
                queue,
                synced: told,
                metrics,
            },
        )
    }

    /// Queues a batch, waiting for room.
    pub async fn store(&self, entry: Entry) -> Result<Answer, Refusal> {
        let size = entry.batch.payload.len() + entry.batch.header.len();
        let size = u32::try_from(size.min(QUEUE_BYTES)).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(size).await;
        let bytes = bytes.map_err(|_closed| Refusal::ShuttingDown)?;
        let (answer, answered) = oneshot::channel();
        let queued = Queued {
            entry,
            answer,
            _bytes: bytes,
        };
        self.queue
            .send(Job::Store(Box::new(queued)))
            .await
            .map_err(|_closed| Refusal::ShuttingDown)?;
        Ok(answered)
    }

    /// Returns when the thread that writes has done all that was queued before, and synced.
    pub async fn answers(&self) -> Result<(), Refusal> {
        let (answer, answered) = oneshot::channel();
        let asked = self.queue.send(Job::Ask(answer)).await;
        asked.map_err(|_closed| Refusal::ShuttingDown)?;
        answered.await.map_err(|_closed| Refusal::ShuttingDown)
    }

    /// Changes with every sync.
    pub fn synced(&self) -> watch::Receiver<u64> {
        self.synced.clone()
    }
}

impl Work {
    /// Writes until nobody can queue any more. Ends early only when the disk can no longer be trusted.
    pub fn run(mut self, mut store: Store) -> Result<(), StoreError> {
        self.show_size(&store);
        let mut jobs = Vec::with_capacity(GROUP);
        while self.queue.blocking_recv_many(&mut jobs, GROUP) > 0 {
            let (mut appended, mut asked) = (Vec::new(), Vec::new());
            for job in jobs.drain(..) {
                match job {
                    Job::Store(queued) => appended.push(self.append(&mut store, *queued)),
                    Job::Ask(answer) => asked.push(answer),
                }
            }
            let begun = Instant::now();
            store.sync()?;
            self.metrics.syncs.inc();
            self.show_size(&store);
            self.metrics
                .sync_seconds
                .observe(begun.elapsed().as_secs_f64());
            // Followers first: who was told that it is stored will look for it.
            self.synced
                .send_modify(|count| *count = count.wrapping_add(1));
            for (answer, result) in appended {
                // A host that is gone asks again when it comes back.
                let _gone = answer.send(result);
            }
            for answer in asked {
                let _gone = answer.send(());
            }
        }
        Ok(())
    }

    fn show_size(&self, store: &Store) {
        let bytes = store.reader().bytes();
        self.metrics
            .store_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn append(&self, store: &mut Store, job: Queued) -> Finished {
        let (class, size) = (job.entry.header.class, job.entry.batch.payload.len());
        let header = &job.entry.header;
        // Of a payload that the host dropped nothing is stored but the header.
        let events = match size {
            0 => 0,
            _ => header.count.saturating_sub(header.gap_counts().0),
        };
        let result = match store.append(job.entry) {
            Ok(Appended::Stored { next_seq }) => {
                self.metrics.batch_stored(class, events, size);
                Ok(Stored {
                    durable_seq: next_seq,
                })
            }
            Ok(Appended::Duplicate { durable_seq }) => {
                self.metrics.duplicates.inc();
                Ok(Stored { durable_seq })
            }
            Err(refused) => Err(refusal(&refused)),
        };
        (job.answer, result)
    }
}

type Finished = (
    oneshot::Sender<Result<Stored, Refusal>>,
    Result<Stored, Refusal>,
);

fn refusal(refused: &AppendError) -> Refusal {
    use picket_seal::ChainError;
    match refused {
        AppendError::TooManyStreams(_) => Refusal::TooManyStreams,
        AppendError::Chain(ChainError::SequenceSkipped { .. }) => Refusal::ChainSkipped,
        AppendError::Chain(ChainError::EmptyBatch { .. }) => Refusal::EmptyBatch,
        AppendError::Chain(ChainError::SequenceOverflow { .. }) => Refusal::BadHeader,
        AppendError::OtherBranch => Refusal::OtherBranch,
        AppendError::Fork { .. }
        | AppendError::Chain(
            ChainError::SequenceWentBack { .. } | ChainError::PrevHashDiffers { .. },
        ) => Refusal::ChainFork,
        AppendError::Disk(failed) => {
            tracing::error!(error = %crate::failure::chain(failed), "could not store a batch");
            if failed.is_full() {
                Refusal::DiskFull
            } else {
                Refusal::Storage
            }
        }
    }
}

/// Batches that may wait.
const QUEUE: usize = 1024;

/// Bytes that may wait.
const QUEUE_BYTES: usize = 64 << 20;

/// Batches that share one sync.
const GROUP: usize = 512;
