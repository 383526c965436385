//! A triage: what an operator wants to know first of a host, gathered into one archive and sent as a collected file is.
//!
//! # Invariants
//!
//! - It reads and changes nothing. No link is followed to a file, and no secret is read: no password hash, no private key, no
//!   environment of a process.
//! - It ends: after [`TIME`] what is missing is left out, and after [`PATIENCE`] nobody waits any more. It has at most the bytes that
//!   the command says. What was left out is said in the archive.
//! - One at a time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use picket_event::command::Mode;
use picket_event::{BootId, Containment, ReceiptState, Text, UnixNanos};
use serde_json::Value;

use super::Responder;
use super::check::{Checked, Refusal};
use super::collect::Sent;

mod bundle;
mod files;
mod look;
mod processes;
mod sockets;
#[cfg(test)]
mod tests;

use bundle::Bundle;
use look::Look;

/// How long is gathered.
const TIME: Duration = Duration::from_secs(10);
/// A file system that does not answer keeps the responder for no longer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The archive's name in receipts.
const NAME: &str = "triage.tar";
/// Whether one is being gathered, perhaps by a thread that nobody waits for any more.
static GATHERING: AtomicBool = AtomicBool::new(false);

/// What is gathered, and of what.
#[derive(Clone, Debug)]
struct Wish {
    root: PathBuf,
    boot: BootId,
    now: UnixNanos,
    most: u64,
    host: String,
    command: String,
    status: Value,
}

impl Responder {
    /// Gathers and keeps for sending.
    pub(super) fn triage(&mut self, checked: &Checked, most: u64) -> Result<Containment, Refusal> {
        if checked.command.mode == Mode::DryRun {
            let effect = format!("dry run: at most {most} bytes would be gathered and sent");
            return Ok(Containment {
                reason: Containment::DRY_RUN.to_owned(),
                ..checked.receipt(ReceiptState::Accepted, &effect)
            });
        }
        let wish = Wish {
            root: self.accounts.root.clone(),
            boot: self.boot,
            now: self.clock.now(),
            most,
            host: self.believer.host.to_string(),
            command: checked.command.id.to_string(),
            status: self.health.status().to_json(),
        };
        let archive = gather_aside(wish).map_err(|why| checked.refuse("not_gathered", why))?;
        let sent = Sent {
            path: Text::from(NAME),
            most,
        };
        self.send(checked, &mut archive.as_slice(), sent)
    }
}

/// Gathers in a thread of its own, so that a file system that hangs does not take the responder with it.
fn gather_aside(wish: Wish) -> Result<Vec<u8>, &'static str> {
    if GATHERING.swap(true, Ordering::SeqCst) {
        return Err("another triage has not ended yet");
    }
    let (give, taken) = sync_channel(1);
    let work = move || {
        let archive = gather(&wish);
        GATHERING.store(false, Ordering::SeqCst);
        if give.try_send(archive).is_err() {
            tracing::warn!("a triage came too late");
        }
    };
    let started = thread::Builder::new().name("triage".to_owned()).spawn(work);
    if started.is_err() {
        GATHERING.store(false, Ordering::SeqCst);
        return Err("no thread could be started");
    }
    taken
        .recv_timeout(PATIENCE)
        .map_err(|_late| "a file system does not answer")
}

/// The whole archive, the most telling first.
fn gather(wish: &Wish) -> Vec<u8> {
    let look = Look::new(wish.root.clone(), wish.boot, Instant::now() + TIME);
    let mut bundle = Bundle::new(wish.most, wish.now);
    bundle.add("agent.json", wish.status.to_string().as_bytes(), "");
    let (processes, note) = processes::all(&look);
    bundle.add("processes.jsonl", &processes::lines(&processes), note);
    let (sockets, note) = sockets::all(&look, &processes);
    bundle.add("sockets.jsonl", &sockets, note);
    bundle.add("sessions.jsonl", &processes::sessions(&processes), "");
    let (keys, note) = files::authorized_keys(&look);
    bundle.add("authorized_keys.jsonl", &keys, note);
    let (scheduled, note) = files::scheduled(&look);
    bundle.add("scheduled.jsonl", &scheduled, note);
    for (name, path) in COPIES {
        let (copy, note) = look.copy(path);
        bundle.add(name, &copy, note);
    }
    let (log, note) = files::login_log(&look);
    bundle.add("auth.log", &log, note);
    bundle.end(&wish.host, &wish.command)
}

/// What is copied as it is. None of it is secret.
const COPIES: [(&str, &str); 3] = [
    ("modules", "/proc/modules"),
    ("mounts", "/proc/1/mountinfo"),
    ("utmp", "/run/utmp"),
];
