//! Paths of control groups by their id, and the containers that their names give away.
//!
//! The kernel tells a group's path with the first exec in it. Ids that it has not told (groups that
//! stood before the sensor) are looked up in the cgroup2 file system, where the id is the inode.
//!
//! # Invariants
//!
//! - At most [`MOST`] groups are remembered; when full, all are forgotten and learnt anew.
//! - The file system is searched at most once per [`SEARCH_PAUSE`].

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use picket_event::Text;

/// One group.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Its path in the unified hierarchy.
    pub(super) path: Text,
    /// The container that runs in it.
    pub(super) container: Option<String>,
}

/// The groups met so far.
#[derive(Debug)]
pub(super) struct Cgroups {
    root: Option<PathBuf>,
    groups: HashMap<u64, Group>,
    searched: Option<Instant>,
}

impl Cgroups {
    pub(super) fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut cgroups = Self {
            root: unified_root(&mounts),
            ..Self::empty()
        };
        cgroups.search();
        cgroups
    }

    /// Knows none, and looks nowhere.
    pub(super) fn empty() -> Self {
        Self {
            root: None,
            groups: HashMap::new(),
            searched: None,
        }
    }

    /// The kernel told a path.
    pub(super) fn learn(&mut self, id: u64, path: &[u8]) {
        if self.groups.len() >= MOST {
            self.groups.clear();
        }
        let group = Group {
            path: path.into(),
            container: container_in(path),
        };
        self.groups.insert(id, group);
    }

    /// The group of this id, if it is known or can be found.
    pub(super) fn get(&mut self, id: u64) -> Group {
        if !self.groups.contains_key(&id) {
            let due = self.searched.is_none_or(|at| at.elapsed() >= SEARCH_PAUSE);
            if due {
                self.search();
            }
        }
        self.groups.get(&id).cloned().unwrap_or_default()
    }

    fn search(&mut self) {
        self.searched = Some(Instant::now());
        let Some(root) = self.root.clone() else {
            return;
        };
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            if self.groups.len() >= MOST {
                return;
            }
            if let Ok(stat) = fs::metadata(&folder) {
                self.learn(stat.ino(), &path_in(&root, &folder));
            }
            folders.extend(subfolders(&folder));
        }
    }
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn path_in(root: &Path, folder: &Path) -> Vec<u8> {
    let mut path = vec![b'/'];
    if let Ok(inner) = folder.strip_prefix(root) {
        path.extend_from_slice(inner.as_os_str().as_bytes());
    }
    path
}

/// Where the unified hierarchy is mounted.
fn unified_root(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let is_unified = kind.split(' ').next() == Some("cgroup2");
        let place = mount.split(' ').nth(4)?;
        is_unified.then(|| PathBuf::from(place))
    })
}

/// The 64 hexadecimal digits by which Docker, containerd, CRI-O and Podman name a container's group.
pub(crate) fn container_in(path: &[u8]) -> Option<String> {
    let last = path
        .rsplit(|byte| *byte == b'/')
        .find(|part| !part.is_empty())?;
    let mut digits = last
        .split(|byte| !byte.is_ascii_hexdigit())
        .filter(|run| run.len() == 64);
    let id = digits.next()?;
    String::from_utf8(id.to_vec()).ok()
}

/// Most groups that are remembered.
const MOST: usize = 4096;
/// Between two searches of the file system.
const SEARCH_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_beside_the_old_ones() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 29 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let root = unified_root(mounts);
        assert_eq!(root, Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn a_container_is_known_by_its_groups_name() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/system.slice/docker-{id}.scope"),
            format!("/kubepods/pod1/{id}"),
        ] {
            assert_eq!(container_in(path.as_bytes()), Some(id.clone()));
        }
        assert_eq!(container_in(b"/system.slice/ssh.service"), None);
        assert_eq!(container_in(b"/"), None);
    }
}
