//! Writes the table again when somebody removes or changes it.
//!
//! What stays true: the kernel's news wake it at once; news that were lost, and a clock that slept, are made up for
//! by a look every [`LOOK_EVERY`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::netlink::Socket;
use crate::{Form, IsolationError, Table, Wanted};

/// Keeps an isolation in force until it is dropped or told otherwise.
#[derive(Debug)]
pub struct Guard {
    held: Arc<Held>,
    thread: Option<JoinHandle<()>>,
}

/// What the guard found and did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Repair {
    /// What was not as it should be.
    pub found: String,
    /// Why it could not be written again; `None`: it was, and read back.
    pub failed: Option<String>,
}

#[derive(Debug)]
struct Held {
    ended: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    table: Table,
    wanted: Wanted,
    form: Form,
    /// The newest failure, which is told once.
    failure: Option<String>,
}

impl Guard {
    /// Puts the table in force and begins to watch over it. `told` hears of each repair, on the guard's thread.
    pub fn begin(
        wanted: Wanted,
        told: impl Fn(Repair) + Send + 'static,
    ) -> Result<Self, IsolationError> {
        let mut news = Socket::listen().map_err(|source| IsolationError::Kernel {
            operation: "watch",
            source,
        })?;
        let mut table = Table::open()?;
        let form = table.apply(&wanted)?;
        let kept = Mutex::new(Kept {
            table,
            wanted,
            form,
            failure: None,
        });
        let held = Arc::new(Held {
            ended: AtomicBool::new(false),
            kept,
        });
        let watched = Arc::clone(&held);
        let work = move || {
            while !watched.ended.load(Ordering::Acquire) {
                wait(&news);
                news.drain();
                if let Some(repair) = watched.repair() {
                    told(repair);
                }
            }
        };
        let named = thread::Builder::new().name("isolation".to_owned());
        let thread = named.spawn(work).map_err(IsolationError::Thread)?;
        Ok(Self {
            held,
            thread: Some(thread),
        })
    }

    /// In which form it is in force.
    pub fn form(&self) -> Form {
        self.held.kept().form
    }

    /// Puts another table in force in its place, in one step.
    pub fn change(&self, wanted: Wanted) -> Result<Form, IsolationError> {
        let mut kept = self.held.kept();
        let form = kept.table.apply(&wanted)?;
        (kept.wanted, kept.form) = (wanted, form);
        Ok(form)
    }

    /// What of it is not as it should be; `None`: all of it is.
    pub fn difference(&self) -> Result<Option<String>, IsolationError> {
        let mut kept = self.held.kept();
        let (wanted, form) = (kept.wanted.clone(), kept.form);
        kept.table.difference(&wanted, form)
    }

    /// Ends the watch, takes the table away and reads back that it is gone.
    ///
    /// Where that fails the watch has ended all the same; calling [`Table::remove`] tries again.
    pub fn end(mut self) -> Result<(), IsolationError> {
        self.stop();
        self.held.kept().table.remove()
    }

    fn stop(&mut self) {
        self.held.ended.store(true, Ordering::Release);
        // Its thread looks at least every so often; nobody needs to wait for that.
        drop(self.thread.take());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Held {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn repair(&self) -> Option<Repair> {
        let mut kept = self.kept();
        // Asked again under the lock: an end may have been quicker.
        if self.ended.load(Ordering::Acquire) || kept.is_over() {
            return None;
        }
        let repair = kept.repair()?;
        let news = repair.failed.is_none() || repair.failed != kept.failure;
        kept.failure.clone_from(&repair.failed);
        news.then_some(repair)
    }
}

impl Kept {
    fn is_over(&self) -> bool {
        self.wanted
            .until
            .is_some_and(|until| until.left().is_zero())
    }

    fn repair(&mut self) -> Option<Repair> {
        let (wanted, form) = (self.wanted.clone(), self.form);
        let found = match self.table.difference(&wanted, form) {
            Ok(None) => return None,
            Ok(Some(found)) => found,
            Err(error) => chain(&error),
        };
        // Whoever removes it may not be done yet.
        let mut failed = None;
        for _ in 0..ATTEMPTS {
            failed = self.write_again(&wanted);
            if failed.is_none() {
                break;
            }
        }
        Some(Repair { found, failed })
    }

    /// Why it is not in force again; `None`: it is.
    fn write_again(&mut self, wanted: &Wanted) -> Option<String> {
        let again = self.table.apply(wanted).and_then(|form| {
            self.form = form;
            self.table.difference(wanted, form)
        });
        again.unwrap_or_else(|error| Some(chain(&error)))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

fn wait(news: &Socket) {
    let mut watched = [PollFd::new(news, PollFlags::IN)];
    let longest = Timespec {
        tv_sec: LOOK_EVERY.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    if poll(&mut watched, Some(&longest)).is_err() {
        thread::park_timeout(BREATH);
    }
}

/// How often a repair is tried before it is told that it failed.
const ATTEMPTS: u32 = 3;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between looks when the kernel cannot be waited for.
const BREATH: Duration = Duration::from_millis(100);
