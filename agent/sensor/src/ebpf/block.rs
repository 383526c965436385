//! Files that do not start: what the kernel is told of them, and what it tells of those who tried.
//!
//! # Invariants
//!
//! - A file is refused as long as size and time of the last change of content are those with which it was listed.
//! - Nothing is pinned: with the sensor, or its process, all of it ends.
//! - A refusal is told once, or counted in [`Refusals::untold`].

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle, RingBuffer, RingBufferBuilder};
use picket_event::Text;

use super::program::{Attached, kernel};
use crate::{FileKey, SensorError};

/// Tells the kernel which files it refuses to run.
#[derive(Clone, Debug)]
pub struct Blocker {
    files: Arc<MapHandle>,
    refusals: Arc<MapHandle>,
    untold: Arc<MapHandle>,
    is_proved: Arc<AtomicBool>,
}

/// A start that the kernel refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The file, in the state in which it was refused. Its time of the last change of anything may be another than it was listed
    /// with: its name, mode or owner changed, or somebody wrote to it and set the other time back.
    pub file: FileKey,
    /// Who tried: the number of the process.
    pub pid: u32,
    /// When that process began, in nanoseconds since boot.
    pub start_ns: u64,
    /// As which user.
    pub uid: u32,
    /// The name by which it was to be run, as the caller wrote it; of an interpreter, as the script did. At most 255 bytes.
    pub given: Text,
}

/// Reads what the kernel refused.
pub struct Refusals {
    // It reads from the map below, so it goes first.
    ring: RingBuffer<'static>,
    came: Arc<Mutex<Vec<Refusal>>>,
    _map: Arc<MapHandle>,
    untold: Arc<MapHandle>,
}

impl Blocker {
    /// How many files can be listed.
    pub const MOST_FILES: usize = 4_096;

    /// The list of a program that is loaded and attached. It is empty.
    pub(super) fn of(attached: &Attached) -> Result<Self, SensorError> {
        Ok(Self {
            files: Arc::new(attached.map("blocked_files")?),
            refusals: Arc::new(attached.map("refusals")?),
            untold: Arc::new(attached.map("refusals_untold")?),
            is_proved: Arc::default(),
        })
    }

    /// Lists a file: from now on nobody runs it, as long as it has this size and this time of the last change of content. Takes
    /// the place of another state of it.
    pub fn block(&self, file: &FileKey) -> Result<(), SensorError> {
        let result = self.files.update(&key(file), &state(file), MapFlags::ANY);
        result.map_err(|source| kernel("tell the kernel what is blocked".to_owned(), source))
    }

    /// Takes a file from the list, in whatever state. One that is not listed is no error.
    pub fn unblock(&self, file: &FileKey) -> Result<(), SensorError> {
        match self.files.delete(&key(file)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(kernel("forget what is blocked".to_owned(), error))
            }
            _ => Ok(()),
        }
    }

    /// Whether the last test start was refused, as it should be.
    pub fn is_proved(&self) -> bool {
        self.is_proved.load(Ordering::Acquire)
    }

    pub(super) fn note_proof(&self, is_proved: bool) {
        self.is_proved.store(is_proved, Ordering::Release);
    }

    /// A reader of what is refused. Only one at a time reads everything.
    pub fn refusals(&self) -> Result<Refusals, SensorError> {
        let failed = |source| kernel("map the ring of refusals".to_owned(), source);
        let came = Arc::<Mutex<Vec<Refusal>>>::default();
        let into = Arc::clone(&came);
        let accept = move |bytes: &[u8]| {
            if let Some(refusal) = parse(bytes) {
                let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
                into.push(refusal);
            } else {
                tracing::error!("a refusal cannot be read");
            }
            0
        };
        let mut builder = RingBufferBuilder::new();
        builder.add(&*self.refusals, accept).map_err(failed)?;
        Ok(Refusals {
            ring: builder.build().map_err(failed)?,
            came,
            _map: Arc::clone(&self.refusals),
            untold: Arc::clone(&self.untold),
        })
    }
}

impl Refusals {
    /// What has been refused since the last call; waits for the first at most for `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Vec<Refusal> {
        if let Err(error) = self.ring.poll(timeout)
            && error.kind() != ErrorKind::Interrupted
        {
            tracing::warn!(%error, "waiting for refusals failed");
        }
        std::mem::take(&mut self.came.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many refusals found no room in the ring since the sensor was opened.
    pub fn untold(&self) -> Result<u64, SensorError> {
        let operation = || "count untold refusals".to_owned();
        let found = self.untold.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY);
        let found = found.map_err(|source| kernel(operation(), source))?;
        let count = found.as_deref().and_then(<[u8]>::first_chunk);
        let odd = || {
            kernel(
                operation(),
                io::Error::from(io::ErrorKind::InvalidData).into(),
            )
        };
        count
            .map(|bytes| u64::from_ne_bytes(*bytes))
            .ok_or_else(odd)
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

/// `struct blocked_file` of `agent/ebpf/block.c`. No device has all bits set, so one that is none matches no file.
fn key(file: &FileKey) -> Vec<u8> {
    let dev = u32::try_from(file.dev).unwrap_or(u32::MAX);
    [&file.inode.to_ne_bytes()[..], &dev.to_ne_bytes(), &[0; 4]].concat()
}

/// `struct blocked_state`.
fn state(file: &FileKey) -> Vec<u8> {
    [file.size, file.mtime_ns].map(u64::to_ne_bytes).concat()
}

/// `struct refusal`.
fn parse(bytes: &[u8]) -> Option<Refusal> {
    let long = |at: usize| {
        let field = bytes.get(at..)?.first_chunk()?;
        Some(u64::from_ne_bytes(*field))
    };
    let short = |at: usize| {
        let field = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*field))
    };
    let given = bytes.get(GIVEN_AT..)?;
    let given = given.split(|byte| *byte == 0).next()?;
    Some(Refusal {
        start_ns: long(0)?,
        file: FileKey {
            inode: long(8)?,
            dev: u64::from(short(16)?),
            size: long(24)?,
            mtime_ns: long(32)?,
            ctime_ns: long(40)?,
        },
        pid: short(48)?,
        uid: short(52)?,
        given: Text::from(given),
    })
}

const GIVEN_AT: usize = 56;

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileKey = FileKey {
        dev: 0x80_0001,
        inode: 0x0102_0304_0506_0708,
        size: 9,
        mtime_ns: 10,
        ctime_ns: 11,
    };

    fn refusal(given: &[u8]) -> Vec<u8> {
        let mut bytes = [
            &7_u64.to_ne_bytes()[..],
            &key(&FILE),
            &state(&FILE),
            &FILE.ctime_ns.to_ne_bytes(),
            &42_u32.to_ne_bytes(),
            &1000_u32.to_ne_bytes(),
        ]
        .concat();
        bytes.extend_from_slice(given);
        bytes
    }

    #[test]
    fn a_file_is_told_by_device_and_inode_and_its_state_apart() {
        let key = key(&FILE);
        assert_eq!((key.len(), state(&FILE).len()), (16, 16));
        let written = FileKey {
            size: 1,
            mtime_ns: 2,
            ..FILE
        };
        assert_eq!(super::key(&written), key);
        assert_ne!(state(&written), state(&FILE));
        let renamed = FileKey {
            ctime_ns: 3,
            ..FILE
        };
        assert_eq!(state(&renamed), state(&FILE));
        let nowhere = FileKey {
            dev: u64::MAX,
            ..FILE
        };
        assert_eq!(super::key(&nowhere).get(8..12), Some(&[255; 4][..]));
    }

    #[test]
    fn a_refusal_says_who_and_what() {
        let mut given = b"./bad".to_vec();
        given.resize(256, 0);
        let read = parse(&refusal(&given)).unwrap();
        assert_eq!(read.file, FILE);
        assert_eq!((read.pid, read.start_ns, read.uid), (42, 7, 1000));
        assert_eq!(read.given, Text::from("./bad"));
        assert_eq!(parse(&refusal(b"")).unwrap().given, Text::NONE);
    }

    #[test]
    fn less_than_a_refusal_is_none() {
        let whole = refusal(b"");
        for length in 0..whole.len() {
            let part: Vec<u8> = whole.iter().copied().take(length).collect();
            assert_eq!(parse(&part), None);
        }
    }
}
