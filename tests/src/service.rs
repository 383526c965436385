//! A program that runs until it is told to stop, its output kept line by line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;
use crate::wait;

/// A running program. Dropping it stops it: first politely, after five seconds by force.
#[derive(Debug)]
pub struct Service {
    what: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    log: PathBuf,
}

impl Service {
    /// Starts a command; what it prints is kept, what it says on the side goes to the file `log`.
    pub fn start(what: &str, mut command: Command, log: &Path) -> Result<Self, Failure> {
        let file = File::options().create(true).append(true).open(log);
        let stderr = file.map_err(Failure::file(log))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let run = |source| Failure::Run {
            what: what.to_owned(),
            source,
        };
        let mut child = command.spawn().map_err(run)?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        if let Some(stdout) = child.stdout.take() {
            let kept = Arc::clone(&lines);
            std::thread::spawn(move || keep(stdout, &kept));
        }
        Ok(Self {
            what: what.to_owned(),
            child,
            lines,
            log: log.to_path_buf(),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What it has said on the side so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line that `wanted` accepts; fails early if the program ends.
    pub fn line<T>(
        &mut self,
        limit: Duration,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Failure> {
        let what = format!("the expected output of {}", self.what);
        wait::until(&what, limit, || {
            if let Some(found) = self.lines().iter().find_map(|line| wanted(line)) {
                return Ok(Some(found));
            }
            self.still_runs().map(|()| None)
        })
    }

    /// Waits until it says that it is ready; fails early if the program ends.
    pub fn ready(&mut self, limit: Duration, readiness: &Readiness) -> Result<(), Failure> {
        let what = format!("the readiness of {}", self.what);
        wait::until(&what, limit, || {
            if readiness.was_told()? {
                return Ok(Some(()));
            }
            self.still_runs().map(|()| None)
        })
    }

    /// Fails with what it said if it has ended.
    pub fn still_runs(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(source) => Err(Failure::Run {
                what: self.what.clone(),
                source,
            }),
        }
    }

    /// Resident memory in KiB, as the kernel counts it.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Asks it to stop and waits; by force after `limit`.
    pub fn stop(mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        self.send(Signal::TERM);
        let what = format!("the end of {}", self.what);
        let ended = wait::until_the_end(&what, limit, || {
            let run = |source| Failure::Run {
                what: self.what.clone(),
                source,
            };
            self.child.try_wait().map_err(run)
        });
        if ended.is_err() {
            self.send(Signal::KILL);
        }
        ended
    }

    /// Ends it as a crash would.
    pub fn crash(mut self) {
        self.send(Signal::KILL);
        drop(self.child.wait());
    }

    /// Sends it a signal.
    pub fn send(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // A process that is gone already needs no signal.
            kill_process(pid, signal).unwrap_or_default();
        }
    }

    fn ended(&self, status: ExitStatus) -> Failure {
        let said = self.said();
        let tail: Vec<&str> = said.lines().rev().take(5).collect();
        let stderr = tail.into_iter().rev().collect::<Vec<_>>().join(" | ");
        Failure::Ended {
            what: self.what.clone(),
            code: status.to_string(),
            stderr,
        }
    }
}

/// Where a program says that it is ready, as it would say to the service manager (`NOTIFY_SOCKET`).
#[derive(Debug)]
pub struct Readiness {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Readiness {
    /// A new socket at `path`; one of an earlier run is replaced.
    pub fn listen(path: &Path) -> Result<Self, Failure> {
        drop(std::fs::remove_file(path));
        let socket = UnixDatagram::bind(path).map_err(Failure::file(path))?;
        let silent = socket.set_nonblocking(true);
        silent.map_err(Failure::file(path))?;
        Ok(Self {
            socket,
            path: path.to_path_buf(),
        })
    }

    /// What the program finds in `NOTIFY_SOCKET`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn was_told(&self) -> Result<bool, Failure> {
        let mut message = [0; 4096];
        match self.socket.recv(&mut message) {
            Ok(length) => {
                let said = message.get(..length).unwrap_or_default();
                Ok(said
                    .split(|byte| *byte == b'\n')
                    .any(|line| line == b"READY=1"))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(source) => Err(Failure::file(&self.path)(source)),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.send(Signal::TERM);
        for _ in 0..250 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            wait::pause(Duration::from_millis(20));
        }
        self.send(Signal::KILL);
        drop(self.child.wait());
    }
}

fn keep(stdout: impl std::io::Read, lines: &Mutex<Vec<String>>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}
