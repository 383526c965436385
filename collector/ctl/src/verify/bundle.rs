//! Evidence in a file: what the collector sent, to be verified by anybody who has the checkpoint key.
//!
//! ```text
//! magic "PKTEVID1" | n times: length u32 le | EvidenceItem [u8; length]
//! ```
//!
//! # Invariants
//!
//! - A bundle is there whole or not at all.
//! - No bytes of a bundle make the reader panic or allocate more than an item may have.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use picket_proto::v1;
use prost::Message;

use crate::failure::{Exit, Failure};

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// A file operation failed.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// As `read`.
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another file.
    #[error("`{}` is no bundle of evidence", .0.display())]
    Magic(PathBuf),
    /// It ends in the middle, or an item is too large or malformed.
    #[error("`{}` is damaged at byte {at}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where the item begins.
        at: u64,
    },
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        let exit = match error {
            BundleError::Io { .. } => Exit::Failed,
            BundleError::Magic(_) | BundleError::Damaged { .. } => Exit::Unverified,
        };
        Self::new(exit, error)
    }
}

/// Writes a bundle, beside its place until it is whole.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    beside: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    /// Begins a new file.
    pub(crate) fn create(path: &Path) -> Result<Self, BundleError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut file = BufWriter::new(File::create(&beside).map_err(failed("write", &beside))?);
        file.write_all(MAGIC).map_err(failed("write", &beside))?;
        Ok(Self {
            path: path.to_owned(),
            beside,
            file,
        })
    }

    /// Adds an item.
    pub(crate) fn add(&mut self, item: &v1::EvidenceItem) -> Result<(), BundleError> {
        let bytes = item.encode_to_vec();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let written = self.file.write_all(&length.to_le_bytes());
        let written = written.and_then(|()| self.file.write_all(&bytes));
        written.map_err(failed("write", &self.beside))
    }

    /// Puts the file into its place.
    pub(crate) fn finish(self) -> Result<(), BundleError> {
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error);
        let synced = file.and_then(|file| file.sync_all());
        synced.map_err(failed("write", &self.beside))?;
        fs::rename(&self.beside, &self.path).map_err(failed("write", &self.path))
    }
}

/// Reads a bundle, item by item.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    at: u64,
}

impl Reader {
    /// Opens a file that is a bundle.
    pub(crate) fn open(path: &Path) -> Result<Self, BundleError> {
        let mut file = BufReader::new(File::open(path).map_err(failed("open", path))?);
        let mut magic = [0; MAGIC.len()];
        let read = file.read_exact(&mut magic);
        if read.is_err() || magic != *MAGIC {
            return Err(BundleError::Magic(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            at: MAGIC.len() as u64,
        })
    }

    /// The next item; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<v1::EvidenceItem>, BundleError> {
        let mut length = [0; 4];
        match self.file.read(&mut length[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(source) => return Err(failed("read", &self.path)(source)),
        }
        self.fill(&mut length[1..])?;
        let length = u32::from_le_bytes(length);
        if length > LARGEST_ITEM {
            return Err(self.damaged());
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        let item = v1::EvidenceItem::decode(bytes.as_slice());
        let item = item.map_err(|_message| self.damaged())?;
        self.at = self.at.saturating_add(4 + u64::from(length));
        Ok(Some(item))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BundleError> {
        let filled = self.file.read_exact(bytes);
        filled.map_err(|_short| self.damaged())
    }

    fn damaged(&self) -> BundleError {
        BundleError::Damaged {
            path: self.path.clone(),
            at: self.at,
        }
    }
}

fn failed<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> BundleError + use<'a> {
    move |source| BundleError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

const MAGIC: &[u8; 8] = b"PKTEVID1";
/// A batch with its header and successions, in bytes.
const LARGEST_ITEM: u32 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str) -> v1::EvidenceItem {
        let host = v1::EvidenceHost {
            name: name.to_owned(),
            ..v1::EvidenceHost::default()
        };
        v1::EvidenceItem {
            item: Some(v1::evidence_item::Item::Host(host)),
        }
    }

    fn read(path: &Path) -> Result<Vec<v1::EvidenceItem>, BundleError> {
        let mut reader = Reader::open(path)?;
        let mut items = Vec::new();
        while let Some(item) = reader.next()? {
            items.push(item);
        }
        Ok(items)
    }

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("evidence");
        let mut writer = Writer::create(&path).unwrap();
        writer.add(&item("one")).unwrap();
        writer.add(&item("two")).unwrap();
        assert!(!path.exists(), "it is there whole or not at all");
        writer.finish().unwrap();
        path
    }

    #[test]
    fn what_was_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let items = read(&written(folder.path())).unwrap();
        assert_eq!(items, [item("one"), item("two")]);
    }

    #[test]
    fn a_bundle_that_was_cut_anywhere_inside_an_item_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let whole = fs::read(&path).unwrap();
        let borders = [8, 8 + (whole.len() - 8) / 2, whole.len()];
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            assert_eq!(read(&path).is_ok(), borders.contains(&end), "{end}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("any");
            fs::write(&path, [MAGIC.as_slice(), &bytes].concat()).unwrap();
            drop(read(&path));
        }
    }
}
