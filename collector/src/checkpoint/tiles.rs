//! The tree over all headers, in files: level k holds the hashes of the whole subtrees of 256^k leaves.
//!
//! ```text
//! tree/level-0     32 bytes for each header, in the order of arrival
//! tree/level-1     32 bytes for each 256 of them
//! ...
//! ```
//!
//! # Invariants
//!
//! - What counts is what the last checkpoint says: bytes behind its size are cut off when the files are opened.
//! - Nothing is ever changed, only added; a reader may read up to a size that was synced while more is added.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use picket_seal::Digest;
use picket_seal::tree::{Nodes, node_hash};

/// The files of the tree.
#[derive(Debug)]
pub struct Tiles {
    folder: PathBuf,
    levels: Vec<File>,
    size: u64,
}

impl Tiles {
    /// Opens the files for adding; what lies behind `size` leaves is cut off.
    ///
    /// Fails with `UnexpectedEof` if they hold fewer.
    pub fn open(folder: &Path, size: u64) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut tiles = Self {
            folder: folder.to_owned(),
            levels: Vec::new(),
            size,
        };
        for level in 0..levels(size) {
            let file = tiles.open_level(level)?;
            let bytes = whole(size, level).saturating_mul(HASH);
            if file.metadata()?.len() < bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.set_len(bytes)?;
            tiles.levels.push(file);
        }
        Ok(tiles)
    }

    /// Opens the files for reading the first `size` leaves.
    pub fn read(folder: &Path, size: u64) -> io::Result<Self> {
        let open = |level| File::open(path(folder, level));
        Ok(Self {
            folder: folder.to_owned(),
            levels: (0..levels(size)).map(open).collect::<io::Result<_>>()?,
            size,
        })
    }

    /// How many leaves there are.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds leaves. They are durable only after [`Tiles::sync`].
    pub fn append(&mut self, leaves: &[Digest]) -> io::Result<()> {
        let old = self.size;
        self.write(0, old, leaves)?;
        self.size = old.saturating_add(leaves.len() as u64);
        for level in 1..levels(self.size) {
            let (first, end) = (whole(old, level), whole(self.size, level));
            let hashes = (first..end).map(|index| self.over(level.saturating_sub(1), index));
            let hashes = hashes.collect::<io::Result<Vec<_>>>()?;
            self.write(level, first, &hashes)?;
        }
        Ok(())
    }

    /// Returns when everything added survives a power cut.
    pub fn sync(&self) -> io::Result<()> {
        self.levels.iter().try_for_each(File::sync_data)?;
        File::open(&self.folder)?.sync_all()
    }

    /// The leaves from `first` on, at most `most` of them.
    pub fn leaves(&self, first: u64, most: usize) -> io::Result<Vec<Digest>> {
        let count = self.size.saturating_sub(first).min(most as u64);
        match count {
            0 => Ok(Vec::new()),
            _ => self.hashes(0, first, count),
        }
    }

    fn write(&mut self, level: u32, first: u64, hashes: &[Digest]) -> io::Result<()> {
        let at = level as usize;
        if self.levels.len() == at {
            let file = self.open_level(level)?;
            self.levels.push(file);
        }
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
        let file = self.levels.get(at).ok_or(io::ErrorKind::NotFound)?;
        file.write_all_at(&bytes, first.saturating_mul(HASH))
    }

    fn open_level(&self, level: u32) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        options.truncate(false).open(path(&self.folder, level))
    }

    /// The hash over the 256 hashes of a level from `index` * 256 on.
    fn over(&self, level: u32, index: u64) -> io::Result<Digest> {
        self.fold(level, index.saturating_mul(WIDTH), WIDTH)
    }

    /// The hash over `count` hashes of a level, a power of two of at most 256.
    fn fold(&self, level: u32, first: u64, count: u64) -> io::Result<Digest> {
        let mut hashes = self.hashes(level, first, count)?;
        while hashes.len() > 1 {
            let pairs = hashes.chunks(2);
            hashes = pairs
                .map(|pair| match pair {
                    [left, right] => node_hash(left, right),
                    other => other.first().copied().unwrap_or(Digest::ZERO),
                })
                .collect();
        }
        hashes
            .pop()
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl Tiles {
    fn hashes(&self, level: u32, first: u64, count: u64) -> io::Result<Vec<Digest>> {
        let file = self.levels.get(level as usize);
        let file = file.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut bytes = vec![0; usize::try_from(count.saturating_mul(HASH)).unwrap_or(0)];
        file.read_exact_at(&mut bytes, first.saturating_mul(HASH))?;
        let (chunks, _) = bytes.as_chunks::<32>();
        Ok(chunks.iter().map(|chunk| Digest(*chunk)).collect())
    }
}

impl Nodes for Tiles {
    type Error = io::Error;

    fn node(&self, level: u32, index: u64) -> io::Result<Digest> {
        let (file, rest) = (level / BITS, level % BITS);
        self.fold(file, index << rest, 1 << rest)
    }
}

fn path(folder: &Path, level: u32) -> PathBuf {
    folder.join(format!("level-{level}"))
}

/// How many files a tree of this size has.
fn levels(size: u64) -> u32 {
    match size {
        0 => 0,
        _ => size.ilog2() / BITS + 1,
    }
}

/// How many whole subtrees of 256^`level` leaves there are.
const fn whole(size: u64, level: u32) -> u64 {
    size >> (level * BITS)
}

/// Leaves under one hash of the next level, as a power of two.
const BITS: u32 = 8;
const WIDTH: u64 = 1 << BITS;
/// Bytes of a hash.
const HASH: u64 = 32;

#[cfg(test)]
mod tests {
    use picket_seal::tree::{self, leaf_hash, verify_consistency, verify_inclusion};

    use super::*;

    fn leaf(number: u64) -> Digest {
        leaf_hash(&Digest::of(&number.to_le_bytes()))
    }

    fn leaves(from: u64, to: u64) -> Vec<Digest> {
        (from..to).map(leaf).collect()
    }

    #[test]
    fn proofs_hold_over_trees_of_many_sizes_however_they_grew() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("tree");
        let mut tiles = Tiles::open(&folder, 0).expect("a new tree");
        let mut roots = Vec::new();
        let mut size = 0;
        for step in [1, 254, 1, 1, 255, 300, 66_000, 7] {
            tiles.append(&leaves(size, size + step)).expect("room");
            size += step;
            roots.push((size, tree::root(&tiles, size).expect("nodes")));
        }
        tiles.sync().expect("a disk");
        let (new, root) = roots.last().copied().expect("roots");
        let reader = Tiles::read(&folder, new).expect("files");
        for (old, of_old) in &roots {
            let path = tree::consistency(&reader, *old, new).expect("nodes");
            let held = verify_consistency((*old, of_old), (new, &root), &path);
            assert_eq!(held, Ok(()), "{old}");
        }
        for index in [0, 1, 255, 256, 511, 65_535, 65_536, new - 1] {
            let path = tree::inclusion(&reader, index, new).expect("nodes");
            let held = verify_inclusion(&leaf(index), index, new, &path, &root);
            assert_eq!(held, Ok(()), "{index}");
            assert_eq!(reader.leaves(index, 1).expect("a leaf"), [leaf(index)]);
        }
    }

    #[test]
    fn what_lies_behind_the_last_checkpoint_is_cut_off_and_what_is_missing_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut tiles = Tiles::open(folder.path(), 0).expect("a new tree");
        tiles.append(&leaves(0, 600)).expect("room");
        let mut again = Tiles::open(folder.path(), 300).expect("enough");
        again.append(&leaves(300, 520)).expect("room");
        let root = tree::root(&again, 520).expect("nodes");
        let fresh = tempfile::tempdir().expect("a folder");
        let mut whole = Tiles::open(fresh.path(), 0).expect("a new tree");
        whole.append(&leaves(0, 520)).expect("room");
        assert_eq!(root, tree::root(&whole, 520).expect("nodes"));
        let short = Tiles::open(folder.path(), 521).expect_err("there are 520");
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    }
}
