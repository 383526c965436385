//! The last login of each user: `/var/log/lastlog`, one record per user number, most of the file a hole.
//!
//! # Invariants
//!
//! - Only what is in no hole is read, at most [`MOST_RECORDS`] of it, and only when the file changed.
//! - A record that was there at the start is no login. Two logins of one user between two looks are one here.
//! - Any bytes give records or nothing, never a panic.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use picket_event::{Hook, Kind, Login, Text, UnixNanos};
use rustix::fs::{SeekFrom, seek};

use super::accounts;
use super::fact::{Fact, Witness, set_source, terminal};
use super::fusion::{Origin, SeenBy, Word};
use super::standing::Standing;

/// Length of a record in bytes: time, terminal, host.
pub const LASTLOG_LEN: usize = 4 + LINE + HOST;
const LINE: usize = 32;
const HOST: usize = 256;

/// What one record says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastLogin {
    /// When, in seconds since 1970.
    pub seconds: u32,
    /// On which terminal.
    pub tty: Text,
    /// From where.
    pub host: Text,
}

impl LastLogin {
    /// Reads a record; `None`: nobody ever logged in, or these bytes are no record.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let (time, rest) = record.split_first_chunk::<4>()?;
        let (line, host) = rest.split_at_checked(LINE)?;
        let seconds = u32::from_ne_bytes(*time);
        let is_whole = host.len() == HOST && seconds != 0;
        is_whole.then(|| Self {
            seconds,
            tty: terminal(text(line)),
            host: Text::from(text(host)),
        })
    }

    fn word(&self, user: Text) -> Word {
        let mut login = Login {
            user,
            tty: self.tty.clone(),
            ..Login::default()
        };
        if !self.host.is_empty() {
            set_source(&mut login, self.host.as_bytes());
        }
        Word {
            origin: Origin::LIVE,
            seen_by: SeenBy::Lastlog,
            time: UnixNanos(i64::from(self.seconds).saturating_mul(1_000_000_000)),
            pid: None,
            ppid: None,
            fact: Fact::success(Witness::RecordLogin, Kind::Login, login),
            process: None,
            old: false,
        }
    }
}

/// Follows the file.
#[derive(Debug)]
pub(super) struct Lastlog {
    standing: Standing,
    known: HashMap<u32, u32>,
}

impl Lastlog {
    /// Takes what is there as known.
    pub(super) fn open(path: PathBuf) -> Self {
        let mut lastlog = Self {
            standing: Standing::new("lastlog", path),
            known: HashMap::new(),
        };
        lastlog.read(&mut Vec::new());
        lastlog
    }

    /// Gives a word for each record that changed.
    pub(super) fn read(&mut self, words: &mut Vec<Word>) {
        if !self.standing.has_changed() {
            return;
        }
        match self.changes() {
            Ok(changes) => {
                self.standing.heard(changes.len());
                words.extend(changes);
            }
            Err(error) => self.standing.failed(error.to_string()),
        }
    }

    pub(super) fn hook(&self) -> Hook {
        self.standing.hook()
    }

    fn changes(&mut self) -> io::Result<Vec<Word>> {
        let file = File::open(self.standing.path())?;
        let mut changes = Vec::new();
        for (uid, record) in records(&file)? {
            let before = self.known.insert(uid, record.seconds);
            if before != Some(record.seconds) {
                changes.push(record.word(accounts::name_of(uid)));
            }
        }
        Ok(changes)
    }
}

/// Every record that is in no hole, with the user's number.
fn records(file: &File) -> io::Result<Vec<(u32, LastLogin)>> {
    let size = file.metadata()?.size();
    let length = u64::try_from(LASTLOG_LEN).unwrap_or(u64::MAX);
    let mut found = Vec::new();
    let mut at = 0;
    while let Ok(data) = seek(file, SeekFrom::Data(at)) {
        let end = seek(file, SeekFrom::Hole(data)).unwrap_or(size);
        let first = data.checked_div(length).unwrap_or(0);
        let last = end.div_ceil(length);
        for number in first..last {
            let mut bytes = [0; LASTLOG_LEN];
            let read = file.read_at(&mut bytes, number.saturating_mul(length))?;
            let record = bytes.get(..read).and_then(LastLogin::parse);
            if let (Some(record), Ok(uid)) = (record, u32::try_from(number)) {
                found.push((uid, record));
            }
            if found.len() >= MOST_RECORDS {
                return Ok(found);
            }
        }
        at = end.max(data.saturating_add(1));
        if at >= size {
            break;
        }
    }
    Ok(found)
}

fn text(field: &[u8]) -> &[u8] {
    let end = memchr::memchr(0, field).unwrap_or(field.len());
    field.get(..end).unwrap_or(field)
}

const MOST_RECORDS: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn record(seconds: u32, line: &str, host: &str) -> Vec<u8> {
        let mut bytes = seconds.to_ne_bytes().to_vec();
        bytes.extend_from_slice(line.as_bytes());
        bytes.resize(4 + LINE, 0);
        bytes.extend_from_slice(host.as_bytes());
        bytes.resize(LASTLOG_LEN, 0);
        bytes
    }

    #[test]
    fn a_record_behind_a_hole_that_changes_is_a_login() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let at = |uid: u64| uid * u64::try_from(LASTLOG_LEN).unwrap();
        let write = |uid, bytes: &[u8]| file.as_file().write_all_at(bytes, at(uid)).unwrap();
        write(0, &record(5, "pts/0", "192.0.2.7"));
        let mut lastlog = Lastlog::open(file.path().to_owned());
        let mut words = Vec::new();
        lastlog.read(&mut words);
        assert!(words.is_empty());
        write(70_000, &record(9, "pts/1", "host.example"));
        file.as_file().flush().unwrap();
        lastlog.read(&mut words);
        let [word] = &words[..] else {
            panic!("{words:?}")
        };
        assert_eq!(word.time, UnixNanos(9_000_000_000));
        assert_eq!(word.fact.login.source_host, "host.example".into());
        assert_eq!(word.fact.login.tty, "pts/1".into());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let read = LastLogin::parse(&bytes);
            prop_assert!(read.is_none() || bytes.len() == LASTLOG_LEN);
        }
    }
}
