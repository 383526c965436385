//! Control groups as cages: a process that is born in one stays in it, however fast it is born.
//!
//! What stays true: no process that is not of the tree is frozen or killed by way of a group.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use picket_seal::random;

/// A version 2 control group.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    made: bool,
}

/// How long a group may take to freeze.
const FREEZE_WAIT: Duration = Duration::from_secs(1);

impl Cgroup {
    /// A new empty group below the root of the hierarchy.
    pub(crate) fn make() -> io::Result<Self> {
        let mount = mount().ok_or(io::ErrorKind::Unsupported)?;
        let name = random::<8>().map_err(io::Error::other)?;
        let path = mount.join(format!("picket-contain-{}", hex::encode(name)));
        fs::create_dir(&path)?;
        Ok(Self { path, made: true })
    }

    /// A new empty group whose name is known beforehand.
    pub(crate) fn named(name: &str) -> io::Result<Self> {
        let mount = mount().ok_or(io::ErrorKind::Unsupported)?;
        let path = mount.join(format!("picket-contain-{name}"));
        fs::create_dir(&path)?;
        Ok(Self { path, made: true })
    }

    /// The group at this path, which somebody else keeps.
    pub(crate) const fn at(path: PathBuf) -> Self {
        Self { path, made: false }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it as it is, frozen or not, and says where.
    pub(crate) fn keep(self) -> PathBuf {
        let this = std::mem::ManuallyDrop::new(self);
        this.path.clone()
    }

    /// Removes it, if nobody is in it; whether it is gone.
    pub(crate) fn remove(&self) -> bool {
        let until = Instant::now() + FREEZE_WAIT;
        loop {
            match fs::remove_dir(&self.path) {
                Ok(()) => return true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
                Err(_) if Instant::now() >= until => return false,
                Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
            }
        }
    }

    /// The group that a process is in, unless it is the root of the hierarchy.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let name = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        if name.is_empty() || name.starts_with("..") {
            return None;
        }
        Some(Self {
            path: mount()?.join(name),
            made: false,
        })
    }

    /// Whether it was made here, and not found.
    pub(crate) const fn is_made(&self) -> bool {
        self.made
    }

    /// The processes in it and in the groups below it; `None` if that cannot be read.
    pub(crate) fn pids(&self) -> Option<Vec<u32>> {
        let mut pids = Vec::new();
        collect(&self.path, &mut pids, 0)?;
        Some(pids)
    }

    /// Moves a process into it.
    pub(crate) fn add(&self, pid: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }

    /// Moves a process into the group that another is in, as after a mistake.
    pub(crate) fn give_back(pid: u32, to: Option<&Self>) -> io::Result<()> {
        let path = match to {
            Some(group) => group.path.clone(),
            None => mount().ok_or(io::ErrorKind::Unsupported)?,
        };
        fs::write(path.join("cgroup.procs"), pid.to_string())
    }

    /// Stops everything in it and says whether all of it stands still.
    pub(crate) fn freeze(&self) -> bool {
        if fs::write(self.path.join("cgroup.freeze"), "1").is_err() {
            return false;
        }
        let until = Instant::now() + FREEZE_WAIT;
        while Instant::now() < until {
            let events = fs::read_to_string(self.path.join("cgroup.events")).unwrap_or_default();
            if events.lines().any(|line| line == "frozen 1") {
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        false
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        // A group that is gone needs no thawing.
        drop(fs::write(self.path.join("cgroup.freeze"), "0"));
    }

    /// Kills everything in it at once, newborn processes included, where the kernel can.
    pub(crate) fn kill(&self) {
        // Before Linux 5.14 there is no such file; then each process is killed by itself.
        drop(fs::write(self.path.join("cgroup.kill"), "1"));
    }
}

/// A group that was made here is thawed and removed; one that is still in use stays.
impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.made {
            self.thaw();
            self.remove();
        }
    }
}

fn collect(group: &Path, pids: &mut Vec<u32>, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    let text = fs::read_to_string(group.join("cgroup.procs")).ok()?;
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(group).ok()? {
        let entry = entry.ok()?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), pids, depth + 1)?;
        }
    }
    Some(())
}

const MAX_DEPTH: usize = 16;

/// Where the version 2 hierarchy is mounted, if its root is.
pub(crate) fn mount() -> Option<PathBuf> {
    parse_mount(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// `id parent major:minor root point options... - type source super-options`
fn parse_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let fields: Vec<&str> = before.split(' ').collect();
        let is_root = *fields.get(3)? == "/";
        let kind = after.split(' ').next()?;
        (kind == "cgroup2" && is_root).then(|| PathBuf::from(fields[4].replace("\\040", " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_2_hierarchy_is_found_wherever_it_is() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(
            parse_mount(text),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            parse_mount("41 31 0:38 /a /c rw - cgroup2 cgroup2 rw"),
            None
        );
        assert_eq!(parse_mount("garbage\n\n - \n"), None);
    }
}
