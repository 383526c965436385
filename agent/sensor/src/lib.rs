//! What sees: the kernel sensor, the ones for hosts without it, the login sources and the kernel's word of devices.
//!
//! Every sensor gives the same [`Event`]s and says through [`Sensor::source`] which one saw them.
//!
//! # Invariants
//!
//! - A sensor never makes the host wait: when its reader stalls, it loses and counts.
//! - Nothing is lost in silence: for each kind, `generated = filtered + aggregated + submitted +
//!   lost` in [`Sensor::ledger`], and every change of `lost` is also an event.
//! - A hook is proved only after an event that the sensor caused itself came back through it.
//! - Bytes from the kernel or from files are data: they are checked before they are believed, and no
//!   input makes a sensor panic.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use picket_event::{BootId, Event, Hook, KindCounts, Process, ProcessUid, Source};

pub mod audit;
pub mod device;
pub mod ebpf;
pub mod identity;
pub mod ledger;
pub mod login;
pub mod memory;
pub mod portable;
pub mod recorded;

mod tally;

pub use audit::open_audit;
pub use ebpf::block::{Blocker, Refusal, Refusals};
pub use ebpf::protect::{Guard, Guarded};
pub use portable::open_portable;

/// What a kernel or portable sensor is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This boot, as [`identity::boot_id`] reads it.
    pub boot: BootId,
    /// Folders (and single files) below which creations, writes, renames and deletions are events.
    pub watch: Vec<PathBuf>,
    /// Files whose opening is an event.
    pub secrets: Vec<Secret>,
    /// Size of the ring of processes in bytes: a power of two and a multiple of the page size; that of files and connections
    /// is twice as large. Where there are no rings the buffers of the sockets have twice that size.
    pub ring_bytes: u32,
    /// Where to keep a copy of the raw records, for replay.
    pub recording: Option<PathBuf>,
    /// Which variables of the environment an exec event has.
    pub environment: Environment,
    /// The share of one processor, in hundredths, above which the kernel sensor leaves out records of files and network;
    /// 0 for no limit.
    pub cpu_percent: u32,
    /// What is protected against everybody else, if anything is.
    pub protect: Option<Guarded>,
    /// Whether programs of a blocked content are to be refused, and then the folder in which that is proved: a program is put
    /// there and run.
    pub block: Option<PathBuf>,
    /// Private memory of this process, in bytes, above which it leaves them out too; 0 for no limit.
    pub memory_bytes: u64,
    /// How long after one proof of the hooks the next is due; zero for never again.
    pub prove_every: Duration,
}

/// Which variables of the environment are told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Environment {
    /// Those that change what a program loads or tell who came from where: see `docs/sensors.md`.
    #[default]
    Listed,
    /// All of them, secrets included.
    All,
}

impl Settings {
    /// The defaults of the product for this boot: see [`ebpf::watch`].
    pub fn new(boot: BootId) -> Self {
        Self {
            boot,
            watch: ebpf::watch::default_watch(),
            secrets: ebpf::watch::default_secrets(),
            ring_bytes: DEFAULT_RING_BYTES,
            recording: None,
            environment: Environment::Listed,
            cpu_percent: DEFAULT_CPU_PERCENT,
            protect: None,
            block: None,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            prove_every: PROVE_EVERY,
        }
    }
}

/// Files that are worth an event when they are opened, by their full path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Secret {
    /// This file.
    File(PathBuf),
    /// Every file below this folder. Makes every open for reading on the host dearer.
    Tree(PathBuf),
    /// Files in folders of this name whose own name begins so, `.pub` files excepted.
    Named {
        /// Name of the folder, as `.ssh`.
        folder: String,
        /// Beginning of the file's name, as `id_`.
        prefix: String,
    },
    /// Files of this name anywhere below this folder.
    Below {
        /// The folder.
        folder: PathBuf,
        /// The file's whole name.
        name: String,
    },
}

/// An event on its way: it changes hands often, so its address does.
pub type Boxed = Box<Event>;

/// A sensor that runs. One thread owns it and polls it.
pub trait Sensor: Send + fmt::Debug {
    /// Who sees.
    fn source(&self) -> Source;

    /// Waits for events up to `timeout`, and appends what has come, in the order of time.
    fn poll(&mut self, timeout: Duration, out: &mut Vec<Event>) -> Result<(), SensorError>;

    /// As [`Sensor::poll`], for who hands events on: by address, so that none is copied.
    fn read(&mut self, timeout: Duration, out: &mut Vec<Boxed>) -> Result<(), SensorError> {
        let mut events = Vec::new();
        let polled = self.poll(timeout, &mut events);
        out.extend(events.into_iter().map(Box::new));
        polled
    }

    /// Pauses for whoever cannot hand events on, and takes in what comes meanwhile without giving it out; it comes with the next
    /// poll. `false`, and no pause: nothing more can be taken in now.
    fn keep(&mut self, _pause: Duration) -> bool {
        false
    }

    /// The state of the executables that the exec events of the last poll speak of, by process.
    ///
    /// It is the key under which a hash may be remembered: while it is the same, so is the content.
    fn executables(&mut self) -> Vec<(ProcessUid, FileKey)> {
        Vec::new()
    }

    /// The state of the files that the last poll says were created or written, each with the moment
    /// (nanoseconds since boot) of its event, in the order of the events.
    fn written(&mut self) -> Vec<(u64, FileKey)> {
        Vec::new()
    }

    /// The ledger: one line per kind that this sensor can see.
    fn ledger(&self) -> Vec<KindCounts>;

    /// Each hook, and whether it works.
    fn hooks(&self) -> Vec<Hook>;

    /// The processes that run now, read from `/proc`: what was there before the sensor.
    fn snapshot(&mut self) -> Vec<Process>;

    /// What lets the kernel refuse files, where that was asked for and can be had.
    fn blocker(&self) -> Option<Blocker> {
        None
    }

    /// Stops seeing, and appends what was seen until then. The ledger is final afterwards.
    fn stop(&mut self, out: &mut Vec<Event>) -> Result<(), SensorError>;
}

/// One state of one file: two reads under the same key give the same bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FileKey {
    /// Device: major << 20 | minor.
    pub dev: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last change of content, in nanoseconds since 1970.
    pub mtime_ns: u64,
    /// Last change of anything, in nanoseconds since 1970.
    pub ctime_ns: u64,
}

impl FileKey {
    /// The state in which `stat` found a file. On overlays and btrfs the kernel's programs see another device.
    pub fn of(found: &Metadata) -> Self {
        Self {
            dev: portable::device(found.dev()),
            inode: found.ino(),
            size: found.size(),
            mtime_ns: nanoseconds(found.mtime(), found.mtime_nsec()),
            ctime_ns: nanoseconds(found.ctime(), found.ctime_nsec()),
        }
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> u64 {
    let all = seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    u64::try_from(all).unwrap_or(0)
}

/// Loads the kernel programs, attaches them and proves each hook.
///
/// A hook that cannot be had is named by [`Sensor::hooks`] with its reason; an error means that
/// there is no kernel sensor on this host at all.
pub fn open_ebpf(settings: Settings) -> Result<Box<dyn Sensor>, SensorError> {
    let sensor = ebpf::KernelSensor::open(settings)?;
    Ok(Box::new(sensor))
}

/// Why a sensor cannot be opened or go on.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The kernel refuses unprivileged users.
    #[error("kernel sensor needs root (CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN)")]
    NotPermitted,
    /// Newer kernels let everybody listen to the process connector, but not read what another user's process is.
    #[error("source audit needs root (CAP_NET_ADMIN, and CAP_SYS_ADMIN for files)")]
    NotRoot,
    /// The kernel does not describe its own types.
    #[error("kernel has no type information at `{}`", path.display())]
    NoTypes {
        /// Where it should be.
        path: PathBuf,
    },
    /// This processor is not supported by the kernel sensor.
    #[error("kernel sensor does not know the system calls of `{arch}`")]
    Architecture {
        /// Its name.
        arch: &'static str,
    },
    /// Not one program could be loaded.
    #[error("no kernel program could be loaded: {reason}")]
    NothingLoads {
        /// What the kernel said of the first.
        reason: String,
    },
    /// Something asked of the kernel's BPF system failed.
    #[error("failed to {operation}")]
    Kernel {
        /// What was tried.
        operation: String,
        /// What libbpf said.
        source: libbpf_rs::Error,
    },
    /// The kernel's process connector cannot be listened to.
    #[error("failed to listen to the process connector")]
    Connector {
        /// Why.
        source: io::Error,
    },
    /// The process connector tells nothing, as it does to everybody outside the host's own namespaces.
    #[error("process connector did not tell of a program of ours")]
    Unheard,
    /// A file could not be read or written.
    #[error("failed to {operation} `{}`", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not say what it should.
    #[error("cannot make sense of `{}`", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The processes of the host cannot be listed.
    #[error("failed to list processes: {reason}")]
    Processes {
        /// What the library said.
        reason: String,
    },
    /// Files cannot be watched at all.
    #[error("failed to watch files")]
    Files {
        /// Why.
        source: notify::Error,
    },
    /// There is nothing to wait with.
    #[error("failed to prepare to wait for events")]
    Wait {
        /// Why.
        source: io::Error,
    },
    /// The ring cannot have this size.
    #[error("ring size {bytes} is not a power of two of at least 65536 bytes")]
    RingSize {
        /// What was asked for.
        bytes: u32,
    },
}

/// Default of [`Settings::ring_bytes`]. A ring is mapped twice, so both rings take 16 MiB of the
/// agent's resident memory, and 8 MiB of its proportional share.
pub const DEFAULT_RING_BYTES: u32 = 4 * 1024 * 1024;
/// Default of [`Settings::cpu_percent`]: one whole processor for four seconds.
pub const DEFAULT_CPU_PERCENT: u32 = 100;
/// Default of [`Settings::memory_bytes`].
pub const DEFAULT_MEMORY_BYTES: u64 = 192 << 20;
const PROVE_EVERY: Duration = Duration::from_mins(10);
