//! Login names by number, from `/etc/passwd` itself: no name service, which could block or load code.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use picket_event::Text;

/// How long a look at the file's time is good for, in nanoseconds.
const RECHECK_NS: u64 = 1_000_000_000;
/// The most that is read of it.
const MAX_BYTES: u64 = 4 << 20;

/// Names of this host's users.
#[derive(Debug)]
pub(crate) struct Users {
    path: PathBuf,
    names: HashMap<u32, Text>,
    changed: Option<SystemTime>,
    looked_ns: Option<u64>,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/etc/passwd"),
            names: HashMap::new(),
            changed: None,
            looked_ns: None,
        }
    }
}

impl Users {
    /// Reads the file again if it changed. Looks at most once a second.
    pub(crate) fn refresh(&mut self, now_ns: u64) {
        if self
            .looked_ns
            .is_some_and(|looked| now_ns.saturating_sub(looked) < RECHECK_NS)
        {
            return;
        }
        self.looked_ns = Some(now_ns);
        let Ok(found) = fs::metadata(&self.path) else {
            return;
        };
        let changed = found.modified().ok();
        if changed == self.changed || found.len() > MAX_BYTES {
            return;
        }
        if let Ok(bytes) = fs::read(&self.path) {
            self.names = parse(&bytes);
            self.changed = changed;
        }
    }

    /// The login name; empty if there is none.
    pub(crate) fn name(&self, uid: u32) -> Text {
        self.names.get(&uid).cloned().unwrap_or_default()
    }
}

/// `name:password:uid:...`; of several names for one number, the first.
fn parse(bytes: &[u8]) -> HashMap<u32, Text> {
    let mut names = HashMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, uid) = (
            fields.next().unwrap_or_default(),
            fields.nth(1).unwrap_or_default(),
        );
        let uid = std::str::from_utf8(uid)
            .ok()
            .and_then(|uid| uid.parse().ok());
        if let (Some(uid), false) = (uid, name.is_empty()) {
            names.entry(uid).or_insert_with(|| Text::from(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_lines_are_skipped_and_the_first_name_wins() {
        let text = b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0\n\n:x:5:5\nbad:x:y\nweb\xff:x:33:33";
        let names = parse(text);
        assert_eq!(names.get(&0), Some(&Text::from("root")));
        assert_eq!(names.get(&33), Some(&Text::from(&b"web\xff"[..])));
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn a_change_is_seen_after_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        fs::write(&path, "a:x:7:7").unwrap();
        let mut users = Users {
            path: path.clone(),
            ..Users::default()
        };
        users.refresh(0);
        assert_eq!(users.name(7), Text::from("a"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "b:x:7:7").unwrap();
        let later = fs::metadata(&path).unwrap().modified().unwrap();
        users.changed = later.checked_sub(std::time::Duration::from_secs(1));
        users.refresh(RECHECK_NS / 2);
        assert_eq!(users.name(7), Text::from("a"));
        users.refresh(RECHECK_NS);
        assert_eq!(users.name(7), Text::from("b"));
    }
}
