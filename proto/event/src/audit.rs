//! The audit: who did what to the fleet's commands and trust, chained, and signed by the persons themselves.
//!
//! ```text
//! hash = SHA-256( previous hash | number u64 le | time i64 le | then each text: len u32 le | bytes
//!               | if there is a proof: len u32 le | bytes )
//! texts: who, action, object, detail
//! ```
//!
//! # Invariants
//!
//! - The collector and whoever verifies count the same bytes: this is the only place that does.
//! - From the first trust root on, whatever a person has to sign is an entry with their signature.

use std::collections::BTreeSet;

use picket_proto::v1;
use picket_proto::v1::audit_proof::Signed as Proof;
use picket_seal::{Digest, Domain};
use prost::Message;

use crate::UnixNanos;
use crate::command::{Command, CommandError};
use crate::replacement::{Replacement, ReplacementError};
use crate::statement::{Statement, StatementError};
use crate::trust::{ActionClass, Signed, TrustError, TrustRoot};

/// Actions whose entries a person signs.
pub mod action {
    /// A command was asked for.
    pub const REQUEST: &str = "command.request";
    /// Somebody else signed it.
    pub const APPROVE: &str = "command.approve";
    /// Somebody said no.
    pub const DENY: &str = "command.deny";
    /// It was taken back.
    pub const CANCEL: &str = "command.cancel";
    /// A ring of it began.
    pub const START: &str = "command.start";
    /// The trust root that was there from the beginning. Nobody signed it; the enrolment fingerprint covers it.
    pub const TRUST_FIRST: &str = "trust.first";
    /// A later trust root.
    pub const TRUST_CHANGE: &str = "trust.change";
    /// Rules or a policy were published.
    pub const CONTENT: &str = "content.publish";
    /// A host is one that was enrolled before.
    pub const REPLACE: &str = "host.replace";
}

/// What an entry says.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When, by the collector's clock.
    pub time: UnixNanos,
    /// An operator's name, or `collector`.
    pub who: &'a str,
    /// What was done, as `token.create`.
    pub action: &'a str,
    /// To what.
    pub object: &'a str,
    /// With which particulars.
    pub detail: &'a str,
    /// What it rests on, exact bytes; empty: nobody signed it.
    pub proof: &'a [u8],
}

impl Entry<'_> {
    /// Its hash, at this place behind that one.
    pub fn hash(&self, number: u64, previous: &Digest) -> Digest {
        let mut bytes = previous.as_bytes().to_vec();
        bytes.extend(number.to_le_bytes());
        bytes.extend(self.time.0.to_le_bytes());
        for text in [self.who, self.action, self.object, self.detail] {
            push(&mut bytes, text.as_bytes());
        }
        if !self.proof.is_empty() {
            push(&mut bytes, self.proof);
        }
        Digest::of(&bytes)
    }
}

/// The proof of the request for a command: its requester's signature, and all its hosts if the bytes have only their root.
pub fn request_proof(signed: &v1::SignedCommand, signature: &v1::Signature) -> Vec<u8> {
    proof(Proof::Command(v1::SignedCommand {
        body: signed.body.clone(),
        signatures: vec![signature.clone()],
        host_ids: signed.host_ids.clone(),
        proof: None,
    }))
}

/// The proof of an approval of a command: its one signature.
pub fn approval_proof(body: &[u8], signature: &v1::Signature) -> Vec<u8> {
    proof(Proof::Command(v1::SignedCommand {
        body: body.to_vec(),
        signatures: vec![signature.clone()],
        ..v1::SignedCommand::default()
    }))
}

/// The proof of a denial or cancellation.
pub fn statement_proof(signed: &v1::SignedStatement) -> Vec<u8> {
    proof(Proof::Statement(signed.clone()))
}

/// The proof of a trust root.
pub fn trust_proof(signed: &v1::SignedTrustRoot) -> Vec<u8> {
    proof(Proof::TrustRoot(signed.clone()))
}

/// The proof of signed content: its hash, which the signatures cover.
pub fn content_proof(signed: &v1::SignedContent) -> Vec<u8> {
    proof(Proof::Content(v1::ContentProof {
        sha256: Digest::of(&signed.body).as_bytes().to_vec(),
        signatures: signed.signatures.clone(),
    }))
}

/// The proof that a host replaces another.
pub fn replacement_proof(signed: &v1::SignedReplacement) -> Vec<u8> {
    proof(Proof::Replacement(signed.clone()))
}

/// What is wrong with an audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// An entry was left out, put in, or changed.
    #[error("entry {number} of the audit does not follow the one before it")]
    Chain {
        /// Which one was due.
        number: u64,
    },
    /// An entry has not the form that it should.
    #[error("entry {number} of the audit is malformed")]
    Form {
        /// Which one.
        number: u64,
    },
    /// An entry lacks the signature that it needs.
    #[error("entry {number} of the audit ({action}) is not signed")]
    Unsigned {
        /// Which one.
        number: u64,
        /// What it says was done.
        action: String,
    },
    /// The signature is another person's, or about something else.
    #[error("entry {number} of the audit says `{who}`, but that is not what was signed")]
    Other {
        /// Which one.
        number: u64,
        /// Whom it names.
        who: String,
    },
    /// The signed command is none.
    #[error("entry {number} of the audit holds no command")]
    Command {
        /// Which one.
        number: u64,
        /// Why not.
        source: CommandError,
    },
    /// The trust root or signature is not believed.
    #[error("entry {number} of the audit is not believed")]
    Trust {
        /// Which one.
        number: u64,
        /// Why not.
        source: TrustError,
    },
    /// The statement is not believed.
    #[error("entry {number} of the audit is not believed")]
    Statement {
        /// Which one.
        number: u64,
        /// Why not.
        source: StatementError,
    },
    /// The replacement is not believed.
    #[error("entry {number} of the audit is not believed")]
    Replacement {
        /// Which one.
        number: u64,
        /// Why not.
        source: ReplacementError,
    },
    /// A checkpoint knows another audit.
    #[error("checkpoint {checkpoint} was signed over another audit of {entries} entries")]
    Checkpoint {
        /// Which checkpoint.
        checkpoint: u64,
        /// How long the audit was then.
        entries: u64,
    },
}

/// Follows an audit from its first entry on.
#[derive(Debug, Default)]
pub struct Chain {
    heads: Vec<Digest>,
    trust: Option<TrustRoot>,
    /// Of the exact bytes of the first trust root.
    first_trust: Option<Digest>,
    /// Commands whose hosts were named beside their root: the hashes of their bytes.
    named: BTreeSet<Digest>,
    signed: u64,
}

impl Chain {
    /// Before its first entry.
    pub const fn new() -> Self {
        Self {
            heads: Vec::new(),
            trust: None,
            first_trust: None,
            named: BTreeSet::new(),
            signed: 0,
        }
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        u64::try_from(self.heads.len()).unwrap_or(u64::MAX)
    }

    /// How many of them a person signed.
    pub const fn signed(&self) -> u64 {
        self.signed
    }

    /// The trust root in force at the end.
    pub const fn trust(&self) -> Option<&TrustRoot> {
        self.trust.as_ref()
    }

    /// SHA-256 of the first trust root, which nobody signed: to be compared with one that is pinned.
    pub const fn first_trust(&self) -> Option<Digest> {
        self.first_trust
    }

    /// Compares with what a checkpoint says.
    pub fn check(&self, checkpoint: u64, entries: u64, head: &Digest) -> Result<(), AuditError> {
        let at = usize::try_from(entries)
            .ok()
            .and_then(|at| at.checked_sub(1));
        let known = at.and_then(|at| self.heads.get(at));
        if entries == 0 || known == Some(head) {
            return Ok(());
        }
        Err(AuditError::Checkpoint {
            checkpoint,
            entries,
        })
    }

    /// Takes the next entry: its place, its hash, and the signature of whoever it names.
    pub fn take(&mut self, wire: &v1::AuditEntry) -> Result<(), AuditError> {
        let number = self.entries().saturating_add(1);
        let previous = self.heads.last().copied().unwrap_or(Digest::ZERO);
        let entry = Entry {
            time: UnixNanos(wire.time_unix_ns),
            who: &wire.who,
            action: &wire.action,
            object: &wire.object,
            detail: &wire.detail,
            proof: &wire.proof,
        };
        let hash = entry.hash(number, &previous);
        let follows = wire.number == number
            && wire.previous == previous.as_bytes()
            && wire.hash == hash.as_bytes();
        if !follows {
            return Err(AuditError::Chain { number });
        }
        self.believe(number, &entry)?;
        self.heads.push(hash);
        Ok(())
    }

    fn believe(&mut self, number: u64, entry: &Entry<'_>) -> Result<(), AuditError> {
        if entry.proof.is_empty() {
            let needed = self.trust.is_some() && is_signed(entry.action);
            return if needed {
                let action = entry.action.to_owned();
                Err(AuditError::Unsigned { number, action })
            } else {
                Ok(())
            };
        }
        let form = || AuditError::Form { number };
        let proof = v1::AuditProof::decode(entry.proof).map_err(|_message| form())?;
        let said = match proof.signed.ok_or_else(form)? {
            Proof::TrustRoot(signed) => return self.change(number, entry, &signed),
            Proof::Command(signed) => self.command(number, entry, &signed)?,
            Proof::Statement(signed) => self.statement(number, entry, &signed)?,
            Proof::Content(signed) => {
                self.content(number, entry, &signed)?;
                self.signed = self.signed.saturating_add(1);
                return Ok(());
            }
            Proof::Replacement(signed) => self.replacement(number, entry, &signed)?,
        };
        let same = said.person == entry.who
            && said.object == entry.object
            && said.actions.contains(&entry.action);
        if !same {
            let who = entry.who.to_owned();
            return Err(AuditError::Other { number, who });
        }
        self.signed = self.signed.saturating_add(1);
        Ok(())
    }

    fn command(
        &mut self,
        number: u64,
        entry: &Entry<'_>,
        signed: &v1::SignedCommand,
    ) -> Result<Said, AuditError> {
        let trust = self.known(number, entry)?;
        let [signature] = signed.signatures.as_slice() else {
            return Err(AuditError::Form { number });
        };
        let person = trust
            .signer(Domain::Command, &signed.body, signature)
            .map_err(|source| AuditError::Trust { number, source })?;
        let person = person.name.clone();
        let body = Digest::of(&signed.body);
        // Whoever asked named the hosts; approvals rest on the same bytes, and come later.
        let command = if entry.action == action::APPROVE && self.named.contains(&body) {
            Command::decode(&signed.body)
        } else {
            Command::read(signed)
        };
        let command = command.map_err(|source| AuditError::Command { number, source })?;
        if command.host_set.is_some() {
            self.named.insert(body);
        }
        Ok(Said {
            person,
            object: command.id.to_string(),
            actions: &[action::REQUEST, action::APPROVE],
        })
    }

    fn statement(
        &self,
        number: u64,
        entry: &Entry<'_>,
        signed: &v1::SignedStatement,
    ) -> Result<Said, AuditError> {
        let trust = self.known(number, entry)?;
        let (statement, person) = Statement::read(signed, trust)
            .map_err(|source| AuditError::Statement { number, source })?;
        Ok(Said {
            person,
            object: statement.command.to_string(),
            actions: match statement.kind {
                crate::statement::StatementKind::Deny => &[action::DENY],
                crate::statement::StatementKind::Cancel => &[action::CANCEL],
                crate::statement::StatementKind::Start => &[action::START],
            },
        })
    }

    fn replacement(
        &self,
        number: u64,
        entry: &Entry<'_>,
        signed: &v1::SignedReplacement,
    ) -> Result<Said, AuditError> {
        let trust = self.known(number, entry)?;
        let (said, person) = Replacement::read(signed, trust)
            .map_err(|source| AuditError::Replacement { number, source })?;
        if entry.detail != said.predecessor.to_string() {
            return Err(AuditError::Form { number });
        }
        Ok(Said {
            person,
            object: said.host.to_string(),
            actions: &[action::REPLACE],
        })
    }

    /// The detail of its entry is the hash that was signed.
    fn content(
        &self,
        number: u64,
        entry: &Entry<'_>,
        signed: &v1::ContentProof,
    ) -> Result<(), AuditError> {
        let trust = self.known(number, entry)?;
        let shown = Signed {
            domain: Domain::Content,
            body: &signed.sha256,
            signatures: &signed.signatures,
        };
        trust
            .approve(ActionClass::Content, shown, entry.time)
            .map_err(|source| AuditError::Trust { number, source })?;
        if entry.action != action::CONTENT || entry.detail != hex::encode(&signed.sha256) {
            return Err(AuditError::Form { number });
        }
        Ok(())
    }

    fn change(
        &mut self,
        number: u64,
        entry: &Entry<'_>,
        signed: &v1::SignedTrustRoot,
    ) -> Result<(), AuditError> {
        let wrong = |source| AuditError::Trust { number, source };
        let (action, next) = match &self.trust {
            None => {
                self.first_trust = Some(Digest::of(&signed.body));
                let first = TrustRoot::decode(&signed.body).map_err(wrong)?;
                (action::TRUST_FIRST, first)
            }
            Some(trust) => {
                let (next, _) = trust.succeed(signed, entry.time).map_err(wrong)?;
                self.signed = self.signed.saturating_add(1);
                (action::TRUST_CHANGE, next)
            }
        };
        if entry.action != action || entry.object != next.version.to_string() {
            return Err(AuditError::Form { number });
        }
        self.trust = Some(next);
        Ok(())
    }

    fn known(&self, number: u64, entry: &Entry<'_>) -> Result<&TrustRoot, AuditError> {
        let action = || entry.action.to_owned();
        self.trust.as_ref().ok_or_else(|| AuditError::Unsigned {
            number,
            action: action(),
        })
    }
}

/// What a signature says, and about what.
struct Said {
    person: String,
    object: String,
    actions: &'static [&'static str],
}

fn is_signed(name: &str) -> bool {
    [
        action::REQUEST,
        action::APPROVE,
        action::DENY,
        action::CANCEL,
        action::START,
        action::TRUST_CHANGE,
        action::CONTENT,
        action::REPLACE,
    ]
    .contains(&name)
}

fn proof(signed: Proof) -> Vec<u8> {
    v1::AuditProof {
        signed: Some(signed),
    }
    .encode_to_vec()
}

fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(part);
}
