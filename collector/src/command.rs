//! The life of a command: taken in, handed out, answered.
//!
//! ```text
//! submit -> waiting -> delivered -> accepted -> executed | partial | refused | reverted | expired
//! ```
//!
//! # Invariants
//!
//! - The collector holds no key that a host would obey. It checks signatures only so that operators
//!   hear at once what every host would say.
//! - A host is given a command in each of its sessions until its last word on it is stored, the
//!   command expires or is cancelled. Hosts act at most once, whatever they are given.

use std::time::Duration;

use picket_event::command::{Command, CommandError, MAX_COMMAND_BYTES};
use picket_event::trust::{Signed, TrustError, TrustRoot};
use picket_event::{CommandId, HostId, UnixNanos};
use picket_proto::v1;
use picket_seal::{Domain, KeyId};
use tokio::sync::watch;

use crate::database::commands::{self, CommandRow, HostState};
use crate::database::{Database, DatabaseError, audit};
use crate::refusal::Refusal;
use crate::registry::Registry;

/// Commands and their hosts.
#[derive(Clone, Debug)]
pub struct Commands {
    database: Database,
    registry: Registry,
    trust_root: TrustRoot,
    changes: watch::Sender<u64>,
}

/// Why a command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Too many bytes.
    #[error("the command is larger than {MAX_COMMAND_BYTES} bytes")]
    TooLarge,
    /// Not a command.
    #[error("the command is malformed")]
    Form(#[from] CommandError),
    /// For nobody.
    #[error("the command names no host")]
    NoHost,
    /// Not enough persons signed, or not the right ones.
    #[error("the command is not approved")]
    Trust(#[from] TrustError),
    /// Its time is over.
    #[error("the command expired at {0}")]
    Expired(UnixNanos),
    /// Its time is longer than any host would accept.
    #[error("the command is good for more than 24 hours")]
    TooLong,
    /// A host that is not enrolled here.
    #[error("the host {0} is not known")]
    UnknownHost(HostId),
    /// A host that was revoked.
    #[error("the host {0} was revoked")]
    RevokedHost(HostId),
    /// Another command of this id.
    #[error("there is another command of this id")]
    Taken,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl SubmitError {
    /// Its fixed name.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::TooLarge => Refusal::TooLarge,
            Self::Form(_) | Self::NoHost => Refusal::BadCommand,
            Self::Trust(_) => Refusal::NotApproved,
            Self::Expired(_) | Self::TooLong => Refusal::CommandExpired,
            Self::UnknownHost(_) => Refusal::NotFound,
            Self::RevokedHost(_) => Refusal::Revoked,
            Self::Taken => Refusal::CommandExists,
            Self::Database(_) => Refusal::Internal,
        }
    }
}

impl Commands {
    /// Under this trust root.
    pub fn new(database: Database, registry: Registry, trust_root: TrustRoot) -> Self {
        Self {
            database,
            registry,
            trust_root,
            changes: watch::Sender::new(0),
        }
    }

    /// Takes a signed command and hands it to the hosts that are connected.
    pub async fn submit(
        &self,
        signed: v1::SignedCommand,
        operator: String,
        now: UnixNanos,
    ) -> Result<v1::CommandStatus, SubmitError> {
        let command = self.check(&signed, now)?;
        let row = self.row(&command, signed, now);
        let (id, hosts) = (row.id, command.hosts.clone());
        self.database
            .call(move |t| -> Result<(), SubmitError> {
                match commands::add(t, &row, &command.hosts)? {
                    true => Ok(audit_submitted(
                        t,
                        &row,
                        &operator,
                        command.hosts.len(),
                        now,
                    )?),
                    // The same bytes again are the same command.
                    false
                        if commands::find(t, &row.id)?
                            .is_some_and(|old| old.signed == row.signed) =>
                    {
                        Ok(())
                    }
                    false => Err(SubmitError::Taken),
                }
            })
            .await?;
        self.changed();
        for host in hosts {
            self.registry.wake(&host);
        }
        Ok(self.status(id, now).await?.unwrap_or_default())
    }

    fn check(&self, signed: &v1::SignedCommand, now: UnixNanos) -> Result<Command, SubmitError> {
        if signed.body.len() > MAX_COMMAND_BYTES || signed.signatures.len() > MAX_SIGNATURES {
            return Err(SubmitError::TooLarge);
        }
        let command = Command::decode(&signed.body)?;
        if command.hosts.is_empty() {
            return Err(SubmitError::NoHost);
        }
        for class in command.classes() {
            let (body, signatures) = (&signed.body, &signed.signatures);
            let said = Signed {
                domain: Domain::Command,
                body,
                signatures,
            };
            self.trust_root.approve(class, said, now)?;
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
        Ok(command)
    }

    fn row(&self, command: &Command, signed: v1::SignedCommand, now: UnixNanos) -> CommandRow {
        let first = signed
            .signatures
            .first()
            .and_then(|first| KeyId::from_slice(&first.key_id).ok());
        let persons = self.trust_root.persons.iter();
        let mut holders =
            persons.filter(|person| person.keys.iter().any(|key| Some(key.key_id()) == first));
        CommandRow {
            id: command.id,
            action: command.action.name().to_owned(),
            requester: holders
                .next()
                .map(|person| person.name.clone())
                .unwrap_or_default(),
            reason: command.reason.clone(),
            submitted: now,
            expires: command.expires,
            cancelled: UnixNanos(0),
            signed,
        }
    }

    /// How a command stands; `None` if there is none of this id.
    pub async fn status(
        &self,
        id: CommandId,
        now: UnixNanos,
    ) -> Result<Option<v1::CommandStatus>, DatabaseError> {
        let read = move |t: &rusqlite::Transaction<'_>| -> Result<_, DatabaseError> {
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
        let read = move |t: &rusqlite::Transaction<'_>| -> Result<Vec<_>, DatabaseError> {
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

    /// Hands the command out no more. What a host has already, it has.
    pub async fn cancel(
        &self,
        id: CommandId,
        operator: String,
        now: UnixNanos,
    ) -> Result<Option<v1::CommandStatus>, DatabaseError> {
        self.database
            .call(move |t| -> Result<(), DatabaseError> {
                if !commands::cancel(t, &id, now)? {
                    return Ok(());
                }
                let object = id.to_string();
                let (who, action) = (operator.as_str(), "command.cancel");
                audit::add(
                    t,
                    audit::Entry {
                        time: now,
                        who,
                        action,
                        object: &object,
                        detail: "",
                    },
                )
            })
            .await?;
        self.changed();
        self.status(id, now).await
    }

    /// The commands to hand to a host, oldest first.
    pub async fn open_for(
        &self,
        host: HostId,
        now: UnixNanos,
    ) -> Result<Vec<CommandRow>, DatabaseError> {
        self.database
            .call(move |t| commands::open_for(t, &host, now))
            .await
    }

    /// A command was handed to the host's session.
    pub async fn delivered(
        &self,
        id: CommandId,
        host: HostId,
        now: UnixNanos,
    ) -> Result<(), DatabaseError> {
        self.database
            .call(move |t| commands::delivered(t, &id, &host, now))
            .await?;
        self.changed();
        Ok(())
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
        let state = state(&row, &hosts, now);
        let ended = now >= row.expires;
        let outcomes = hosts.into_iter().map(|host| v1::HostOutcome {
            host_name: self.registry.name(&host.host),
            host_id: host.host.as_bytes().to_vec(),
            state: host_state(&host, row.cancelled.0 != 0, ended).to_owned(),
            time_unix_ns: host.received.0.max(host.delivered.0),
            receipt: host.receipt,
        });
        v1::CommandStatus {
            command_id: row.id.as_bytes().to_vec(),
            action: row.action,
            requester: row.requester,
            reason: row.reason,
            submitted_unix_ns: row.submitted.0,
            expires_unix_ns: row.expires.0,
            hosts: outcomes.collect(),
            state: state.to_owned(),
            command: Some(row.signed),
        }
    }
}

/// Whether nothing about the command will change any more.
pub fn is_over(status: &v1::CommandStatus) -> bool {
    matches!(status.state.as_str(), "done" | "expired")
        || status.state == "cancelled" && !status.hosts.iter().any(|host| host.state == "delivered")
}

fn audit_submitted(
    t: &rusqlite::Transaction<'_>,
    row: &CommandRow,
    who: &str,
    hosts: usize,
    time: UnixNanos,
) -> Result<(), DatabaseError> {
    let object = row.id.to_string();
    let detail = format!(
        "{} on {hosts} hosts, requested by {}",
        row.action, row.requester
    );
    let action = "command.submit";
    audit::add(
        t,
        audit::Entry {
            time,
            who,
            action,
            object: &object,
            detail: &detail,
        },
    )
}

fn state(row: &CommandRow, hosts: &[HostState], now: UnixNanos) -> &'static str {
    let done = |host: &HostState| host.receipt.as_ref().is_some_and(commands::is_final);
    if hosts.iter().all(done) {
        return "done";
    }
    if row.cancelled.0 != 0 {
        return "cancelled";
    }
    if now >= row.expires {
        return "expired";
    }
    if hosts.iter().all(|host| host.delivered.0 != 0) {
        "delivered"
    } else {
        "pending"
    }
}

fn host_state(host: &HostState, cancelled: bool, ended: bool) -> &'static str {
    use picket_event::ReceiptState;
    let receipt = host
        .receipt
        .as_ref()
        .and_then(|receipt| ReceiptState::from_wire(receipt.state));
    match receipt {
        Some(state) => state.name(),
        None if host.delivered.0 != 0 => "delivered",
        None if cancelled => "cancelled",
        None if ended => "expired",
        None => "waiting",
    }
}

/// No more persons than this sign one command.
const MAX_SIGNATURES: usize = 32;

const LONGEST: Duration = Duration::from_hours(25);
