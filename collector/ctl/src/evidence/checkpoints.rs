//! The collector's checkpoints: a log that may only grow, and what was proved to be in it.
//!
//! # Invariants
//!
//! - Each checkpoint is signed by one key, names the one before it, and its tree begins with that one's.
//! - A batch counts as proven only by a path to the root of the last checkpoint.
//! - A checkpoint that a host has named, or that was pinned here, is in the log, or the past was rewritten.

use std::collections::BTreeMap;

use picket_event::audit::{AuditError, Chain};
use picket_event::checkpoint::{Checkpoint, CheckpointError};
use picket_proto::v1;
use picket_seal::tree::{TreeError, leaf_hash, verify_consistency, verify_inclusion};
use picket_seal::{Digest, PublicKey, SealError};

/// What is wrong with a checkpoint, or with what it should prove.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogFault {
    /// No key, or a malformed one.
    #[error("the checkpoint key is malformed")]
    Key(#[source] SealError),
    /// Not the key that was given or pinned.
    #[error("the checkpoints are signed by the key {got}, not {expected}")]
    OtherKey {
        /// The key that was expected.
        expected: String,
        /// The collector's.
        got: String,
    },
    /// Malformed, or not signed.
    #[error("checkpoint {number} does not verify")]
    Signed {
        /// Which one was due.
        number: u64,
        /// Why not.
        source: CheckpointError,
    },
    /// It does not name the one before, or has another number.
    #[error("checkpoint {number} does not follow the one before it")]
    Order {
        /// Which one was due.
        number: u64,
    },
    /// The older tree is not the beginning of the newer.
    #[error("checkpoint {number} does not hold what the one before it held")]
    Rewritten {
        /// Which one.
        number: u64,
        /// What does not fit.
        source: TreeError,
    },
    /// A checkpoint that was seen before is gone.
    #[error(
        "the checkpoint {hash} that {who} has seen is not in the collector's log: it was restored from an older copy, or its past was rewritten"
    )]
    Gone {
        /// Its hash.
        hash: Digest,
        /// Who has seen it.
        who: String,
    },
    /// A batch's path does not lead to the root.
    #[error("the batch is not in the last checkpoint where the collector says")]
    Inclusion(#[source] TreeError),
    /// A path with a hash that is none, or to no checkpoint.
    #[error("a path of the evidence is malformed")]
    Path,
    /// A batch stands in the log before a checkpoint that it names.
    #[error("the batch names checkpoint {number}, which was signed over it")]
    NamedTooEarly {
        /// Which one it names.
        number: u64,
    },
    /// Without a proof, where one is demanded.
    #[error("the batch is in no checkpoint")]
    Unproven,
    /// The audit does not verify.
    #[error("the audit does not hold")]
    Audit(#[source] AuditError),
    /// Checkpoints speak of an audit that is not there.
    #[error("checkpoint {number} was signed over an audit, which is not here")]
    NoAudit {
        /// Which one.
        number: u64,
    },
    /// It rests on other persons.
    #[error("the audit begins with another trust root than the one that is pinned here")]
    OtherTrust,
}

/// What the verifier must find again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// The checkpoint key.
    pub(crate) key: Option<PublicKey>,
    /// The last checkpoint that was seen here.
    pub(crate) pinned: Option<Digest>,
    /// Checkpoints that are known to be lost.
    pub(crate) lost: Vec<Digest>,
    /// Whether each batch must be proven.
    pub(crate) strict: bool,
    /// SHA-256 of the first trust root.
    pub(crate) first_trust: Option<Digest>,
}

/// The log, as far as it verified.
#[derive(Debug)]
pub(crate) struct Log {
    expected: Expected,
    key: Option<PublicKey>,
    last: Option<(Checkpoint, Digest)>,
    known: BTreeMap<Digest, Checkpoint>,
    audit: Chain,
    /// The first thing that is wrong with it.
    pub(crate) fault: Option<LogFault>,
}

impl Log {
    pub(super) const fn new(expected: Expected) -> Self {
        Self {
            key: expected.key,
            expected,
            last: None,
            known: BTreeMap::new(),
            audit: Chain::new(),
            fault: None,
        }
    }

    /// The last checkpoint and its hash.
    pub(crate) const fn last(&self) -> Option<(Checkpoint, Digest)> {
        self.last
    }

    /// The key that signed it.
    pub(crate) const fn key(&self) -> Option<PublicKey> {
        self.key
    }

    pub(super) const fn is_strict(&self) -> bool {
        self.expected.strict
    }

    pub(super) fn take(&mut self, wire: &v1::EvidenceCheckpoint) {
        if let Err(fault) = self.accept(wire) {
            self.fault.get_or_insert(fault);
        }
    }

    fn accept(&mut self, wire: &v1::EvidenceCheckpoint) -> Result<(), LogFault> {
        let number = self
            .last
            .map_or(1, |(last, _)| last.number.saturating_add(1));
        let key = self.learn_key(&wire.public_key)?;
        let signed = wire.signed.clone().unwrap_or_default();
        let (checkpoint, hash) = Checkpoint::read(&signed, &key)
            .map_err(|source| LogFault::Signed { number, source })?;
        let previous = self.last.map_or(Digest::ZERO, |(_, hash)| hash);
        if checkpoint.number != number || checkpoint.previous != previous {
            return Err(LogFault::Order { number });
        }
        let path = hashes(&wire.consistency)?;
        let old = self.last.map(|(last, _)| last);
        let old = old.map_or((0, Digest::ZERO), |old| (old.size, old.root));
        verify_consistency((old.0, &old.1), (checkpoint.size, &checkpoint.root), &path)
            .map_err(|source| LogFault::Rewritten { number, source })?;
        self.known.insert(hash, checkpoint);
        self.last = Some((checkpoint, hash));
        Ok(())
    }

    /// The first checkpoint brings the key; where one is expected it must be that.
    fn learn_key(&mut self, told: &[u8]) -> Result<PublicKey, LogFault> {
        let told = match told {
            [] => None,
            bytes => Some(PublicKey::from_slice(bytes).map_err(LogFault::Key)?),
        };
        match (self.key, told) {
            (Some(expected), Some(got)) if expected != got => Err(LogFault::OtherKey {
                expected: hex::encode(expected.as_bytes()),
                got: hex::encode(got.as_bytes()),
            }),
            (Some(key), _) => Ok(key),
            (None, Some(key)) => {
                self.key = Some(key);
                Ok(key)
            }
            (None, None) => Err(LogFault::Key(SealError::WrongLength {
                what: "public key",
                expected: 32,
                got: 0,
            })),
        }
    }

    /// Checks that the header is in the last checkpoint. Returns where.
    pub(super) fn check_inclusion(
        &self,
        header: &Digest,
        proof: &v1::Inclusion,
    ) -> Result<u64, LogFault> {
        let (last, _) = self.last.ok_or(LogFault::Path)?;
        let path = hashes(&proof.path)?;
        let leaf = leaf_hash(header);
        verify_inclusion(&leaf, proof.index, last.size, &path, &last.root)
            .map_err(LogFault::Inclusion)?;
        Ok(proof.index)
    }

    /// Checks the checkpoint that a host names in a header; `index` is where that header stands, if it is proven.
    pub(super) fn check_named(
        &self,
        named: &Digest,
        index: Option<u64>,
        host: &str,
    ) -> Result<(), LogFault> {
        match (self.known.get(named), index) {
            (Some(known), Some(index)) if index < known.size => Err(LogFault::NamedTooEarly {
                number: known.number,
            }),
            (Some(_), _) => Ok(()),
            (None, _) => self.miss(named, || format!("host {host}")),
        }
    }

    /// The audit, as far as it verified.
    pub(crate) const fn audit(&self) -> &Chain {
        &self.audit
    }

    pub(super) fn take_audit(&mut self, entry: &v1::AuditEntry) {
        if matches!(self.fault, Some(LogFault::Audit(_))) {
            return;
        }
        if let Err(fault) = self.audit.take(entry) {
            self.fault.get_or_insert(LogFault::Audit(fault));
        }
    }

    /// Each checkpoint must have been signed over the beginning of this audit.
    fn check_audit(&self) -> Result<(), LogFault> {
        let expected = self.expected.first_trust;
        let first = self.audit.first_trust();
        if first.is_some() && expected.is_some() && first != expected {
            return Err(LogFault::OtherTrust);
        }
        for checkpoint in self.known.values() {
            let number = checkpoint.number;
            let Some(head) = checkpoint.audit else {
                continue;
            };
            if self.audit.entries() == 0 {
                return Err(LogFault::NoAudit { number });
            }
            self.audit
                .check(number, head.entries, &head.head)
                .map_err(LogFault::Audit)?;
        }
        Ok(())
    }

    /// Nothing comes any more.
    pub(super) fn close(&mut self) {
        if let Err(fault) = self.check_audit() {
            self.fault.get_or_insert(fault);
        }
        let Some(pinned) = self.expected.pinned else {
            return;
        };
        if !self.known.contains_key(&pinned)
            && let Err(fault) = self.miss(&pinned, || "this operator".to_owned())
        {
            self.fault.get_or_insert(fault);
        }
    }

    fn miss(&self, hash: &Digest, who: impl Fn() -> String) -> Result<(), LogFault> {
        if self.expected.lost.contains(hash) {
            return Ok(());
        }
        let (hash, who) = (*hash, who());
        Err(LogFault::Gone { hash, who })
    }
}

fn hashes(path: &[Vec<u8>]) -> Result<Vec<Digest>, LogFault> {
    path.iter()
        .map(|hash| Digest::from_slice(hash).map_err(|_length| LogFault::Path))
        .collect()
}

#[cfg(test)]
mod tests {
    use picket_event::UnixNanos;
    use picket_seal::SigningKey;
    use picket_seal::tree::node_hash;

    use super::*;

    /// Two checkpoints, over one header and over two, as a collector sends them.
    struct Sent {
        key: SigningKey,
        first: Checkpoint,
        second: Checkpoint,
        path: Vec<Vec<u8>>,
    }

    fn leaf(number: u8) -> Digest {
        leaf_hash(&Digest::of(&[number]))
    }

    impl Sent {
        fn new() -> Self {
            let key = SigningKey::generate().unwrap();
            let first = Checkpoint {
                number: 1,
                size: 1,
                root: leaf(1),
                wall: UnixNanos(1),
                previous: Digest::ZERO,
                audit: None,
            };
            let second = Checkpoint {
                number: 2,
                size: 2,
                root: node_hash(&leaf(1), &leaf(2)),
                previous: picket_event::checkpoint::hash(&first.sign(&key)),
                ..first
            };
            Self {
                key,
                first,
                second,
                path: vec![leaf(2).as_bytes().to_vec()],
            }
        }

        fn log(&self, expected: Expected) -> Log {
            let mut log = Log::new(expected);
            let public_key = self.key.public_key().as_bytes().to_vec();
            for (checkpoint, consistency, public_key) in [
                (self.first, Vec::new(), public_key),
                (self.second, self.path.clone(), Vec::new()),
            ] {
                let signed = Some(checkpoint.sign(&self.key));
                log.take(&v1::EvidenceCheckpoint {
                    signed,
                    consistency,
                    public_key,
                });
            }
            log.close();
            log
        }

        fn hash(&self) -> Digest {
            picket_event::checkpoint::hash(&self.second.sign(&self.key))
        }
    }

    #[test]
    fn a_log_that_only_grows_is_taken_and_proves_what_is_in_it() {
        let sent = Sent::new();
        let log = sent.log(Expected::default());
        assert!(log.fault.is_none(), "{:?}", log.fault);
        assert_eq!(log.last(), Some((sent.second, sent.hash())));
        let proof = v1::Inclusion {
            index: 1,
            path: vec![leaf(1).as_bytes().to_vec()],
        };
        assert_eq!(log.check_inclusion(&Digest::of(&[2]), &proof).unwrap(), 1);
        let other = log.check_inclusion(&Digest::of(&[3]), &proof);
        assert!(matches!(other, Err(LogFault::Inclusion(_))));
    }

    #[test]
    fn a_log_that_was_rewritten_skips_or_forgets_is_not() {
        let mut sent = Sent::new();
        sent.second.root = node_hash(&leaf(9), &leaf(2));
        let fault = sent.log(Expected::default()).fault;
        assert!(matches!(fault, Some(LogFault::Rewritten { number: 2, .. })));
        let mut sent = Sent::new();
        sent.second.number = 3;
        let fault = sent.log(Expected::default()).fault;
        assert!(matches!(fault, Some(LogFault::Order { number: 2 })));
        let mut sent = Sent::new();
        sent.second.previous = Digest::of(b"another");
        let fault = sent.log(Expected::default()).fault;
        assert!(matches!(fault, Some(LogFault::Order { number: 2 })));
    }

    #[test]
    fn another_key_than_the_pinned_one_is_not_believed() {
        let expected = Expected {
            key: Some(SigningKey::generate().unwrap().public_key()),
            ..Expected::default()
        };
        let fault = Sent::new().log(expected).fault;
        assert!(matches!(fault, Some(LogFault::OtherKey { .. })));
    }

    #[test]
    fn a_checkpoint_that_was_seen_must_be_there_unless_it_is_known_to_be_lost() {
        let sent = Sent::new();
        let gone = Digest::of(b"gone");
        let pinned = |pinned, lost| Expected {
            pinned: Some(pinned),
            lost,
            ..Expected::default()
        };
        assert!(sent.log(pinned(sent.hash(), Vec::new())).fault.is_none());
        let fault = sent.log(pinned(gone, Vec::new())).fault;
        assert!(matches!(fault, Some(LogFault::Gone { .. })));
        let log = sent.log(pinned(gone, vec![gone]));
        assert!(log.fault.is_none());
        assert!(log.check_named(&gone, None, "web-1").is_ok());
        assert!(log.check_named(&Digest::ZERO, None, "web-1").is_err());
        assert!(log.check_named(&sent.hash(), Some(2), "web-1").is_ok());
        let early = log.check_named(&sent.hash(), Some(1), "web-1");
        assert!(matches!(early, Err(LogFault::NamedTooEarly { number: 2 })));
    }
}
