//! The hooks: which kernel programs stand behind each, where they are attached, and how that went.
//!
//! # Invariants
//!
//! - A hook is worth what its weakest program is: if one of them is refused, the hook is. Only the protection goes on without
//!   what a kernel cannot have, and says without what.
//! - A refused hook leaves the others alone and keeps the kernel's reason.

use picket_event::{Hook, HookState, Kind};

pub(super) use table::{BLOCK, DISPATCHERS, HOOKS, PROTECT};

mod table;

/// One hook.
#[derive(Debug)]
pub(super) struct HookSpec {
    /// Its name, for people.
    pub(super) name: &'static str,
    /// The kind of event that is lost when the kernel does not run one of its programs.
    pub(super) kind: Kind,
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
    /// To the first of these functions of the kernel that is there: it has had several names.
    Function(&'static [&'static str]),
    /// To the place that its section names, where it may refuse what is done to the agent (BPF LSM).
    Guard,
    /// To the place that its section names, where it may refuse to run a file (BPF LSM).
    Block,
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
            Self::Tracepoint | Self::Function(_) | Self::Guard | Self::Block => None,
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
    /// Parts that a hook works without, because this kernel cannot have them.
    lacks: Vec<(&'static str, String)>,
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
            lacks: Vec::new(),
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

    /// Notes that a hook works without this part.
    pub(super) fn lack(&mut self, name: &'static str, part: String) {
        self.lacks.push((name, part));
    }

    /// Whether what the sensor did itself came back through this hook.
    pub(super) fn is_proved(&self, name: &str) -> bool {
        let mut standing = self.standing.iter();
        standing.any(|(spec, standing)| spec.name == name && matches!(standing, Standing::Proved))
    }

    /// For reports.
    pub(super) fn report(&self) -> Vec<Hook> {
        self.standing
            .iter()
            .map(|(spec, standing)| {
                let mut hook = report(spec.name, standing);
                let lacks = self.lacks.iter().filter(|(name, _)| *name == spec.name);
                for (_, part) in lacks {
                    hook.detail.push_str("; without ");
                    hook.detail.push_str(part);
                }
                hook
            })
            .collect()
    }
}

fn report(name: &str, standing: &Standing) -> Hook {
    let (state, detail, instead) = match standing {
        Standing::Proved => (HookState::Proved, "canary came back".to_owned(), ""),
        Standing::Attached(why) => (HookState::Attached, why.clone(), ""),
        Standing::Refused(why) if name == BLOCK => {
            (HookState::Unavailable, why.clone(), "killed as they start")
        }
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

    /// Which object has its programs.
    pub(super) fn object(&self) -> InObject {
        match self.programs.first().map(|program| program.place) {
            Some(Place::Function(_)) => InObject::Functions,
            Some(Place::Guard) => InObject::Guards,
            Some(Place::Block) => InObject::Blocks,
            _ => InObject::Main,
        }
    }
}

/// The objects that programs are in, so that a kernel which refuses one kind of them refuses no other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum InObject {
    /// `picket.bpf.o`
    Main,
    /// `trampoline.bpf.o`: on functions of the kernel.
    Functions,
    /// `protect.bpf.o`: what refuses.
    Guards,
    /// `block.bpf.o`: what refuses to run a file.
    Blocks,
}

impl InObject {
    /// The hooks whose programs are in it.
    pub(super) fn hooks(self) -> impl Iterator<Item = &'static HookSpec> {
        HOOKS.iter().filter(move |spec| spec.object() == self)
    }
}
