//! The event keys of one host, one per epoch, each vouched for by the one before it.
//!
//! # Invariants
//!
//! - Epochs are kept without a hole, from the one that the chain began with.
//! - A key that was once accepted for an epoch never changes.

use crate::{Digest, Domain, KeyId, PublicKey, SealError, Signature};

/// The verified event keys of one host by epoch.
///
/// It grows by 32 bytes with each epoch; how many epochs a host may have is its keeper's budget.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SuccessionChain {
    first_epoch: u64,
    first: PublicKey,
    successors: Vec<PublicKey>,
}

/// What an accepted succession changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// The key is new: the latest epoch is now its epoch.
    New,
    /// The same key was known for that epoch.
    Known,
}

/// Why a succession was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SuccessionError {
    /// An epoch that has no predecessor here: the first one, or one before it.
    #[error("epoch {got} comes before the first that can follow, {first}")]
    EpochTooOld {
        /// The lowest epoch that a succession can be for.
        first: u64,
        /// The epoch that came.
        got: u64,
    },
    /// Epochs between the latest and this one are missing.
    #[error("epoch skipped from {expected} to {got}")]
    EpochSkipped {
        /// The epoch that was due.
        expected: u64,
        /// The epoch that came.
        got: u64,
    },
    /// The key of the epoch before did not sign this body.
    #[error("succession to epoch {epoch} is not signed by the key before it")]
    NotSigned {
        /// The epoch that came.
        epoch: u64,
        /// Which key was asked.
        source: SealError,
    },
    /// One key vouched for two successors: a clone, or somebody who has the key. Both bodies are proof.
    #[error("epoch {epoch} has two signed keys, {known} and {got}")]
    TwoSuccessors {
        /// The epoch that both are for.
        epoch: u64,
        /// The key accepted first; it stays.
        known: KeyId,
        /// The key that came now.
        got: KeyId,
    },
    /// There are no more epochs.
    #[error("epoch {latest} is the last that can be counted")]
    EpochsExhausted {
        /// The latest epoch.
        latest: u64,
    },
}

impl SuccessionChain {
    /// Begins with the host's first event key, the key of epoch 0.
    pub const fn new(first: PublicKey) -> Self {
        Self::resume(0, first)
    }

    /// Begins with a key that was accepted before, at `epoch`. Older epochs are then unknown here.
    pub const fn resume(epoch: u64, key: PublicKey) -> Self {
        Self {
            first_epoch: epoch,
            first: key,
            successors: Vec::new(),
        }
    }

    /// Takes the key of `epoch` if the key of the epoch before signed `body`.
    ///
    /// `epoch` and `public` are what the caller decoded from exactly these bytes; that the body names this
    /// host is for the caller to check. A refused succession changes nothing.
    pub fn accept(
        &mut self,
        epoch: u64,
        public: PublicKey,
        body: &[u8],
        signature: &Signature,
    ) -> Result<Accepted, SuccessionError> {
        let signer = self.predecessor(epoch)?;
        signer
            .verify(Domain::Succession, body, signature)
            .map_err(|source| SuccessionError::NotSigned { epoch, source })?;
        self.keep(epoch, public)
    }

    /// The event key of `epoch`, if it is known.
    pub fn key(&self, epoch: u64) -> Option<PublicKey> {
        let behind_first = epoch.checked_sub(self.first_epoch)?;
        let Some(index) = behind_first.checked_sub(1) else {
            return Some(self.first);
        };
        self.successors.get(usize::try_from(index).ok()?).copied()
    }

    /// The newest epoch whose key is known.
    pub fn latest_epoch(&self) -> u64 {
        self.first_epoch
            .saturating_add(self.successors.len() as u64)
    }

    /// The host that the keys speak for, if the chain began at epoch 0.
    pub fn host_id(&self) -> Option<Digest> {
        (self.first_epoch == 0).then(|| self.first.host_id())
    }

    fn predecessor(&self, epoch: u64) -> Result<PublicKey, SuccessionError> {
        let latest = self.latest_epoch();
        let expected = latest
            .checked_add(1)
            .ok_or(SuccessionError::EpochsExhausted { latest })?;
        if epoch > expected {
            return Err(SuccessionError::EpochSkipped {
                expected,
                got: epoch,
            });
        }
        let before = epoch.checked_sub(1).and_then(|before| self.key(before));
        let first = self.first_epoch.saturating_add(1);
        before.ok_or(SuccessionError::EpochTooOld { first, got: epoch })
    }

    fn keep(&mut self, epoch: u64, public: PublicKey) -> Result<Accepted, SuccessionError> {
        match self.key(epoch) {
            None => {
                self.successors.push(public);
                Ok(Accepted::New)
            }
            Some(known) if known == public => Ok(Accepted::Known),
            Some(known) => Err(SuccessionError::TwoSuccessors {
                epoch,
                known: known.key_id(),
                got: public.key_id(),
            }),
        }
    }
}
