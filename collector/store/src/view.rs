//! The store as it stands at one moment, as bytes, for a process that only searches.
//!
//! # Invariants
//!
//! - A view has no bytes of events in it, only which files and segments count and how far.
//! - As long as the [`View`] is held, the sealed files that it names are not removed.
//! - Whoever has a view's bytes can read what it names and nothing else of the store.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use picket_event::{HostId, Severity, UnixNanos};
use prost::Message;

use crate::index::{Index, Segment, SegmentInfo};
use crate::sealed::{Catalogue, SealedFile, SharedSealed, Snapshot};
use crate::store::SharedIndex;
use crate::{KindSet, Query, Reader, StoreError, Summary};

/// What counts at one moment.
#[derive(Debug)]
pub struct View {
    bytes: Vec<u8>,
    _held: Arc<Snapshot>,
}

impl View {
    /// For [`Reader::of_view`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Reader {
    /// What counts now.
    pub fn view(&self) -> View {
        let now = self.sealed().now();
        let segments = self.index().read().views(&now);
        let wire = Wire {
            catalogue: catalogue_of(&now).encode(),
            sealed: now
                .files
                .first()
                .map(|file| folder_of(file))
                .unwrap_or_default(),
            segments,
        };
        View {
            bytes: wire.encode_to_vec(),
            _held: now,
        }
    }

    /// A reader of what counted when the view was made.
    pub fn of_view(bytes: &[u8]) -> Result<Self, StoreError> {
        let wire = Wire::decode(bytes).map_err(|_malformed| StoreError::BadView)?;
        let catalogue = Catalogue::decode(&wire.catalogue).ok_or(StoreError::BadView)?;
        let folder = PathBuf::from(OsString::from_vec(wire.sealed));
        let files = catalogue.files.iter();
        let snapshot = Snapshot {
            cursor: Some(catalogue.cursor),
            files: files
                .map(|entry| Arc::new(SealedFile::new(entry.clone(), &folder)))
                .collect(),
            doubled: (!catalogue.marks.is_empty()).then(|| Arc::new(catalogue.marks.clone())),
        };
        let segments: Option<Vec<_>> = wire
            .segments
            .into_iter()
            .map(WireSegment::checked)
            .collect();
        let index = Index::of_segments(segments.ok_or(StoreError::BadView)?);
        Ok(Self::new(
            SharedIndex::new(index),
            SharedSealed::of(snapshot),
        ))
    }

    /// The folders below which everything lies that this reads.
    pub fn folders(&self) -> Vec<PathBuf> {
        let now = self.sealed().now();
        let index = self.index().read();
        let mut segments = index
            .segments
            .iter()
            .map(|info| info.segment.path.as_path());
        let sealed = now
            .files
            .first()
            .map(|file| PathBuf::from(OsString::from_vec(folder_of(file))));
        let log = segments.find_map(Path::parent).map(Path::to_owned);
        sealed.into_iter().chain(log).collect()
    }

    /// Bytes of the log that are not sealed.
    pub fn unsealed_bytes(&self) -> u64 {
        let begin = self.sealed().now().begin();
        self.index().read().bytes_behind(begin)
    }
}

fn catalogue_of(now: &Snapshot) -> Catalogue {
    let marks = now.doubled.as_ref().map(|marks| marks.as_ref().clone());
    Catalogue {
        cursor: now.begin(),
        files: now.files.iter().map(|file| file.entry.clone()).collect(),
        marks: marks.unwrap_or_default(),
        next_number: 0,
    }
}

/// The folder of all sealed files.
fn folder_of(file: &SealedFile) -> Vec<u8> {
    let below = file.entry.path();
    let whole = file.path.as_os_str().as_bytes();
    let folder = whole.strip_suffix(below.as_bytes()).unwrap_or(whole);
    folder.to_vec()
}

impl Index {
    /// The segments that go on behind what is sealed.
    fn views(&self, now: &Snapshot) -> Vec<WireSegment> {
        let all = Query::default();
        let wanted = self.segments_for(now.begin(), &all);
        let hosts = |number| {
            let info = self
                .segments
                .iter()
                .find(|info| info.segment.number == number);
            info.map(|info| {
                info.hosts
                    .iter()
                    .map(|host| host.as_bytes().to_vec())
                    .collect()
            })
        };
        wanted
            .into_iter()
            .map(|segment| WireSegment {
                number: segment.number,
                path: segment.path.as_os_str().as_bytes().to_vec(),
                length: segment.length,
                first_unix_ns: segment.summary.first.0,
                last_unix_ns: segment.summary.last.0,
                kinds: segment.summary.kinds.bits(),
                worst: segment.summary.worst.map_or(0, Severity::to_wire),
                hosts: hosts(segment.number).unwrap_or_default(),
            })
            .collect()
    }
}

impl WireSegment {
    fn checked(self) -> Option<SegmentInfo> {
        let hosts = self.hosts.iter().map(|host| HostId::from_slice(host).ok());
        Some(SegmentInfo {
            payloads: 0,
            hosts: hosts.collect::<Option<_>>()?,
            segment: Segment {
                number: self.number,
                path: PathBuf::from(OsString::from_vec(self.path)),
                length: self.length,
                summary: Summary {
                    first: UnixNanos(self.first_unix_ns),
                    last: UnixNanos(self.last_unix_ns),
                    kinds: KindSet::from_bits(self.kinds),
                    worst: Severity::from_wire(self.worst),
                },
            },
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    /// As in the file of this name.
    #[prost(bytes = "vec", tag = "1")]
    catalogue: Vec<u8>,
    /// The folder of all sealed files.
    #[prost(bytes = "vec", tag = "2")]
    sealed: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    segments: Vec<WireSegment>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSegment {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(bytes = "vec", tag = "2")]
    path: Vec<u8>,
    #[prost(uint64, tag = "3")]
    length: u64,
    #[prost(sint64, tag = "4")]
    first_unix_ns: i64,
    #[prost(sint64, tag = "5")]
    last_unix_ns: i64,
    #[prost(fixed64, tag = "6")]
    kinds: u64,
    #[prost(int32, tag = "7")]
    worst: i32,
    #[prost(bytes = "vec", repeated, tag = "8")]
    hosts: Vec<Vec<u8>>,
}
