//! What a person says about a command besides signing it: that it is denied, taken back, or that a ring of it begins.

use picket_proto::v1;
use picket_seal::{Digest, Domain, SigningKey};
use prost::Message;

use crate::kind::closed_set;
use crate::trust::{Role, TrustError, TrustRoot};
use crate::wire::{digest, id, known};
use crate::{CommandId, EventError, UnixNanos};

closed_set! {
    /// What is said.
    StatementKind, StatementKind {
        /// Not to be done.
        Deny = "deny",
        /// Taken back.
        Cancel = "cancel",
        /// A ring of it begins.
        Start = "start",
    }
}

/// A statement about one command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement {
    /// What is said.
    pub kind: StatementKind,
    /// About which command.
    pub command: CommandId,
    /// Of its exact bytes.
    pub command_sha256: Digest,
    /// Why, in the person's words.
    pub reason: String,
    /// When, by the person's clock.
    pub time: UnixNanos,
    /// Which ring begins, from 1; 0 for all other kinds.
    pub ring: u32,
}

/// Why a statement is not believed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StatementError {
    /// Not a message.
    #[error("the statement cannot be decoded")]
    Decode(#[source] prost::DecodeError),
    /// A field is wrong.
    #[error("a field of the statement is wrong")]
    Field(#[source] EventError),
    /// A ring where none can be, or none where one must be.
    #[error("the statement names no ring, or one where none can be")]
    Ring,
    /// Nobody signed it.
    #[error("nobody signed the statement")]
    Unsigned,
    /// Not by somebody who is believed.
    #[error("the statement is not believed")]
    Trust(#[from] TrustError),
}

/// Longest reason, in bytes.
pub const MAX_STATEMENT_REASON: usize = 4096;

impl Statement {
    /// Signed by this key.
    pub fn sign(&self, key: &SigningKey) -> v1::SignedStatement {
        let body = v1::StatementBody {
            kind: self.kind.to_wire(),
            command_id: self.command.as_bytes().to_vec(),
            command_sha256: self.command_sha256.as_bytes().to_vec(),
            reason: self.reason.clone(),
            time_unix_ns: self.time.0,
            ring: self.ring,
        };
        let body = body.encode_to_vec();
        let signature = key.sign(Domain::Statement, &body);
        v1::SignedStatement {
            body,
            signature: Some(v1::Signature {
                key_id: key.public_key().key_id().0.to_vec(),
                signature: signature.0.to_vec(),
            }),
        }
    }

    /// What is said and by whom, if this trust root lets them.
    pub fn read(
        signed: &v1::SignedStatement,
        trust: &TrustRoot,
    ) -> Result<(Self, String), StatementError> {
        let statement = Self::decode(&signed.body)?;
        let signature = signed.signature.as_ref().ok_or(StatementError::Unsigned)?;
        let person = trust.signer(Domain::Statement, &signed.body, signature)?;
        let may = match statement.kind {
            StatementKind::Deny => &[Role::Approver, Role::Requester][..],
            StatementKind::Start => &[Role::Requester][..],
            StatementKind::Cancel => &[Role::Approver, Role::Requester, Role::Automation][..],
        };
        if !person.is_any(may) {
            return Err(StatementError::Trust(TrustError::WrongRole {
                person: person.name.clone(),
                role: Role::Approver,
            }));
        }
        Ok((statement, person.name.clone()))
    }

    fn decode(body: &[u8]) -> Result<Self, StatementError> {
        let wire = v1::StatementBody::decode(body).map_err(StatementError::Decode)?;
        let kind = known("kind", wire.kind, StatementKind::from_wire);
        let kind = kind.map_err(StatementError::Field)?;
        if (kind == StatementKind::Start) != (wire.ring > 0) {
            return Err(StatementError::Ring);
        }
        Ok(Self {
            kind,
            ring: wire.ring,
            command: id("command_id", &wire.command_id, CommandId::from_slice)
                .map_err(StatementError::Field)?,
            command_sha256: digest("command_sha256", &wire.command_sha256)
                .map_err(StatementError::Field)?,
            reason: wire.reason,
            time: UnixNanos(wire.time_unix_ns),
        })
    }
}
