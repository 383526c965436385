//! What this operator has seen of the collector's checkpoints: its key, the last one, and those known to be lost.
//!
//! # Invariants
//!
//! - The key is taken at the first look and never changes by itself.
//! - The last checkpoint moves on only after evidence that verified.

use picket_seal::{Digest, PublicKey};
use serde::{Deserialize, Serialize};

use crate::evidence::{Expected, Log};
use crate::failure::{Exit, Failure};
use crate::operator::Operator;

/// The pins, as they are kept.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pins {
    /// The checkpoint key, in hex.
    key: Option<String>,
    /// The hash of the last checkpoint that verified, in hex.
    last: Option<String>,
    /// Hashes of checkpoints that are known to be lost.
    lost: Vec<String>,
}

/// Why pins cannot be used.
#[derive(Debug, thiserror::Error)]
enum PinsError {
    #[error("the pinned checkpoints in `{0}` are damaged")]
    Damaged(String),
    #[error("the checkpoint key that was given is malformed")]
    Key(#[source] picket_seal::SealError),
    #[error("the hash that was given is malformed")]
    Hash(#[source] picket_seal::SealError),
}

impl Pins {
    /// What is pinned in the operator's directory; nothing if nothing was yet.
    pub(crate) fn read(operator: &Operator) -> Result<Self, Failure> {
        let Some(bytes) = operator.pinned_checkpoints()? else {
            return Ok(Self::default());
        };
        serde_json::from_slice(&bytes).map_err(|_syntax| {
            let path = operator.checkpoints_path();
            Failure::new(Exit::Failed, PinsError::Damaged(path))
        })
    }

    /// Takes it for known that these are lost.
    pub(crate) fn accept(&mut self, hashes: &[String]) -> Result<(), Failure> {
        for hash in hashes {
            let hash = parse_hash(hash)?.to_string();
            if self.last.as_ref() == Some(&hash) {
                self.last = None;
            }
            self.lost.push(hash);
        }
        self.lost.sort();
        self.lost.dedup();
        Ok(())
    }

    /// What must be found again.
    pub(crate) fn expected(&self, given: Option<&str>) -> Result<Expected, Failure> {
        let key = given.or(self.key.as_deref()).map(parse_key).transpose()?;
        let pinned = self.last.as_deref().map(parse_hash).transpose()?;
        let lost = self.lost.iter().map(|hash| parse_hash(hash));
        Ok(Expected {
            key,
            pinned,
            lost: lost.collect::<Result<_, _>>()?,
            strict: false,
            first_trust: None,
        })
    }

    /// Keeps what was verified.
    pub(crate) fn keep(mut self, operator: &Operator, log: &Log) -> Result<(), Failure> {
        if let Some(key) = log.key() {
            self.key = Some(hex::encode(key.as_bytes()));
        }
        if let Some((_, hash)) = log.last() {
            self.last = Some(hash.to_string());
        }
        let text = serde_json::to_vec(&self).expect("strings are always JSON");
        operator.pin_checkpoints(&text)
    }
}

/// A checkpoint key as people give it.
pub(crate) fn parse_key(text: &str) -> Result<PublicKey, Failure> {
    let wrong = |source| Failure::new(Exit::Usage, PinsError::Key(source));
    let bytes = Digest::from_hex(text).map_err(wrong)?;
    PublicKey::from_slice(bytes.as_bytes()).map_err(wrong)
}

fn parse_hash(text: &str) -> Result<Digest, Failure> {
    Digest::from_hex(text).map_err(|source| Failure::new(Exit::Usage, PinsError::Hash(source)))
}
