//! The kernel programs: the committed object, loaded as far as this kernel takes it.
//!
//! # Invariants
//!
//! - The whole object is tried first, with system calls the cheap way and then the other. Only if the
//!   kernel refuses both is each hook tried alone, and the object loaded without those that were refused.
//! - Nothing is attached here before the settings and the tries are in place.
//! - What needs trampolines is an object of its own, so that a kernel which refuses these refuses nothing else.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};

use libbpf_rs::{
    Link, MapCore, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, PrintLevel, ProgramMut,
};

use super::calls::CallTracepoints;
use super::hooks::{
    Call, DISPATCHERS, Edge, HOOKS, HookSpec, Hooks, InObject, PROTECT, Place, Program, Standing,
};
use crate::SensorError;

mod attached;
mod beside;
mod misses;

pub(super) use attached::Attached;

/// The loaded objects, until their programs are attached.
#[derive(Debug)]
pub(super) struct Loaded {
    object: Object,
    /// The programs on functions of the kernel and those that refuse, where it takes them.
    beside: Vec<Object>,
    /// Programs on functions of the kernel are refused whatever they do.
    is_forbidden: bool,
    route: Route,
    links: Vec<Link>,
    /// On the tracepoints of system calls.
    call_links: Vec<Link>,
    pub(super) hooks: Hooks,
}

/// How system calls reach their programs; see `agent/ebpf/syscall.h`.
#[derive(Debug)]
enum Route {
    /// Through the tracepoint of each call: the others run nothing.
    PerCall(CallTracepoints),
    /// Through one program that runs at every call.
    Dispatched,
}

impl Route {
    /// The cheap one, if this kernel has it.
    fn per_call() -> Option<Self> {
        let tracepoints = CallTracepoints::open().inspect_err(
            |error| tracing::info!(%error, "system calls have no tracepoints of their own here"),
        );
        tracepoints.ok().map(Self::PerCall)
    }

    /// The form of this program that fits, by its name in the object.
    fn form_of(&self, program: &Program) -> Cow<'static, str> {
        match self {
            Self::PerCall(_) if program.place.calls().is_some() => {
                Cow::Owned(format!("{}_call", program.name))
            }
            _ => Cow::Borrowed(program.name),
        }
    }

    /// What must be attached for these hooks beside their own programs.
    fn dispatchers(&self, hooks: &[&HookSpec]) -> &'static [Program] {
        match self {
            Self::Dispatched if hooks.iter().any(|spec| spec.has_calls()) => DISPATCHERS,
            _ => &[],
        }
    }
}

impl Loaded {
    /// Loads what this kernel takes, with rings of this size.
    pub(super) fn new(ring_bytes: u32) -> Result<Self, SensorError> {
        libbpf_rs::set_print(Some((PrintLevel::Debug, log)));
        let all: Vec<&HookSpec> = InObject::Main.hooks().collect();
        for route in Route::per_call().into_iter().chain([Route::Dispatched]) {
            match load(&all, &route, ring_bytes) {
                Ok(object) => return Ok(Self::with(object, route, &[])),
                Err(error) => {
                    let reason = reason(&error);
                    tracing::info!(reason, ?route, "kernel refuses the whole");
                }
            }
        }
        let refused = refused_alone(&Route::Dispatched, ring_bytes);
        let object = load_without(&refused, &Route::Dispatched, ring_bytes)?;
        Ok(Self::with(object, Route::Dispatched, &refused))
    }

    fn with(object: Object, route: Route, refused: &[(&'static str, String)]) -> Self {
        let mut loaded = Self {
            object,
            beside: Vec::new(),
            is_forbidden: false,
            route,
            links: Vec::new(),
            call_links: Vec::new(),
            hooks: Hooks::new(refused),
        };
        loaded.add_functions();
        loaded
    }

    /// Loads the programs on functions of the kernel beside the others.
    fn add_functions(&mut self) {
        let hooks: Vec<&HookSpec> = InObject::Functions.hooks().collect();
        let taken = beside::load_what_is_taken(&hooks, &self.object);
        self.beside.extend(taken.object);
        self.is_forbidden = taken.is_forbidden;
        for (name, why) in taken.refused {
            self.hooks.set(name, Standing::Refused(why));
        }
    }

    /// Loads the programs that refuse. They do so only once they have been attached and were told for whom.
    pub(super) fn add_guards(&mut self) -> Result<(), String> {
        if self.is_forbidden {
            return Err(FORBIDDEN.to_owned());
        }
        let (object, left_out) =
            beside::load_guards(&self.object).map_err(|error| reason(&error))?;
        self.beside.push(object);
        for (program, why) in left_out {
            self.hooks.lack(PROTECT, format!("`{program}` ({why})"));
        }
        Ok(())
    }

    /// Loads the program that refuses to run files. It refuses none before it was told which.
    pub(super) fn add_block(&mut self) -> Result<(), String> {
        if self.is_forbidden {
            return Err(FORBIDDEN.to_owned());
        }
        let object = beside::load_block(&self.object).map_err(|error| reason(&error))?;
        self.beside.push(object);
        Ok(())
    }

    /// The map of this name, as a handle of its own.
    pub(super) fn map(&self, name: &str) -> Result<MapHandle, SensorError> {
        let beside = self.beside.iter().flat_map(Object::maps);
        let map = self
            .object
            .maps()
            .chain(beside)
            .find(|map| map.name() == name);
        let map = map.ok_or_else(|| missing("map", name))?;
        MapHandle::try_from(&map).map_err(|source| kernel(format!("open map `{name}`"), source))
    }

    /// Attaches the dispatchers and every hook that was loaded, and lets go of the objects.
    pub(super) fn attach(mut self) -> Result<Attached, SensorError> {
        self.attach_all();
        Attached::of(self)
    }

    fn attach_all(&mut self) {
        let mut refused = Vec::new();
        for spec in self.hooks.usable() {
            if let Err(error) = self.attach_hook(spec) {
                refused.push((spec.name, reason(&error)));
            }
        }
        for program in self.route.dispatchers(&self.hooks.usable()) {
            if let Err(error) = self.attach_program(program) {
                let why = format!("`{}` does not attach: {}", program.name, reason(&error));
                let dispatched = HOOKS.iter().filter(|spec| spec.has_calls());
                refused.extend(dispatched.map(|spec| (spec.name, why.clone())));
            }
        }
        for (name, why) in refused {
            self.hooks.set(name, Standing::Refused(why));
        }
    }

    fn attach_hook(&mut self, spec: &HookSpec) -> Result<(), SensorError> {
        spec.programs
            .iter()
            .try_for_each(|program| self.attach_program(program))
    }

    fn attach_program(&mut self, program: &Program) -> Result<(), SensorError> {
        // One that was left out, because this kernel cannot have it; the hook says so.
        if matches!(program.place, Place::Guard) && !self.program(program.name)?.autoload() {
            return Ok(());
        }
        match (program.place.calls(), &self.route) {
            (None, _) => {
                let name = program.name;
                let link = self.program(name)?.attach();
                let link = link.map_err(|source| kernel(format!("attach `{name}`"), source))?;
                self.links.push(link);
            }
            (Some((edge, calls)), Route::PerCall(_)) => self.attach_calls(program, edge, calls)?,
            (Some((edge, calls)), Route::Dispatched) => self.route(program, edge, calls)?,
        }
        Ok(())
    }

    /// Attaches a program to the tracepoints of these calls. A call that this kernel does not have cannot be made either;
    /// it is an error only where none of them is there.
    fn attach_calls(
        &mut self,
        program: &Program,
        edge: Edge,
        calls: &[Call],
    ) -> Result<(), SensorError> {
        let name = self.route.form_of(program);
        let before = self.call_links.len();
        for call in calls {
            let event = match &self.route {
                Route::PerCall(tracepoints) => tracepoints.event(edge, *call),
                Route::Dispatched => Err(io::ErrorKind::NotFound.into()),
            };
            let failed = |source| kernel(format!("attach `{name}` to `{}`", call.name), source);
            match event {
                Ok(event) => {
                    let link = self.program(&name)?.attach_perf_event(event.as_raw_fd());
                    self.call_links.push(link.map_err(failed)?);
                    // The link closes it.
                    let _owned_by_the_link = event.into_raw_fd();
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
        let names: Vec<&str> = calls.iter().map(|call| call.name).collect();
        match self.call_links.len() {
            none if none == before => Err(no_such_calls(&names)),
            _ => Ok(()),
        }
    }

    /// Enters a program into the jump table of the dispatcher.
    fn route(&mut self, program: &Program, edge: Edge, calls: &[Call]) -> Result<(), SensorError> {
        let name = program.name;
        let descriptor = self.program(name)?.as_fd().as_raw_fd().to_ne_bytes();
        let table = self.map(match edge {
            Edge::Entry => "at_entry",
            Edge::Return => "at_return",
        })?;
        for call in calls {
            table
                .update(&call.number.to_ne_bytes(), &descriptor, MapFlags::ANY)
                .map_err(|source| kernel(format!("route `{}` to `{name}`", call.name), source))?;
        }
        Ok(())
    }

    fn program(&mut self, name: &str) -> Result<ProgramMut<'_>, SensorError> {
        let beside = self.beside.iter().flat_map(Object::progs_mut);
        let mut programs = self.object.progs_mut().chain(beside);
        let found = programs.find(|program| program.name() == name);
        found.ok_or_else(|| missing("program", name))
    }
}

/// Opens the object and loads the programs of these hooks, with the dispatchers if they need them.
fn load(hooks: &[&HookSpec], route: &Route, ring_bytes: u32) -> Result<Object, SensorError> {
    let mut open = ObjectBuilder::default()
        .open_memory(&OBJECT.bytes)
        .map_err(|source| kernel("open the kernel programs".to_owned(), source))?;
    configure(&mut open, hooks, route, ring_bytes)
        .map_err(|source| kernel("configure the kernel programs".to_owned(), source))?;
    open.load()
        .map_err(|source| kernel("load the kernel programs".to_owned(), source))
}

fn configure(
    open: &mut OpenObject,
    hooks: &[&HookSpec],
    route: &Route,
    ring_bytes: u32,
) -> Result<(), libbpf_rs::Error> {
    let programs = hooks
        .iter()
        .flat_map(|spec| spec.programs)
        .chain(route.dispatchers(hooks));
    let wanted: BTreeSet<Cow<'_, str>> = programs.map(|program| route.form_of(program)).collect();
    for mut program in open.progs_mut() {
        let is_wanted = program
            .name()
            .to_str()
            .is_some_and(|name| wanted.contains(name));
        program.set_autoload(is_wanted);
    }
    let cpus = match online_cpus() {
        Some(cpus) => cpus,
        None => u32::try_from(libbpf_rs::num_possible_cpus()?).unwrap_or(u32::MAX),
    };
    for mut map in open.maps_mut() {
        match map.name().to_str() {
            Some("ring_process" | "ring_other") => map.set_max_entries(ring_bytes)?,
            Some("scratches") => map.set_max_entries(cpus.saturating_mul(SLOTS_PER_CPU))?,
            _ => {}
        }
    }
    Ok(())
}

/// One more than the highest number of a CPU that runs. Many more may be possible than ever run, and each costs scratch
/// memory; a record on a CPU that comes later counts as lost.
fn online_cpus() -> Option<u32> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    highest_of(&text)?.checked_add(1)
}

/// The last number of a list as `0-3,8-11`.
fn highest_of(list: &str) -> Option<u32> {
    let last = list.trim().rsplit([',', '-']).next()?;
    last.parse().ok()
}

/// The hooks that the kernel refuses by themselves, each with the kernel's reason.
fn refused_alone(route: &Route, ring_bytes: u32) -> Vec<(&'static str, String)> {
    let refusal = |spec: &'static HookSpec| match load(&[spec], route, ring_bytes) {
        Ok(_) => None,
        Err(error) => Some((spec.name, reason(&error))),
    };
    InObject::Main.hooks().filter_map(refusal).collect()
}

fn load_without(
    refused: &[(&'static str, String)],
    route: &Route,
    ring_bytes: u32,
) -> Result<Object, SensorError> {
    let is_refused = |spec: &HookSpec| refused.iter().any(|(name, _)| *name == spec.name);
    let hooks = InObject::Main.hooks();
    let rest: Vec<&HookSpec> = hooks.filter(|spec| !is_refused(spec)).collect();
    if rest.is_empty() {
        let (_, reason) = refused.first().cloned().unwrap_or_default();
        return Err(SensorError::NothingLoads { reason });
    }
    load(&rest, route, ring_bytes)
}

fn log(level: PrintLevel, text: String) {
    let text = text.trim_end();
    match level {
        PrintLevel::Warn => tracing::debug!(text, "libbpf warns"),
        PrintLevel::Info | PrintLevel::Debug => tracing::trace!(text, "libbpf"),
    }
}

/// The error with its causes on one line.
fn reason(error: &SensorError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

pub(super) fn kernel(operation: String, source: libbpf_rs::Error) -> SensorError {
    SensorError::Kernel { operation, source }
}

fn no_such_calls(names: &[&str]) -> SensorError {
    let source = libbpf_rs::Error::from_raw_os_error(rustix::io::Errno::NOSYS.raw_os_error());
    kernel(format!("find {} in this kernel", names.join(", ")), source)
}

fn missing(what: &str, name: &str) -> SensorError {
    let source = libbpf_rs::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error());
    kernel(
        format!("find {what} `{name}` in the kernel programs"),
        source,
    )
}

/// The compiled programs, aligned as the ELF structures in them need it.
#[repr(C, align(8))]
struct Aligned<const N: usize> {
    bytes: [u8; N],
}

static OBJECT: Aligned<{ include_bytes!("../../../ebpf/picket.bpf.o").len() }> = Aligned {
    bytes: *include_bytes!("../../../ebpf/picket.bpf.o"),
};

/// `enum bpf_cmd`
const BPF_PROG_GET_FD_BY_ID: u32 = 13;
const BPF_MAP_GET_FD_BY_ID: u32 = 14;
const BPF_LINK_GET_FD_BY_ID: u32 = 30;
const FORBIDDEN: &str = "this kernel lets nobody have programs on its functions";
/// As `SLOTS_PER_CPU` in `agent/ebpf/emit.h`.
const SLOTS_PER_CPU: u32 = 2;

#[cfg(test)]
mod tests;
