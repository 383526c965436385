//! The writer: one owner, appends in order, one sync for many.

use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use picket_event::HostId;
use prost::Message;

use crate::disk::{Disk, RealDisk};
use crate::index::{Content, Index, Place, SegmentInfo};
use crate::record::Record;
use crate::recovery::recover;
use crate::sealed::SharedSealed;
use crate::segment::Segment;
use crate::thin::{Pins, thinnable};
use crate::{AppendError, ChainKey, Entry, Reader, Recovery, StoreError, Summary};

/// How the store writes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment that has reached this length, in bytes, is followed by the next.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
        }
    }
}

/// The write-ahead segments of one folder. The folder must have no other writer.
#[derive(Debug)]
pub struct Store {
    disk: Box<dyn Disk>,
    folder: PathBuf,
    options: Options,
    index: SharedIndex,
    sealed: SharedSealed,
    segment: Option<Segment>,
    next_number: u32,
    unsynced: Unsynced,
    stopped: bool,
}

/// What [`Store::append`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Appended {
    /// The batch is written; it counts after the next [`Store::sync`].
    Stored {
        /// The chain's next number.
        next_seq: u64,
    },
    /// The batch was there already.
    Duplicate {
        /// The chain's first number that is not on disk.
        durable_seq: u64,
    },
}

#[derive(Debug, Default)]
struct Unsynced {
    chains: Vec<(HostId, ChainKey)>,
    hosts: Vec<HostId>,
    summary: Option<Summary>,
    payloads: u64,
}

impl Store {
    /// Opens the folder, which is made if it is not there, and reads all of it back.
    pub fn open(folder: &Path, options: Options) -> Result<(Self, Recovery), StoreError> {
        Self::open_on(Box::new(RealDisk), folder, options)
    }

    /// As [`Store::open`], writing to this disk.
    pub fn open_on(
        disk: Box<dyn Disk>,
        folder: &Path,
        options: Options,
    ) -> Result<(Self, Recovery), StoreError> {
        let made = fs::create_dir_all(folder);
        made.map_err(|source| StoreError::io("create folder", folder, source))?;
        let (index, next_number, recovery) = recover(folder)?;
        let store = Self {
            disk,
            folder: folder.to_owned(),
            options,
            index: SharedIndex::new(index),
            sealed: SharedSealed::default(),
            segment: None,
            next_number,
            unsynced: Unsynced::default(),
            stopped: false,
        };
        Ok((store, recovery))
    }

    /// A reader of everything that is synced. Many may read at once, also while this writes.
    pub fn reader(&self) -> Reader {
        Reader::new(self.index.clone(), self.sealed.clone())
    }

    /// Writes a batch that is its chain's next. A refused batch changes nothing.
    pub fn append(&mut self, entry: Entry) -> Result<Appended, AppendError> {
        if self.stopped {
            return Err(AppendError::Disk(StoreError::Stopped));
        }
        let (header, hash) = (&entry.header, entry.header_hash);
        let placed = self.index.read().place(header, hash, &entry.lineage)?;
        if placed == Place::Duplicate {
            return Ok(Appended::Duplicate {
                durable_seq: self.durable_seq(&entry),
            });
        }
        let (header, hash, summary) = (entry.header.clone(), entry.header_hash, entry.summary);
        let branch = entry.lineage.branch;
        let content = Content::of(&entry.batch.payload, false, summary);
        let payload = thinnable(&entry.batch.payload, summary);
        let body = Record::of(entry).encode_to_vec();
        self.write(&body).map_err(AppendError::Disk)?;
        self.index.write().add(&header, hash, content, branch);
        let key = ChainKey {
            stream: header.stream,
            class: header.class,
        };
        self.unsynced.note(header.host, key, summary);
        self.unsynced.payloads = self.unsynced.payloads.saturating_add(payload);
        let next_seq = header.seq_first.saturating_add(header.count);
        Ok(Appended::Stored { next_seq })
    }

    /// Returns when everything appended survives a power cut.
    ///
    /// After a failure nothing is known of what is on disk, and the store takes no more.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.stopped {
            return Err(StoreError::Stopped);
        }
        // Without a new batch there is nothing to sync: a host that repeats itself costs no disk time.
        let Some(segment) = self
            .segment
            .as_mut()
            .filter(|_| !self.unsynced.hosts.is_empty())
        else {
            return Ok(());
        };
        if let Err(failed) = segment.sync() {
            self.stopped = true;
            return Err(failed);
        }
        let done = mem::take(&mut self.unsynced);
        let mut index = self.index.write();
        index.settle(done.chains);
        let summary = done.summary.unwrap_or(Summary::EMPTY);
        let last = publish(&mut index, segment, done.hosts, summary);
        last.payloads = last.payloads.saturating_add(done.payloads);
        Ok(())
    }

    fn durable_seq(&self, entry: &Entry) -> u64 {
        let key = ChainKey {
            stream: entry.header.stream,
            class: entry.header.class,
        };
        self.index.read().head(&entry.header.host, &key).durable_seq
    }

    fn write(&mut self, body: &[u8]) -> Result<(), StoreError> {
        let full = self
            .segment
            .as_ref()
            .is_some_and(|open| open.is_full(self.options.segment_bytes));
        if full {
            self.sync()?;
            self.segment = None;
        }
        if self.segment.is_none() {
            let number = self.next_number;
            self.segment = Some(Segment::create(self.disk.as_mut(), &self.folder, number)?);
            self.next_number = number.saturating_add(1);
        }
        let segment = self.segment.as_mut().expect("a segment was just opened");
        segment.append(body)
    }
}

fn publish<'i>(
    index: &'i mut Index,
    segment: &Segment,
    hosts: Vec<HostId>,
    summary: Summary,
) -> &'i mut SegmentInfo {
    let number = segment.number();
    if index
        .segments
        .last()
        .is_none_or(|last| last.segment.number != number)
    {
        index
            .segments
            .push(SegmentInfo::new(number, segment.path().to_owned()));
    }
    let last = index.segments.last_mut().expect("a segment was just added");
    last.grow(segment.written(), hosts, summary);
    last
}

impl Unsynced {
    fn note(&mut self, host: HostId, key: ChainKey, summary: Summary) {
        self.chains.push((host, key));
        self.hosts.push(host);
        self.summary = Some(self.summary.map_or(summary, |so_far| so_far.and(summary)));
    }
}

/// The index, shared by the writer and all readers. No lock is held while the disk works.
#[derive(Clone, Debug)]
pub(crate) struct SharedIndex {
    index: Arc<RwLock<Index>>,
    pins: Pins,
}

impl SharedIndex {
    pub(crate) fn new(index: Index) -> Self {
        Self {
            index: Arc::new(RwLock::new(index)),
            pins: Pins::default(),
        }
    }

    /// Who reads all of the log.
    pub(crate) fn pins(&self) -> &Pins {
        &self.pins
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn shorten(&self, number: u32, length: u64) {
        self.write().shorten(number, length);
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}
