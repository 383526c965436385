//! Commands, as operators submit, watch and cancel them.

use std::time::Duration;

use picket_event::{CommandId, UnixNanos};
use picket_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Status;

use super::OperatorService;
use crate::calls::Answers;
use crate::command::{SubmitError, is_over};
use crate::failure::chain;
use crate::ingest::internal;
use crate::peer::{OperatorIdentity, closed};
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
        submitted.map_err(|refused| {
            let refusal = refused.refusal();
            self.metrics.call_refused(refusal);
            match refused {
                SubmitError::Database(failed) => internal(&failed).status(),
                other => refusal.saying(chain(&other)),
            }
        })
    }

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
        listed.map_err(|failed| self.failed(failed))
    }

    pub(super) async fn cancel(
        &self,
        operator: &OperatorIdentity,
        id: &[u8],
    ) -> Result<v1::CommandStatus, Status> {
        let id = command_id(id)?;
        let now = self.clock.now();
        let cancelled = self
            .commands
            .cancel(id, operator.name().to_owned(), now)
            .await;
        cancelled
            .map_err(|failed| self.failed(failed))?
            .ok_or_else(no_command)
    }

    pub(super) async fn watch(
        &self,
        operator: &OperatorIdentity,
        id: &[u8],
    ) -> Result<Answers<v1::CommandStatus>, Status> {
        let id = command_id(id)?;
        let mut changes = self.commands.changes();
        changes.mark_unchanged();
        let first = self.commands.status(id, self.clock.now()).await;
        let mut shown = first
            .map_err(|failed| self.failed(failed))?
            .ok_or_else(no_command)?;
        let (sender, parts) = mpsc::channel(4);
        let mut closing = operator.closing();
        let service = self.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut unsent = true;
            loop {
                if unsent && sender.send(Ok(shown.clone())).await.is_err() || is_over(&shown) {
                    return;
                }
                let left = UnixNanos(shown.expires_unix_ns).since(service.clock.now());
                tokio::select! {
                    biased;
                    reason = closed(&mut closing) => {
                        return drop(sender.send(Err(reason.status())).await);
                    }
                    () = sender.closed() => return,
                    _changed = changes.changed() => {}
                    () = tokio::time::sleep(left + Duration::from_millis(100)) => {}
                }
                let next = match service.commands.status(id, service.clock.now()).await {
                    Ok(Some(next)) => next,
                    Ok(None) => return,
                    Err(failed) => return drop(sender.send(Err(service.failed(failed))).await),
                };
                unsent = next != shown;
                shown = next;
            }
        });
        Ok(Answers::new(parts, tasks))
    }
}

fn command_id(bytes: &[u8]) -> Result<CommandId, Status> {
    CommandId::from_slice(bytes).map_err(|wrong| Refusal::BadQuery.saying(wrong))
}

fn no_command() -> Status {
    Refusal::NotFound.saying("no command has this id")
}

const DEFAULT_COMMANDS: u64 = 100;
const MOST_COMMANDS: u64 = 1_000;
