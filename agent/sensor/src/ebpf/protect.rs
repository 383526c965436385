//! The agent protects itself: kernel programs that refuse what others would do to it, its files and its kernel programs.
//!
//! # Invariants
//!
//! - Nothing is refused before the guard was told for whom, nor after it was switched off or the agent has ended: nothing of it
//!   is pinned.
//! - The host's first process, who started the agent, and the kernel are never refused anything.
//! - What is guarded is known by device and inode, so another name for it changes nothing.

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use rustix::fs::{Mode, OFlags, major, minor, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::program::{Attached, kernel};
use crate::{SensorError, identity};

/// What is the agent's own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Guarded {
    /// Files that nobody else may change.
    pub files: Vec<PathBuf>,
    /// Folders in which nobody else may change anything.
    pub trees: Vec<PathBuf>,
}

/// The switch of the protection.
#[derive(Clone, Debug)]
pub struct Guard {
    guarded: Guarded,
    guards: Arc<MapHandle>,
    inodes: Arc<MapHandle>,
}

impl Guard {
    /// The guard of programs that are loaded and attached. It is off.
    pub(super) fn of(attached: &Attached, guarded: Guarded) -> Result<Self, SensorError> {
        let objects = attached.map("guarded_objects")?;
        for (command, id) in attached.objects() {
            let key = [command.to_ne_bytes(), id.to_ne_bytes()].concat();
            write(&objects, &key, 1)?;
        }
        Ok(Self {
            guarded,
            guards: Arc::new(attached.map("guards")?),
            inodes: Arc::new(attached.map("guarded_inodes")?),
        })
    }

    /// Switches it. What is guarded is looked up anew, since files may have been replaced while it was off.
    pub fn set(&self, is_on: bool) -> Result<(), SensorError> {
        self.tell(false)?;
        if !is_on {
            return Ok(());
        }
        for key in self.inodes.keys().collect::<Vec<_>>() {
            let result = self.inodes.delete(&key);
            result.map_err(|source| kernel("forget what was guarded".to_owned(), source))?;
        }
        for (key, flags) in keys(&self.guarded) {
            write(&self.inodes, &key, flags)?;
        }
        self.tell(true)
    }

    /// `struct guard` of `agent/ebpf/protect.c`.
    fn tell(&self, is_on: bool) -> Result<(), SensorError> {
        let starter = std::os::unix::process::parent_id();
        // Nobody started at the last tick of time, so a starter that is gone stands for nobody.
        let starter_start = identity::start_ticks(starter).unwrap_or(u64::MAX);
        let mounts = |of: &str| {
            let found = fs::metadata(format!("/proc/{of}/ns/mnt"));
            found.map_or(0, |found| found.ino())
        };
        let low = |number: u64| u32::try_from(number).unwrap_or(0).to_ne_bytes();
        let value = [
            &std::process::id().to_ne_bytes()[..],
            &starter.to_ne_bytes(),
            &starter_start.to_ne_bytes(),
            &low(mounts("self")),
            &low(mounts(&starter.to_string())),
            &u32::from(is_on).to_ne_bytes(),
            &[0; 4],
        ]
        .concat();
        let result = self
            .guards
            .update(&0_u32.to_ne_bytes(), &value, MapFlags::ANY);
        result.map_err(|source| kernel("switch the protection".to_owned(), source))
    }
}

/// Why the protection cannot be had, as far as that can be known without asking for it.
pub(super) fn obstacle() -> Option<String> {
    match active_modules() {
        Ok(names) if names.trim().split(',').any(|name| name == "bpf") => None,
        Ok(_) => Some("BPF LSM is not active".to_owned()),
        Err(error) => Some(format!("BPF LSM is not known to be active: {error}")),
    }
}

/// The security modules of this kernel. securityfs need not be mounted.
fn active_modules() -> io::Result<String> {
    if let Ok(text) = fs::read_to_string("/sys/kernel/security/lsm") {
        return Ok(text);
    }
    let context = fsopen("securityfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let root = fsmount(context.as_fd(), flags, MountAttrFlags::empty())?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(root.as_fd(), "lsm", flags, Mode::empty())?;
    let mut text = String::new();
    fs::File::from(file).read_to_string(&mut text)?;
    Ok(text)
}

/// Every inode that is guarded, and how.
fn keys(guarded: &Guarded) -> Vec<(Vec<u8>, u32)> {
    let mut keys: Vec<(Vec<u8>, u32)> = Vec::new();
    let own_control = control_files();
    let files = guarded
        .files
        .iter()
        .map(|path| (path, GUARDED | GUARDED_NAME));
    let trees = guarded.trees.iter();
    let trees = trees.map(|path| (path, GUARDED | GUARDED_NAME | GUARDED_TREE));
    for (path, flags) in files.chain(trees) {
        add(&mut keys, path, flags);
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        for folder in real.ancestors().skip(1) {
            add(&mut keys, folder, GUARDED_NAME);
        }
    }
    for path in &own_control {
        add(&mut keys, path, GUARDED);
    }
    keys
}

fn add(keys: &mut Vec<(Vec<u8>, u32)>, path: &Path, flags: u32) {
    let Ok(found) = fs::metadata(path) else {
        return tracing::debug!(path = %path.display(), "not there, so not guarded");
    };
    // The kernel's own form of a device's number.
    let device = (major(found.dev()) << 20) | minor(found.dev());
    let rest = 0_u32;
    let key = [
        &found.ino().to_ne_bytes()[..],
        &device.to_ne_bytes(),
        &rest.to_ne_bytes(),
    ]
    .concat();
    match keys.iter_mut().find(|(known, _)| *known == key) {
        Some((_, known)) => *known |= flags,
        None => keys.push((key, flags)),
    }
}

/// What kills or stops the control group of this process, or one above it.
fn control_files() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Vec::new();
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let place = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ")
            .then(|| mount.split(' ').nth(4))?
    });
    let Some(root) = place.map(Path::new) else {
        return Vec::new();
    };
    let group = root.join(own);
    let groups = group.ancestors().take_while(|folder| *folder != root);
    let names = ["cgroup.kill", "cgroup.freeze"];
    groups
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .collect()
}

fn write(map: &MapHandle, key: &[u8], value: u32) -> Result<(), SensorError> {
    let result = map.update(key, &value.to_ne_bytes(), MapFlags::ANY);
    result.map_err(|source| kernel("tell the kernel what is guarded".to_owned(), source))
}

/// `enum guarded` of `agent/ebpf/protect.c`.
const GUARDED: u32 = 1;
const GUARDED_TREE: u32 = 2;
const GUARDED_NAME: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guarded_is_itself_and_keeps_the_names_that_lead_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("state")).unwrap();
        let guarded = Guarded {
            files: vec![root.join("missing")],
            trees: vec![root.join("state")],
        };
        let keys = keys(&guarded);
        let of = |path: &Path| {
            let inode = fs::metadata(path).unwrap().ino().to_ne_bytes();
            let found = keys.iter().find(|(key, _)| key.starts_with(&inode));
            found.map(|(_, flags)| *flags)
        };
        assert_eq!(of(&root.join("state")), Some(7));
        assert_eq!(of(&root), Some(GUARDED_NAME));
        assert_eq!(of(Path::new("/")), Some(GUARDED_NAME));
    }
}
