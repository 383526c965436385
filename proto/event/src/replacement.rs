//! A person's word that a host is the same machine as one that was enrolled before: it was installed anew, or its keys were lost.

use picket_proto::v1;
use picket_seal::{Domain, SigningKey};
use prost::Message;

use crate::trust::{Role, TrustError, TrustRoot};
use crate::wire::id;
use crate::{EventError, HostId, UnixNanos};

/// What is said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replacement {
    /// The host as it is now.
    pub host: HostId,
    /// The host that it was.
    pub predecessor: HostId,
    /// Why, in the person's words; at most [`MAX_REPLACEMENT_REASON`] bytes.
    pub reason: String,
    /// When, by the person's clock.
    pub time: UnixNanos,
}

/// Why it is not believed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReplacementError {
    /// Not a message.
    #[error("the replacement cannot be decoded")]
    Decode(#[source] prost::DecodeError),
    /// A field is wrong.
    #[error("a field of the replacement is wrong")]
    Field(#[source] EventError),
    /// No host replaces itself.
    #[error("no host replaces itself")]
    Itself,
    /// The reason is too long.
    #[error("the reason is longer than {MAX_REPLACEMENT_REASON} bytes")]
    Reason,
    /// Nobody signed it.
    #[error("nobody signed the replacement")]
    Unsigned,
    /// Not by somebody who is believed.
    #[error("the replacement is not believed")]
    Trust(#[from] TrustError),
}

/// Longest reason, in bytes.
pub const MAX_REPLACEMENT_REASON: usize = 4096;

impl Replacement {
    /// Signed by this key.
    pub fn sign(&self, key: &SigningKey) -> v1::SignedReplacement {
        let body = v1::ReplacementBody {
            host_id: self.host.as_bytes().to_vec(),
            predecessor: self.predecessor.as_bytes().to_vec(),
            reason: self.reason.clone(),
            time_unix_ns: self.time.0,
        };
        let body = body.encode_to_vec();
        let signature = key.sign(Domain::Replacement, &body);
        v1::SignedReplacement {
            body,
            signature: Some(v1::Signature {
                key_id: key.public_key().key_id().0.to_vec(),
                signature: signature.0.to_vec(),
            }),
        }
    }

    /// What is said and by whom, if this trust root lets them: who may ask for commands or approve them.
    pub fn read(
        signed: &v1::SignedReplacement,
        trust: &TrustRoot,
    ) -> Result<(Self, String), ReplacementError> {
        let said = Self::decode(&signed.body)?;
        let signature = signed.signature.as_ref();
        let signature = signature.ok_or(ReplacementError::Unsigned)?;
        let person = trust.signer(Domain::Replacement, &signed.body, signature)?;
        if !person.is_any(&[Role::Approver, Role::Requester]) {
            return Err(ReplacementError::Trust(TrustError::WrongRole {
                person: person.name.clone(),
                role: Role::Requester,
            }));
        }
        Ok((said, person.name.clone()))
    }

    fn decode(body: &[u8]) -> Result<Self, ReplacementError> {
        let wire = v1::ReplacementBody::decode(body).map_err(ReplacementError::Decode)?;
        let host = |name: &'static str, bytes: &[u8]| {
            id(name, bytes, HostId::from_slice).map_err(ReplacementError::Field)
        };
        let said = Self {
            host: host("host_id", &wire.host_id)?,
            predecessor: host("predecessor", &wire.predecessor)?,
            reason: wire.reason,
            time: UnixNanos(wire.time_unix_ns),
        };
        if said.host == said.predecessor {
            return Err(ReplacementError::Itself);
        }
        if said.reason.len() > MAX_REPLACEMENT_REASON {
            return Err(ReplacementError::Reason);
        }
        Ok(said)
    }
}
