//! A header that stands for headers which are lost: it says so, signed, and joins the chain again.
//!
//! # Invariants
//!
//! - Its gaps cover all its numbers, so that nothing in it counts as an event.
//! - It names both ends: the header before the hole, and the last one in it, which the next header names.

use picket_event::batch::{ClassHead, Header};
use picket_event::{Class, Gap, StreamId};
use picket_proto::v1;
use picket_seal::{Digest, seal_header};
use prost::Message;

use super::{Now, Sealed, Signer, Speaker};

/// A hole in a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Range {
    /// In which run.
    pub(crate) stream: StreamId,
    /// Where the chain ends before it.
    pub(crate) from: ClassHead,
    /// Where it goes on behind it.
    pub(crate) to: ClassHead,
    /// Why, one reason behind the other without a hole between them.
    pub(crate) gaps: Vec<Gap>,
}

impl Range {
    /// In which class.
    pub(crate) const fn class(&self) -> Class {
        self.from.class
    }

    /// Signed by the key in force, whatever run it is about.
    pub(crate) fn seal(&self, speaker: Speaker, now: Now, signer: Signer<'_>) -> Sealed {
        let count = self.to.next_seq.saturating_sub(self.from.next_seq);
        let header = Header {
            host: speaker.host,
            stream: self.stream,
            class: self.class(),
            seq_first: self.from.next_seq,
            count,
            prev_hash: self.from.head,
            payload_hash: Digest::of(b""),
            other_heads: Vec::new(),
            gaps: self.gaps.clone(),
            epoch: signer.epoch,
            key_id: signer.key.public_key().key_id(),
            boot: speaker.boot,
            wall: now.wall,
            mono_ns: now.mono_ns,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            previous_stream: None,
            last_checkpoint: None,
            range_end: Some(self.to.head),
        };
        let header = v1::BatchHeader::from(header).encode_to_vec();
        Sealed {
            stream: self.stream,
            class: self.class(),
            seq_first: self.from.next_seq,
            count,
            gaps: count,
            signature: seal_header(signer.key, &header),
            header,
            payload: Vec::new(),
        }
    }
}
