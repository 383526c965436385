//! Which files are meant: paths in which a whole name may be `*`.
//!
//! What stays true: a path is meant as it is and with its links resolved; files are known by the resolved
//! one. A name is compared only with those that begin with the same folder below the root.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use picket_event::Text;

/// Files that decide who may log in, what runs, and with which rights.
pub(crate) const DEFAULT: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/pam.conf",
    "/etc/pam.d",
    "/etc/security",
    "/etc/ssh",
    "/root/.ssh/authorized_keys",
    "/root/.ssh/authorized_keys2",
    "/home/*/.ssh/authorized_keys",
    "/home/*/.ssh/authorized_keys2",
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/cron.d",
    "/etc/cron.hourly",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.monthly",
    "/var/spool/cron",
    "/etc/systemd",
    "/usr/lib/systemd/system",
    "/usr/lib/systemd/user",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/boot",
    "/usr/bin",
    "/usr/sbin",
    "/bin",
    "/sbin",
];
/// How deep folders are looked into.
const MAX_DEPTH: usize = 16;

/// The paths, each as it was written and as it is resolved.
#[derive(Debug, Default)]
pub(crate) struct Set {
    paths: Vec<(Vec<u8>, Vec<u8>)>,
    /// By the first name that a path may begin with: the places of those paths, in order. No name: any.
    heads: Vec<(Option<Vec<u8>>, Vec<usize>)>,
}

impl Set {
    /// Of these paths. Links are resolved once, now.
    pub(crate) fn new<P: AsRef<Path>>(paths: &[P]) -> Self {
        let forms = paths.iter().map(|path| {
            let path = path.as_ref();
            let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            (bytes(path), bytes(&real))
        });
        let mut set = Self {
            paths: forms.collect(),
            heads: Vec::new(),
        };
        set.sort_by_head();
        set
    }

    fn sort_by_head(&mut self) {
        let forms = self.paths.iter();
        let heads = forms.map(|(written, real)| [written, real].map(|form| fixed_head(form)));
        let heads: Vec<_> = heads.collect();
        let mut names: Vec<Option<&[u8]>> = heads.iter().flatten().copied().collect();
        names.sort_unstable();
        names.dedup();
        let places = |name: Option<&[u8]>| {
            let meant = heads
                .iter()
                .enumerate()
                .filter(|(_, of_path)| of_path.contains(&None) || of_path.contains(&name));
            meant.map(|(place, _)| place).collect()
        };
        let lists = names
            .into_iter()
            .map(|name| (name.map(<[u8]>::to_vec), places(name)));
        self.heads = lists.collect();
    }

    /// The paths that may mean this one.
    fn candidates(&self, path: &[u8]) -> impl Iterator<Item = &(Vec<u8>, Vec<u8>)> {
        let named = self
            .heads
            .iter()
            .find(|(name, _)| name.is_some() && name.as_deref() == head(path));
        let listed = named.or_else(|| self.heads.first().filter(|(name, _)| name.is_none()));
        let places = listed.into_iter().flat_map(|(_, places)| places);
        places.filter_map(|place| self.paths.get(*place))
    }

    /// The name under which a file is known, if it is meant.
    pub(super) fn name(&self, path: &Text) -> Option<Text> {
        let path = path.as_bytes();
        if !path.starts_with(b"/") {
            return None;
        }
        self.candidates(path).find_map(|(written, real)| {
            if below(path, real).is_some() {
                return Some(Text::from(path));
            }
            let rest = below(path, written)?;
            Some(Text::from([real, rest].concat()))
        })
    }

    /// Every file that is meant, until `each` says that it is enough.
    pub(super) fn walk(&self, each: &mut dyn FnMut(&Path) -> bool) {
        for (place, (_, real)) in self.paths.iter().enumerate() {
            let mut earlier = self.paths.iter().take(place);
            if earlier.any(|(_, other)| below(real, other).is_some()) {
                continue;
            }
            for root in expanded(real) {
                if !walk(&root, MAX_DEPTH, each) {
                    return;
                }
            }
        }
    }
}

/// The first name of a path.
fn head(path: &[u8]) -> Option<&[u8]> {
    path.split(|byte| *byte == b'/').nth(1)
}

/// The one with which everything at or below this path begins, if it is one.
fn fixed_head(pattern: &[u8]) -> Option<&[u8]> {
    head(pattern).filter(|name| *name != b"*")
}

fn bytes(path: &Path) -> Vec<u8> {
    let path = path.as_os_str().as_bytes();
    path.strip_suffix(b"/").unwrap_or(path).to_vec()
}

/// What follows the pattern in a path that is at or below it.
fn below<'a>(path: &'a [u8], pattern: &[u8]) -> Option<&'a [u8]> {
    if !pattern.contains(&b'*') {
        let rest = path.strip_prefix(pattern)?;
        return (rest.is_empty() || rest.starts_with(b"/")).then_some(rest);
    }
    let mut rest = path;
    for part in pattern.split(|byte| *byte == b'/').skip(1) {
        let inner = rest.strip_prefix(b"/")?;
        let end = inner
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(inner.len());
        let (name, after) = inner.split_at(end);
        if name.is_empty() || (part != b"*" && part != name) {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

/// The paths that a pattern stands for now.
fn expanded(pattern: &[u8]) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
    {
        let name = std::ffi::OsStr::from_bytes(part);
        found = match part {
            b"*" => found.iter().flat_map(|folder| entries(folder)).collect(),
            _ => found.into_iter().map(|folder| folder.join(name)).collect(),
        };
    }
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Links are not followed.
fn walk(path: &Path, depth: usize, each: &mut dyn FnMut(&Path) -> bool) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else {
        return true;
    };
    if found.is_file() {
        return each(path);
    }
    if !found.is_dir() || depth == 0 {
        return true;
    }
    entries(path)
        .iter()
        .all(|entry| walk(entry, depth - 1, each))
}
