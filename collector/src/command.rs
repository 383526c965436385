//! The life of a command: asked for, approved, handed out, answered.
//!
//! ```text
//! submit -> requested -> approve -> waiting -> delivered -> accepted -> executed | partial | refused | reverted | expired
//!                     -> deny | cancel | expire      in rings: held -> start -> waiting
//! ```
//!
//! # Invariants
//!
//! - The collector holds no key that a host would obey. It checks signatures only so that operators
//!   hear at once what every host would say.
//! - A host is given a command in each of its sessions until its last word on it is stored, the
//!   command expires or is cancelled. Hosts act at most once, whatever they are given.
//! - Nothing is handed out before enough persons have signed it, and nothing that was denied.
//! - Every request, approval, denial and cancellation is in the audit with the person's own signature.

mod approval;
mod handing;
mod refused;

use std::sync::Arc;
use std::time::Duration;

use picket_event::audit::{action, approval_proof, request_proof};
use picket_event::command::{Command, Mode};
use picket_event::trust::{ActionClass, Signed, Standing, TrustRoot};
use picket_event::{CommandId, HostId, UnixNanos};
use picket_proto::v1;
use picket_seal::Domain;
use rusqlite::Transaction;
use tokio::sync::watch;

use crate::database::commands::{self, CommandRow, HostState};
use crate::database::{Database, DatabaseError, audit};
use crate::registry::Registry;
use crate::trust::Trust;

pub use handing::Open;
use handing::{Handing, is_held};
pub use refused::SubmitError;
use refused::{MAX_COMMAND_BYTES, MAX_SIGNATURES};

/// Commands and their hosts.
#[derive(Clone, Debug)]
pub struct Commands {
    database: Database,
    registry: Registry,
    trust: Trust,
    hosts_per_hour: u64,
    changes: watch::Sender<u64>,
    handing: Arc<Handing>,
}

impl Commands {
    /// Under this trust root. One person may act on so many hosts in an hour without an approval.
    pub fn new(database: Database, registry: Registry, trust: Trust, hosts_per_hour: u64) -> Self {
        Self {
            database,
            registry,
            trust,
            hosts_per_hour,
            changes: watch::Sender::new(0),
            handing: Arc::default(),
        }
    }

    /// Takes a signed command. Approved by enough persons it goes to the hosts that are connected, else it waits.
    pub async fn submit(
        &self,
        mut signed: v1::SignedCommand,
        operator: String,
        now: UnixNanos,
    ) -> Result<v1::CommandStatus, SubmitError> {
        signed.proof = None;
        let trust = self.trust.current();
        let (command, standing) = self.check(&trust, &signed, now)?;
        let row = row(&command, &standing, signed, now);
        let (id, hosts, requested) = (row.id, command.hosts.clone(), row.requested);
        let most = self.hosts_per_hour;
        self.database
            .call(move |t| -> Result<(), SubmitError> {
                if commands::add(t, &row, &command.hosts)? {
                    check_alone(t, &row, most, now)?;
                    return Ok(audit_signatures(t, &trust, &row, &operator, now)?);
                }
                // The same bytes again are the same command, whoever signed it meanwhile.
                let old = commands::find(t, &row.id)?;
                let same = old.is_some_and(|old| old.signed.body == row.signed.body);
                same.then_some(()).ok_or(SubmitError::Taken)
            })
            .await?;
        self.changed();
        if !requested {
            self.wake(&hosts);
        }
        Ok(self.status(id, now).await?.unwrap_or_default())
    }

    fn wake(&self, hosts: &[HostId]) {
        for host in hosts {
            self.registry.wake(host);
        }
    }

    fn check(
        &self,
        trust: &TrustRoot,
        signed: &v1::SignedCommand,
        now: UnixNanos,
    ) -> Result<(Command, Standing), SubmitError> {
        if signed.body.len() > MAX_COMMAND_BYTES || signed.signatures.len() > MAX_SIGNATURES {
            return Err(SubmitError::TooLarge);
        }
        let command = Command::read(signed)?;
        if command.hosts.is_empty() {
            return Err(SubmitError::NoHost);
        }
        trust.check_open(&command, now)?;
        let standing = trust.weigh(&command, said(signed))?;
        if !trust.can_complete(&standing) {
            return Err(SubmitError::NobodyLeft {
                class: standing.class,
                missing: standing.missing(),
            });
        }
        if command.expires <= now {
            return Err(SubmitError::Expired(command.expires));
        }
        if command.expires > now.plus(LONGEST) {
            return Err(SubmitError::TooLong);
        }
        for host in &command.hosts {
            match self.registry.known(host) {
                None => return Err(SubmitError::UnknownHost(*host)),
                Some(known) if known.revoked => return Err(SubmitError::RevokedHost(*host)),
                Some(_) => {}
            }
        }
        Ok((command, standing))
    }

    /// How a command stands; `None` if there is none of this id.
    pub async fn status(
        &self,
        id: CommandId,
        now: UnixNanos,
    ) -> Result<Option<v1::CommandStatus>, DatabaseError> {
        let read = move |t: &Transaction<'_>| -> Result<_, DatabaseError> {
            let row = commands::find(t, &id)?;
            row.map(|row| Ok((row, commands::hosts(t, &id)?)))
                .transpose()
        };
        let found = self.database.call(read).await?;
        Ok(found.map(|(row, hosts)| self.shown(row, hosts, now)))
    }

    /// The newest commands.
    pub async fn list(
        &self,
        limit: u64,
        now: UnixNanos,
    ) -> Result<Vec<v1::CommandStatus>, DatabaseError> {
        let read = move |t: &Transaction<'_>| -> Result<Vec<_>, DatabaseError> {
            let rows = commands::list(t, limit)?.into_iter();
            rows.map(|row| {
                let hosts = commands::hosts(t, &row.id)?;
                Ok((row, hosts))
            })
            .collect()
        };
        let found = self.database.call(read).await?;
        Ok(found
            .into_iter()
            .map(|(row, hosts)| self.shown(row, hosts, now))
            .collect())
    }

    /// Changes whenever any command does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Some command changed.
    pub fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn shown(&self, row: CommandRow, hosts: Vec<HostState>, now: UnixNanos) -> v1::CommandStatus {
        let state = state(&row, Some(&hosts), now);
        // Only rings hold hosts back, and only then it matters which host is in which.
        let command = Command::decode(&row.signed.body).ok();
        let command = command.filter(|command| !command.rings.is_empty());
        let command = command.and_then(|_| Command::read(&row.signed).ok());
        let largest = LARGEST_RECEIPTS / hosts.len().max(1);
        let shown = |host: HostState| v1::HostOutcome {
            host_name: self.registry.name(&host.host),
            host_id: host.host.as_bytes().to_vec(),
            state: host_state(&host, &row, (command.as_ref(), now)).to_owned(),
            time_unix_ns: host.received.0.max(host.delivered.0),
            receipt: host
                .receipt
                .map(|receipt| commands::bounded(receipt, largest)),
        };
        let outcomes = hosts.into_iter().map(shown).collect();
        v1::CommandStatus {
            command_id: row.id.as_bytes().to_vec(),
            action: row.action,
            requester: row.requester,
            reason: row.reason,
            submitted_unix_ns: row.submitted.0,
            expires_unix_ns: row.expires.0,
            hosts: outcomes,
            state: state.to_owned(),
            command: Some(row.signed),
            approved_unix_ns: row.approved.0,
            ended_by: row.ended,
            ring: row.ring,
        }
    }
}

/// Whether nothing about the command will change any more.
pub fn is_over(status: &v1::CommandStatus) -> bool {
    matches!(status.state.as_str(), "done" | "expired" | "denied")
        || status.state == "cancelled" && !status.hosts.iter().any(|host| host.state == "delivered")
}

/// What of a command is signed.
fn said(signed: &v1::SignedCommand) -> Signed<'_> {
    Signed {
        domain: Domain::Command,
        body: &signed.body,
        signatures: &signed.signatures,
    }
}

fn row(
    command: &Command,
    standing: &Standing,
    signed: v1::SignedCommand,
    now: UnixNanos,
) -> CommandRow {
    let requested = standing.missing() > 0;
    let acts = command.mode == Mode::Enforce
        && !command.action.is_undo()
        && command.class() != ActionClass::Read;
    CommandRow {
        id: command.id,
        action: command.action.name().to_owned(),
        requester: standing.requester.clone(),
        reason: command.reason.clone(),
        submitted: now,
        expires: command.expires,
        cancelled: UnixNanos(0),
        requested,
        approved: UnixNanos(0),
        denied: UnixNanos(0),
        ended: None,
        alone: acts && !requested && standing.approvers.is_empty(),
        ring: 0,
        start: None,
        signed,
    }
}

/// Nobody cuts a fleet command into tens.
fn check_alone(
    t: &Transaction<'_>,
    row: &CommandRow,
    most: u64,
    now: UnixNanos,
) -> Result<(), SubmitError> {
    if !row.alone {
        return Ok(());
    }
    let hosts = commands::hosts_alone(t, &row.requester, now.minus(HOUR))?;
    if hosts > most {
        return Err(SubmitError::TooManyHosts { hosts, most });
    }
    Ok(())
}

/// One entry for each person's signature.
fn audit_signatures(
    t: &Transaction<'_>,
    trust: &TrustRoot,
    row: &CommandRow,
    operator: &str,
    now: UnixNanos,
) -> Result<(), DatabaseError> {
    let mut known = Vec::new();
    for signature in &row.signed.signatures {
        let person = trust.signer(Domain::Command, &row.signed.body, signature);
        let Ok(person) = person else {
            continue;
        };
        if known.contains(&&person.name) {
            continue;
        }
        let (action, proof) = if known.is_empty() {
            (action::REQUEST, request_proof(&row.signed, signature))
        } else {
            (action::APPROVE, approval_proof(&row.signed.body, signature))
        };
        known.push(&person.name);
        let detail = format!("{}: {}; handed in by {operator}", row.action, row.reason);
        let entry = audit::Entry {
            time: now,
            who: &person.name,
            action,
            object: &row.id.to_string(),
            detail: &detail,
            proof: &proof,
        };
        audit::add(t, entry)?;
    }
    Ok(())
}

/// Without its hosts: as if none had heard of it.
fn state(row: &CommandRow, hosts: Option<&[HostState]>, now: UnixNanos) -> &'static str {
    let done = |host: &HostState| host.receipt.as_ref().is_some_and(commands::is_final);
    if hosts.is_some_and(|hosts| hosts.iter().all(done)) {
        return "done";
    }
    if row.denied.0 != 0 {
        return "denied";
    }
    if row.cancelled.0 != 0 {
        return "cancelled";
    }
    if now >= row.expires {
        return "expired";
    }
    if row.requested {
        return "requested";
    }
    if hosts.is_some_and(|hosts| hosts.iter().all(|host| host.delivered.0 != 0)) {
        "delivered"
    } else {
        "pending"
    }
}

fn host_state(
    host: &HostState,
    row: &CommandRow,
    (command, now): (Option<&Command>, UnixNanos),
) -> &'static str {
    use picket_event::ReceiptState;
    let receipt = host
        .receipt
        .as_ref()
        .and_then(|receipt| ReceiptState::from_wire(receipt.state));
    match receipt {
        Some(state) => state.name(),
        None if host.delivered.0 != 0 => "delivered",
        None if row.denied.0 != 0 => "denied",
        None if row.cancelled.0 != 0 => "cancelled",
        None if now >= row.expires && row.requested => "unapproved",
        None if now >= row.expires => "expired",
        None if row.requested => "requested",
        None if is_held(command, row.ring, &host.host) => "held",
        None => "waiting",
    }
}

/// All receipts of a command as they are shown, in bytes: of many hosts each is cut to its share.
const LARGEST_RECEIPTS: usize = 6 << 20;

const LONGEST: Duration = Duration::from_hours(25);
const HOUR: Duration = Duration::from_hours(1);
