//! Who a number is, by this host's own file, and which audit sessions run.
//!
//! What stays true: files are read up to a bound, and what is not there is not guessed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;

use picket_event::Text;

use crate::portable::stat;

/// The name of this user; empty if `/etc/passwd` has none.
pub(super) fn name_of(uid: u32) -> Text {
    name_in(&passwd(), uid)
}

/// Whether `/etc/passwd` has this user. Users of a directory service are not there.
pub(super) fn exists(user: &Text) -> bool {
    has_name(&passwd(), user)
}

/// The audit sessions of the processes that run, each with its oldest process.
pub(super) fn open_sessions() -> BTreeMap<u32, u32> {
    let mut oldest: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let number = fs::read_to_string(entry.path().join("sessionid"));
        let number = number.ok().and_then(|text| text.trim().parse().ok());
        let Some(number) = number.filter(|number| *number != u32::MAX) else {
            continue;
        };
        if let Some(stat) = stat(pid) {
            let known = oldest.entry(number).or_insert((stat.start_ticks, pid));
            *known = (*known).min((stat.start_ticks, pid));
        }
    }
    let leaders = oldest.into_iter();
    leaders.map(|(number, (_, pid))| (number, pid)).collect()
}

fn passwd() -> Vec<u8> {
    let mut bytes = Vec::new();
    let read =
        File::open("/etc/passwd").and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    if let Err(error) = read {
        tracing::debug!(%error, "no names of users");
    }
    bytes
}

/// `NAME:x:UID:...`
fn name_in(passwd: &[u8], uid: u32) -> Text {
    let number = uid.to_string();
    let name = |line: &&[u8]| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, _, found) = (fields.next()?, fields.next()?, fields.next()?);
        (found == number.as_bytes()).then(|| Text::from(name))
    };
    let mut lines = passwd.split(|byte| *byte == b'\n');
    lines.find_map(|line| name(&line)).unwrap_or(Text::NONE)
}

fn has_name(passwd: &[u8], user: &Text) -> bool {
    let name = |line: &[u8]| line.split(|byte| *byte == b':').next() == Some(user.as_bytes());
    passwd.split(|byte| *byte == b'\n').any(name)
}

const MAX_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_first_name_that_the_file_gives_it() {
        let passwd = b"root:x:0:0::/root:/bin/sh\nshort\nada:x:1000:1000\nother:x:1000:1\n";
        assert_eq!(name_in(passwd, 0), "root".into());
        assert_eq!(name_in(passwd, 1000), "ada".into());
        assert_eq!(name_in(passwd, 7), Text::NONE);
        assert!(has_name(passwd, &"ada".into()) && !has_name(passwd, &"ad".into()));
    }
}
