//! A checkpoint: the collector's signed word on all headers that it has taken so far.
//!
//! # Invariants
//!
//! - A checkpoint names the one before it, so the newest one vouches for all.
//! - It is verified as it was sent: the bytes are never encoded again.

use picket_proto::v1;
use picket_seal::{Digest, Domain, PublicKey, SealError, Signature, SigningKey};
use prost::Message;

use crate::UnixNanos;
use crate::wire::digest_bytes;

/// What a checkpoint says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    /// Which one, from 1 on.
    pub number: u64,
    /// How many headers.
    pub size: u64,
    /// The root of the tree over them (RFC 9162).
    pub root: Digest,
    /// When it was signed, by the collector's clock.
    pub wall: UnixNanos,
    /// The hash of the one before; zeros for the first.
    pub previous: Digest,
    /// How far the audit was; `None`: there was none, or the collector was of an earlier version.
    pub audit: Option<AuditHead>,
}

/// How far an audit is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuditHead {
    /// How many entries there are.
    pub entries: u64,
    /// The hash of the last.
    pub head: Digest,
}

/// Why a checkpoint is refused.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Not a message, or a hash that is none.
    #[error("the checkpoint cannot be decoded")]
    Form,
    /// Not signed by this key.
    #[error("the checkpoint is not signed by the checkpoint key")]
    Signature(#[source] SealError),
}

impl Checkpoint {
    /// The signed form.
    pub fn sign(&self, key: &SigningKey) -> v1::SignedCheckpoint {
        let body = v1::CheckpointBody {
            number: self.number,
            size: self.size,
            root: self.root.as_bytes().to_vec(),
            wall_unix_ns: self.wall.0,
            previous: self.previous.as_bytes().to_vec(),
            audit_entries: self.audit.map_or(0, |audit| audit.entries),
            audit_head: digest_bytes(self.audit.map(|audit| audit.head)),
        };
        let body = body.encode_to_vec();
        v1::SignedCheckpoint {
            signature: key.sign(Domain::Checkpoint, &body).as_bytes().to_vec(),
            body,
        }
    }

    /// What a signed checkpoint says, and its hash.
    pub fn read(
        signed: &v1::SignedCheckpoint,
        key: &PublicKey,
    ) -> Result<(Self, Digest), CheckpointError> {
        let signature =
            Signature::from_slice(&signed.signature).map_err(CheckpointError::Signature)?;
        key.verify(Domain::Checkpoint, &signed.body, &signature)
            .map_err(CheckpointError::Signature)?;
        let body = v1::CheckpointBody::decode(signed.body.as_slice());
        let body = body.map_err(|_message| CheckpointError::Form)?;
        let digest =
            |bytes: &[u8]| Digest::from_slice(bytes).map_err(|_length| CheckpointError::Form);
        let checkpoint = Self {
            number: body.number,
            size: body.size,
            root: digest(&body.root)?,
            wall: UnixNanos(body.wall_unix_ns),
            previous: digest(&body.previous)?,
            audit: match body.audit_entries {
                0 => None,
                entries => Some(AuditHead {
                    entries,
                    head: digest(&body.audit_head)?,
                }),
            },
        };
        Ok((checkpoint, hash(signed)))
    }
}

/// What names a checkpoint.
pub fn hash(signed: &v1::SignedCheckpoint) -> Digest {
    Digest::of_domain(Domain::Checkpoint, &signed.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_back_and_no_altered_one_is() {
        let key = SigningKey::generate().expect("the system gives random bytes");
        let checkpoint = Checkpoint {
            number: 3,
            size: 70,
            root: Digest::of(b"root"),
            wall: UnixNanos(5),
            previous: Digest::of(b"previous"),
            audit: Some(AuditHead {
                entries: 9,
                head: Digest::of(b"audit"),
            }),
        };
        let signed = checkpoint.sign(&key);
        let (read, hash) = Checkpoint::read(&signed, &key.public_key()).expect("it is whole");
        assert_eq!((read, hash), (checkpoint, super::hash(&signed)));
        for at in 0..signed.body.len() {
            let mut altered = signed.clone();
            if let Some(byte) = altered.body.get_mut(at) {
                *byte ^= 1;
            }
            let refused = Checkpoint::read(&altered, &key.public_key());
            assert!(matches!(refused, Err(CheckpointError::Signature(_))));
        }
        let other = SigningKey::generate().expect("the system gives random bytes");
        assert!(Checkpoint::read(&signed, &other.public_key()).is_err());
    }
}
