//! The hashing thread: reads files so that the path never does.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::{Input, alarm};
use crate::enrich::Hasher;
use crate::enrich::hash::{HashJob, hash};
use crate::failure::Failure;

/// Jobs that may wait.
pub(crate) const JOBS: usize = 512;

/// The way to the hashing thread. The thread ends when this is dropped, or when nobody wants answers.
#[derive(Debug)]
pub(crate) struct HashThread {
    jobs: SyncSender<HashJob>,
}

impl HashThread {
    /// Starts the thread. Answers go to `inputs`.
    pub(crate) fn start(inputs: SyncSender<Input>) -> Result<Self, Failure> {
        let (jobs, waiting) = sync_channel(JOBS);
        let answers = inputs.clone();
        alarm::spawn("hasher", inputs, move || work(&waiting, &answers))?;
        Ok(Self { jobs })
    }
}

impl Hasher for HashThread {
    fn submit(&self, job: HashJob) -> bool {
        !matches!(
            self.jobs.try_send(job),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_))
        )
    }
}

fn work(waiting: &Receiver<HashJob>, inputs: &SyncSender<Input>) {
    for job in waiting {
        if inputs.send(Input::Hashed(hash(&job))).is_err() {
            return;
        }
    }
}
