//! Reading a sealed file and noticing whatever is not as it was written.
//!
//! # Invariants
//!
//! - No byte of a block is handed on before all of the block was compared with its checksum, once for each opening.
//! - A file that is longer or shorter than the catalogue says is damaged, whatever it holds.
//! - Files without checksums (an earlier collector wrote them) are checked by length alone.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use prost::bytes::Bytes;

use super::catalogue::FileEntry;
use super::compact::damaged;
use super::write::sealed;
use crate::StoreError;

/// Bytes that one checksum is of.
pub(super) const BLOCK: u64 = 128 << 10;

/// An open file and the checksums of its blocks. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Blocks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    length: u64,
    /// crc32c of each block; none at all: nobody counted them.
    sums: Arc<[u32]>,
    /// Which were compared.
    known: Vec<AtomicBool>,
}

/// Checksums of blocks while they are written.
#[derive(Debug, Default)]
pub(super) struct Summing {
    sums: Vec<u32>,
    /// How much of the last block there is.
    filled: u64,
}

impl Summing {
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled.is_multiple_of(BLOCK) {
                self.sums.push(0);
                self.filled = 0;
            }
            let room = usize::try_from(BLOCK.saturating_sub(self.filled)).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(last) = self.sums.last_mut() {
                *last = crc32c::crc32c_append(*last, now);
            }
            self.filled = self.filled.saturating_add(now.len() as u64);
            bytes = later;
        }
    }

    pub(super) fn sums(self) -> Arc<[u32]> {
        self.sums.into()
    }
}

impl Blocks {
    /// Opens the file that the catalogue tells of.
    pub(super) fn open(path: &Path, entry: &FileEntry) -> Result<Self, StoreError> {
        let failed = |source| StoreError::io("open", path, source);
        let broken = |words: &str| sealed("read", path, damaged(words));
        if entry.lost {
            return Err(broken(
                "it was damaged, and the log no longer holds all of its events",
            ));
        }
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length != entry.bytes {
            let words = format!("it has {length} bytes in place of {}", entry.bytes);
            return Err(broken(&words));
        }
        let sums = Arc::clone(&entry.blocks);
        if !sums.is_empty() && sums.len() as u64 != length.div_ceil(BLOCK) {
            return Err(broken(
                "its checksums are not those of a file of this length",
            ));
        }
        let known = sums.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self(Arc::new(Inner {
            file,
            length,
            sums,
            known,
        })))
    }

    /// Compares all blocks.
    pub(super) fn check_all(&self) -> Result<(), ParquetError> {
        self.check(0, self.0.length)
    }

    /// Compares the blocks of a range, as far as they were not.
    fn check(&self, start: u64, length: u64) -> Result<(), ParquetError> {
        let first = start.div_euclid(BLOCK);
        let end = start.saturating_add(length).min(self.0.length);
        let mut room = Vec::new();
        for number in first..end.div_ceil(BLOCK) {
            let at = usize::try_from(number).unwrap_or(usize::MAX);
            let (Some(sum), Some(known)) = (self.0.sums.get(at), self.0.known.get(at)) else {
                return Ok(());
            };
            if known.load(Ordering::Relaxed) {
                continue;
            }
            let begin = number.saturating_mul(BLOCK);
            let size = self.0.length.saturating_sub(begin).min(BLOCK);
            room.resize(usize::try_from(size).unwrap_or_default(), 0);
            self.0.file.read_exact_at(&mut room, begin)?;
            if crc32c::crc32c(&room) != *sum {
                let words = format!(
                    "bytes {begin} to {} are not those that were written",
                    begin.saturating_add(size)
                );
                return Err(damaged(&words));
            }
            known.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Length for Blocks {
    fn len(&self) -> u64 {
        self.0.length
    }
}

impl ChunkReader for Blocks {
    type T = BufReader<Onwards>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(Onwards {
            blocks: self.clone(),
            at: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.saturating_add(length as u64);
        if end > self.0.length {
            return Err(damaged("it points behind its own end"));
        }
        self.check(start, length as u64)?;
        let mut bytes = vec![0; length];
        self.0.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Reads from a place on.
#[derive(Debug)]
pub(super) struct Onwards {
    blocks: Blocks,
    at: u64,
}

impl Read for Onwards {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let checked = self.blocks.check(self.at, into.len() as u64);
        checked.map_err(|wrong| match wrong {
            ParquetError::External(source) => match source.downcast::<io::Error>() {
                Ok(source) => *source,
                Err(source) => io::Error::new(io::ErrorKind::InvalidData, source),
            },
            wrong => io::Error::new(io::ErrorKind::InvalidData, wrong),
        })?;
        let read = self.blocks.0.file.read_at(into, self.at)?;
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_of_pieces_are_those_of_the_blocks() {
        let bytes: Vec<u8> = (0..300_000_u32)
            .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
            .collect();
        for piece in [1_000, 131_072, 131_073, 300_000] {
            let mut summing = Summing::default();
            for some in bytes.chunks(piece) {
                summing.add(some);
            }
            let expected: Vec<u32> = bytes.chunks(131_072).map(crc32c::crc32c).collect();
            assert_eq!(summing.sums().as_ref(), expected, "{piece}");
        }
        assert!(Summing::default().sums().is_empty());
    }
}
