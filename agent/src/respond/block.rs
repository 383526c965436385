//! Programs that may not start any more, by their content.
//!
//! Where BPF LSM can be had, the kernel refuses the files that are known to have the content (`files`, `finder`). Whoever starts
//! another file of it is killed as soon as its content is known, and that receipt says so (`not_prevented`); from then on that
//! file is refused too. Elsewhere all are killed as they start.
//!
//! # Invariants
//!
//! - What the host needs to be reached and run (the first process, this agent, remote administration, the
//!   shells) is not blocked.
//! - Only the process that was seen to start is killed, by a descriptor that was compared with it.
//! - The path never waits for it: while the list is empty it costs one load of a number.
//! - No receipt says `executed`: what is not known yet starts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use picket_event::command::Mode;
use picket_event::{
    Affected, BootId, Containment, Detail, Event, Kind, ProcessUid, ReceiptState, Text,
};
use picket_seal::Digest;
use picket_sensor::{Blocker, FileKey, SensorError};
use serde::{Deserialize, Serialize};

use super::check::{Checked, Refusal};
use super::effects::{Effect, InForce};
use super::kill::{self, Held};
use super::protect::Protection;
use super::undo::{Undone, of};
use super::{Responder, procfs};
use crate::enrich::hash::{HashCache, HashDone, HashJob, JobId, hash};
use crate::failure::{Failure, chain};
use crate::pipeline::{Input, alarm};
use crate::state::StateDir;

mod files;
mod finder;
mod kept;
mod told;

use files::{Files, Listed, Refuses};
use finder::{Finder, Note};

/// Starts that may wait to be looked at, and files that may wait to be listed.
const QUEUE: usize = 1_024;
/// The files that are refused, in the state directory.
const KEPT: &str = "blocked-files";
/// Nothing keeps a program of the content from starting; it is killed as it starts.
const NOT_PREVENTED: &str = "not_prevented";
/// The kernel refuses the files that are known to have the content; others are killed as they start.
const WHERE_KNOWN: &str = "prevented_where_known";
/// The kernel refused this start.
const PREVENTED: &str = "prevented";
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
    /// Another one whenever it changed.
    generation: AtomicU64,
    blocked: RwLock<HashMap<Digest, InForce>>,
    /// Which files the kernel refuses.
    files: Mutex<Files>,
    /// Where these are written down.
    kept: OnceLock<PathBuf>,
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
    /// To whom files are told; `None`: nobody refuses them.
    notes: Option<SyncSender<Note>>,
    /// For which list the known hashes were looked through.
    generation: u64,
    /// While it is there, refusals are listened to.
    _open: Arc<()>,
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
                ..checked.receipt(ReceiptState::Accepted, dry_run_words(&self.blocklist))
            });
        }
        let sha256 = digest.to_string();
        self.put_effect(checked, Effect::Blocked(Blocked { sha256 }))?;
        self.block_what_is_in_force();
        let (reason, effect) = if self.blocklist.prevents() {
            (WHERE_KNOWN, PREVENTS)
        } else {
            (NOT_PREVENTED, KILLS)
        };
        Ok(Containment {
            reason: reason.to_owned(),
            undo_token: checked.command.id.to_string(),
            ..checked.receipt(ReceiptState::Partial, effect)
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

    /// How many files the kernel refuses for it; `None`: it refuses none, whatever is blocked.
    pub(crate) fn refused_files(&self, list: &Blocklist) -> Option<usize> {
        list.refused_files(digest_of(&self.sha256)?)
    }

    /// The list follows the table; the kernel is told now.
    pub(crate) fn undo(&self, list: &Blocklist) -> Undone {
        let freed = digest_of(&self.sha256).map_or(Ok(()), |digest| list.free(digest));
        match freed {
            Ok(()) => Undone::complete("programs of this content may start again"),
            Err(error) => Undone::failed(format!(
                "the kernel may still refuse files of this content: {}",
                chain(&error)
            )),
        }
    }
}

impl Blocklist {
    fn set(&self, blocked: HashMap<Digest, InForce>) {
        let count = blocked.len();
        *self.blocked.write().unwrap_or_else(PoisonError::into_inner) = blocked;
        self.count.store(count, Ordering::Release);
        if let Err(error) = self.files().keep_only(|file| self.has(file.sha256)) {
            tracing::error!(reason = chain(&error), "a file stays refused");
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// From now on the kernel refuses the files that are known, at first those that an earlier run kept in `state`.
    pub(crate) fn arm(&self, blocker: Option<Blocker>, state: &StateDir) {
        if let Some(blocker) = blocker {
            self.arm_with(Box::new(blocker), &state.path(KEPT));
        }
    }

    fn arm_with(&self, kernel: Box<dyn Refuses>, kept: &Path) {
        let mut files = self.files();
        files.arm(kernel);
        for file in kept::read(kept) {
            if let Err(error) = files.list(file) {
                tracing::error!(reason = chain(&error), "a blocked file is not refused");
            }
        }
        drop(files);
        if self.kept.set(kept.to_owned()).is_err() {
            tracing::error!("blocked files are kept elsewhere");
        }
    }

    /// Writes down which files are refused, if that has changed.
    fn keep(&self) {
        let changed = self.files().take_change();
        if let (Some(files), Some(path)) = (changed, self.kept.get()) {
            kept::write(path, &files);
        }
    }

    /// Whether the kernel was seen to refuse a test start.
    fn prevents(&self) -> bool {
        self.files().is_proved()
    }

    /// How many files of this content the kernel refuses; `None`: it refuses none, whatever is blocked.
    fn refused_files(&self, digest: Digest) -> Option<usize> {
        let files = self.files();
        files.is_armed().then(|| files.count(digest))
    }

    /// Lists a file, if its content is still blocked.
    fn list(&self, file: Listed) -> Result<(), SensorError> {
        let mut files = self.files();
        if self.has(file.sha256) {
            files.list(file)?;
        }
        Ok(())
    }

    fn listed(&self, file: &FileKey) -> Option<Listed> {
        self.files().at(file).cloned()
    }

    fn unlist(&self, file: &FileKey) -> Result<(), SensorError> {
        self.files().remove(file)
    }

    /// Takes the files of this content from the kernel's list.
    fn free(&self, digest: Digest) -> Result<(), SensorError> {
        self.files().keep_only(|file| file.sha256 != digest)
    }

    /// Takes what the host needs from the list.
    fn spare(&self, is_needed: impl Fn(&FileKey) -> bool) -> Result<(), SensorError> {
        self.files().keep_only(|file| !is_needed(&file.state))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Starts the thread, and where files are refused those that find them and tell of them. Answers go to `inputs`.
    pub(crate) fn open(
        list: Arc<Blocklist>,
        protection: Protection,
        boot: BootId,
        inputs: SyncSender<Input>,
    ) -> Result<Self, Failure> {
        let (started, waiting) = sync_channel(QUEUE);
        let open = Arc::default();
        let finder = Finder::new(Arc::clone(&list), protection.clone(), boot);
        let notes = open_finder(finder, &list, &open, &inputs)?;
        let gate = Self {
            list: Arc::clone(&list),
            started,
            notes: notes.clone(),
            generation: 0,
            _open: open,
        };
        let answers = inputs.clone();
        let keeper = Keeper {
            list,
            protection,
            boot,
            notes,
        };
        alarm::spawn("gate", inputs, move || keeper.work(&waiting, &answers))?;
        Ok(gate)
    }

    /// Takes note of what was hashed, so that files of a blocked content are known before they start.
    pub(crate) fn learn(&self, answers: &[HashDone]) {
        if let (Some(notes), false) = (&self.notes, self.list.is_empty()) {
            let blocked = answers.iter().filter_map(|done| Note::of(done, &self.list));
            blocked.for_each(|note| hand_over(notes, note));
        }
    }

    /// Looks through the hashes that are known already, once whenever the list has changed.
    pub(crate) fn remember<'a>(&mut self, hashes: impl Iterator<Item = (&'a FileKey, Digest)>) {
        let generation = self.list.generation();
        let Some(notes) = &self.notes else {
            return;
        };
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        if !self.list.is_empty() {
            let known = finder::among(hashes, &self.list).into_iter();
            known.for_each(|note| hand_over(notes, note));
        }
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

/// Starts what finds files and listens to refusals, where anything refuses.
fn open_finder(
    finder: Finder,
    list: &Blocklist,
    open: &Arc<()>,
    inputs: &SyncSender<Input>,
) -> Result<Option<SyncSender<Note>>, Failure> {
    let Some(refusals) = list.files().refusals() else {
        return Ok(None);
    };
    let (notes, told) = sync_channel(QUEUE);
    match refusals {
        Ok(heard) => {
            let (notes, open) = (notes.clone(), Arc::downgrade(open));
            let work = move || finder::listen(heard, &notes, &open);
            alarm::spawn("refusals", inputs.clone(), work)?;
        }
        Err(error) => tracing::error!(reason = chain(&error), "refused starts are not told"),
    }
    let answers = inputs.clone();
    let work = move || finder.work(&told, &answers);
    alarm::spawn("finder", inputs.clone(), work)?;
    Ok(Some(notes))
}

fn hand_over(notes: &SyncSender<Note>, note: Note) {
    if let Err(TrySendError::Full(_)) = notes.try_send(note) {
        tracing::warn!("too many files have a blocked content to list each at once");
    }
}

/// The thread behind the gate.
struct Keeper {
    list: Arc<Blocklist>,
    protection: Protection,
    boot: BootId,
    notes: Option<SyncSender<Note>>,
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
                let job = HashJob::executable(id, found.pid, started.exe.clone());
                let done = hash(&job, known);
                if let (Some(notes), Some(note)) = (&self.notes, Note::of(&done, &self.list)) {
                    hand_over(notes, note);
                }
                done.hashed.sha256?
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
            reason: NOT_PREVENTED.to_owned(),
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

/// What the kernel, or else the agent, would do.
fn dry_run_words(list: &Blocklist) -> &'static str {
    if list.prevents() {
        "dry run: files that are known to have this content would be refused by the kernel, others would be killed as they start"
    } else {
        "dry run: programs of this content would be killed as they start"
    }
}

const PREVENTS: &str = "the kernel refuses to start files that are known to have this content; the start of another one is not prevented: it is killed as it starts, and known from then on";
const KILLS: &str =
    "programs of this content are killed as they start; their start is not prevented";

/// A program that the host needs and that has this content.
fn needed(digest: Digest, protection: &Protection) -> Option<PathBuf> {
    needed_paths(protection).find(|path| content(path) == Some(digest))
}

/// The programs that the host needs.
fn needed_paths(protection: &Protection) -> impl Iterator<Item = PathBuf> {
    let shells = SHELLS.iter().map(PathBuf::from);
    let own = [
        PathBuf::from("/proc/1/exe"),
        PathBuf::from("/proc/self/exe"),
    ];
    own.into_iter().chain(shells).chain(protection.programs())
}

fn content(path: &Path) -> Option<Digest> {
    let (digest, _) = Digest::of_reader(&mut std::fs::File::open(path).ok()?).ok()?;
    Some(digest)
}

fn digest_of(text: &str) -> Option<Digest> {
    Digest::from_slice(&hex::decode(text).ok()?).ok()
}

#[cfg(test)]
mod privileged;

#[cfg(test)]
mod tests {
    use std::process::{Command as Program, Stdio};
    use std::time::Duration;

    use picket_event::command::Action;
    use picket_event::{CommandId, Process, Source, UnixNanos};

    use super::files::tests::Paper;
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
    fn the_receipt_says_what_is_prevented_and_never_more() {
        for (is_proved, reason) in [(true, "prevented_where_known"), (false, "not_prevented")] {
            let bench = Bench::new();
            let mut responder = bench.responder();
            let paper = Box::new(Paper::proved(is_proved));
            responder.blocklist().files().arm(paper);
            let digest = Digest::of(b"bad");
            let mut dry = command(1, Action::BlockHash(digest));
            dry.mode = Mode::DryRun;
            let dry = responder.ask(&bench.sign(&dry)).unwrap();
            assert_eq!(dry.effect.contains("refused by the kernel"), is_proved);
            let signed = bench.sign(&command(2, Action::BlockHash(digest)));
            let blocked = responder.ask(&signed).unwrap();
            assert_eq!(
                (blocked.state, blocked.reason.as_str(), blocked.verified),
                (ReceiptState::Partial, reason, false)
            );
            assert!(blocked.effect.contains("killed as"), "{blocked:?}");
            assert!(blocked.effect.contains("not prevented"), "{blocked:?}");
        }
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
