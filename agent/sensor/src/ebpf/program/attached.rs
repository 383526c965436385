//! The kernel programs at work: their descriptors, and nothing of the objects that they came from, which take a megabyte and more.
//!
//! # Invariants
//!
//! - Programs, maps and links live as long as this, or as the readers of the rings, which go first.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};

use libbpf_rs::{
    Link, MapCore, MapHandle, Object, Program as LoadedProgram, ProgramImpl, RingBuffer,
    RingBufferBuilder,
};
use picket_event::Kind;

use super::{
    BPF_LINK_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID, BPF_PROG_GET_FD_BY_ID, Loaded, kernel, misses,
    missing,
};
use crate::SensorError;
use crate::ebpf::hooks::{Hooks, InObject};

/// What is attached, with everything that keeps it working.
#[derive(Debug)]
pub(in crate::ebpf) struct Attached {
    links: Vec<Link>,
    /// On the tracepoints of system calls.
    call_links: Vec<Link>,
    programs: Vec<OwnedFd>,
    /// What is missing where the kernel passes over a program, by its place in `programs`.
    telling: Vec<(Kind, usize)>,
    /// All of them: the tables of programs are emptied when their last descriptor is closed.
    maps: Vec<MapHandle>,
    pub(in crate::ebpf) hooks: Hooks,
}

impl Attached {
    /// Lets go of the objects.
    pub(super) fn of(loaded: Loaded) -> Result<Self, SensorError> {
        let objects = || [&loaded.object].into_iter().chain(&loaded.beside);
        let mut maps = Vec::new();
        for map in objects().flat_map(Object::maps) {
            let handle = MapHandle::try_from(&map);
            maps.push(handle.map_err(|source| kept("map", map.name(), source))?);
        }
        let (mut programs, mut names) = (Vec::new(), Vec::new());
        let all = objects().flat_map(Object::progs);
        for program in all.filter(ProgramImpl::autoload) {
            let copy = program.as_fd().try_clone_to_owned();
            let copy = copy.map_err(|error| kept("program", program.name(), error.into()))?;
            programs.push(copy);
            names.push(program.name().to_owned());
        }
        Ok(Self {
            telling: telling(&loaded, &names),
            links: loaded.links,
            call_links: loaded.call_links,
            programs,
            maps,
            hooks: loaded.hooks,
        })
    }

    /// The map of this name, as a handle of its own.
    pub(in crate::ebpf) fn map(&self, name: &str) -> Result<MapHandle, SensorError> {
        let map = self.maps.iter().find(|map| map.name() == name);
        let map = map.ok_or_else(|| missing("map", name))?;
        MapHandle::try_from(map).map_err(|source| kernel(format!("open map `{name}`"), source))
    }

    /// A reader of the rings of these names, in this order. It must be dropped before this.
    pub(in crate::ebpf) fn rings<F>(
        &self,
        names: &[&str],
        accept: impl Fn() -> F,
    ) -> Result<RingBuffer<'static>, SensorError>
    where
        F: FnMut(&[u8]) -> i32 + 'static,
    {
        let failed = |source| kernel(format!("map the rings {}", names.join(", ")), source);
        let mut builder = RingBufferBuilder::new();
        for name in names {
            let map = self.maps.iter().find(|map| map.name() == *name);
            let map = map.ok_or_else(|| missing("map", name))?;
            builder.add(map, accept()).map_err(failed)?;
        }
        builder.build().map_err(failed)
    }

    /// What bpf(2) calls the descriptors of our programs, maps and links by, and their numbers.
    pub(in crate::ebpf) fn objects(&self) -> Vec<(u32, u32)> {
        let programs = self.programs.iter();
        let programs =
            programs.filter_map(|program| LoadedProgram::id_from_fd(program.as_fd()).ok());
        let maps = self.maps.iter();
        let maps = maps.filter_map(|map| Some(map.info().ok()?.info.id));
        let links = self.links.iter().chain(&self.call_links);
        let links = links.filter_map(|link| Some(link.info().ok()?.id));
        let programs = programs.map(|id| (BPF_PROG_GET_FD_BY_ID, id));
        let maps = maps.map(|id| (BPF_MAP_GET_FD_BY_ID, id));
        let links = links.map(|id| (BPF_LINK_GET_FD_BY_ID, id));
        programs.chain(maps).chain(links).collect()
    }

    /// Detaches everything but the programs of system calls, which the kernel lets go of only slowly: whoever stops tells
    /// these to do nothing, and they go when this is dropped. Records that are in the rings stay there.
    pub(in crate::ebpf) fn detach_all_but_calls(&mut self) {
        self.links.clear();
    }

    /// How often the kernel passed over the programs of each hook, by the kind of event that this may have cost.
    pub(in crate::ebpf) fn misses(&self) -> Vec<(Kind, u64)> {
        let counts = self.telling.iter().filter_map(|(kind, place)| {
            let program = self.programs.get(*place)?;
            Some((*kind, misses::misses_of(program.as_fd())))
        });
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// What the programs of these names tell, by their places.
fn telling(loaded: &Loaded, names: &[OsString]) -> Vec<(Kind, usize)> {
    let hooks = loaded.hooks.usable().into_iter();
    // One that refuses files tells no events.
    let hooks = hooks.filter(|spec| spec.object() != InObject::Blocks);
    let forms = hooks.flat_map(|spec| {
        let programs = spec.programs.iter();
        programs.map(|program| (spec.kind, loaded.route.form_of(program)))
    });
    let placed = forms.filter_map(|(kind, form)| {
        let place = names.iter().position(|name| **name == *form)?;
        Some((kind, place))
    });
    placed.collect()
}

fn kept(what: &str, name: &OsStr, source: libbpf_rs::Error) -> SensorError {
    kernel(format!("keep {what} `{}`", name.to_string_lossy()), source)
}
