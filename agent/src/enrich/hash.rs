//! SHA-256 of files, by threads of their own, remembered by the state of the file.
//!
//! # Invariants
//!
//! - A hash is `ok` only if the file's state was the same before and after it was read, and, where
//!   the sensor knows it, the same as when the program was started or the file was written.
//! - A regular file is read, never a device, a pipe or a directory, and at most as much as the job allows.
//! - The cache holds at most [`MAX_CACHED`] hashes, and none of a file that changed so shortly before it
//!   was read that a further change could leave its times as they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use picket_event::{HashStatus, ProcessUid, Text, UnixNanos};
use picket_seal::Digest;
use picket_sensor::FileKey;
use ring::digest::{Context, SHA256};
use rustix::fs::{Mode, OFlags};

use super::lookup::{self, Eyes, Missing};

/// Larger executables are not hashed.
pub(crate) const MAX_FILE_BYTES: u64 = 256 << 20;
/// Larger scripts are not hashed.
pub(crate) const MAX_SCRIPT_BYTES: u64 = 32 << 20;
/// Two changes of a file within one tick of the kernel's clock leave the same times: at most 10 ms.
const TICK_NS: u64 = 20_000_000;
/// Between the change of a name, as the file system notes it, and the end of the call that changed it.
const RENAME_NS: i64 = 2_000_000_000;
/// How far the sensor's reading of the wall clock may be behind the file system's.
const CLOCK_NS: i64 = 1_000_000;
/// Hashes that are remembered.
const MAX_CACHED: usize = 8_192;

/// What is to be hashed, and how the answer finds its events.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum JobId {
    /// The file in this state.
    File(FileKey),
    /// The executable of this process, whatever it is.
    Process(ProcessUid),
    /// The file that was written, in this state.
    Written(FileKey),
    /// The file that a name was given to; the number tells the jobs apart.
    Named(u64),
    /// The script that was started; the number tells the jobs apart.
    Script(u64),
}

/// A job for the hasher.
#[derive(Clone, Debug)]
pub(crate) struct HashJob {
    /// How the answer is found.
    pub(crate) id: JobId,
    /// The process that runs it, or that wrote it.
    pub(crate) pid: u32,
    /// Of a script: through whose eyes its path is read.
    pub(crate) eyes: Eyes,
    /// Its path; of an executable for when the process is gone.
    pub(crate) path: Text,
    /// When the name was given or the script was started, if that is all that is known of the state.
    pub(crate) named: Option<UnixNanos>,
    /// Larger files are not hashed.
    pub(crate) max_bytes: u64,
}

impl HashJob {
    /// For the executable of a process.
    pub(crate) const fn executable(id: JobId, pid: u32, path: Text) -> Self {
        Self {
            id,
            pid,
            eyes: Eyes::OWN,
            path,
            named: None,
            max_bytes: MAX_FILE_BYTES,
        }
    }
}

/// What became of the wish for a hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hashed {
    /// The hash.
    pub(crate) sha256: Option<Digest>,
    /// Why there is none, or that there is; `None` if it is no regular file.
    pub(crate) status: Option<HashStatus>,
}

impl Hashed {
    /// No hash, for this reason.
    pub(crate) const fn without(status: HashStatus) -> Self {
        Self {
            sha256: None,
            status: Some(status),
        }
    }

    /// This hash.
    pub(crate) const fn ok(sha256: Digest) -> Self {
        Self {
            sha256: Some(sha256),
            status: Some(HashStatus::Ok),
        }
    }
}

/// The answer to a job.
#[derive(Clone, Debug)]
pub(crate) struct HashDone {
    /// To which job.
    pub(crate) job: JobId,
    /// Under which state it may be remembered.
    pub(crate) key: Option<FileKey>,
    /// Which state was read; it may be so young that a change in the same tick would leave it as it is.
    pub(crate) state: Option<FileKey>,
    /// Under which name; empty: by the process alone.
    pub(crate) path: Text,
    /// How much of it there is.
    pub(crate) bytes: u64,
    /// The answer.
    pub(crate) hashed: Hashed,
}

/// Does one job. Takes as long as reading the file takes, if it is not a script that is `known`.
pub(crate) fn hash(job: &HashJob, known: &mut HashCache) -> HashDone {
    if matches!(job.id, JobId::Script(_)) {
        return hash_script(job, known);
    }
    let mut last = Hashed::without(HashStatus::Gone);
    for place in places(job) {
        let began = now_ns();
        match hash_file(&place, job) {
            Ok((found, hashed)) => {
                let key = expected(job).unwrap_or(found);
                let lasting = matches!(hashed.status, Some(HashStatus::Ok | HashStatus::TooLarge));
                let settled = key.ctime_ns.saturating_add(TICK_NS) <= began;
                return HashDone {
                    job: job.id,
                    key: (lasting && settled).then_some(key),
                    state: Some(key),
                    path: job.path.clone(),
                    bytes: found.size,
                    hashed,
                };
            }
            Err(Refused::Differs) => last.status = Some(HashStatus::Raced),
            Err(Refused::NoRegularFile) if matches!(job.id, JobId::Named(_)) => last.status = None,
            Err(Refused::NoRegularFile | Refused::Unreadable) => {}
        }
    }
    HashDone {
        job: job.id,
        key: None,
        state: None,
        path: job.path.clone(),
        bytes: 0,
        hashed: last,
    }
}

/// Of a script no state is known before it is opened, so what is known is asked afterwards.
fn hash_script(job: &HashJob, known: &mut HashCache) -> HashDone {
    let began = now_ns();
    let opened = lookup::open(job.path.as_bytes(), job.eyes).map_err(Refused::from);
    let found = opened.and_then(|mut file| {
        let key = FileKey::of(&file.metadata()?);
        match known.get(&key).filter(|_| is_meant(&key, job)) {
            Some(hashed) => Ok((key, hashed)),
            None => hash_opened(&mut file, job),
        }
    });
    let (state, hashed) = match found {
        Ok((key, hashed)) => {
            if key.ctime_ns.saturating_add(TICK_NS) <= began {
                known.insert(key, hashed);
            }
            (Some(key), hashed)
        }
        Err(refused) => {
            let status = match refused {
                Refused::Unreadable => Some(HashStatus::Gone),
                Refused::Differs => Some(HashStatus::Raced),
                Refused::NoRegularFile => None,
            };
            let sha256 = None;
            (None, Hashed { sha256, status })
        }
    };
    HashDone {
        job: job.id,
        key: None,
        state,
        path: job.path.clone(),
        bytes: state.map_or(0, |state| state.size),
        hashed,
    }
}

/// Where the file may be. A name alone may mean another file by now: it counts only with the sensor's
/// word for the state. In a container it means what it means to the process.
fn places(job: &HashJob) -> Vec<PathBuf> {
    let name = Path::new(std::ffi::OsStr::from_bytes(job.path.as_bytes()));
    let running = PathBuf::from(format!("/proc/{}/exe", job.pid));
    match job.id {
        JobId::File(_) => vec![running, name.to_owned()],
        JobId::Process(_) => vec![running],
        JobId::Script(_) => Vec::new(),
        JobId::Written(_) | JobId::Named(_) => {
            let root = PathBuf::from(format!("/proc/{}/root", job.pid));
            let inside = name.strip_prefix("/").map(|inside| root.join(inside));
            [Ok(name.to_owned()), inside]
                .into_iter()
                .flatten()
                .collect()
        }
    }
}

const fn expected(job: &HashJob) -> Option<FileKey> {
    match job.id {
        JobId::File(key) | JobId::Written(key) => Some(key),
        JobId::Process(_) | JobId::Named(_) | JobId::Script(_) => None,
    }
}

/// Why a place was not taken.
#[derive(Debug)]
enum Refused {
    Unreadable,
    NoRegularFile,
    Differs,
}

impl From<Missing> for Refused {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Gone => Self::Unreadable,
            Missing::NoRegularFile => Self::NoRegularFile,
        }
    }
}

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Self {
        Self::Unreadable
    }
}

fn hash_file(place: &Path, job: &HashJob) -> Result<(FileKey, Hashed), Refused> {
    hash_opened(&mut open(place, job)?, job)
}

fn hash_opened(file: &mut File, job: &HashJob) -> Result<(FileKey, Hashed), Refused> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Refused::NoRegularFile);
    }
    let before = FileKey::of(&found);
    if !is_meant(&before, job) {
        return Err(Refused::Differs);
    }
    if before.size > job.max_bytes {
        return Ok((before, Hashed::without(HashStatus::TooLarge)));
    }
    let sha256 = read_through(file, job.max_bytes)?;
    if FileKey::of(&file.metadata()?) != before {
        return Err(Refused::Differs);
    }
    Ok((before, Hashed::ok(sha256)))
}

/// What was written or renamed is the file itself: a symbolic link in its place is not followed.
fn open(place: &Path, job: &HashJob) -> Result<File, Refused> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    if matches!(job.id, JobId::Written(_) | JobId::Named(_)) {
        flags |= OFlags::NOFOLLOW;
    }
    match rustix::fs::open(place, flags, Mode::empty()) {
        Ok(file) => Ok(File::from(file)),
        Err(rustix::io::Errno::LOOP) => Err(Refused::NoRegularFile),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// Of a script and of a new name only the moment is known. A script may be as old as it likes. File systems note it as a change of the file, so a file that
/// changed later was changed again, and one that changed long before is another file.
fn is_meant(found: &FileKey, job: &HashJob) -> bool {
    if let Some(UnixNanos(named)) = job.named {
        let earliest = match job.id {
            JobId::Script(_) => 0,
            _ => named.saturating_sub(RENAME_NS),
        };
        let latest = named.saturating_add(CLOCK_NS);
        return (earliest..=latest).contains(&i64::try_from(found.ctime_ns).unwrap_or(i64::MAX));
    }
    expected(job).is_none_or(|expected| same_state(&expected, found))
}

/// The wall clock, which is what file systems go by.
fn now_ns() -> u64 {
    let UnixNanos(now) = crate::clock::system().now();
    u64::try_from(now).unwrap_or(0)
}

/// On overlays `stat` gives another device, and then another inode number, than the kernel saw; the
/// change time, which nobody can set, decides with the rest.
fn same_state(expected: &FileKey, found: &FileKey) -> bool {
    expected.size == found.size
        && expected.mtime_ns == found.mtime_ns
        && expected.ctime_ns == found.ctime_ns
        && (expected.inode == found.inode || expected.dev != found.dev)
}

fn read_through(file: &mut File, max_bytes: u64) -> Result<Digest, Refused> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 128 << 10];
    let mut total = 0_u64;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        context.update(buffer.get(..count).unwrap_or_default());
        total = total.saturating_add(count as u64);
        if total > max_bytes {
            return Err(Refused::Differs);
        }
    }
    Digest::from_slice(context.finish().as_ref()).or(Err(Refused::Unreadable))
}

/// Hashes by file state, in two generations: what was not asked for while one filled up is dropped.
#[derive(Debug, Default)]
pub(crate) struct HashCache {
    young: HashMap<FileKey, Hashed>,
    old: HashMap<FileKey, Hashed>,
}

impl HashCache {
    /// The hash of a file in this state.
    pub(crate) fn get(&mut self, key: &FileKey) -> Option<Hashed> {
        if let Some(hashed) = self.young.get(key) {
            return Some(*hashed);
        }
        let hashed = self.old.remove(key)?;
        self.insert(*key, hashed);
        Some(hashed)
    }

    /// Every state with a hash.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&FileKey, Digest)> {
        let all = self.young.iter().chain(&self.old);
        all.filter_map(|(key, hashed)| Some((key, hashed.sha256?)))
    }

    /// Forgets what was not asked for lately.
    pub(crate) fn forget_old(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.old.shrink_to_fit();
    }

    /// Remembers a hash.
    pub(crate) fn insert(&mut self, key: FileKey, hashed: Hashed) {
        if self.young.len() >= MAX_CACHED / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, hashed);
    }
}

#[cfg(test)]
mod tests;
