//! What the process gives up before it looks at the SQL.
//!
//! Limits of the kernel (memory, processor time, no file to write), Landlock (only the store's folders can be opened, no
//! TCP; kernels before 5.13 have none of it, before 6.7 no rule for TCP) and a list of allowed system calls, on every kernel: no sockets, no programs,
//! no processes, no opening for writing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use crate::job::Bounds;

/// The process could not be confined, so it does nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A limit was not taken.
    #[error("failed to limit {what}")]
    Limit {
        /// Which.
        what: &'static str,
        /// Why.
        source: rustix::io::Errno,
    },
    /// Landlock refused the rules.
    #[error("failed to close the file system")]
    Landlock(#[from] RulesetError),
    /// The filter of system calls was refused.
    #[error("failed to filter system calls: {0}")]
    Filter(String),
}

/// Gives up everything but reading below these folders, for the thread that calls and those that it would start.
pub fn confine(folders: &[PathBuf], bounds: &Bounds) -> Result<(), ConfineError> {
    limit(bounds)?;
    close_files(folders)?;
    filter_calls()
}

fn limit(bounds: &Bounds) -> Result<(), ConfineError> {
    let limits = [
        ("the address space", Resource::As, bounds.address_space()),
        (
            "processor time",
            Resource::Cpu,
            bounds.seconds.saturating_add(1),
        ),
        ("files", Resource::Fsize, 0),
        ("core dumps", Resource::Core, 0),
    ];
    for (what, resource, most) in limits {
        let most = Some(most);
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        setrlimit(resource, limit).map_err(|source| ConfineError::Limit { what, source })?;
    }
    Ok(())
}

fn close_files(folders: &[PathBuf]) -> Result<(), ConfineError> {
    // What the kernel does not know of these rules is left out; the list of system calls holds everywhere.
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))?
        .handle_access(AccessNet::from_all(RULES))?
        .create()?
        .add_rules(path_beneath_rules(folders, AccessFs::from_read(RULES)))?;
    rules.restrict_self()?;
    Ok(())
}

fn filter_calls() -> Result<(), ConfineError> {
    let refused = |error: &dyn std::fmt::Display| ConfineError::Filter(error.to_string());
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let reading = SeccompCondition::new(
        2,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(WRITING),
        0,
    );
    let reading = reading.and_then(|reading| SeccompRule::new(vec![reading]));
    let reading = reading.map_err(|error| refused(&error))?;
    allowed.insert(libc::SYS_openat, vec![reading]);
    let target = std::env::consts::ARCH
        .try_into()
        .map_err(|error| refused(&error))?;
    let filter = SeccompFilter::new(
        allowed,
        SeccompAction::Errno(EPERM),
        SeccompAction::Allow,
        target,
    );
    let filter = filter.map_err(|error| refused(&error))?;
    let program: BpfProgram = filter.try_into().map_err(|error| refused(&error))?;
    apply_filter(&program).map_err(|error| refused(&error))
}

/// The rules that we know; an older kernel takes those that it knows.
const RULES: ABI = ABI::V5;

const EPERM: u32 = 1;

/// Flags of `openat` that are for writing: `O_WRONLY`, `O_RDWR`, `O_CREAT`, `O_TRUNC`, `O_APPEND`.
const WRITING: u64 =
    (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND) as u64;

/// Reading, writing to what is open, memory, time, and ending.
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fcntl,
    libc::SYS_poll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_exit,
    libc::SYS_exit_group,
];
