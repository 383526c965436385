//! Processes that no command may end, whoever signed it.
//!
//! What stays true: ending any of these could take the host, the way to it, or the agent away.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use picket_event::{BootId, ProcessUid};

use super::procfs::{self, Found};

/// What is protected on this host.
#[derive(Clone, Debug)]
pub(crate) struct Protection {
    boot: BootId,
    own: u32,
    exes: Vec<PathBuf>,
}

/// Remote administration: without it nobody can come to help.
const SSHD: [&str; 6] = [
    "/usr/sbin/sshd",
    "/usr/lib/openssh/sshd-session",
    "/usr/lib/openssh/sshd-auth",
    "/usr/libexec/openssh/sshd-session",
    "/usr/libexec/openssh/sshd-auth",
    "/usr/lib/ssh/sshd-session",
];

/// Without these nobody logs in.
const ACCOUNTS: [&str; 4] = [
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/nsswitch.conf",
];

/// Whether the process has this file mapped: its program or one of its libraries.
pub(crate) fn is_mapped(pid: u32, inode: (u64, u64)) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut paths: Vec<&str> = maps
        .lines()
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
        .iter()
        .any(|path| inode_of(Path::new(path)) == Some(inode))
}

fn inode_of(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

impl Protection {
    /// Protects this agent, its parents, remote administration and `exes`.
    pub(crate) fn new(boot: BootId, exes: Vec<PathBuf>) -> Self {
        Self {
            boot,
            own: std::process::id(),
            exes,
        }
    }

    /// Why the process may not be ended.
    pub(crate) fn reason(&self, found: &Found) -> Option<&'static str> {
        self.vital(found).or_else(|| {
            let exe = procfs::exe(found.pid);
            self.protected_exe(exe.as_bytes())
        })
    }

    /// Why the host or this agent would not outlive its end, whatever it runs.
    pub(crate) fn vital(&self, found: &Found) -> Option<&'static str> {
        if found.pid == 1 {
            return Some("it is the first process");
        }
        if found.kernel {
            return Some("it is a thread of the kernel");
        }
        if found.pid == self.own {
            return Some("it is this agent");
        }
        if self.own_ancestors().contains(&found.uid) {
            return Some("this agent runs below it");
        }
        None
    }

    /// An executable that was replaced on disk is still the one that runs.
    fn protected_exe(&self, exe: &[u8]) -> Option<&'static str> {
        let exe = exe.strip_suffix(b" (deleted)").unwrap_or(exe);
        if SSHD.iter().any(|sshd| sshd.as_bytes() == exe) {
            return Some("it serves remote administration");
        }
        let listed = |path: &PathBuf| Path::new(path).as_os_str().as_bytes() == exe;
        self.exes
            .iter()
            .any(listed)
            .then_some("its executable is protected by the settings")
    }

    /// The programs that are protected whatever runs them.
    pub(crate) fn programs(&self) -> Vec<PathBuf> {
        let sshd = SSHD.iter().map(PathBuf::from);
        self.exes.iter().cloned().chain(sshd).collect()
    }

    /// Why this file may not be taken away. `state` is the agent's own directory.
    pub(crate) fn file(&self, inode: (u64, u64), state: &Path) -> Option<&'static str> {
        let is = |path: &Path| inode_of(path) == Some(inode);
        if self.exes.iter().any(|exe| is(exe)) {
            return Some("it is protected by the settings");
        }
        if SSHD.iter().any(|sshd| is(Path::new(sshd))) {
            return Some("it serves remote administration");
        }
        if ACCOUNTS.iter().any(|path| is(Path::new(path))) {
            return Some("nobody could log in without it");
        }
        let own = std::fs::read_dir(state).into_iter().flatten();
        let mut own = own.filter_map(Result::ok);
        own.any(|entry| is(&entry.path()))
            .then_some("it belongs to this agent")
    }

    fn own_ancestors(&self) -> HashSet<ProcessUid> {
        let mut ancestors = HashSet::new();
        let mut next = procfs::find(&self.boot, self.own);
        while let Some(found) = next.take() {
            if found.ppid != 0
                && let Some(parent) = procfs::find(&self.boot, found.ppid)
                && ancestors.insert(parent.uid)
            {
                next = Some(parent);
            }
        }
        ancestors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_this_one_and_its_parents_are_protected() {
        let boot = crate::clock::boot_id();
        let protection = Protection::new(boot, Vec::new());
        let own = procfs::find(&boot, std::process::id()).unwrap();
        let parent = procfs::find(&boot, own.ppid).unwrap();
        let first = procfs::find(&boot, 1).unwrap();
        for found in [own, parent, first] {
            assert!(protection.reason(&found).is_some(), "{found:?}");
        }
    }

    #[test]
    fn listed_executables_are_protected_also_after_an_upgrade() {
        let listed = vec![PathBuf::from("/usr/bin/picket-collector")];
        let protection = Protection::new(BootId::new([0; 16]), listed);
        for exe in [
            "/usr/sbin/sshd",
            "/usr/sbin/sshd (deleted)",
            "/usr/bin/picket-collector",
        ] {
            assert!(protection.protected_exe(exe.as_bytes()).is_some(), "{exe}");
        }
        assert_eq!(protection.protected_exe(b"/tmp/sshd"), None);
        assert_eq!(protection.protected_exe(b""), None);
    }
}
