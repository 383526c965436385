//! Opens of secrets: one mark on each secret file.
//!
//! # Invariants
//!
//! - A mark hangs on the file, not on its name: a file that gets a secret's name is marked when its
//!   folder tells so, and opens before that are not seen.
//! - At most [`MOST_SECRETS`] files are marked; how many were left out is told.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::fanotify::{self, Group};
use super::notice::{Handle, Notice, notices};
use crate::Secret;
use crate::ebpf::watch::Watch;

/// The marked files.
#[derive(Debug)]
pub(super) struct Secrets {
    group: Group,
    paths: HashMap<Handle, PathBuf>,
    left_out: u64,
}

impl Secrets {
    /// Marks every secret file that is there now.
    pub(super) fn open(secrets: &[Secret], watch: &Watch) -> io::Result<Self> {
        let mut opened = Self {
            group: Group::open(libc::FAN_REPORT_FID)?,
            paths: HashMap::new(),
            left_out: 0,
        };
        let mut left = MOST_LOOKED_AT;
        for root in roots(secrets) {
            opened.mark_below(&root, watch, &mut left, 0);
        }
        Ok(opened)
    }

    /// Marks this file, which has a secret's name.
    pub(super) fn mark(&mut self, path: &Path) {
        let is_file = fs::symlink_metadata(path).is_ok_and(|stat| stat.is_file());
        if !is_file {
            return;
        }
        if self.paths.len() >= MOST_SECRETS {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let handle =
            super::mounts::file_system_of(path).and_then(|fsid| fanotify::handle_of(path, fsid));
        let marked = handle.and_then(|handle| {
            self.group.mark_inode(path, libc::FAN_OPEN)?;
            Ok(handle)
        });
        match marked {
            Ok(handle) => {
                // The file that had this name before is no secret any more under it.
                self.paths.retain(|_, known| known != path);
                self.paths.insert(handle, path.to_owned());
            }
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "secret cannot be marked");
                self.left_out = self.left_out.saturating_add(1);
            }
        }
    }

    /// The opens that wait: of what, and by whom.
    pub(super) fn read(&mut self) -> io::Result<Vec<Notice>> {
        let mut found = Vec::new();
        for _ in 0..MOST_READS {
            let buffer = self.group.read()?;
            if buffer.is_empty() {
                break;
            }
            found.extend(notices(buffer));
        }
        Ok(found)
    }

    /// Which secret this is.
    pub(super) fn path(&self, notice: &Notice) -> Option<&Path> {
        let target = notice.target.as_ref();
        let handle = target.or_else(|| notice.entry.as_ref().map(|entry| &entry.folder))?;
        self.paths.get(handle).map(PathBuf::as_path)
    }

    /// How many files are marked, and how many could not be.
    pub(super) fn count(&self) -> (usize, u64) {
        (self.paths.len(), self.left_out)
    }

    fn mark_below(&mut self, path: &Path, watch: &Watch, left: &mut usize, depth: usize) {
        let Some(fewer) = left.checked_sub(1) else {
            return;
        };
        *left = fewer;
        if watch.is_secret(path.as_os_str().as_encoded_bytes()) {
            self.mark(path);
        }
        if depth >= MOST_DEPTH || fs::symlink_metadata(path).map_or(true, |stat| !stat.is_dir()) {
            return;
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            self.mark_below(&entry.path(), watch, left, depth.saturating_add(1));
        }
    }
}

impl AsFd for Secrets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

/// Where secrets may lie. Folders of a name are looked for where hosts keep them: in `/etc` and in
/// the homes.
fn roots(secrets: &[Secret]) -> Vec<PathBuf> {
    let mut roots = Vec::new();
    for secret in secrets {
        match secret {
            Secret::File(path) | Secret::Tree(path) => roots.push(path.clone()),
            Secret::Below { folder, .. } => roots.push(folder.clone()),
            Secret::Named { folder, .. } => {
                roots.extend(homes().into_iter().map(|home| home.join(folder)));
            }
        }
    }
    roots = roots
        .iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .collect();
    roots.sort();
    roots.dedup();
    roots
}

fn homes() -> Vec<PathBuf> {
    let mut homes = vec![PathBuf::from("/etc"), PathBuf::from("/root")];
    let entries = fs::read_dir("/home").into_iter().flatten().flatten();
    homes.extend(entries.map(|entry| entry.path()).take(MOST_HOMES));
    homes
}

const MOST_SECRETS: usize = 8_192;
const MOST_LOOKED_AT: usize = 65_536;
const MOST_DEPTH: usize = 16;
const MOST_HOMES: usize = 4_096;
const MOST_READS: usize = 64;
