//! A disk in memory that fails in every way a real one does, and short ways to use a spool on it.
//!
//! What was not synced is lost in a power cut, wholly or in part. A sync that failed once has lost
//! the bytes for good, although they can still be read and the next sync says that all is well.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use picket_spool::{Class, Disk, FileInfo, Limits, Position, Record, Recovery, Spool};

use proptest::test_runner::Config as ProptestConfig;

/// The disk. Clones are the same disk, so that a test keeps hold of it.
#[derive(Clone, Default)]
pub(crate) struct FakeDisk(Arc<Mutex<World>>);

#[derive(Default)]
pub(crate) struct World {
    pub(crate) files: BTreeMap<String, FakeFile>,
    /// All writing calls fail.
    pub(crate) read_only: bool,
    /// Bytes that all files together may have; an append stops where it is full.
    pub(crate) capacity: Option<usize>,
    /// Writing calls until one fails; the failing append writes half of its bytes.
    pub(crate) fail_after: Option<u32>,
    /// Whether all calls after the failing one fail too.
    pub(crate) stays_failed: bool,
    /// The next sync fails and loses what it should have made durable.
    pub(crate) fail_next_sync: bool,
    /// The next rename takes effect and reports a failure.
    pub(crate) fail_after_rename: bool,
    /// Reading these bytes of any file fails.
    pub(crate) unreadable: Option<Range<u64>>,
    /// Whether it can set space aside; not every one can.
    pub(crate) reserves: bool,
    /// Successful syncs, to count what a group costs.
    pub(crate) syncs: u32,
}

#[derive(Clone, Default)]
pub(crate) struct FakeFile {
    pub(crate) data: Vec<u8>,
    /// Bytes that others cannot take, the file's own included.
    pub(crate) reserved: usize,
    durable: Vec<u8>,
    doomed: Vec<Range<usize>>,
}

/// What a power cut leaves of bytes that were not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    LosesAll,
    KeepsAll,
    /// The first part of each file's unsynced bytes, in 1/256.
    Tears(u8),
    /// All but one 512-byte sector, which reads as zeros.
    Holes(u8),
}

impl FakeDisk {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(crate) fn power_cut(&self, cut: Cut) {
        let mut world = self.world();
        for file in world.files.values_mut() {
            file.data = file.after(cut);
            file.durable.clone_from(&file.data);
            file.doomed.clear();
        }
        drop(world);
        self.mend();
    }

    /// The process ends and the disk works again. Bytes that a failed sync lost while neither
    /// truncating nor removing worked are given back here: nobody who starts later can tell that
    /// they are not durable.
    pub(crate) fn restart(&self) {
        self.mend();
        self.world()
            .files
            .values_mut()
            .for_each(|file| file.doomed.clear());
    }

    /// Ends every failure.
    pub(crate) fn mend(&self) {
        let mut world = self.world();
        let files = std::mem::take(&mut world.files);
        *world = World {
            files,
            syncs: world.syncs,
            reserves: world.reserves,
            ..World::default()
        };
    }

    pub(crate) fn flip(&self, name: &str, bit: usize) {
        let mut world = self.world();
        let file = world.files.get_mut(name).unwrap();
        file.data[bit / 8] ^= 1 << (bit % 8);
        file.durable = file.data.clone();
    }

    pub(crate) fn segments(&self) -> Vec<String> {
        let world = self.world();
        world
            .files
            .keys()
            .filter(|name| name.starts_with("segment-"))
            .cloned()
            .collect()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.world()
            .files
            .values()
            .map(|file| file.data.len())
            .sum()
    }
}

impl FakeFile {
    fn after(&self, cut: Cut) -> Vec<u8> {
        let kept = self.durable.len().min(self.data.len());
        let tail = &self.data[kept..];
        let mut left = self.durable.clone();
        match cut {
            Cut::LosesAll => {}
            Cut::KeepsAll => left.clone_from(&self.data),
            Cut::Tears(part) => {
                left.extend_from_slice(&tail[..tail.len() * usize::from(part) / 256]);
            }
            Cut::Holes(at) => {
                left.extend_from_slice(tail);
                let from = kept + tail.len() * usize::from(at) / 256;
                let end = left.len().min(from + 512);
                left[from..end].fill(0);
            }
        }
        left
    }
}

impl World {
    fn write(&mut self) -> Result<()> {
        if self.read_only {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        match &mut self.fail_after {
            Some(0) => {
                if !self.stays_failed {
                    self.fail_after = None;
                }
                Err(Error::other("broken"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&mut self, name: &str) -> Result<&mut FakeFile> {
        self.files
            .get_mut(name)
            .ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// What this file can grow by.
    fn room(&self, name: &str) -> usize {
        let takes = |file: &FakeFile| file.data.len().max(file.reserved);
        let used: usize = self.files.values().map(takes).sum();
        let own = self
            .files
            .get(name)
            .map_or(0, |file| takes(file) - file.data.len());
        self.capacity
            .map_or(usize::MAX, |capacity| capacity.saturating_sub(used) + own)
    }
}

impl Disk for FakeDisk {
    fn list(&mut self) -> Result<Vec<FileInfo>> {
        let world = self.world();
        let info = |(name, file): (&String, &FakeFile)| FileInfo {
            name: name.clone(),
            bytes: file.data.len() as u64,
        };
        Ok(world.files.iter().map(info).collect())
    }

    fn create(&mut self, name: &str) -> Result<()> {
        let mut world = self.world();
        world.write()?;
        world.files.insert(name.to_owned(), FakeFile::default());
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut world = self.world();
        let allowed = world.write();
        let room = world.room(name);
        let read_only = world.read_only;
        let file = world.file(name)?;
        if let Err(error) = allowed {
            if !read_only {
                file.data.extend_from_slice(&bytes[..bytes.len() / 2]);
            }
            return Err(error);
        }
        if bytes.len() > room {
            file.data.extend_from_slice(&bytes[..room]);
            return Err(ErrorKind::StorageFull.into());
        }
        file.data.extend_from_slice(bytes);
        Ok(())
    }

    fn reserve(&mut self, name: &str, len: u64) -> Result<()> {
        let mut world = self.world();
        if world.read_only || !world.reserves {
            return Err(ErrorKind::Unsupported.into());
        }
        let room = world.room(name);
        let file = world.file(name)?;
        let len = usize::try_from(len).unwrap();
        if len.saturating_sub(file.data.len()) > room {
            return Err(ErrorKind::StorageFull.into());
        }
        file.reserved = len;
        Ok(())
    }

    fn release(&mut self, name: &str) -> Result<()> {
        let mut world = self.world();
        if world.read_only {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        world.file(name)?.reserved = 0;
        Ok(())
    }

    fn read(&mut self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut world = self.world();
        let end = offset + len as u64;
        if world
            .unreadable
            .as_ref()
            .is_some_and(|bad| offset < bad.end && bad.start < end)
        {
            return Err(Error::other("bad sector"));
        }
        let from = usize::try_from(offset).unwrap();
        let bytes = world.file(name)?.data.get(from..from + len);
        bytes
            .map(<[u8]>::to_vec)
            .ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    fn truncate(&mut self, name: &str, len: u64) -> Result<()> {
        let mut world = self.world();
        world.write()?;
        world
            .file(name)?
            .data
            .truncate(usize::try_from(len).unwrap());
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<()> {
        let mut world = self.world();
        let mut allowed = world.write();
        if std::mem::take(&mut world.fail_next_sync) {
            allowed = Err(Error::other("lost write"));
        }
        let file = world.file(name)?;
        if allowed.is_err() {
            file.doomed.push(file.durable.len()..file.data.len());
            return allowed;
        }
        file.durable.clone_from(&file.data);
        for doomed in &file.doomed {
            let end = doomed.end.min(file.durable.len());
            file.durable[doomed.start.min(end)..end].fill(0);
        }
        world.syncs += 1;
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let mut world = self.world();
        world.write()?;
        let file = world.files.remove(from).ok_or(ErrorKind::NotFound)?;
        world.files.insert(to.to_owned(), file);
        if std::mem::take(&mut world.fail_after_rename) {
            return Err(Error::other("directory not synced"));
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<()> {
        let mut world = self.world();
        world.write()?;
        world
            .files
            .remove(name)
            .map(drop)
            .ok_or_else(|| ErrorKind::NotFound.into())
    }
}

pub(crate) const LIMITS: Limits = Limits {
    quota_bytes: 1 << 20,
    segment_bytes: 4096,
};

pub(crate) fn open(disk: &FakeDisk) -> (Spool, Recovery) {
    open_with(disk, LIMITS)
}

pub(crate) fn open_with(disk: &FakeDisk, limits: Limits) -> (Spool, Recovery) {
    Spool::open(Box::new(disk.clone()), limits).unwrap()
}

/// A record of `count` numbers whose bytes can be told from every other's.
pub(crate) fn record(stream: u8, class: Class, seq_first: u64, count: u64, len: usize) -> Record {
    let mut payload = vec![seq_first.to_le_bytes()[0]; len];
    payload.extend_from_slice(&seq_first.to_le_bytes());
    Record {
        stream: [stream; 16],
        class,
        seq_first,
        count,
        header: format!("{stream} {class:?} {seq_first} {count}").into_bytes(),
        payload,
        signature: [stream ^ 0x55; 64],
        extra: b"succession".to_vec(),
        payload_dropped: false,
    }
}

/// Single-number records `seqs`, appended and synced.
pub(crate) fn fill(spool: &mut Spool, stream: u8, class: Class, seqs: Range<u64>) {
    for seq in seqs {
        spool.append(record(stream, class, seq, 1, 300)).unwrap();
    }
    spool.sync().unwrap();
}

pub(crate) fn read_all(spool: &mut Spool, class: Class) -> Vec<Record> {
    let mut after: Option<Position> = None;
    let mut records = Vec::new();
    while let Some((position, record)) = spool.next(class, after).unwrap() {
        assert!(after.is_none_or(|after| after < position));
        after = Some(position);
        records.push(record);
    }
    records
}

pub(crate) fn seqs(spool: &mut Spool, class: Class) -> Vec<u64> {
    read_all(spool, class)
        .iter()
        .map(|record| record.seq_first)
        .collect()
}

/// At least this many, more with `PROPTEST_CASES`. Failures are not kept in files: what one teaches
/// becomes a test of its own.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = cases.max(default.cases);
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..default
    }
}
