//! Programs that may not start any more, by their content.
//!
//! The kernel is not asked to refuse them: whoever starts one is killed as soon as the content is known, and
//! each receipt says so (`not_prevented`).
//!
//! # Invariants
//!
//! - What the host needs to be reached and run (the first process, this agent, remote administration, the
//!   shells) is not blocked.
//! - Only the process that was seen to start is killed, by a descriptor that was compared with it.
//! - The path never waits for it: while the list is empty it costs one load of a number.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};

use picket_event::command::Mode;
use picket_event::{
    Affected, BootId, Containment, Detail, Event, Kind, ProcessUid, ReceiptState, Text,
};
use picket_seal::Digest;
use serde::{Deserialize, Serialize};

use super::check::{Checked, Refusal};
use super::effects::{Effect, InForce};
use super::kill::{self, Held};
use super::protect::Protection;
use super::undo::{Undone, of};
use super::{Responder, procfs};
use crate::enrich::hash::{HashCache, HashJob, JobId, hash};
use crate::failure::Failure;
use crate::pipeline::{Input, alarm};

/// Starts that may wait to be looked at.
const QUEUE: usize = 1_024;
/// Without one of these nobody can administer the host.
const SHELLS: [&str; 5] = [
    "/bin/sh",
    "/bin/bash",
    "/bin/busybox",
    "/usr/bin/sudo",
    "/bin/login",
];

/// A content that may not start.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Blocked {
    /// The SHA-256, in hexadecimal digits.
    pub(crate) sha256: String,
}

/// What is blocked, and by which command. Shared with the path.
#[derive(Debug, Default)]
pub(crate) struct Blocklist {
    count: AtomicUsize,
    blocked: RwLock<HashMap<Digest, InForce>>,
}

/// A program that started.
#[derive(Debug)]
struct Started {
    process: ProcessUid,
    pid: u32,
    exe: Text,
    /// `None`: its content was not known in time.
    sha256: Option<Digest>,
}

/// Where the path reports what starts. The thread behind it ends with this.
#[derive(Debug)]
pub(crate) struct Gate {
    list: Arc<Blocklist>,
    started: SyncSender<Started>,
}

impl Responder {
    /// Blocks a content.
    pub(super) fn block(
        &mut self,
        checked: &Checked,
        digest: Digest,
    ) -> Result<Containment, Refusal> {
        if let Some(path) = needed(digest, &self.protection) {
            let why = format!(
                "`{}` has this content, and the host needs it",
                path.display()
            );
            return Err(checked.refuse("protected", &why));
        }
        if checked.command.mode == Mode::DryRun {
            return Ok(Containment {
                reason: Containment::DRY_RUN.to_owned(),
                ..checked.receipt(
                    ReceiptState::Accepted,
                    "dry run: programs of this content would be killed as they start",
                )
            });
        }
        let sha256 = digest.to_string();
        self.put_effect(checked, Effect::Blocked(Blocked { sha256 }))?;
        self.block_what_is_in_force();
        Ok(Containment {
            reason: "not_prevented".to_owned(),
            undo_token: checked.command.id.to_string(),
            ..checked.receipt(
                ReceiptState::Partial,
                "programs of this content are killed as they start; their start is not prevented",
            )
        })
    }

    /// The list is what the table says.
    pub(super) fn block_what_is_in_force(&self) {
        let all = self
            .effects
            .as_ref()
            .map_or(&[][..], |effects| effects.all());
        let blocked = all.iter().filter_map(|one| match &one.effect {
            Effect::Blocked(blocked) => Some((digest_of(&blocked.sha256)?, one.clone())),
            _ => None,
        });
        self.blocklist.set(blocked.collect());
    }
}

impl Blocked {
    /// Whether an unblock of this content means it.
    pub(crate) fn is_of(&self, digest: Digest) -> bool {
        self.sha256 == digest.to_string()
    }

    /// The list follows the table; nothing else is to be undone.
    pub(crate) fn undo() -> Undone {
        Undone::complete("programs of this content may start again")
    }
}

impl Blocklist {
    fn set(&self, blocked: HashMap<Digest, InForce>) {
        let count = blocked.len();
        *self.blocked.write().unwrap_or_else(PoisonError::into_inner) = blocked;
        self.count.store(count, Ordering::Release);
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn has(&self, digest: Digest) -> bool {
        let blocked = self.blocked.read().unwrap_or_else(PoisonError::into_inner);
        blocked.contains_key(&digest)
    }

    fn by(&self, digest: Digest) -> Option<InForce> {
        let blocked = self.blocked.read().unwrap_or_else(PoisonError::into_inner);
        blocked.get(&digest).cloned()
    }
}

impl Gate {
    /// Starts the thread. Answers go to `inputs`.
    pub(crate) fn open(
        list: Arc<Blocklist>,
        protection: Protection,
        boot: BootId,
        inputs: SyncSender<Input>,
    ) -> Result<Self, Failure> {
        let (started, waiting) = sync_channel(QUEUE);
        let gate = Self {
            list: Arc::clone(&list),
            started,
        };
        let answers = inputs.clone();
        let keeper = Keeper {
            list,
            protection,
            boot,
        };
        alarm::spawn("gate", inputs, move || keeper.work(&waiting, &answers))?;
        Ok(gate)
    }

    /// Takes note of a start.
    pub(crate) fn pass(&self, event: &Event) {
        if self.list.is_empty() {
            return;
        }
        let Some(process) = &event.process else {
            return;
        };
        let sha256 = match (&event.detail, event.kind) {
            (Some(Detail::Script(script)), _) => script.sha256,
            (_, Kind::Exec) => process.sha256,
            _ => return,
        };
        if sha256.is_some_and(|digest| !self.list.has(digest)) {
            return;
        }
        let started = Started {
            process: process.uid,
            pid: process.pid,
            exe: process.exe.clone(),
            sha256,
        };
        if let Err(TrySendError::Full(started)) = self.started.try_send(started) {
            let pid = started.pid;
            tracing::warn!(
                pid,
                "too many programs start to look at each for blocked content"
            );
        }
    }
}

/// The thread behind the gate.
struct Keeper {
    list: Arc<Blocklist>,
    protection: Protection,
    boot: BootId,
}

impl Keeper {
    fn work(&self, waiting: &Receiver<Started>, answers: &SyncSender<Input>) {
        let mut known = HashCache::default();
        for started in waiting {
            let Some(answer) = self.look(&started, &mut known) else {
                continue;
            };
            if answers.send(Input::Outcome(Box::new(answer))).is_err() {
                return;
            }
        }
    }

    /// Kills it, if its content is blocked.
    fn look(&self, started: &Started, known: &mut HashCache) -> Option<Containment> {
        let found = procfs::find(&self.boot, started.pid);
        let found = found.filter(|found| found.uid == started.process && found.is_alive());
        let digest = match (started.sha256, &found) {
            (Some(digest), _) => digest,
            (None, Some(found)) => {
                let id = JobId::Process(found.uid);
                let job = HashJob::executable(id, found.pid, Text::NONE);
                hash(&job, known).hashed.sha256?
            }
            (None, None) => return None,
        };
        let by = self.list.by(digest)?;
        let (outcome, effect, verified) = match found {
            None => ("ended", "had ended by itself".to_owned(), false),
            Some(found) => match self.protection.vital(&found) {
                Some(why) => ("alive", format!("was left alive: {why}"), false),
                None => self.kill(&found),
            },
        };
        let path = started.exe.lossy();
        Some(Containment {
            reason: "not_prevented".to_owned(),
            effect: format!("a program of the blocked content was started as {path} and {effect}"),
            affected: vec![Affected {
                process_uid: Some(started.process),
                pid: started.pid,
                exe: started.exe.clone(),
                object: Text::NONE,
                outcome: outcome.to_owned(),
            }],
            verified,
            ..of(&by, ReceiptState::Partial)
        })
    }

    fn kill(&self, found: &procfs::Found) -> (&'static str, String, bool) {
        let Some(held) = Held::take(&self.boot, found) else {
            return ("ended", "had ended by itself".to_owned(), false);
        };
        match kill::kill(&held) {
            Ok(true) => ("dead", "was killed".to_owned(), true),
            Ok(false) => ("alive", "did not die in time".to_owned(), false),
            Err(error) => ("alive", format!("could not be killed: {error}"), false),
        }
    }
}

/// A program that the host needs and that has this content.
fn needed(digest: Digest, protection: &Protection) -> Option<PathBuf> {
    let shells = SHELLS.iter().map(PathBuf::from);
    let own = [
        PathBuf::from("/proc/1/exe"),
        PathBuf::from("/proc/self/exe"),
    ];
    own.into_iter()
        .chain(shells)
        .chain(protection.programs())
        .find(|path| content(path) == Some(digest))
}

fn content(path: &Path) -> Option<Digest> {
    let (digest, _) = Digest::of_reader(&mut std::fs::File::open(path).ok()?).ok()?;
    Some(digest)
}

fn digest_of(text: &str) -> Option<Digest> {
    Digest::from_slice(&hex::decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command as Program, Stdio};
    use std::time::Duration;

    use picket_event::command::Action;
    use picket_event::{CommandId, Process, Source, UnixNanos};

    use super::*;
    use crate::respond::tests::{Ask, Bench, command};

    /// A copy of `sleep` with a content that nothing else on this host has.
    fn program(dir: &tempfile::TempDir) -> (PathBuf, Digest) {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.path().join("blocked");
        let mut bytes = std::fs::read("/bin/sleep").unwrap();
        bytes.extend_from_slice(b"of the test");
        std::fs::write(&path, &bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (path, Digest::of(&bytes))
    }

    fn exec(pid: u32, sha256: Option<Digest>) -> Event {
        let found = procfs::find(&crate::clock::boot_id(), pid).unwrap();
        let mut process = Process::new(found.uid, pid);
        process.sha256 = sha256;
        Event::new(Kind::Exec, UnixNanos(1), Source::Ebpf).by(process)
    }

    #[test]
    fn a_program_of_blocked_content_is_killed_and_told_whether_its_hash_came_in_time_or_not() {
        let bench = Bench::new();
        let dir = tempfile::tempdir().unwrap();
        let (path, digest) = program(&dir);
        let mut responder = bench.responder();
        let signed = bench.sign(&command(1, Action::BlockHash(digest)));
        let blocked = responder.ask(&signed).unwrap();
        assert_eq!(
            (blocked.state, blocked.reason.as_str()),
            (ReceiptState::Partial, "not_prevented")
        );
        let (inputs, answers) = sync_channel(8);
        let protection = Protection::new(crate::clock::boot_id(), Vec::new());
        let list = responder.blocklist();
        let gate = Gate::open(list, protection, crate::clock::boot_id(), inputs).unwrap();
        for known in [Some(digest), None] {
            let mut child = Program::new(&path)
                .arg("60")
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            gate.pass(&exec(child.id(), known));
            let Ok(Input::Outcome(told)) = answers.recv_timeout(Duration::from_secs(20)) else {
                panic!("nothing was told");
            };
            assert_eq!(told.affected[0].outcome, "dead", "{told:?}");
            assert_eq!(told.command_id, CommandId::new([1; 16]));
            assert!(!child.wait().unwrap().success());
        }
        responder.ask(&bench.sign(&command(2, Action::UnblockHash(digest))));
        let mut child = Program::new(&path)
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        gate.pass(&exec(child.id(), Some(digest)));
        assert!(answers.recv_timeout(Duration::from_millis(200)).is_err());
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_the_host_needs_is_not_blocked() {
        let bench = Bench::new();
        for (number, path) in ["/bin/sh", "/proc/self/exe"].iter().enumerate() {
            let digest = Digest::of(&std::fs::read(path).unwrap());
            let number = u8::try_from(number).unwrap();
            let signed = bench.sign(&command(number, Action::BlockHash(digest)));
            let refused = bench.responder().ask(&signed).unwrap();
            assert_eq!(refused.reason, "protected", "{path}");
        }
    }

    #[test]
    fn a_block_is_there_again_after_a_restart() {
        let bench = Bench::new();
        let digest = Digest::of(b"bad");
        bench
            .responder()
            .ask(&bench.sign(&command(1, Action::BlockHash(digest))));
        let mut again = bench.responder();
        again.resume();
        assert!(again.blocklist().by(digest).is_some());
    }
}
