//! The header of a sealed batch, checked.

use picket_proto::v1;
use picket_seal::{Digest, KeyId, Link};

use crate::wire::{digest, digest_bytes, digest_or_none, id, known};
use crate::{BootId, Class, EventError, Gap, HostId, StreamId, UnixNanos};

/// Largest batch on the wire, in bytes, before and after decompression.
pub const MAX_BATCH_BYTES: usize = 4 << 20;

/// What the signed header of a batch says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    /// Who speaks.
    pub host: HostId,
    /// In which run.
    pub stream: StreamId,
    /// In which class.
    pub class: Class,
    /// First number covered.
    pub seq_first: u64,
    /// How many numbers it covers: events and gaps.
    pub count: u64,
    /// Hash of the class's previous header; zeros for its first.
    pub prev_hash: Digest,
    /// Hash of the exact payload bytes.
    pub payload_hash: Digest,
    /// Where the other classes stand.
    pub other_heads: Vec<ClassHead>,
    /// Numbers without an event.
    pub gaps: Vec<Gap>,
    /// Which epoch key signs.
    pub epoch: u64,
    /// The id of that key.
    pub key_id: KeyId,
    /// Which boot.
    pub boot: BootId,
    /// When it was sealed, by the wall clock.
    pub wall: UnixNanos,
    /// When it was sealed, in nanoseconds since boot.
    pub mono_ns: u64,
    /// Version of the agent.
    pub agent_version: String,
    /// The run before this one; in the first header of a stream only.
    pub previous_stream: Option<PreviousStream>,
    /// The hash of the newest checkpoint that the host has heard of.
    pub last_checkpoint: Option<Digest>,
    /// Of a header that stands for headers which are lost: the hash of the last of them. It has no payload,
    /// and its gaps cover all its numbers.
    pub range_end: Option<Digest>,
}

/// Where a class's chain stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClassHead {
    /// Which class.
    pub class: Class,
    /// Its next number.
    pub next_seq: u64,
    /// Hash of its last header.
    pub head: Digest,
}

/// How the run before ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PreviousStream {
    /// Which run.
    pub stream: StreamId,
    /// Where its classes stood.
    pub heads: Vec<ClassHead>,
    /// Whether it closed its books.
    pub clean: bool,
}

impl Header {
    /// The place in the chain that it claims.
    pub fn link(&self) -> Link {
        Link {
            seq_first: self.seq_first,
            count: self.count,
            prev_hash: self.prev_hash,
        }
    }

    /// The hash that the next header of the chain names; `own` is the hash of this one.
    pub fn head(&self, own: Digest) -> Digest {
        self.range_end.unwrap_or(own)
    }

    /// How many of its numbers are gaps of known size, and how many gaps are of unknown size.
    pub fn gap_counts(&self) -> (u64, u64) {
        self.gaps
            .iter()
            .fold((0, 0), |(known, unknown), gap| match gap.count {
                Some(count) => (known.saturating_add(count), unknown),
                None => (known, unknown.saturating_add(1)),
            })
    }
}

impl From<Header> for v1::BatchHeader {
    fn from(header: Header) -> Self {
        Self {
            host_id: header.host.as_bytes().to_vec(),
            stream: header.stream.as_bytes().to_vec(),
            class: header.class.to_wire(),
            seq_first: header.seq_first,
            count: header.count,
            prev_hash: header.prev_hash.as_bytes().to_vec(),
            payload_hash: header.payload_hash.as_bytes().to_vec(),
            other_heads: header.other_heads.into_iter().map(head_to_wire).collect(),
            gaps: header.gaps.into_iter().map(Into::into).collect(),
            epoch: header.epoch,
            key_id: header.key_id.0.to_vec(),
            boot_id: header.boot.as_bytes().to_vec(),
            wall_unix_ns: header.wall.0,
            mono_ns: header.mono_ns,
            policy_hash: Vec::new(),
            agent_version: header.agent_version,
            last_checkpoint: digest_bytes(header.last_checkpoint),
            previous_stream: header.previous_stream.map(|previous| v1::PreviousStream {
                stream: previous.stream.as_bytes().to_vec(),
                heads: previous.heads.into_iter().map(head_to_wire).collect(),
                clean: previous.clean,
            }),
            range_end: digest_bytes(header.range_end),
        }
    }
}

fn head_to_wire(head: ClassHead) -> v1::ClassHead {
    v1::ClassHead {
        class: head.class.to_wire(),
        next_seq: head.next_seq,
        head: head.head.as_bytes().to_vec(),
    }
}

impl TryFrom<v1::BatchHeader> for Header {
    type Error = EventError;

    fn try_from(wire: v1::BatchHeader) -> Result<Self, EventError> {
        Ok(Self {
            host: id("header.host_id", &wire.host_id, HostId::from_slice)?,
            stream: id("header.stream", &wire.stream, StreamId::from_slice)?,
            class: known("header.class", wire.class, Class::from_wire)?,
            seq_first: wire.seq_first,
            count: wire.count,
            prev_hash: digest("header.prev_hash", &wire.prev_hash)?,
            payload_hash: digest("header.payload_hash", &wire.payload_hash)?,
            other_heads: heads(wire.other_heads)?,
            gaps: wire
                .gaps
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            epoch: wire.epoch,
            key_id: KeyId::from_slice(&wire.key_id).map_err(|source| EventError::Hash {
                field: "header.key_id",
                source,
            })?,
            boot: id("header.boot_id", &wire.boot_id, BootId::from_slice)?,
            wall: UnixNanos(wire.wall_unix_ns),
            mono_ns: wire.mono_ns,
            agent_version: wire.agent_version,
            previous_stream: wire.previous_stream.map(previous_stream).transpose()?,
            last_checkpoint: digest_or_none("header.last_checkpoint", &wire.last_checkpoint)?,
            range_end: digest_or_none("header.range_end", &wire.range_end)?,
        })
    }
}

fn heads(wire: Vec<v1::ClassHead>) -> Result<Vec<ClassHead>, EventError> {
    wire.into_iter().map(class_head).collect()
}

fn class_head(wire: v1::ClassHead) -> Result<ClassHead, EventError> {
    Ok(ClassHead {
        class: known("head.class", wire.class, Class::from_wire)?,
        next_seq: wire.next_seq,
        head: digest("head.head", &wire.head)?,
    })
}

fn previous_stream(wire: v1::PreviousStream) -> Result<PreviousStream, EventError> {
    Ok(PreviousStream {
        stream: id("previous_stream.stream", &wire.stream, StreamId::from_slice)?,
        heads: heads(wire.heads)?,
        clean: wire.clean,
    })
}
