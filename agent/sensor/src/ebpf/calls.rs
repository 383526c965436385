//! The tracepoint of each system call: its number, and a perf event through which a program is attached to it.
//!
//! A program on the tracepoint of one call costs the other calls a look into a bit map. The numbers are in tracefs, which
//! need not be mounted: it is mounted for a moment where nobody else sees it.
//!
//! # Invariants
//!
//! - Nothing is mounted in any folder, and nothing is left behind.

use std::io::{self, Read};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::hooks::{Call, Edge};

/// The tracepoints of this kernel.
#[derive(Debug)]
pub(super) struct CallTracepoints {
    root: OwnedFd,
}

impl CallTracepoints {
    /// Opens tracefs. An error means that this kernel has none, or not for us.
    pub(super) fn open() -> io::Result<Self> {
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(context.as_fd())?;
        let root = fsmount(
            context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )?;
        let tracepoints = Self { root };
        // A kernel without CONFIG_FTRACE_SYSCALLS has no such folder, and one that is locked down gives no event.
        tracepoints.event(Edge::Entry, Call::CLOSE)?;
        Ok(tracepoints)
    }

    /// A perf event on this edge of this call. It counts nothing by itself; it is where a program is attached.
    pub(super) fn event(&self, edge: Edge, call: Call) -> io::Result<OwnedFd> {
        open_event(self.id(edge, call)?)
    }

    fn id(&self, edge: Edge, call: Call) -> io::Result<u64> {
        let side = match edge {
            Edge::Entry => "enter",
            Edge::Return => "exit",
        };
        let path = format!("events/syscalls/sys_{side}_{}/id", call.name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(self.root.as_fd(), path, flags, Mode::empty())?;
        let mut text = String::new();
        std::fs::File::from(file).read_to_string(&mut text)?;
        let number = text.trim().parse();
        number.map_err(|_not_a_number| io::Error::from(io::ErrorKind::InvalidData))
    }
}

/// The first form of `struct perf_event_attr` (`PERF_ATTR_SIZE_VER0`, `linux/perf_event.h`).
#[repr(C)]
#[derive(Default)]
struct EventAttributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
}

#[expect(
    unsafe_code,
    reason = "no safe crate has perf_event_open, and it is the only way to one call's tracepoint"
)]
fn open_event(tracepoint: u64) -> io::Result<OwnedFd> {
    let attributes = EventAttributes {
        kind: PERF_TYPE_TRACEPOINT,
        size: PERF_ATTR_SIZE_VER0,
        config: tracepoint,
        sample_period: 1,
        wakeup_events: 1,
        ..EventAttributes::default()
    };
    let every_process = -1_i32;
    // A program runs on every CPU wherever its event is.
    let first_cpu = 0_i32;
    let no_group = -1_i32;
    // SAFETY: `attributes` is a whole `perf_event_attr` of the size that it states, and lives through the call, which only
    // reads it.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            every_process,
            first_cpu,
            no_group,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    let descriptor = i32::try_from(descriptor).unwrap_or(-1);
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_ATTR_SIZE_VER0: u32 = 64;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
