//! SHA-256 of executables, by a thread of its own, remembered by the state of the file.
//!
//! # Invariants
//!
//! - A hash is `ok` only if the file's state was the same before and after it was read, and, where
//!   the sensor knows it, the same as when the program was started.
//! - A regular file is read, never a device, a pipe or a directory, and at most [`MAX_FILE_BYTES`].
//! - The cache holds at most [`MAX_CACHED`] hashes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use picket_event::{HashStatus, ProcessUid, Text};
use picket_seal::Digest;
use picket_sensor::FileKey;
use ring::digest::{Context, SHA256};
use rustix::fs::{Mode, OFlags};

/// Larger files are not hashed.
pub(crate) const MAX_FILE_BYTES: u64 = 256 << 20;
/// Hashes that are remembered.
const MAX_CACHED: usize = 8_192;

/// What is to be hashed, and how the answer finds its events.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum JobId {
    /// The file in this state.
    File(FileKey),
    /// The executable of this process, whatever it is.
    Process(ProcessUid),
}

/// A job for the hasher.
#[derive(Clone, Debug)]
pub(crate) struct HashJob {
    /// How the answer is found.
    pub(crate) id: JobId,
    /// The process that runs it.
    pub(crate) pid: u32,
    /// Its path, for when the process is gone.
    pub(crate) exe: Text,
}

/// What became of the wish for a hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hashed {
    /// The hash.
    pub(crate) sha256: Option<Digest>,
    /// Why there is none, or that there is.
    pub(crate) status: HashStatus,
}

/// The answer to a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashDone {
    /// To which job.
    pub(crate) job: JobId,
    /// Under which state it may be remembered.
    pub(crate) key: Option<FileKey>,
    /// The answer.
    pub(crate) hashed: Hashed,
}

/// Does one job. Takes as long as reading the file takes.
pub(crate) fn hash(job: &HashJob) -> HashDone {
    let expected = match job.id {
        JobId::File(key) => Some(key),
        JobId::Process(_) => None,
    };
    let running = PathBuf::from(format!("/proc/{}/exe", job.pid));
    let by_name = Path::new(std::ffi::OsStr::from_bytes(job.exe.as_bytes()));
    // The name alone may mean another file by now: it counts only with the sensor's word for it.
    let places = if expected.is_some() {
        vec![running.as_path(), by_name]
    } else {
        vec![running.as_path()]
    };
    let mut last = Hashed {
        sha256: None,
        status: HashStatus::Gone,
    };
    for place in places {
        match hash_file(place, expected) {
            Ok((key, hashed)) => return done(job, expected.unwrap_or(key), hashed),
            Err(Refused::Differs) => last.status = HashStatus::Raced,
            Err(Refused::Unreadable) => {}
        }
    }
    HashDone {
        job: job.id,
        key: None,
        hashed: last,
    }
}

fn done(job: &HashJob, key: FileKey, hashed: Hashed) -> HashDone {
    let lasting = matches!(hashed.status, HashStatus::Ok | HashStatus::TooLarge);
    HashDone {
        job: job.id,
        key: lasting.then_some(key),
        hashed,
    }
}

/// Why a place was not taken.
enum Refused {
    Unreadable,
    Differs,
}

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Self {
        Self::Unreadable
    }
}

fn hash_file(place: &Path, expected: Option<FileKey>) -> Result<(FileKey, Hashed), Refused> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(place, flags, Mode::empty()).map_err(io::Error::from)?;
    let mut file = File::from(file);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Refused::Unreadable);
    }
    let before = key_of(&found);
    if expected.is_some_and(|expected| !same_state(&expected, &before)) {
        return Err(Refused::Differs);
    }
    if before.size > MAX_FILE_BYTES {
        return Ok((
            before,
            Hashed {
                sha256: None,
                status: HashStatus::TooLarge,
            },
        ));
    }
    let sha256 = read_through(&mut file)?;
    if key_of(&file.metadata()?) != before {
        return Err(Refused::Differs);
    }
    Ok((
        before,
        Hashed {
            sha256: Some(sha256),
            status: HashStatus::Ok,
        },
    ))
}

/// On overlays `stat` gives another device, and then another inode number, than the kernel saw; the
/// change time, which nobody can set, decides with the rest.
fn same_state(expected: &FileKey, found: &FileKey) -> bool {
    expected.size == found.size
        && expected.mtime_ns == found.mtime_ns
        && expected.ctime_ns == found.ctime_ns
        && (expected.inode == found.inode || expected.dev != found.dev)
}

fn read_through(file: &mut File) -> Result<Digest, Refused> {
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
        if total > MAX_FILE_BYTES {
            return Err(Refused::Differs);
        }
    }
    Digest::from_slice(context.finish().as_ref()).or(Err(Refused::Unreadable))
}

/// The state of a file, as the kernel sensor writes it.
pub(crate) fn key_of(found: &std::fs::Metadata) -> FileKey {
    let dev = found.dev();
    FileKey {
        dev: u64::from(rustix::fs::major(dev)) << 20 | u64::from(rustix::fs::minor(dev)),
        inode: found.ino(),
        size: found.size(),
        mtime_ns: nanoseconds(found.mtime(), found.mtime_nsec()),
        ctime_ns: nanoseconds(found.ctime(), found.ctime_nsec()),
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> u64 {
    let all = seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    u64::try_from(all).unwrap_or(0)
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

    /// Remembers a hash.
    pub(crate) fn insert(&mut self, key: FileKey, hashed: Hashed) {
        if self.young.len() >= MAX_CACHED / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, hashed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: JobId, exe: &Path) -> HashJob {
        HashJob {
            id,
            pid: u32::MAX,
            exe: Text::from(exe.to_str().unwrap()),
        }
    }

    #[test]
    fn a_file_in_the_state_that_the_sensor_saw_has_a_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"abc").unwrap();
        let key = key_of(&std::fs::metadata(&path).unwrap());
        let done = hash(&job(JobId::File(key), &path));
        assert_eq!(done.hashed.sha256, Some(Digest::of(b"abc")));
        assert_eq!((done.hashed.status, done.key), (HashStatus::Ok, Some(key)));
    }

    #[test]
    fn a_file_that_changed_since_is_raced_and_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"abc").unwrap();
        let key = key_of(&std::fs::metadata(&path).unwrap());
        std::fs::write(&path, b"abcd").unwrap();
        let done = hash(&job(JobId::File(key), &path));
        assert_eq!(
            (done.hashed.status, done.hashed.sha256),
            (HashStatus::Raced, None)
        );
        assert_eq!(done.key, None);
    }

    #[test]
    fn a_name_alone_is_not_believed_and_a_device_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"abc").unwrap();
        let id = JobId::Process(ProcessUid::new([0; 16]));
        assert_eq!(hash(&job(id, &path)).hashed.status, HashStatus::Gone);
        assert!(hash_file(Path::new("/dev/zero"), None).is_err());
        assert!(hash_file(dir.path(), None).is_err());
    }

    #[test]
    fn a_running_process_is_hashed_by_what_it_runs() {
        let own = std::env::current_exe().unwrap();
        let id = JobId::Process(ProcessUid::new([0; 16]));
        let job = HashJob {
            id,
            pid: std::process::id(),
            exe: Text::from("/nonexistent"),
        };
        let expected = Digest::of(&std::fs::read(own).unwrap());
        assert_eq!(hash(&job).hashed.sha256, Some(expected));
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_asked_for() {
        let mut cache = HashCache::default();
        let key = |inode| FileKey {
            dev: 1,
            inode,
            size: 1,
            mtime_ns: 1,
            ctime_ns: 1,
        };
        let hashed = Hashed {
            sha256: None,
            status: HashStatus::Ok,
        };
        cache.insert(key(0), hashed);
        for inode in 1..50_000 {
            cache.insert(key(inode), hashed);
            assert!(cache.get(&key(0)).is_some());
            assert!(cache.young.len() + cache.old.len() <= MAX_CACHED + 1);
        }
        assert!(cache.get(&key(1)).is_none());
    }
}
