//! The agent in the guest: `picket-agent watch --json`, with the settings of the package, and its lines on the way to the host.
//!
//! `watch` and not `run`, because each event then comes with its judgements and can be timed; rules, scorer and sensor are the same.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use picket_event::{Clock, SystemClock};

use super::Hello;
use super::port::{Writer, write_line};
use crate::failure::Failure;
use crate::programs::finish;
use crate::wait;

/// The running agent.
#[derive(Debug)]
pub(super) struct Agent {
    child: Child,
    ears: Arc<Ears>,
}

/// What is done with its lines.
#[derive(Debug)]
struct Ears {
    port: Writer,
    /// Lines without a judgement that may still be passed on; nothing is before the first order.
    room: AtomicU64,
    passing: AtomicBool,
    dropped: AtomicU64,
    /// The last lines that told a program's start, as far as they matter: the newest at the end.
    first: Mutex<String>,
    awaited: Mutex<Option<String>>,
}

impl Agent {
    /// Starts it and waits until it tells something.
    pub(super) fn start(port: Writer) -> Result<Self, Failure> {
        let run = |source| Failure::Run {
            what: AGENT.to_owned(),
            source,
        };
        let log = std::fs::File::create(LOG).map_err(Failure::file(LOG))?;
        let mut command = Command::new(AGENT);
        command.args(["watch", "--json", "--config", "/etc/picket/agent.toml"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().map_err(run)?;
        let ears = Arc::new(Ears {
            port,
            room: AtomicU64::new(0),
            passing: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            first: Mutex::new(String::new()),
            awaited: Mutex::new(None),
        });
        if let Some(stdout) = child.stdout.take() {
            let listening = Arc::clone(&ears);
            std::thread::spawn(move || listening.listen(stdout));
        }
        let mut agent = Self { child, ears };
        wait::until("the agent's first event", Duration::from_mins(10), || {
            let heard = agent.fence(Duration::from_secs(10));
            Ok((heard || agent.ended().is_some()).then_some(()))
        })?;
        Ok(agent)
    }

    /// Who it is.
    pub(super) fn hello(&self) -> Result<Hello, Failure> {
        let version = finish(AGENT, {
            let mut command = Command::new(AGENT);
            command.arg("--version");
            command
        })?;
        let kernel = "/proc/sys/kernel/osrelease";
        let first = locked(&self.ears.first).clone();
        let source = serde_json::from_str::<serde_json::Value>(&first).unwrap_or_default();
        Ok(Hello {
            kernel: std::fs::read_to_string(kernel)
                .map_err(Failure::file(kernel))?
                .trim()
                .to_owned(),
            agent: version.stdout.trim().to_owned(),
            said: std::fs::read_to_string(LOG).unwrap_or_default(),
            source: source["source"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// From now on its lines go to the host: all that are judged, and so many others.
    pub(super) fn pass_on(&self, most: u64) {
        self.ears.room.store(most, Ordering::Relaxed);
        self.ears.dropped.store(0, Ordering::Relaxed);
        self.ears.passing.store(true, Ordering::Relaxed);
    }

    /// How many lines were not passed on because there were too many.
    pub(super) fn dropped(&self) -> u64 {
        self.ears.dropped.load(Ordering::Relaxed)
    }

    /// Waits until it has told all that it saw until now. `false`: not within the time.
    pub(super) fn settle(&mut self) -> bool {
        let told = self.fence(Duration::from_secs(90));
        // What comes later than the kernel's own: lines of logs, logins, what waits for a hash.
        wait::pause(Duration::from_secs(2));
        told
    }

    /// A program starts, and its start is told.
    pub(super) fn fence(&mut self, limit: Duration) -> bool {
        let Ok(child) = Command::new("/usr/bin/true").spawn() else {
            return false;
        };
        let pid = child.id();
        *locked(&self.ears.awaited) = Some(format!("\"pid\":{pid},"));
        // It stays a zombie until it was told, so that nobody else gets its number.
        let told = wait::until("the fence", limit, || {
            let told = locked(&self.ears.awaited).is_none();
            Ok((told || self.ended().is_some()).then_some(told))
        });
        drop(finish_quietly(child));
        told.unwrap_or(false)
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let said = std::fs::read_to_string(LOG).unwrap_or_default();
        let last = said.lines().last().unwrap_or_default();
        Some(format!("{status}: {last}"))
    }

    /// Now, in ns since 1970.
    #[expect(
        clippy::unused_self,
        reason = "the clock by which its lines are stamped"
    )]
    pub(super) fn now(&self) -> i64 {
        SystemClock.now().0
    }
}

impl Ears {
    fn listen(&self, stdout: ChildStdout) {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            let arrived = SystemClock.now().0;
            if self.passing.load(Ordering::Relaxed) && self.has_room(&line) {
                // A host that is gone takes its machine with it.
                drop(write_line(&self.port, &format!("event {arrived} {line}")));
            }
            self.notice(&line);
        }
    }

    /// What was judged always has.
    fn has_room(&self, line: &str) -> bool {
        let fewer = |room: u64| room.checked_sub(1);
        let room = line.contains("\"verdicts\":[{")
            || self
                .room
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer)
                .is_ok();
        if !room {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        room
    }

    fn notice(&self, line: &str) {
        let mut awaited = locked(&self.awaited);
        let is_start = line.starts_with("{\"kind\":\"exec\"");
        if awaited
            .as_ref()
            .is_some_and(|pid| is_start && line.contains(pid))
        {
            *awaited = None;
        }
        drop(awaited);
        let mut first = locked(&self.first);
        if first.is_empty() {
            line.clone_into(&mut first);
        }
    }
}

fn finish_quietly(mut child: Child) -> std::io::Result<()> {
    child.wait().map(drop)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const AGENT: &str = "/usr/bin/picket-agent";
const LOG: &str = "/run/picket-agent.log";
