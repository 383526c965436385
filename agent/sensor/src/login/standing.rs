//! Whether a file that is looked at as a whole has changed, and what came of looking.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use picket_event::{Hook, HookState};

/// What is known of one file and of those that belong to it.
#[derive(Debug)]
pub(super) struct Standing {
    name: &'static str,
    /// The file itself first; the others may hold what has not reached it.
    paths: Vec<PathBuf>,
    state: Vec<Option<State>>,
    failure: Option<String>,
    gave: bool,
}

/// Inode, size, and when it was written.
type State = (u64, u64, i64, i64);

impl Standing {
    pub(super) fn new(name: &'static str, path: PathBuf) -> Self {
        Self {
            name,
            paths: vec![path],
            state: Vec::new(),
            failure: None,
            gave: false,
        }
    }

    /// A file beside it that is part of it.
    pub(super) fn and(mut self, path: PathBuf) -> Self {
        self.paths.push(path);
        self
    }

    pub(super) fn path(&self) -> &Path {
        self.paths
            .first()
            .map_or_else(|| Path::new(""), PathBuf::as_path)
    }

    /// Whether it is there and is not what it was at the last call.
    pub(super) fn has_changed(&mut self) -> bool {
        let state: Vec<Option<State>> = self.paths.iter().map(|path| state(path)).collect();
        let is_there = state.first().is_some_and(Option::is_some);
        let changed = is_there && state != self.state;
        self.state = state;
        if !is_there {
            self.failure = Some("not there".to_owned());
        }
        changed
    }

    /// Whether it was there at the last call.
    pub(super) fn is_there(&self) -> bool {
        self.state.first().is_some_and(Option::is_some)
    }

    /// It was read, and gave so many words.
    pub(super) fn heard(&mut self, words: usize) {
        self.failure = None;
        self.gave |= words > 0;
    }

    /// It could not be read.
    pub(super) fn failed(&mut self, why: String) {
        self.failure = Some(why);
    }

    pub(super) fn hook(&self) -> Hook {
        let (state, detail) = match (&self.failure, self.gave) {
            (Some(why), _) => (HookState::Unavailable, format!("cannot be read: {why}")),
            (None, true) => (HookState::Proved, "gave an event".to_owned()),
            (None, false) => (HookState::Attached, "followed, nothing came yet".to_owned()),
        };
        Hook {
            name: format!("login {} {}", self.name, self.path().display()),
            state,
            detail,
            instead: String::new(),
        }
    }
}

fn state(path: &Path) -> Option<State> {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}
