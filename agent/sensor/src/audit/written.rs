//! Whether a file that was closed after it could be written to is another than before.
//!
//! The kernel tells of every closing of what was open for writing, and watching every single write
//! would make writing dearer on the whole host. So the file's size and times decide.
//!
//! # Invariants
//!
//! - A change is never taken for none: a file that was not changed may count as modified, when it
//!   changed within the last second or cannot be looked at any more.
//! - At most [`MOST_STATES`] files are remembered; when full, all are forgotten.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use picket_event::{Clock, SystemClock};

/// The files that were told of as modified, as they were then.
#[derive(Debug)]
pub(super) struct Written {
    began_ns: i64,
    states: HashMap<(u64, u64), State>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State {
    size: u64,
    written_ns: i64,
    changed_ns: i64,
}

impl Written {
    /// Begins now: what did not change since is unchanged.
    pub(super) fn new() -> Self {
        Self {
            began_ns: now_ns(),
            states: HashMap::new(),
        }
    }

    /// Whether the file at this path, which was closed a moment ago, may have been written to.
    pub(super) fn is_modified(&mut self, path: &Path) -> bool {
        let Ok(stat) = fs::symlink_metadata(path) else {
            return true;
        };
        let state = State {
            size: stat.len(),
            written_ns: nanoseconds(stat.mtime(), stat.mtime_nsec()),
            changed_ns: nanoseconds(stat.ctime(), stat.ctime_nsec()),
        };
        if self.states.len() >= MOST_STATES {
            self.states.clear();
        }
        let place = (stat.dev(), stat.ino());
        match self.states.insert(place, state) {
            Some(before) if before == state => state.changed_ns >= fresh_ns(),
            Some(_) => true,
            None if state.size == 0 => !is_as_made(&stat, state),
            None => state.changed_ns >= self.began_ns.saturating_sub(CLOCK_TICK_NS),
        }
    }
}

/// What changed since may have changed again while its times stayed the same.
fn fresh_ns() -> i64 {
    now_ns().saturating_sub(FRESH_NS)
}

/// An empty file that was never written to since it was made.
fn is_as_made(stat: &fs::Metadata, state: State) -> bool {
    let born = stat.created().ok();
    let born = born.and_then(|born| born.duration_since(std::time::UNIX_EPOCH).ok());
    let born = born.and_then(|born| i64::try_from(born.as_nanos()).ok());
    born == Some(state.written_ns)
}

fn now_ns() -> i64 {
    SystemClock.now().0
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

const MOST_STATES: usize = 16_384;
const FRESH_NS: i64 = 1_000_000_000;
/// File times are of the last tick of the kernel's clock.
const CLOCK_TICK_NS: i64 = 20_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_did_not_change_since_the_beginning_is_not_modified_and_one_that_did_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let mut written = Written::new();
        written.began_ns = now_ns() + 1_000_000_000;
        assert!(!written.is_modified(&path));
        fs::write(&path, "newer").unwrap();
        assert!(written.is_modified(&path));
    }

    #[test]
    fn an_empty_new_file_is_not_modified_and_a_file_that_is_gone_may_have_been() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut written = Written::new();
        fs::File::create(&path).unwrap();
        assert!(!written.is_modified(&path));
        fs::remove_file(&path).unwrap();
        assert!(written.is_modified(&path));
    }
}
