//! What a host does not take from itself without a person: the system's own files and programs.
//!
//! What stays true: a rule that is wrong about a program of the system stops processes at most, for a while.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use picket_event::Text;
use picket_event::command::Action;
use picket_seal::Digest;

use crate::respond::check::{Checked, Refusal};

/// Files below these are the system's.
const TREES: [&str; 9] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/boot",
];
/// Where the programs are that a host cannot do without.
const PROGRAMS: [&str; 5] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/sbin",
];

/// Where the content is that a decision is about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The process of the event; 0: none.
    pub(super) pid: u32,
    /// The file that was written, else the executable.
    pub(super) file: Text,
    /// Whether the file was written.
    pub(super) written: bool,
}

impl Subject {
    /// The content's size in bytes, while it is still there.
    fn size(&self) -> Option<u64> {
        let running = (!self.written).then(|| PathBuf::from(format!("/proc/{}/exe", self.pid)));
        let places = running.into_iter().chain([path(&self.file)]);
        let mut found = places.filter_map(|place| fs::metadata(place).ok());
        found.next().map(|found| found.len())
    }
}

/// Refuses what the system needs.
pub(super) fn check(checked: &Checked, subject: &Subject) -> Result<(), Refusal> {
    let why = match &checked.command.action {
        Action::Quarantine(file) => {
            let place = resolved(&path(&file.path));
            let tree = TREES.iter().find(|tree| place.starts_with(tree));
            tree.map(|tree| format!("the file is below {tree}"))
        }
        Action::BlockHash(digest) => match subject.size() {
            None => {
                Some("it is gone, and cannot be compared with the system's programs".to_owned())
            }
            Some(size) => program_of(digest, size)
                .map(|program| format!("`{}` has this content", program.display())),
        },
        _ => None,
    };
    why.map_or(Ok(()), |why| Err(checked.refuse("system", &why)))
}

/// A program of the system with this content.
fn program_of(digest: &Digest, size: u64) -> Option<PathBuf> {
    let folders = PROGRAMS
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let files = folders
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let mut alike = files.filter(|file| fs::metadata(file).is_ok_and(|found| found.len() == size));
    alike.find(|file| {
        let read = fs::File::open(file).and_then(|mut file| Digest::of_reader(&mut file));
        read.is_ok_and(|(found, _)| found == *digest)
    })
}

/// Without links in its folder, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let folder = path
        .parent()
        .and_then(|folder| fs::canonicalize(folder).ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

fn path(text: &Text) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(text.as_bytes()))
}
