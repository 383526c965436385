//! Sealed files that a search could not read: what an answer lacks.
//!
//! # Invariants
//!
//! - A reader that notes goes past a damaged file and notes it; one that does not fails at it. No answer is short in silence.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::errors::ParquetError;
use picket_event::{Class, UnixNanos};
use picket_proto::v1;

use crate::StoreError;
use crate::sealed::{SealedFile, SharedSealed, sealed};

/// A sealed file that could not be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnreadFile {
    /// Its number.
    pub number: u64,
    /// Its name below the folder of sealed files.
    pub file: String,
    /// Of its events.
    pub class: Class,
    /// How many events it held.
    pub events: u64,
    /// The time of the first of them.
    pub first: UnixNanos,
    /// The time of the last of them.
    pub last: UnixNanos,
    /// Whether the log does not hold them either.
    pub lost: bool,
    /// Why, in words.
    pub why: String,
}

impl From<UnreadFile> for v1::UnreadFile {
    fn from(file: UnreadFile) -> Self {
        Self {
            file: file.file,
            number: file.number,
            class: file.class.to_wire(),
            events: file.events,
            first_unix_ns: file.first.0,
            last_unix_ns: file.last.0,
            lost: file.lost,
            why: file.why,
        }
    }
}

/// The files that searches could not read. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Unread(Arc<Mutex<BTreeMap<u64, UnreadFile>>>);

impl Unread {
    /// Each once, by number.
    pub fn files(&self) -> Vec<UnreadFile> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.values().cloned().collect()
    }

    /// As an answer tells of them.
    pub fn shown(&self) -> Vec<v1::UnreadFile> {
        self.files().into_iter().map(Into::into).collect()
    }

    fn note(&self, file: &SealedFile, failed: &StoreError) {
        let entry = &file.entry;
        let unread = UnreadFile {
            number: entry.number,
            file: entry.path(),
            class: entry.partition.class,
            events: entry.rows,
            first: entry.summary.first,
            last: entry.summary.last,
            lost: entry.lost,
            why: words_of(failed),
        };
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.entry(entry.number).or_insert(unread);
    }
}

/// What a reader does about a damaged file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noting {
    unread: Option<Unread>,
}

impl Noting {
    pub(crate) fn by(unread: Unread) -> Self {
        Self {
            unread: Some(unread),
        }
    }

    /// Reads some of a file. `None`: it is damaged, and that is noted.
    pub(crate) fn past<T>(
        &self,
        shared: &SharedSealed,
        file: &SealedFile,
        read: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let failed = match guarded(file, read) {
            Ok(done) => return Ok(Some(done)),
            Err(failed) => failed,
        };
        if !is_damage(&failed) {
            return Err(failed);
        }
        if !file.entry.lost {
            shared.suspect(file.entry.number);
        }
        match &self.unread {
            Some(unread) => {
                unread.note(file, &failed);
                Ok(None)
            }
            None => Err(failed),
        }
    }
}

/// Without checksums, damage may come as far as the decoder and surprise it.
pub(crate) fn guarded<T>(
    file: &SealedFile,
    read: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    if !file.entry.blocks.is_empty() {
        return read();
    }
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_panic| {
        let surprised = ParquetError::General("the decoder was surprised".to_owned());
        Err(sealed("read", &file.path, surprised))
    })
}

/// Whether the file is to blame, and not the machine.
pub(crate) fn is_damage(failed: &StoreError) -> bool {
    match failed {
        StoreError::Sealed { .. } => true,
        StoreError::Io { source, .. } => {
            let kinds = [
                io::ErrorKind::NotFound,
                io::ErrorKind::UnexpectedEof,
                io::ErrorKind::InvalidData,
                io::ErrorKind::IsADirectory,
            ];
            kinds.contains(&source.kind()) || source.raw_os_error() == Some(EIO)
        }
        _ => false,
    }
}

pub(crate) fn words_of(failed: &StoreError) -> String {
    match failed {
        StoreError::Sealed { source, .. } => match source.as_ref() {
            ParquetError::General(words) => words.clone(),
            other => other.to_string(),
        },
        StoreError::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

/// The disk cannot read what it has.
const EIO: i32 = 5;
