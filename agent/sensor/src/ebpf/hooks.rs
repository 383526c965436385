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
    /// To these system calls when they are entered.
    Entry(&'static [Call]),
    /// To these system calls when they return.
    Return(&'static [Call]),
}

/// One system call of x86-64.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Call {
    pub(super) number: u32,
    /// Its name in tracefs.
    pub(super) name: &'static str,
}

/// The two moments at which a system call can be looked at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Edge {
    Entry,
    Return,
}

impl Place {
    /// The system calls behind it, and when they are looked at.
    pub(super) const fn calls(self) -> Option<(Edge, &'static [Call])> {
        match self {
            Self::Tracepoint => None,
            Self::Entry(calls) => Some((Edge::Entry, calls)),
            Self::Return(calls) => Some((Edge::Return, calls)),
        }
    }
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
    /// Whether it looks at system calls.
    pub(super) fn has_calls(&self) -> bool {
        let mut places = self.programs.iter().map(|program| program.place);
        places.any(|place| place.calls().is_some())
    }
}

/// The programs that jump to those of system calls, where a call has no tracepoint of its own.
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
        &[at("on_memfd_create", Place::Return(&[Call::MEMFD_CREATE]))],
    ),
    hook(
        "file_open",
        &[at(
            "on_open",
            Place::Return(&[
                Call::OPEN,
                Call::CREAT,
                Call::OPENAT,
                Call::OPENAT2,
                Call::OPEN_BY_HANDLE_AT,
            ]),
        )],
    ),
    hook(
        "file_close",
        &[
            at("on_close", Place::Entry(&[Call::CLOSE])),
            at("on_dup", Place::Entry(&[Call::DUP2, Call::DUP3])),
            at("on_close_range", Place::Entry(&[Call::CLOSE_RANGE])),
        ],
    ),
    hook(
        "file_close_at_exit",
        &[at("on_exit_files", Place::Tracepoint)],
    ),
    hook(
        "file_rename",
        &[at("on_rename", Place::Return(&[Call::RENAME]))],
    ),
    hook(
        "file_renameat",
        &[at(
            "on_renameat",
            Place::Return(&[Call::RENAMEAT, Call::RENAMEAT2]),
        )],
    ),
    hook(
        "file_unlink",
        &[at("on_unlink", Place::Return(&[Call::UNLINK]))],
    ),
    hook(
        "file_unlinkat",
        &[at("on_unlinkat", Place::Return(&[Call::UNLINKAT]))],
    ),
    hook(
        "net_connect",
        &[
            at("on_syn_sent", Place::Tracepoint),
            at("on_connect", Place::Return(&[Call::CONNECT])),
        ],
    ),
];

const fn hook(name: &'static str, programs: &'static [Program]) -> HookSpec {
    HookSpec { name, programs }
}

const fn at(name: &'static str, place: Place) -> Program {
    Program { name, place }
}

// `agent/ebpf/connect.c` knows the number of `connect` too.
impl Call {
    pub(super) const OPEN: Self = Self::new(2, "open");
    pub(super) const CLOSE: Self = Self::new(3, "close");
    pub(super) const DUP2: Self = Self::new(33, "dup2");
    pub(super) const CONNECT: Self = Self::new(42, "connect");
    pub(super) const RENAME: Self = Self::new(82, "rename");
    pub(super) const CREAT: Self = Self::new(85, "creat");
    pub(super) const UNLINK: Self = Self::new(87, "unlink");
    pub(super) const OPENAT: Self = Self::new(257, "openat");
    pub(super) const UNLINKAT: Self = Self::new(263, "unlinkat");
    pub(super) const RENAMEAT: Self = Self::new(264, "renameat");
    pub(super) const DUP3: Self = Self::new(292, "dup3");
    pub(super) const OPEN_BY_HANDLE_AT: Self = Self::new(304, "open_by_handle_at");
    pub(super) const RENAMEAT2: Self = Self::new(316, "renameat2");
    pub(super) const MEMFD_CREATE: Self = Self::new(319, "memfd_create");
    pub(super) const CLOSE_RANGE: Self = Self::new(436, "close_range");
    pub(super) const OPENAT2: Self = Self::new(437, "openat2");

    const fn new(number: u32, name: &'static str) -> Self {
        Self { number, name }
    }
}
