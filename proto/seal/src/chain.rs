//! The chain of one class in one stream: which header comes next.
//!
//! # Invariants
//!
//! - `next_seq` never falls, and every number below it is covered by exactly one header.
//! - `head` is the hash of the header that ends at `next_seq`.
//! - A link that is not the next one changes nothing.

use crate::Digest;

/// Where a chain stands. The sender makes the next link from it, the receiver checks links against it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chain {
    /// The first number that no header covers yet.
    pub next_seq: u64,
    /// The hash of the last header; zeros when there is none.
    pub head: Digest,
}

/// What a header says about its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Link {
    /// The first number that the header covers.
    pub seq_first: u64,
    /// How many numbers it covers: events and gaps.
    pub count: u64,
    /// The hash of the header before it.
    pub prev_hash: Digest,
}

/// Where a link falls in a chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Position {
    /// It is the next one.
    Next,
    /// All its numbers are covered already. A redelivery, if the header stored for them has the same hash;
    /// a second history otherwise. The chain cannot tell, whoever keeps the headers can.
    AlreadySeen,
}

/// Why a link does not fit. Always the sender's fault, with the evidence: the transport delivers in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChainError {
    /// Numbers between the chain and the link were never sent.
    #[error("sequence skipped from {expected} to {got}")]
    SequenceSkipped {
        /// The number that was due.
        expected: u64,
        /// The number that the link begins with.
        got: u64,
    },
    /// The link begins before the number that was due and ends behind it.
    #[error("sequence went back from {expected} to {got} and on to {end}")]
    SequenceWentBack {
        /// The number that was due.
        expected: u64,
        /// The number that the link begins with.
        got: u64,
        /// The first number behind the link.
        end: u64,
    },
    /// The link has the right numbers and another past.
    #[error("previous header is named {got}, not {expected}")]
    PrevHashDiffers {
        /// The hash of the last header.
        expected: Digest,
        /// The hash that the link names.
        got: Digest,
    },
    /// The link covers no number.
    #[error("batch at sequence {seq_first} is empty")]
    EmptyBatch {
        /// The number that the link begins with.
        seq_first: u64,
    },
    /// The link reaches beyond the largest number.
    #[error("sequence {seq_first} with {count} numbers overflows")]
    SequenceOverflow {
        /// The number that the link begins with.
        seq_first: u64,
        /// How many numbers it claims.
        count: u64,
    },
}

impl Chain {
    /// A chain without a header.
    pub const START: Self = Self {
        next_seq: 0,
        head: Digest::ZERO,
    };

    /// The place of the next header, if it covers `count` numbers.
    pub const fn next_link(&self, count: u64) -> Link {
        Link {
            seq_first: self.next_seq,
            count,
            prev_hash: self.head,
        }
    }

    /// Says where the link falls, without moving.
    pub fn check(&self, link: &Link) -> Result<Position, ChainError> {
        let end = link.end()?;
        if link.seq_first == self.next_seq {
            return self.check_past(link);
        }
        if end <= self.next_seq {
            return Ok(Position::AlreadySeen);
        }
        let (expected, got) = (self.next_seq, link.seq_first);
        if got > expected {
            return Err(ChainError::SequenceSkipped { expected, got });
        }
        Err(ChainError::SequenceWentBack { expected, got, end })
    }

    /// Moves behind the link if it is the next one, and says where it fell.
    ///
    /// `header_hash` is the hash of the header that the link was read from, signature verified.
    pub fn advance(&mut self, link: &Link, header_hash: Digest) -> Result<Position, ChainError> {
        let position = self.check(link)?;
        if position == Position::Next {
            *self = Self {
                next_seq: link.end()?,
                head: header_hash,
            };
        }
        Ok(position)
    }

    fn check_past(&self, link: &Link) -> Result<Position, ChainError> {
        if link.prev_hash != self.head {
            return Err(ChainError::PrevHashDiffers {
                expected: self.head,
                got: link.prev_hash,
            });
        }
        Ok(Position::Next)
    }
}

impl Link {
    /// The first number behind the link.
    ///
    /// Fails with [`ChainError::EmptyBatch`] or [`ChainError::SequenceOverflow`].
    pub fn end(&self) -> Result<u64, ChainError> {
        let Self {
            seq_first, count, ..
        } = *self;
        if count == 0 {
            return Err(ChainError::EmptyBatch { seq_first });
        }
        seq_first
            .checked_add(count)
            .ok_or(ChainError::SequenceOverflow { seq_first, count })
    }
}
