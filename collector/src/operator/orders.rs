//! Commands, as operators submit, watch and cancel them.

use std::time::Duration;

use picket_event::{CommandId, HostId, UnixNanos};
use picket_proto::v1;
use prost::Message;
use tonic::Status;

use super::OperatorService;
use crate::calls::Answers;
use crate::collected;
use crate::command::{SubmitError, is_over};
use crate::database::{DatabaseError, audit};
use crate::failure::chain;
use crate::ingest::internal;
use crate::peer::OperatorIdentity;
use crate::refusal::Refusal;

impl OperatorService {
    pub(super) async fn submit(
        &self,
        operator: &OperatorIdentity,
        signed: v1::SignedCommand,
    ) -> Result<v1::CommandStatus, Status> {
        let now = self.clock.now();
        let submitted = self
            .commands
            .submit(signed, operator.name().to_owned(), now)
            .await;
        submitted.map_err(|refused| self.not_taken(refused))
    }

    /// The newest commands, as many as fit into one answer.
    pub(super) async fn shown_commands(
        &self,
        limit: u64,
    ) -> Result<Vec<v1::CommandStatus>, Status> {
        let limit = if limit == 0 {
            DEFAULT_COMMANDS
        } else {
            limit.min(MOST_COMMANDS)
        };
        let listed = self.commands.list(limit, self.clock.now()).await;
        let mut left = LARGEST_LIST;
        let fitting = listed
            .map_err(|failed| self.failed(failed))?
            .into_iter()
            .map_while(|mut shown| {
                // Whoever wants to sign asks for the one command; its hosts are in the outcomes too.
                if let Some(signed) = &mut shown.command {
                    signed.host_ids.clear();
                }
                left = left.checked_sub(shown.encoded_len())?;
                Some(shown)
            });
        Ok(fitting.collect())
    }

    pub(super) async fn cancel(
        &self,
        request: v1::CancelCommandRequest,
    ) -> Result<v1::CommandStatus, Status> {
        let id = command_id(&request.command_id)?;
        let statement = request.statement.ok_or_else(not_signed)?;
        let cancelled = self.commands.cancel(id, statement, self.clock.now()).await;
        cancelled.map_err(|refused| self.not_taken(refused))
    }

    pub(super) async fn approve(
        &self,
        request: v1::ApproveCommandRequest,
    ) -> Result<v1::CommandStatus, Status> {
        let id = command_id(&request.command_id)?;
        let signature = request.signature.ok_or_else(not_signed)?;
        let approved = self.commands.approve(id, signature, self.clock.now()).await;
        approved.map_err(|refused| self.not_taken(refused))
    }

    pub(super) async fn deny(
        &self,
        request: v1::DenyCommandRequest,
    ) -> Result<v1::CommandStatus, Status> {
        let id = command_id(&request.command_id)?;
        let statement = request.statement.ok_or_else(not_signed)?;
        let denied = self.commands.deny(id, statement, self.clock.now()).await;
        denied.map_err(|refused| self.not_taken(refused))
    }

    pub(super) async fn start(
        &self,
        request: v1::StartRingRequest,
    ) -> Result<v1::CommandStatus, Status> {
        let id = command_id(&request.command_id)?;
        let statement = request.statement.ok_or_else(not_signed)?;
        let started = self.commands.start(id, statement, self.clock.now()).await;
        started.map_err(|refused| self.not_taken(refused))
    }

    fn not_taken(&self, refused: SubmitError) -> Status {
        let refusal = refused.refusal();
        self.metrics.call_refused(refusal);
        match refused {
            SubmitError::Database(failed) => internal(&failed).status(),
            other => refusal.saying(chain(&other)),
        }
    }

    /// A file that a host sent, and the note in the audit of who took it.
    pub(super) async fn fetch(
        &self,
        operator: &OperatorIdentity,
        asked: &v1::FetchCollectedRequest,
    ) -> Result<Answers<v1::Chunk>, Status> {
        let id = command_id(&asked.command_id)?;
        let host = HostId::from_slice(&asked.host_id);
        let host = host.map_err(|_malformed| Refusal::BadRequest.status())?;
        let file = tokio::task::block_in_place(|| self.collected.read(host, id))?;
        let (who, time) = (operator.name().to_owned(), self.clock.now());
        let noted = self.database.call(move |t| -> Result<(), DatabaseError> {
            let entry = audit::Entry {
                time,
                who: &who,
                action: "file.fetch",
                object: &id.to_string(),
                detail: &host.to_string(),
                proof: &[],
            };
            audit::add(t, entry)
        });
        noted.await.map_err(|failed| self.failed(failed))?;
        Ok(Answers::filled(operator.closing(), CHUNKS, move |parts| {
            collected::give(file, id, parts)
        }))
    }

    pub(super) async fn watch(
        &self,
        operator: &OperatorIdentity,
        id: &[u8],
    ) -> Result<Answers<v1::CommandStatus>, Status> {
        let id = command_id(id)?;
        let mut changes = self.commands.changes();
        changes.mark_unchanged();
        let mut shown = self.command(id).await?.ok_or_else(no_command)?;
        let service = self.clone();
        Ok(Answers::filled(
            operator.closing(),
            STATES,
            async move |parts| {
                parts.send(shown.clone()).await?;
                while !is_over(&shown) {
                    // What goes to thousands changes thousands of times.
                    tokio::time::sleep(REST.saturating_mul(many(&shown))).await;
                    let left = UnixNanos(shown.expires_unix_ns).since(service.clock.now());
                    tokio::select! {
                        _changed = changes.changed() => {}
                        () = tokio::time::sleep(left + JUST_AFTER) => {}
                    }
                    let Some(next) = service.command(id).await? else {
                        return Ok(());
                    };
                    if next != shown {
                        parts.send(next.clone()).await?;
                    }
                    shown = next;
                }
                Ok(())
            },
        ))
    }

    async fn command(&self, id: CommandId) -> Result<Option<v1::CommandStatus>, Status> {
        let status = self.commands.status(id, self.clock.now()).await;
        status.map_err(|failed| self.failed(failed))
    }
}

fn command_id(bytes: &[u8]) -> Result<CommandId, Status> {
    CommandId::from_slice(bytes).map_err(|wrong| Refusal::BadQuery.saying(wrong))
}

fn many(shown: &v1::CommandStatus) -> u32 {
    u32::try_from(shown.hosts.len()).unwrap_or(u32::MAX)
}

fn not_signed() -> Status {
    Refusal::BadStatement.saying("the request holds no signature")
}

fn no_command() -> Status {
    Refusal::NotFound.saying("no command has this id")
}

const DEFAULT_COMMANDS: u64 = 100;
const MOST_COMMANDS: u64 = 1_000;

/// Largest list of commands, in bytes as encoded.
const LARGEST_LIST: usize = 12 << 20;

/// States of a command that may wait to be read.
const STATES: usize = 4;

/// Parts of a file that wait to be read.
const CHUNKS: usize = 2;

/// How long a command rests for each of its hosts before it is looked at again.
const REST: Duration = Duration::from_micros(50);

/// So that the command has expired when it is looked at.
const JUST_AFTER: Duration = Duration::from_millis(100);
