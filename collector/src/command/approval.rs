//! What is said about a command that is there: approvals, denials, cancellations, the start of a ring.
//!
//! What stays true: an approval is a signature over the very bytes that the requester signed, so nothing else can be
//! approved by it; a denial or cancellation names the hash of those bytes.

use std::time::Duration;

use picket_event::audit::{action, approval_proof, statement_proof};
use picket_event::command::Command;
use picket_event::statement::{MAX_STATEMENT_REASON, Statement, StatementKind};
use picket_event::trust::TrustRoot;
use picket_event::{CommandId, UnixNanos};
use picket_proto::v1;
use picket_seal::{Digest, Domain};
use rusqlite::Transaction;

use super::refused::MAX_SIGNATURES;
use super::{Commands, SubmitError, said, state};
use crate::database::audit;
use crate::database::commands::{self, CommandRow};

/// How long a command is handed out after its last approval, within its own time.
pub(super) const AFTER_APPROVAL: Duration = Duration::from_mins(15);

impl Commands {
    /// A further signature. With the last one that is missing the command goes out at once.
    pub async fn approve(
        &self,
        id: CommandId,
        signature: v1::Signature,
        now: UnixNanos,
    ) -> Result<v1::CommandStatus, SubmitError> {
        let trust = self.trust.current();
        let hosts = self
            .database
            .call(move |t| approve(t, &trust, (id, signature), now))
            .await?;
        self.told(id, &hosts, now).await
    }

    /// How it stands after a word that concerns these hosts.
    async fn told(
        &self,
        id: CommandId,
        hosts: &[picket_event::HostId],
        now: UnixNanos,
    ) -> Result<v1::CommandStatus, SubmitError> {
        self.changed();
        self.wake(hosts);
        self.status(id, now).await?.ok_or(SubmitError::NotFound)
    }

    /// Somebody says no: it will not go out.
    pub async fn deny(
        &self,
        id: CommandId,
        statement: v1::SignedStatement,
        now: UnixNanos,
    ) -> Result<v1::CommandStatus, SubmitError> {
        let trust = self.trust.current();
        self.database
            .call(move |t| -> Result<(), SubmitError> {
                let row = commands::find(t, &id)?.ok_or(SubmitError::NotFound)?;
                let person = believed(&trust, &row, (&statement, StatementKind::Deny))?;
                waiting(&row, now)?;
                commands::deny(t, &id, &statement, now)?;
                note(t, &row, (action::DENY, &person), &statement, now)
            })
            .await?;
        self.told(id, &[], now).await
    }

    /// The next ring begins, by the word of who asked for the command.
    pub async fn start(
        &self,
        id: CommandId,
        statement: v1::SignedStatement,
        now: UnixNanos,
    ) -> Result<v1::CommandStatus, SubmitError> {
        let trust = self.trust.current();
        let hosts = self
            .database
            .call(move |t| start(t, &trust, (id, statement), now))
            .await?;
        self.told(id, &hosts, now).await
    }

    /// Hands the command out no more. What a host has already, it has.
    pub async fn cancel(
        &self,
        id: CommandId,
        statement: v1::SignedStatement,
        now: UnixNanos,
    ) -> Result<v1::CommandStatus, SubmitError> {
        let trust = self.trust.current();
        self.database
            .call(move |t| -> Result<(), SubmitError> {
                let row = commands::find(t, &id)?.ok_or(SubmitError::NotFound)?;
                let person = believed(&trust, &row, (&statement, StatementKind::Cancel))?;
                if !commands::cancel(t, &id, &statement, now)? {
                    return Ok(());
                }
                note(t, &row, (action::CANCEL, &person), &statement, now)
            })
            .await?;
        self.told(id, &[], now).await
    }
}

/// Adds the signature. The hosts to wake: all once nobody is missing, else none.
fn approve(
    t: &Transaction<'_>,
    trust: &TrustRoot,
    (id, signature): (CommandId, v1::Signature),
    now: UnixNanos,
) -> Result<Vec<picket_event::HostId>, SubmitError> {
    let mut row = commands::find(t, &id)?.ok_or(SubmitError::NotFound)?;
    let person = trust.signer(Domain::Command, &row.signed.body, &signature)?;
    let command = Command::read(&row.signed)?;
    let before = trust.weigh(&command, said(&row.signed))?;
    if before.requester == person.name {
        return Err(SubmitError::OwnRequest(person.name.clone()));
    }
    if before.approvers.contains(&person.name) {
        return Ok(Vec::new());
    }
    waiting(&row, now)?;
    if row.signed.signatures.len() >= MAX_SIGNATURES {
        return Err(SubmitError::TooLarge);
    }
    trust.check_open(&command, now)?;
    row.signed.signatures.push(signature.clone());
    let after = trust.weigh(&command, said(&row.signed))?;
    let complete = after.missing() == 0;
    // Rings take their time: they end with the command's own.
    let soon = match command.rings.as_slice() {
        [] => now.plus(AFTER_APPROVAL),
        _ => row.expires,
    };
    let until = (now, row.expires.min(soon));
    commands::approve(t, &row, complete.then_some(until))?;
    let detail = format!(
        "{}: {}; {} of {} persons",
        row.action,
        row.reason,
        after.counted(),
        after.needed
    );
    let entry = audit::Entry {
        time: now,
        who: &person.name,
        action: action::APPROVE,
        object: &id.to_string(),
        detail: &detail,
        proof: &approval_proof(&row.signed.body, &signature),
    };
    audit::add(t, entry)?;
    Ok(if complete { command.hosts } else { Vec::new() })
}

/// Begins the next ring. The hosts to wake: those of it.
fn start(
    t: &Transaction<'_>,
    trust: &TrustRoot,
    (id, signed): (CommandId, v1::SignedStatement),
    now: UnixNanos,
) -> Result<Vec<picket_event::HostId>, SubmitError> {
    let row = commands::find(t, &id)?.ok_or(SubmitError::NotFound)?;
    let person = believed(trust, &row, (&signed, StatementKind::Start))?;
    if person != row.requester {
        return Err(SubmitError::NotRequester(row.requester));
    }
    let (statement, _) = Statement::read(&signed, trust)?;
    let command = Command::read(&row.signed)?;
    match state(&row, None, now) {
        "pending" | "delivered" => {}
        "expired" => return Err(SubmitError::Expired(row.expires)),
        other => return Err(SubmitError::NotOpen(other)),
    }
    let hosts = command.hosts_of_ring(statement.ring).to_vec();
    if hosts.is_empty() || statement.ring != row.ring.saturating_add(1) {
        return Err(SubmitError::NotNext {
            ring: statement.ring,
            began: row.ring,
            of: command.rings.len(),
        });
    }
    commands::start(t, &id, statement.ring, &signed)?;
    let entry = audit::Entry {
        time: now,
        who: &person,
        action: action::START,
        object: &id.to_string(),
        detail: &format!("ring {} of {}", statement.ring, command.rings.len()),
        proof: &statement_proof(&signed),
    };
    audit::add(t, entry)?;
    Ok(hosts)
}

/// Whether it still waits for somebody.
fn waiting(row: &CommandRow, now: UnixNanos) -> Result<(), SubmitError> {
    // Nobody has answered what was never handed out: the hosts' states do not matter here.
    match state(row, None, now) {
        "requested" => Ok(()),
        "expired" => Err(SubmitError::Expired(row.expires)),
        other => Err(SubmitError::NotRequested(other)),
    }
}

/// Who said it, if it is believed and about exactly this command.
fn believed(
    trust: &TrustRoot,
    row: &CommandRow,
    (signed, kind): (&v1::SignedStatement, StatementKind),
) -> Result<String, SubmitError> {
    if signed.body.len() > LARGEST_STATEMENT {
        return Err(SubmitError::TooLarge);
    }
    let (statement, person) = Statement::read(signed, trust)?;
    let same = statement.command == row.id
        && statement.kind == kind
        && statement.command_sha256 == Digest::of(&row.signed.body);
    same.then_some(person).ok_or(SubmitError::OtherStatement)
}

fn note(
    t: &Transaction<'_>,
    row: &CommandRow,
    (action, who): (&str, &str),
    signed: &v1::SignedStatement,
    now: UnixNanos,
) -> Result<(), SubmitError> {
    let entry = audit::Entry {
        time: now,
        who,
        action,
        object: &row.id.to_string(),
        detail: &row.action,
        proof: &statement_proof(signed),
    };
    Ok(audit::add(t, entry)?)
}

/// A statement in bytes: its reason and what goes with it.
const LARGEST_STATEMENT: usize = MAX_STATEMENT_REASON + 256;
