//! Which files say who may log in or become somebody.
//!
//! What stays true: a name that is none of these costs a few comparisons of its beginning and end.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use picket_event::Text;

use super::super::lookup::{self, Eyes};
use super::MAX_BYTES;

/// The most files that are looked for at the start.
const MAX_EXISTING: usize = 1_024;

/// How a file says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    Passwd,
    Shadow,
    Group,
    Gshadow,
    Sudoers,
    /// Keys by which sshd lets somebody in.
    Keys,
}

impl Form {
    /// What its lines are about.
    pub(super) const fn object(self) -> &'static str {
        match self {
            Self::Passwd => "user",
            Self::Shadow => "password",
            Self::Group => "group",
            Self::Gshadow => "group_password",
            Self::Sudoers => "sudo_rule",
            Self::Keys => "ssh_key",
        }
    }
}

/// The form of the file of this name, if it has accounts.
pub(super) fn of(path: &[u8]) -> Option<Form> {
    match path.strip_prefix(b"/etc/") {
        Some(b"passwd") => return Some(Form::Passwd),
        Some(b"shadow") => return Some(Form::Shadow),
        Some(b"group") => return Some(Form::Group),
        Some(b"gshadow") => return Some(Form::Gshadow),
        Some(b"sudoers") => return Some(Form::Sudoers),
        Some(rest) => {
            if let Some(name) = rest.strip_prefix(b"sudoers.d/") {
                return is_read_by_sudo(name).then_some(Form::Sudoers);
            }
        }
        None => {}
    }
    KEYS.iter()
        .any(|name| path.ends_with(name))
        .then_some(Form::Keys)
}

/// sudo passes over names with a dot and those of backups.
fn is_read_by_sudo(name: &[u8]) -> bool {
    !name.is_empty()
        && !name.ends_with(b"~")
        && !name.iter().any(|byte| matches!(byte, b'.' | b'/'))
}

/// What is there now.
pub(super) fn existing() -> Vec<Text> {
    let mut paths: Vec<Text> = TABLES.map(Text::from).to_vec();
    let names = fs::read_dir("/etc/sudoers.d")
        .into_iter()
        .flatten()
        .flatten();
    paths.extend(names.map(|entry| Text::from(entry.path().into_os_string().into_vec())));
    for (_, home) in homes(Eyes::OWN) {
        for name in KEYS {
            paths.push(Text::from([home.trim_ascii_end(), name].concat()));
        }
    }
    paths.truncate(MAX_EXISTING);
    paths.retain(|path| Path::new(OsStr::from_bytes(path.as_bytes())).is_file());
    paths
}

/// Whose keys these are: the user whose home this is, or else the folder's name.
pub(super) fn owner(path: &[u8], eyes: Eyes) -> Vec<u8> {
    let home = KEYS.iter().find_map(|name| path.strip_suffix(*name));
    let home = home.unwrap_or_default();
    let owner = homes(eyes).into_iter().find(|(_, its)| its == home);
    let folder = || home.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    owner.map_or_else(|| folder().to_vec(), |(name, _)| name)
}

/// Each user with his home.
fn homes(eyes: Eyes) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let read = lookup::open(b"/etc/passwd", eyes)
        .ok()
        .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes).ok());
    if read.is_none() {
        return Vec::new();
    }
    let home = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?.to_vec();
        Some((name, fields.nth(4)?.to_vec()))
    };
    super::lines(&bytes).filter_map(home).collect()
}

const TABLES: [&str; 5] = [
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/sudoers",
];
const KEYS: [&[u8]; 2] = [b"/.ssh/authorized_keys", b"/.ssh/authorized_keys2"];
