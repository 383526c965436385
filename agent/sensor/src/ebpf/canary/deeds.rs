//! What the canary does that has no safe wrapper, and the children it starts. Nothing of it changes the host.
//!
//! # Invariants
//!
//! - What would change the host is asked for in a form that the kernel must refuse; the attempt is what is seen.
//! - Children are the canary's own; whoever starts one waits for it.

#![expect(
    unsafe_code,
    reason = "system calls that no safe crate offers, each given only memory of its own"
)]

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Asks for a byte of this child's memory at a place where nothing can be.
pub(super) fn read_no_memory(child: &Child) {
    let mut target = 0_u8;
    let from = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 1,
    };
    let to = libc::iovec {
        iov_base: (&raw mut target).cast(),
        iov_len: 1,
    };
    let pid = i32::try_from(child.id()).unwrap_or(0);
    // SAFETY: `to` names one byte that lives through the call, and nothing else of ours is written.
    let refused = unsafe { libc::process_vm_readv(pid, &raw const to, 1, &raw const from, 1, 0) };
    tracing::trace!(refused, "no memory was read");
}

/// Traces this child without stopping it. It is traced until it ends.
pub(crate) fn trace(child: &Child) -> io::Result<()> {
    let pid = i32::try_from(child.id()).unwrap_or(0);
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: seizing takes no address, and the child is ours and not yet waited for.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) };
    outcome(seized).map(drop)
}

/// Maps a page that is writable and executable, and gives it back.
pub(super) fn map_executable() -> io::Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page was mapped above, and nobody else knows it.
    let unmapped = unsafe { libc::munmap(page, PAGE) };
    outcome(unmapped.into()).map(drop)
}

/// Asks to unload a module that cannot exist: its name has a slash.
pub(super) fn unload_no_module() {
    let name = c"picket/canary".as_ptr();
    // SAFETY: the name is a string that ends in NUL; the call only reads it.
    let refused = unsafe { libc::syscall(libc::SYS_delete_module, name, 0) };
    tracing::trace!(refused, "no module was unloaded");
}

/// Asks to load a BPF program of no instructions.
pub(super) fn load_no_program() {
    let attributes = [0_u64; 9];
    let size = size_of_val(&attributes);
    let bytes = attributes.as_ptr();
    // SAFETY: the attributes are as long as is said; the call only reads them.
    let refused = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, bytes, size) };
    tracing::trace!(refused, "no program was loaded");
}

/// Starts a program as nobody: the child's credentials change before, and by the program if it is a set-user-ID one.
pub(crate) fn start_as_nobody(program: &str, argument: &str) -> io::Result<Child> {
    let mut command = quiet(program);
    command.arg(argument).uid(NOBODY).gid(NOBODY).spawn()
}

/// Starts a program that waits to be killed.
pub(crate) fn start_sleeper() -> io::Result<Child> {
    quiet("sleep").arg("10").spawn()
}

/// Starts a program that opens the memory of this process, and finds nothing at its beginning.
pub(super) fn reach_for(process: u32) -> io::Result<Child> {
    quiet("cat").arg(format!("/proc/{process}/mem")).spawn()
}

/// Tries to run what is not there.
pub(super) fn run_nothing(path: &Path) {
    if let Err(error) = quiet(path).spawn() {
        tracing::trace!(%error, "nothing was run");
    }
}

fn quiet(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

pub(super) fn outcome(result: i64) -> io::Result<i32> {
    match i32::try_from(result) {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(io::Error::last_os_error()),
    }
}

const PAGE: usize = 4096;
const BPF_PROG_LOAD: i32 = 5;
/// The number that every Linux gives to nobody.
pub(super) const NOBODY: u32 = 65_534;
