//! Content as hosts fetch it: by the hash of its bytes, from any offset on.
//!
//! # Invariants
//!
//! - A host is given only the newest content of a kind that it may have.
//! - The bytes of at most [`HELD`] contents are held, each once for all hosts; a host fetches one at a time.
//!
//! # Queues
//!
//! - Chunks to the host: one. Full: the call waits for the host to read, at most [`READ_WAIT`] for each.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use picket_event::HostId;
use picket_event::content::ContentKind;
use picket_proto::v1;
use picket_seal::Digest;
use prost::Message;
use tonic::Status;

use super::Contents;
use crate::calls::Parts;
use crate::database::{DatabaseError, contents};
use crate::ingest::internal;
use crate::refusal::Refusal;

/// One version of a kind, as its bytes travel.
#[derive(Debug)]
pub struct Parcel {
    /// What it is of.
    pub kind: ContentKind,
    /// Its number.
    pub version: u64,
    /// What was signed.
    pub signed: v1::SignedContent,
    /// The same, encoded.
    bytes: Vec<u8>,
    sha256: Digest,
}

impl Parcel {
    fn new((kind, version): (ContentKind, u64), signed: v1::SignedContent) -> Self {
        let bytes = signed.encode_to_vec();
        Self {
            kind,
            version,
            signed,
            sha256: Digest::of(&bytes),
            bytes,
        }
    }

    /// What a host is told of it.
    pub fn offer(&self) -> v1::ContentOffer {
        v1::ContentOffer {
            kind: self.kind.to_wire(),
            version: self.version,
            sha256: self.sha256.as_bytes().to_vec(),
            bytes: self.bytes.len() as u64,
        }
    }

    /// Gives its bytes from `offset` on.
    pub async fn give(&self, offset: u64, parts: Parts<v1::Chunk>) -> Result<(), Status> {
        let from = usize::try_from(offset).ok();
        let rest = from.and_then(|from| self.bytes.get(from..));
        let rest = rest.ok_or_else(|| Refusal::BadQuery.status())?;
        let mut offset = offset;
        for data in rest.chunks(CHUNK) {
            let chunk = v1::Chunk {
                command_id: Vec::new(),
                offset,
                total: self.bytes.len() as u64,
                sha256: self.sha256.as_bytes().to_vec(),
                data: data.to_vec(),
            };
            let late = |_elapsed| Status::deadline_exceeded("the chunks are not read");
            let sent = tokio::time::timeout(READ_WAIT, parts.send(chunk)).await;
            sent.map_err(late)??;
            offset = offset.saturating_add(data.len() as u64);
        }
        Ok(())
    }
}

/// What is held, and who fetches.
#[derive(Debug, Default)]
pub(super) struct Parcels {
    /// The latest used last.
    held: Mutex<VecDeque<Arc<Parcel>>>,
    fetching: Mutex<HashSet<HostId>>,
}

impl Parcels {
    fn find(&self, (kind, version): (ContentKind, u64)) -> Option<Arc<Parcel>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |one: &Arc<Parcel>| one.kind == kind && one.version == version;
        let at = held.iter().position(is_it)?;
        let found = held.remove(at)?;
        held.push_back(Arc::clone(&found));
        Some(found)
    }

    fn hold(&self, parcel: &Arc<Parcel>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |one: &Arc<Parcel>| one.kind == parcel.kind && one.version == parcel.version;
        if held.iter().any(is_it) {
            return;
        }
        if held.len() >= HELD {
            held.pop_front();
        }
        held.push_back(Arc::clone(parcel));
    }
}

/// One host's fetch; ends when it is dropped.
#[derive(Debug)]
pub struct Fetching {
    parcels: Arc<Parcels>,
    host: HostId,
}

impl Fetching {
    fn begin(parcels: &Arc<Parcels>, host: HostId) -> Result<Self, Refusal> {
        let fetching = &parcels.fetching;
        let mut fetching = fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if !fetching.insert(host) {
            return Err(Refusal::TooManyCalls);
        }
        Ok(Self {
            parcels: Arc::clone(parcels),
            host,
        })
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        let fetching = &self.parcels.fetching;
        let mut fetching = fetching.lock().unwrap_or_else(PoisonError::into_inner);
        fetching.remove(&self.host);
    }
}

impl Contents {
    /// What the host may have beyond what it took; `has` is what it took of the kind.
    pub async fn due(
        &self,
        host: HostId,
        kind: ContentKind,
        has: u64,
    ) -> Result<Option<Arc<Parcel>>, DatabaseError> {
        let due = self
            .database
            .call(move |t| contents::due(t, kind, &host))
            .await?;
        if due <= has {
            return Ok(None);
        }
        if let Some(parcel) = self.parcels.find((kind, due)) {
            return Ok(Some(parcel));
        }
        let kept = self
            .database
            .call(move |t| contents::get(t, (kind, due)))
            .await?;
        Ok(kept.map(|kept| {
            let parcel = Arc::new(Parcel::new((kind, due), kept.signed));
            self.parcels.hold(&parcel);
            parcel
        }))
    }

    /// The content with this hash, if the host may have it.
    pub async fn named(&self, host: HostId, sha256: &[u8]) -> Result<Arc<Parcel>, Refusal> {
        let sha256 = Digest::from_slice(sha256).map_err(|_length| Refusal::BadQuery)?;
        for kind in ContentKind::ALL {
            let due = self.due(host, *kind, 0).await;
            let due = due.map_err(|failed| internal(&failed))?;
            if let Some(parcel) = due.filter(|parcel| parcel.sha256 == sha256) {
                return Ok(parcel);
            }
        }
        Err(Refusal::NotFound)
    }

    /// The host begins to fetch.
    pub fn begin_fetch(&self, host: HostId) -> Result<Fetching, Refusal> {
        Fetching::begin(&self.parcels, host)
    }
}

/// Contents whose bytes are held, each of at most 2 MiB and twice in memory: two of each kind are in use while one is released.
const HELD: usize = 8;

/// Bytes of one chunk.
const CHUNK: usize = 256 << 10;

/// How long a host may take to read a chunk.
const READ_WAIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_fetches_one_thing_at_a_time() {
        let parcels = Arc::<Parcels>::default();
        let (one, other) = (HostId::new([1; 32]), HostId::new([2; 32]));
        let first = Fetching::begin(&parcels, one).unwrap();
        let second = Fetching::begin(&parcels, one).unwrap_err();
        assert_eq!(second, Refusal::TooManyCalls);
        assert!(Fetching::begin(&parcels, other).is_ok());
        drop(first);
        assert!(Fetching::begin(&parcels, one).is_ok());
    }

    #[test]
    fn few_contents_are_held_those_that_were_used_last() {
        let parcels = Parcels::default();
        let of = |version| (ContentKind::Rules, version);
        for version in 1..=HELD as u64 + 1 {
            let parcel = Parcel::new(of(version), v1::SignedContent::default());
            parcels.hold(&Arc::new(parcel));
            assert!(parcels.find(of(1)).is_some(), "it is used again and again");
        }
        assert!(parcels.find(of(2)).is_none());
        assert_eq!(parcels.held.lock().unwrap().len(), HELD);
    }
}
