//! The folders below a folder.
//!
//! # Invariants
//!
//! - Links are not followed, so nothing is met twice and no walk leaves its root.
//! - The nearest come first: where not all can be watched, the deepest are left out.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

/// What a walk found.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Walk {
    /// The root, if it is a folder, and the folders below it.
    pub(super) folders: Vec<PathBuf>,
    /// Whether there are more than were asked for.
    pub(super) is_cut: bool,
}

/// The folder and those below it, at most `limit` of them.
pub(super) fn below(root: &Path, limit: usize) -> Walk {
    let mut walk = Walk::default();
    let mut waiting = VecDeque::from([root.to_owned()]);
    while let Some(folder) = waiting.pop_front() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        if walk.folders.len() >= limit {
            walk.is_cut = true;
            return walk;
        }
        walk.folders.push(folder);
        let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let folders = entries.filter_map(Result::ok).filter(is_folder);
        waiting.extend(folders.map(|entry| entry.path()));
    }
    walk
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_walk_finds_folders_nearest_first_and_follows_no_link() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        fs::write(path("file"), b"").unwrap();
        symlink("/", path("a/link")).unwrap();
        let walk = below(root.path(), 10);
        assert_eq!(
            walk.folders,
            [root.path().to_owned(), path("a"), path("a/b")]
        );
        assert!(!walk.is_cut);
        assert!(below(root.path(), 2).is_cut);
        assert_eq!(below(&path("nothing"), 2), Walk::default());
    }
}
