//! How a triage reads the host: below one root, through no link, regular files only, until its time is over.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use picket_event::{BootId, Text};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use serde_json::{Map, Value};

/// The most of a file that is copied.
const MAX_COPY: u64 = 1 << 20;

/// Where is looked, and until when.
#[derive(Clone, Debug)]
pub(super) struct Look {
    root: PathBuf,
    /// The running boot, by which processes have their names.
    pub(super) boot: BootId,
    until: Instant,
}

impl Look {
    pub(super) const fn new(root: PathBuf, boot: BootId, until: Instant) -> Self {
        Self { root, boot, until }
    }

    /// Whether there is no more time.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// A path below the root, for what the kernel makes up. Not for what users can change.
    pub(super) fn below(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Opens a folder through no link.
    pub(super) fn folder(&self, path: &Path) -> Result<OwnedFd, &'static str> {
        self.resolve(path, OFlags::DIRECTORY | OFlags::RDONLY)
            .map_err(why)
    }

    /// Opens a regular file through no link.
    pub(super) fn open(&self, path: &Path) -> Result<File, &'static str> {
        regular(&self.resolve(path, OFlags::PATH).map_err(why)?)
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let root = rustix::fs::openat(
            CWD,
            &self.root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let inside = path.strip_prefix("/").unwrap_or(path);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(
            &root,
            inside,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
    }

    /// A file as it is, and what is missing of it.
    pub(super) fn copy(&self, path: &str) -> (Vec<u8>, &'static str) {
        let mut file = match self.open(Path::new(path)) {
            Ok(file) => file,
            Err(why) => return (Vec::new(), why),
        };
        read_some(&mut file, MAX_COPY)
    }

    /// The last bytes of a file, from the beginning of a line.
    pub(super) fn tail(
        &self,
        path: &str,
        most: u64,
    ) -> Result<(Vec<u8>, &'static str), &'static str> {
        let mut file = self.open(Path::new(path))?;
        let size = file.metadata().map_or(0, |found| found.len());
        let from = size.saturating_sub(most);
        let unreadable = |_: std::io::Error| "it cannot be read";
        file.seek(SeekFrom::Start(from)).map_err(unreadable)?;
        let (bytes, _) = read_some(&mut file, most);
        if from == 0 {
            return Ok((bytes, ""));
        }
        let begin = bytes.iter().position(|byte| *byte == b'\n');
        let begin = begin.map_or(bytes.len(), |at| at + 1);
        Ok((bytes[begin..].to_vec(), "only its end"))
    }

    /// The numbers of all processes, ascending.
    pub(super) fn pids(&self) -> Vec<u32> {
        let entries = fs::read_dir(self.below("/proc")).into_iter().flatten();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut pids: Vec<u32> = pids.collect();
        pids.sort_unstable();
        pids
    }
}

/// The file of a descriptor that was opened as a path only, if it is a regular one: of others opening is an act.
pub(super) fn regular(found: &OwnedFd) -> Result<File, &'static str> {
    let kind = fstat(found).map_err(why)?.st_mode & 0o170_000;
    if kind != 0o100_000 {
        return Err("it is no regular file");
    }
    let place = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
    File::open(place).map_err(|_error| "it cannot be opened")
}

/// At most so many bytes, and what is missing.
pub(super) fn read_some(file: &mut File, most: u64) -> (Vec<u8>, &'static str) {
    let mut bytes = Vec::new();
    // One more than is kept tells whether there is more.
    match file.take(most.saturating_add(1)).read_to_end(&mut bytes) {
        Err(_) => (bytes, "it cannot be read to its end"),
        Ok(read) if read as u64 > most => {
            bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
            (bytes, "only its beginning")
        }
        Ok(_) => (bytes, ""),
    }
}

/// In words, for the index.
pub(super) fn why(error: Errno) -> &'static str {
    match error {
        Errno::NOENT | Errno::NOTDIR => "there is no such file",
        Errno::LOOP => "it is behind a link, which is not followed",
        Errno::ACCESS | Errno::PERM => "it may not be read",
        _ => "it cannot be opened",
    }
}

/// One object of a list.
#[derive(Debug, Default)]
pub(super) struct Line(Map<String, Value>);

impl Line {
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// A text of the host; what is no UTF-8 has its exact bytes beside it.
    pub(super) fn text(self, name: &str, text: &Text) -> Self {
        match text.as_str() {
            Some("") => self,
            Some(exact) => self.with(name, exact),
            None => self
                .with(name, text.lossy().into_owned())
                .with(&format!("{name}_hex"), hex::encode(text.as_bytes())),
        }
    }

    /// With its end.
    pub(super) fn end(self) -> Vec<u8> {
        let mut line = Value::Object(self.0).to_string().into_bytes();
        line.push(b'\n');
        line
    }
}
