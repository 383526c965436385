//! One stored batch as bytes: what came over the wire, and what the collector noted about it.

use picket_event::batch::Header;
use picket_event::{HostId, Severity, UnixNanos};
use picket_proto::v1;
use picket_seal::Digest;
use prost::Message;

use crate::{KindSet, Lineage, Summary};

/// A batch that was verified and may be stored.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When it arrived.
    pub received: UnixNanos,
    /// Its header, decoded from exactly the bytes in `batch`.
    pub header: Header,
    /// The hash of those bytes.
    pub header_hash: Digest,
    /// The exact bytes.
    pub batch: v1::SignedBatch,
    /// What its events are.
    pub summary: Summary,
    /// By which branch of the host's event keys it was signed.
    pub lineage: Lineage,
}

/// The body of a record.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) host_id: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub(crate) received_unix_ns: i64,
    #[prost(message, optional, tag = "3")]
    pub(crate) batch: Option<v1::SignedBatch>,
    #[prost(int64, tag = "4")]
    pub(crate) first_unix_ns: i64,
    #[prost(int64, tag = "5")]
    pub(crate) last_unix_ns: i64,
    #[prost(fixed64, tag = "6")]
    pub(crate) kinds: u64,
    #[prost(int32, tag = "7")]
    pub(crate) worst: i32,
    /// The payload was there and went by the collector's own limit.
    #[prost(bool, tag = "9")]
    pub(crate) retired: bool,
    /// Which branch of the host's event keys signed it.
    #[prost(uint32, tag = "10")]
    pub(crate) branch: u32,
}

impl Record {
    pub(crate) fn of(entry: Entry) -> Self {
        Self {
            host_id: entry.header.host.as_bytes().to_vec(),
            received_unix_ns: entry.received.0,
            batch: Some(entry.batch),
            first_unix_ns: entry.summary.first.0,
            last_unix_ns: entry.summary.last.0,
            kinds: entry.summary.kinds.bits(),
            worst: entry.summary.worst.map_or(0, Severity::to_wire),
            retired: false,
            branch: entry.lineage.branch,
        }
    }

    pub(crate) fn host(&self) -> Option<HostId> {
        HostId::from_slice(&self.host_id).ok()
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            first: UnixNanos(self.first_unix_ns),
            last: UnixNanos(self.last_unix_ns),
            kinds: KindSet::from_bits(self.kinds),
            worst: Severity::from_wire(self.worst),
        }
    }

    /// The checked header; `None` if it is none, which only damage can do.
    pub(crate) fn header(&self) -> Option<Header> {
        let batch = self.batch.as_ref()?;
        let wire = v1::BatchHeader::decode(batch.header.as_slice()).ok()?;
        Header::try_from(wire).ok()
    }
}
