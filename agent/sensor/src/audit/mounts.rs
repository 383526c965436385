//! The mounted file systems that hold what is watched.
//!
//! # Invariants
//!
//! - Lines that cannot be read are left out; no text makes the reading panic.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::ebpf::watch::normalized;

/// One line of mountinfo.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Mount {
    /// Whether it shows its whole file system, not only a folder of it.
    is_whole: bool,
    place: PathBuf,
}

/// The mounts of this process, as the kernel lists them.
pub(super) fn listed() -> Vec<u8> {
    fs::read("/proc/self/mountinfo").unwrap_or_default()
}

/// By number, one place of each file system that holds a watched path or lies below one.
pub(super) fn holding(listed: &[u8], watch: &[PathBuf]) -> BTreeMap<u64, PathBuf> {
    let mut mounts: Vec<Mount> = lines(listed).collect();
    // Paths are as a mount of the whole file system shows them, where there is one.
    mounts.sort_by_key(|mount| !mount.is_whole);
    let watched: Vec<PathBuf> = watch.iter().map(|path| real(path)).collect();
    let mut found = BTreeMap::new();
    for mount in &mounts {
        let is_below = watched.iter().any(|path| mount.place.starts_with(path));
        let holds = |path: &PathBuf| nearest(&mounts, path) == Some(&mount.place);
        if !is_below && !watched.iter().any(holds) {
            continue;
        }
        if let Ok(fsid) = file_system_of(&mount.place) {
            found.entry(fsid).or_insert_with(|| mount.place.clone());
        }
    }
    found
}

/// The number by which fanotify knows the file system of this path.
pub(super) fn file_system_of(path: &Path) -> io::Result<u64> {
    Ok(rustix::fs::statvfs(path)?.f_fsid)
}

fn nearest<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a PathBuf> {
    let holding = mounts.iter().filter(|mount| path.starts_with(&mount.place));
    let nearest = holding.max_by_key(|mount| mount.place.as_os_str().len());
    nearest.map(|mount| &mount.place)
}

fn real(path: &Path) -> PathBuf {
    let as_given = || {
        PathBuf::from(std::ffi::OsString::from_vec(normalized(
            path.as_os_str().as_bytes(),
        )))
    };
    fs::canonicalize(path).unwrap_or_else(|_| as_given())
}

fn lines(listed: &[u8]) -> impl Iterator<Item = Mount> {
    listed.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').skip(3);
        let is_whole = fields.next()? == b"/";
        let place = unescaped(fields.next()?);
        Some(Mount {
            is_whole,
            place: PathBuf::from(std::ffi::OsString::from_vec(place)),
        })
    })
}

/// Spaces and the like are written as `\040`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..3).filter(|_| *first == b'\\');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(escaped.unwrap_or(*first));
        rest = match escaped {
            Some(_) => others.get(3..).unwrap_or_default(),
            None => others,
        };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LISTED: &[u8] = b"20 1 254:0 / / rw - ext4 /dev/a rw\n\
                            21 20 254:0 /x /mnt/b\\040c rw shared:1 - ext4 /dev/a rw\n\
                            broken\n";

    #[test]
    fn a_place_with_a_space_and_a_part_of_a_file_system_are_read() {
        let found: Vec<Mount> = lines(LISTED).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].is_whole && !found[1].is_whole);
        assert_eq!(found[1].place, Path::new("/mnt/b c"));
    }

    #[test]
    fn a_path_lies_on_the_mount_with_the_longest_name() {
        let mounts: Vec<Mount> = lines(LISTED).collect();
        let on = |path: &str| nearest(&mounts, Path::new(path)).unwrap().clone();
        assert_eq!(on("/mnt/b c/d"), Path::new("/mnt/b c"));
        assert_eq!(on("/mnt/b cd"), Path::new("/"));
    }

    #[test]
    fn this_hosts_root_is_found_with_a_number() {
        let found = holding(&listed(), &["/etc".into()]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reading_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            assert!(lines(&text).count() <= text.len());
        }
    }
}
