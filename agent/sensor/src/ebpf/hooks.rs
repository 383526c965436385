//! The hooks: which kernel programs stand behind each, where they are attached, and how that went.
//!
//! # Invariants
//!
//! - A hook is worth what its weakest program is: if one of them is refused, the hook is.
//! - A refused hook leaves the others alone and keeps the kernel's reason.

use picket_event::{Hook, HookState};

/// One hook.
#[derive(Debug)]
pub(super) struct HookSpec {
    /// Its name, for people.
    pub(super) name: &'static str,
    /// The programs that make it up.
    pub(super) programs: &'static [Program],
}

/// One kernel program and where it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) place: Place,
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// To the tracepoint that its section names.
    Tracepoint,
    /// Into the jump table at entry of these system calls.
    Entry(&'static [u32]),
    /// Into the jump table at return of these system calls.
    Return(&'static [u32]),
}

/// How a hook is doing.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// Attached; an event of the sensor's own came back through it.
    Proved,
    /// Attached, not proved, for this reason.
    Attached(String),
    /// Not attached, for this reason.
    Refused(String),
}

/// The hooks with their standing.
#[derive(Clone, Debug)]
pub(super) struct Hooks {
    standing: Vec<(&'static HookSpec, Standing)>,
}

impl Hooks {
    /// All hooks, of which these were refused by the loader.
    pub(super) fn new(refused: &[(&'static str, String)]) -> Self {
        let standing = HOOKS.iter().map(|spec| {
            let reason = refused.iter().find(|(name, _)| *name == spec.name);
            let state = match reason {
                Some((_, reason)) => Standing::Refused(reason.clone()),
                None => Standing::Attached("its canary has not come back".to_owned()),
            };
            (spec, state)
        });
        Self {
            standing: standing.collect(),
        }
    }

    /// The hooks that were not refused.
    pub(super) fn usable(&self) -> Vec<&'static HookSpec> {
        let usable = self.standing.iter();
        usable
            .filter(|(_, standing)| !matches!(standing, Standing::Refused(_)))
            .map(|(spec, _)| *spec)
            .collect()
    }

    /// Sets how a hook is doing.
    pub(super) fn set(&mut self, name: &str, standing: Standing) {
        for (spec, old) in &mut self.standing {
            if spec.name == name {
                *old = standing.clone();
            }
        }
    }

    /// For reports.
    pub(super) fn report(&self) -> Vec<Hook> {
        self.standing
            .iter()
            .map(|(spec, standing)| report(spec.name, standing))
            .collect()
    }
}

fn report(name: &str, standing: &Standing) -> Hook {
    let (state, detail, instead) = match standing {
        Standing::Proved => (HookState::Proved, "canary came back".to_owned(), ""),
        Standing::Attached(why) => (HookState::Attached, why.clone(), ""),
        Standing::Refused(why) => (HookState::Unavailable, why.clone(), "nothing"),
    };
    Hook {
        name: name.to_owned(),
        state,
        detail,
        instead: instead.to_owned(),
    }
}

impl HookSpec {
    /// Whether it hangs on the dispatchers.
    pub(super) fn is_dispatched(&self) -> bool {
        let mut places = self.programs.iter().map(|program| program.place);
        places.any(|place| !matches!(place, Place::Tracepoint))
    }
}

/// The programs that the system call hooks hang on.
pub(super) const DISPATCHERS: &[Program] = &[
    at("on_sys_enter", Place::Tracepoint),
    at("on_sys_exit", Place::Tracepoint),
];

/// Every hook there is.
pub(super) const HOOKS: &[HookSpec] = &[
    hook("exec", &[at("on_exec", Place::Tracepoint)]),
    hook("fork", &[at("on_fork", Place::Tracepoint)]),
    hook("exit", &[at("on_exit", Place::Tracepoint)]),
    hook(
        "memfd_create",
        &[at("on_memfd_create", Place::Return(&[MEMFD_CREATE]))],
    ),
    hook(
        "file_open",
        &[at(
            "on_open",
            Place::Return(&[OPEN, CREAT, OPENAT, OPENAT2, OPEN_BY_HANDLE_AT]),
        )],
    ),
    hook(
        "file_close",
        &[
            at("on_close", Place::Entry(&[CLOSE])),
            at("on_dup", Place::Entry(&[DUP2, DUP3])),
            at("on_close_range", Place::Entry(&[CLOSE_RANGE])),
        ],
    ),
    hook(
        "file_close_at_exit",
        &[at("on_exit_files", Place::Tracepoint)],
    ),
    hook("file_rename", &[at("on_rename", Place::Return(&[RENAME]))]),
    hook(
        "file_renameat",
        &[at("on_renameat", Place::Return(&[RENAMEAT, RENAMEAT2]))],
    ),
    hook("file_unlink", &[at("on_unlink", Place::Return(&[UNLINK]))]),
    hook(
        "file_unlinkat",
        &[at("on_unlinkat", Place::Return(&[UNLINKAT]))],
    ),
    hook(
        "net_connect",
        &[
            at("on_syn_sent", Place::Tracepoint),
            at("on_connect", Place::Return(&[CONNECT])),
        ],
    ),
];

const fn hook(name: &'static str, programs: &'static [Program]) -> HookSpec {
    HookSpec { name, programs }
}

const fn at(name: &'static str, place: Place) -> Program {
    Program { name, place }
}

// System calls of x86-64. `agent/ebpf/connect.c` has one of them too.
const OPEN: u32 = 2;
const CLOSE: u32 = 3;
const DUP2: u32 = 33;
const CONNECT: u32 = 42;
const RENAME: u32 = 82;
const CREAT: u32 = 85;
const UNLINK: u32 = 87;
const OPENAT: u32 = 257;
const UNLINKAT: u32 = 263;
const RENAMEAT: u32 = 264;
const DUP3: u32 = 292;
const OPEN_BY_HANDLE_AT: u32 = 304;
const RENAMEAT2: u32 = 316;
const MEMFD_CREATE: u32 = 319;
const CLOSE_RANGE: u32 = 436;
const OPENAT2: u32 = 437;
