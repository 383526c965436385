//! The objects beside the main one: programs on functions of the kernel (trampolines), which some kernels refuse altogether, and
//! those that refuse (BPF LSM), which are loaded only where that was asked for: one object for what is done to the agent, one
//! for files that are not to be run.
//!
//! # Invariants
//!
//! - Objects have the main one's maps where those have the same name: what is said here is counted and told with the rest.
//! - What is refused takes nothing else with it, and keeps the kernel's reason.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use libbpf_rs::{ErrorKind, MapCore, MapHandle, Object, ObjectBuilder, OpenObject};

use super::{Aligned, kernel, missing, reason};
use crate::SensorError;
use crate::ebpf::hooks::{HookSpec, Place, Program};

/// A hook that was refused, and why.
type Refused = (&'static str, String);

/// What the kernel took.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) object: Option<Object>,
    pub(super) refused: Vec<Refused>,
    /// Nobody may have trampolines here, whatever they do.
    pub(super) is_forbidden: bool,
}

/// Loads the programs of these hooks as far as the kernel takes them.
pub(super) fn load_what_is_taken(hooks: &[&'static HookSpec], main: &Object) -> Taken {
    match load(hooks, main) {
        Ok(object) => Taken {
            object: Some(object),
            ..Taken::default()
        },
        Err(error) if is_forbidden(&error) => {
            let why = reason(&error);
            let refused = hooks.iter().map(|spec| (spec.name, why.clone()));
            Taken {
                refused: refused.collect(),
                is_forbidden: true,
                ..Taken::default()
            }
        }
        Err(_) => load_without_refused(hooks, main),
    }
}

fn load_without_refused(hooks: &[&'static HookSpec], main: &Object) -> Taken {
    let alone = |spec: &&'static HookSpec| match load(&[*spec], main) {
        Ok(_) => None,
        Err(error) => Some((spec.name, reason(&error))),
    };
    let mut refused: Vec<Refused> = hooks.iter().filter_map(alone).collect();
    let is_refused = |spec: &HookSpec| refused.iter().any(|(name, _)| *name == spec.name);
    let rest: Vec<&HookSpec> = hooks
        .iter()
        .copied()
        .filter(|spec| !is_refused(spec))
        .collect();
    let mut object = None;
    if !rest.is_empty() {
        match load(&rest, main) {
            Ok(loaded) => object = Some(loaded),
            Err(error) => {
                let why = reason(&error);
                refused.extend(rest.iter().map(|spec| (spec.name, why.clone())));
            }
        }
    }
    Taken {
        object,
        refused,
        is_forbidden: false,
    }
}

/// Whether the kernel lets nobody have trampolines.
fn is_forbidden(error: &SensorError) -> bool {
    matches!(error, SensorError::Kernel { source, .. } if source.kind() == ErrorKind::PermissionDenied)
}

/// Loads the programs that refuse, as far as the kernel takes them, with those it does not take and why. Before 6.0 it takes
/// none whose function is handed a structure.
pub(super) fn load_guards(main: &Object) -> Result<(Object, Vec<(String, String)>), SensorError> {
    let error = match load_guards_that(main, |_| true) {
        Ok(object) => return Ok((object, Vec::new())),
        Err(error) => error,
    };
    tracing::info!(
        reason = reason(&error),
        "kernel refuses the whole of the protection"
    );
    let alone = |name: String| {
        let error = load_guards_that(main, |other| *other == *name).err()?;
        Some((name, reason(&error)))
    };
    let names = open(&GUARDS.bytes)?
        .progs()
        .map(|program| program.name().to_string_lossy().into_owned())
        .collect::<Vec<_>>();
    let left_out: Vec<(String, String)> = names.into_iter().filter_map(alone).collect();
    let is_left_out = |name: &OsStr| left_out.iter().any(|(one, _)| name == one.as_str());
    let object = load_guards_that(main, |name| !is_left_out(name))?;
    Ok((object, left_out))
}

fn load_guards_that(main: &Object, wanted: impl Fn(&OsStr) -> bool) -> Result<Object, SensorError> {
    let mut open = open(&GUARDS.bytes)?;
    for mut program in open.progs_mut() {
        let is_wanted = wanted(program.name());
        program.set_autoload(is_wanted);
    }
    finish(open, main)
}

/// Loads the program that refuses to run files.
pub(super) fn load_block(main: &Object) -> Result<Object, SensorError> {
    finish(open(&BLOCK.bytes)?, main)
}

fn load(hooks: &[&HookSpec], main: &Object) -> Result<Object, SensorError> {
    let mut open = open(&FUNCTIONS.bytes)?;
    let programs: Vec<&Program> = hooks.iter().flat_map(|spec| spec.programs).collect();
    for mut program in open.progs_mut() {
        let wanted = programs.iter().find(|wanted| program.name() == wanted.name);
        program.set_autoload(wanted.is_some());
        if let Some(Place::Function(names)) = wanted.map(|wanted| wanted.place) {
            let mut names = names.iter();
            if !names.any(|name| {
                program
                    .set_attach_target(0, Some((*name).to_owned()))
                    .is_ok()
            }) {
                return Err(missing("a function for", &program.name().to_string_lossy()));
            }
        }
    }
    finish(open, main)
}

fn open(bytes: &'static [u8]) -> Result<OpenObject, SensorError> {
    let open = ObjectBuilder::default().open_memory(bytes);
    open.map_err(|source| kernel("open the programs on functions".to_owned(), source))
}

fn finish(mut open: OpenObject, main: &Object) -> Result<Object, SensorError> {
    share_maps(&mut open, main)?;
    open.load()
        .map_err(|source| kernel("load the programs on functions".to_owned(), source))
}

/// Every map that the main object has too is the main object's.
fn share_maps(open: &mut OpenObject, main: &Object) -> Result<(), SensorError> {
    for mut map in open.maps_mut() {
        let Some(shared) = main.maps().find(|shared| shared.name() == map.name()) else {
            continue;
        };
        let failed = |source| kernel("share the maps of the kernel programs".to_owned(), source);
        let handle = MapHandle::try_from(&shared).map_err(failed)?;
        map.reuse_fd(handle.as_fd()).map_err(failed)?;
    }
    Ok(())
}

pub(super) static FUNCTIONS: Aligned<
    { include_bytes!("../../../../ebpf/trampoline.bpf.o").len() },
> = Aligned {
    bytes: *include_bytes!("../../../../ebpf/trampoline.bpf.o"),
};

pub(super) static GUARDS: Aligned<{ include_bytes!("../../../../ebpf/protect.bpf.o").len() }> =
    Aligned {
        bytes: *include_bytes!("../../../../ebpf/protect.bpf.o"),
    };

pub(super) static BLOCK: Aligned<{ include_bytes!("../../../../ebpf/block.bpf.o").len() }> =
    Aligned {
        bytes: *include_bytes!("../../../../ebpf/block.bpf.o"),
    };
