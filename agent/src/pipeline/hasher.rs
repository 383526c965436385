//! The threads that read files so that the path never does: two hash, one looks at what changed files say.
//!
//! What stays true: programs (scripts among them) and written files have a thread and a queue each, so that a storm of files
//! makes no exec late.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::{Input, alarm};
use crate::enrich::Hasher;
use crate::enrich::hash::{HashCache, HashJob, JobId, hash};
use crate::enrich::noted::{Job, Notes};
use crate::failure::Failure;

/// Jobs that may wait, for each thread.
pub(crate) const JOBS: usize = 512;
/// Answers in one message.
const ANSWERS: usize = 64;

/// The way to the reading threads. They end when this is dropped, or when nobody wants answers.
#[derive(Debug)]
pub(crate) struct HashThread {
    programs: SyncSender<HashJob>,
    files: SyncSender<HashJob>,
    notes: SyncSender<Job>,
}

impl HashThread {
    /// Starts the threads. Answers go to `inputs`.
    pub(crate) fn start(inputs: SyncSender<Input>) -> Result<Self, Failure> {
        Ok(Self {
            programs: start("hasher", inputs.clone())?,
            files: start("file-hasher", inputs.clone())?,
            notes: start_reader(inputs)?,
        })
    }
}

impl Hasher for HashThread {
    fn submit(&self, job: HashJob) -> bool {
        let queue = match job.id {
            JobId::File(_) | JobId::Process(_) | JobId::Script(_) => &self.programs,
            JobId::Written(_) | JobId::Named(_) => &self.files,
        };
        !matches!(
            queue.try_send(job),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_))
        )
    }

    fn look(&self, job: Job) -> bool {
        self.notes.try_send(job).is_ok()
    }
}

fn start_reader(inputs: SyncSender<Input>) -> Result<SyncSender<Job>, Failure> {
    let (jobs, waiting) = sync_channel::<Job>(JOBS);
    let answers = inputs.clone();
    let work = move || {
        let mut known = Notes::begin();
        for job in waiting {
            let answer = known.look(&job);
            if answers.send(Input::Noted(vec![answer])).is_err() {
                return;
            }
        }
    };
    alarm::spawn("notes", inputs, work)?;
    Ok(jobs)
}

fn start(name: &'static str, inputs: SyncSender<Input>) -> Result<SyncSender<HashJob>, Failure> {
    let (jobs, waiting) = sync_channel(JOBS);
    let answers = inputs.clone();
    alarm::spawn(name, inputs, move || work(&waiting, &answers))?;
    Ok(jobs)
}

/// Answers go together only when the next job waits already and what was read so far was small.
fn work(waiting: &Receiver<HashJob>, inputs: &SyncSender<Input>) {
    let mut scripts = HashCache::default();
    while let Ok(first) = waiting.recv() {
        let mut answers = vec![hash(&first, &mut scripts)];
        while answers.len() < ANSWERS && answers.iter().all(|done| done.bytes < SMALL) {
            let Ok(next) = waiting.try_recv() else {
                break;
            };
            answers.push(hash(&next, &mut scripts));
        }
        if inputs.send(Input::Hashed(answers)).is_err() {
            return;
        }
    }
}

/// Reading so much takes less than a message.
const SMALL: u64 = 64 << 10;
