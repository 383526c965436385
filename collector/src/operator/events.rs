//! Searching, following, trees and evidence: walks over the store, on threads that may block.
//!
//! # Queues
//!
//! - Parts of an answer: [`PARTS`] per call. Full: the walk waits for its reader; nothing is lost.

use std::ops::ControlFlow;
use std::sync::Arc;

use picket_event::{HostId, Kind, ProcessUid, Severity, UnixNanos};
use picket_proto::v1;
use picket_store::filter::Filter;
use picket_store::{Cursor, KindSet, Query, Reader, StoredBatch, StoredEvent, TreeNode};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Response, Status};

use super::{OperatorService, no_host};
use crate::calls::Answers;
use crate::database::hosts::HostRow;
use crate::database::{DatabaseError, hosts, keys};
use crate::peer::{OperatorIdentity, closed};
use crate::refusal::Refusal;
use crate::registry::Registry;

type Part<T> = Result<T, Status>;

impl OperatorService {
    pub(super) fn search(
        &self,
        operator: &OperatorIdentity,
        request: &v1::SearchRequest,
    ) -> Result<Answers<v1::FoundEvent>, Status> {
        let query = self.query(request)?;
        let limit = limit(request.limit);
        let registry = self.registry.clone();
        Ok(self.walk(operator, move |reader, parts| {
            for event in reader.newest(&query, limit)? {
                if parts.blocking_send(Ok(found(&registry, event))).is_err() {
                    break;
                }
            }
            Ok(())
        }))
    }

    pub(super) fn tail(
        &self,
        operator: &OperatorIdentity,
        request: &v1::SearchRequest,
    ) -> Result<Answers<v1::FoundEvent>, Status> {
        let query = self.query(request)?;
        let (sender, parts) = mpsc::channel(PARTS);
        let mut closing = operator.closing();
        let (reader, registry) = (self.reader.clone(), self.registry.clone());
        let mut synced = self.synced.clone();
        let mut cursor = reader.end();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let changed = tokio::select! {
                    biased;
                    reason = closed(&mut closing) => Err(reason),
                    changed = synced.changed() => changed.map_err(|_stopped| Refusal::ShuttingDown),
                    () = sender.closed() => return,
                };
                let step = (
                    reader.clone(),
                    registry.clone(),
                    query.clone(),
                    sender.clone(),
                );
                let next = match changed {
                    Ok(()) => follow(step, cursor).await,
                    Err(refusal) => Err(refusal.status()),
                };
                match next {
                    Ok(next) => cursor = next,
                    Err(status) => return drop(sender.send(Err(status)).await),
                }
            }
        });
        Ok(Answers::new(parts, tasks))
    }

    pub(super) async fn tree(
        &self,
        request: v1::TreeRequest,
    ) -> Result<Response<v1::TreeResponse>, Status> {
        let (host, _) = self.host(&request.host)?;
        let uid = ProcessUid::from_slice(&request.process_uid);
        let uid = uid.map_err(|wrong| Refusal::BadQuery.saying(wrong))?;
        let reader = self.reader.clone();
        let permit = self
            .walks
            .acquire()
            .await
            .map_err(|_closed| Refusal::ShuttingDown)?;
        let tree = tokio::task::spawn_blocking(move || reader.tree(host, uid)).await;
        drop(permit);
        let tree = tree
            .map_err(|_ended| Refusal::Internal)?
            .map_err(|failed| unreadable(&failed))?;
        if tree.nodes.is_empty() {
            return Err(Refusal::NotFound.saying("nothing is known of this process"));
        }
        let nodes = tree.nodes.into_iter().map(shown_node).collect();
        let mut response = Response::new(v1::TreeResponse { nodes });
        if tree.cut {
            response.metadata_mut().insert(
                "picket-cut",
                tonic::metadata::MetadataValue::from_static("1"),
            );
        }
        Ok(response)
    }

    pub(super) fn evidence_of(
        &self,
        operator: &OperatorIdentity,
        request: &v1::EvidenceRequest,
    ) -> Result<Answers<v1::EvidenceItem>, Status> {
        let wanted = self.registry.select(&request.host);
        if wanted.is_empty() && !request.host.is_empty() {
            return Err(no_host(&request.host));
        }
        let ids: Vec<HostId> = wanted.into_iter().map(|(id, _)| id).collect();
        let hosts = ids.iter().copied().collect();
        let query = Query {
            hosts: Some(hosts),
            ..Query::default()
        };
        let since = UnixNanos(request.since_unix_ns);
        let database = self.database.clone();
        Ok(self.walk(operator, move |reader, parts| {
            for id in ids {
                let who = database.run(|t| -> Result<_, DatabaseError> {
                    Ok((hosts::find(t, &id)?, keys::successions(t, &id)?))
                });
                let (row, successions) =
                    who.map_err(|failed| std::io::Error::other(failed.to_string()))?;
                let Some(row) = row else { continue };
                let items = [shown_identity(row)]
                    .into_iter()
                    .chain(successions.into_iter().map(item));
                for item in items {
                    if parts.blocking_send(Ok(item)).is_err() {
                        return Ok(());
                    }
                }
            }
            reader.batches(&query, &mut |batch| send_batch(batch, since, parts))?;
            Ok(())
        }))
    }

    /// Runs a walk on a thread that may block, and streams what it finds.
    fn walk<T: Send + 'static>(
        &self,
        operator: &OperatorIdentity,
        walk: impl FnOnce(&Reader, &mpsc::Sender<Part<T>>) -> Result<(), WalkError> + Send + 'static,
    ) -> Answers<T> {
        let (sender, parts) = mpsc::channel(PARTS);
        let (reader, walks) = (self.reader.clone(), Arc::clone(&self.walks));
        let mut closing = operator.closing();
        let ended = sender.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let Ok(permit) = walks.acquire_owned().await else {
                return;
            };
            let walked = tokio::task::spawn_blocking(move || {
                let walked = walk(&reader, &sender);
                drop(permit);
                walked
            });
            let status = tokio::select! {
                biased;
                reason = closed(&mut closing) => reason.status(),
                walked = walked => match walked {
                    Ok(Ok(())) => return,
                    Ok(Err(failed)) => unreadable(&failed),
                    Err(_ended) => Refusal::Internal.status(),
                },
            };
            drop(ended.send(Err(status)).await);
        });
        Answers::new(parts, tasks)
    }

    fn query(&self, request: &v1::SearchRequest) -> Result<Query, Status> {
        let wrong = |words: String| Refusal::BadQuery.saying(words);
        let kinds = request.kinds.iter().map(|kind| {
            Kind::from_wire(*kind).ok_or_else(|| wrong(format!("there is no kind {kind}")))
        });
        let filter = match request.r#where.as_str() {
            "" => None,
            text => Some(Filter::parse(text).map_err(|error| wrong(error.to_string()))?),
        };
        let min_severity = match request.min_severity {
            0 => None,
            number => Some(
                Severity::from_wire(number)
                    .ok_or_else(|| wrong(format!("there is no severity {number}")))?,
            ),
        };
        Ok(Query {
            hosts: self.wanted_hosts(&request.host)?,
            kinds: kinds.collect::<Result<KindSet, Status>>()?,
            since: (request.since_unix_ns != 0).then_some(UnixNanos(request.since_unix_ns)),
            until: (request.until_unix_ns != 0).then_some(UnixNanos(request.until_unix_ns)),
            min_severity,
            filter,
        })
    }

    fn wanted_hosts(
        &self,
        wanted: &str,
    ) -> Result<Option<std::collections::HashSet<HostId>>, Status> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let found = self.registry.select(wanted);
        if found.is_empty() {
            return Err(no_host(wanted));
        }
        Ok(Some(found.into_iter().map(|(id, _)| id).collect()))
    }
}

/// Why a walk broke off.
type WalkError = Box<dyn std::error::Error + Send + Sync>;

async fn follow(
    (reader, registry, query, parts): (Reader, Registry, Query, mpsc::Sender<Part<v1::FoundEvent>>),
    from: Cursor,
) -> Result<Cursor, Status> {
    let followed = tokio::task::spawn_blocking(move || {
        reader.follow(from, &query, &mut |event| match parts
            .blocking_send(Ok(found(&registry, event)))
        {
            Ok(()) => ControlFlow::Continue(()),
            Err(_gone) => ControlFlow::Break(()),
        })
    });
    let followed = followed
        .await
        .map_err(|_ended| Refusal::Internal.status())?;
    followed.map_err(|failed| unreadable(&failed))
}

fn send_batch(
    batch: StoredBatch,
    since: UnixNanos,
    parts: &mpsc::Sender<Part<v1::EvidenceItem>>,
) -> ControlFlow<()> {
    if batch.received < since {
        return ControlFlow::Continue(());
    }
    let item = v1::evidence_item::Item::Batch(batch.batch);
    match parts.blocking_send(Ok(v1::EvidenceItem { item: Some(item) })) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_gone) => ControlFlow::Break(()),
    }
}

fn unreadable(failed: &(impl std::fmt::Display + ?Sized)) -> Status {
    tracing::error!(error = %failed, "a walk over the store failed");
    Refusal::Internal.status()
}

fn found(registry: &Registry, stored: StoredEvent) -> v1::FoundEvent {
    v1::FoundEvent {
        host_id: stored.host.as_bytes().to_vec(),
        host_name: registry.name(&stored.host),
        boot_id: stored.boot.as_bytes().to_vec(),
        stream: stored.stream.as_bytes().to_vec(),
        class: stored.class.to_wire(),
        event: Some(stored.event.into()),
    }
}

fn shown_node(node: TreeNode) -> v1::TreeNode {
    v1::TreeNode {
        depth: node.depth,
        process: Some(node.process.into()),
        time_unix_ns: node.time.0,
        exit: node.exit.map(|exit| v1::Exit {
            code: exit.code,
            signal: exit.signal,
            duration_ns: exit.duration_ns,
        }),
        target: node.target,
        verdicts: node.verdicts.into_iter().map(Into::into).collect(),
    }
}

fn shown_identity(host: HostRow) -> v1::EvidenceItem {
    let item = v1::evidence_item::Item::Host(v1::EvidenceHost {
        host_id: host.id.as_bytes().to_vec(),
        name: host.name,
        first_event_public_key: host.event_key.as_bytes().to_vec(),
    });
    v1::EvidenceItem { item: Some(item) }
}

fn item(succession: v1::Succession) -> v1::EvidenceItem {
    v1::EvidenceItem {
        item: Some(v1::evidence_item::Item::Succession(succession)),
    }
}

fn limit(asked: u64) -> usize {
    let asked = if asked == 0 { DEFAULT_LIMIT } else { asked };
    usize::try_from(asked)
        .unwrap_or(usize::MAX)
        .min(MOST_EVENTS)
}

const DEFAULT_LIMIT: u64 = 1_000;

/// The most events that one search answers with.
const MOST_EVENTS: usize = 100_000;

/// Parts of an answer that may wait for the operator's side to read them.
const PARTS: usize = 64;
