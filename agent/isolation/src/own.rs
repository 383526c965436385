//! Who this process is to the kernel's rules: its user, and its control group where it has one of its own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whose sockets may reach the collector.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Own {
    /// The user.
    pub uid: u32,
    /// The control group of version 2, by its number, and how far below the root it is; `None`: the root itself, or
    /// none is seen, and the user alone decides.
    pub cgroup: Option<(u64, u32)>,
}

impl Own {
    /// This process.
    pub fn find() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            cgroup: cgroup(),
        }
    }
}

fn cgroup() -> Option<(u64, u32)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let relative = Path::new(group.strip_prefix('/')?);
    let level = level(relative)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut places = mounts.lines().filter_map(mounted);
    let number = places.find_map(|place| Some(fs::metadata(place.join(relative)).ok()?.ino()));
    Some((number?, level))
}

/// How deep; `None` for the root and for what is outside of what this process sees.
fn level(relative: &Path) -> Option<u32> {
    let outside = relative.components().any(|part| part.as_os_str() == "..");
    let level = u32::try_from(relative.components().count()).ok()?;
    (level > 0 && !outside).then_some(level)
}

/// Where control groups of version 2 are mounted whole.
fn mounted(line: &str) -> Option<PathBuf> {
    let (place, kind) = line.split_once(" - ")?;
    let mut fields = place.split(' ').skip(3);
    let (root, at) = (fields.next()?, fields.next()?);
    let whole = kind.starts_with("cgroup2 ") && root == "/";
    whole.then(|| PathBuf::from(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_and_what_is_outside_are_no_group_of_ones_own() {
        assert_eq!(
            level(Path::new("system.slice/picket-agent.service")),
            Some(2)
        );
        assert_eq!(level(Path::new("")), None);
        assert_eq!(level(Path::new("../a")), None);
    }

    #[test]
    fn only_whole_mounts_of_version_two_count() {
        let line = "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(mounted(line), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        let part = "31 30 0:27 /a /mnt rw - cgroup2 cgroup2 rw";
        let first = "32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        assert_eq!((mounted(part), mounted(first)), (None, None));
    }
}
