//! Evidence: everything that is needed to verify without believing the collector.
//!
//! First all checkpoints, then the audit if it is wanted, then the wanted hosts, each with its first key and its successions, then their batches in
//! the order of arrival, byte for byte as they were signed, each with its place in the last checkpoint. Where a checkpoint is wanted now, what came
//! behind it is left out: all that is shown then is in it.

use std::ops::ControlFlow;
use std::sync::Arc;

use picket_event::{HostId, UnixNanos};
use picket_proto::v1;
use picket_proto::v1::evidence_item::Item;
use picket_store::{Cursor, Query};
use tonic::Status;

use super::{OperatorService, no_host};
use crate::calls::{Answers, Parts};
use crate::checkpoint::{Prover, SignError};
use crate::database::hosts::HostRow;
use crate::database::{DatabaseError, hosts, keys};
use crate::peer::OperatorIdentity;

impl OperatorService {
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
        let since = UnixNanos(request.since_unix_ns);
        let (service, now, audit) = (self.clone(), request.checkpoint_now, request.audit);
        Ok(Answers::filled(
            operator.closing(),
            PARTS,
            async move |parts| {
                let query = Query {
                    hosts: Some(ids.iter().copied().collect()),
                    ..Query::default()
                };
                let shown = service.send_checkpoints(now, &parts).await?;
                if audit {
                    let entry = |entry| item(Item::Audit(entry));
                    service
                        .send_audit(UnixNanos(i64::MIN), &parts, entry)
                        .await?;
                }
                for id in ids {
                    service.send_keys(id, &parts).await?;
                }
                let (end, prover) = shown.unzip();
                let wanted = Wanted {
                    query: Arc::new(query),
                    since,
                    end: end.filter(|_end| now),
                };
                service.send_batches(wanted, prover, &parts).await
            },
        ))
    }

    async fn send_keys(&self, id: HostId, parts: &Parts<v1::EvidenceItem>) -> Result<(), Status> {
        let known = self.database.call(move |t| -> Result<_, DatabaseError> {
            Ok((hosts::find(t, &id)?, keys::successions(t, &id)?))
        });
        let (row, successions) = known.await.map_err(|failed| self.failed(failed))?;
        if let Some(row) = row {
            parts.send(item(identity(row))).await?;
        }
        for succession in successions {
            parts.send(item(Item::Succession(succession))).await?;
        }
        Ok(())
    }

    /// All checkpoints. Returns where the last one ends, and its prover. Without its tree the collector can prove nothing, and says so in its log.
    async fn send_checkpoints(
        &self,
        now: bool,
        parts: &Parts<v1::EvidenceItem>,
    ) -> Result<Option<(Cursor, Prover)>, Status> {
        if now && let Err(error) = self.checkpoints.sign().await {
            return Err(unsigned(&error));
        }
        let checkpoints = self.checkpoints.clone();
        let read = tokio::task::spawn_blocking(move || checkpoints.evidence()).await;
        match read.unwrap_or(Err(SignError::Ended)) {
            Ok(shown) => {
                for one in shown.checkpoints {
                    parts.send(item(Item::Checkpoint(one))).await?;
                }
                Ok(Some((shown.end, shown.prover)))
            }
            Err(error) => {
                drop(unsigned(&error));
                Ok(None)
            }
        }
    }

    async fn send_batches(
        &self,
        wanted: Wanted,
        mut prover: Option<Prover>,
        parts: &Parts<v1::EvidenceItem>,
    ) -> Result<(), Status> {
        let _whole = self.reader.pin();
        let end = wanted.end.unwrap_or_else(|| self.reader.end());
        let mut cursor = Cursor::START;
        while cursor < end {
            let (next, items, again) = self.batches_behind(cursor, wanted.clone(), prover).await?;
            (cursor, prover) = (next, again);
            for one in items {
                parts.send(item(one)).await?;
            }
        }
        Ok(())
    }

    /// The wanted batches behind the cursor with their proofs, up to a bound, and how far that is.
    async fn batches_behind(
        &self,
        from: Cursor,
        wanted: Wanted,
        mut prover: Option<Prover>,
    ) -> Result<(Cursor, Vec<Item>, Option<Prover>), Status> {
        self.walk(move |reader| {
            let (mut items, mut bytes) = (Vec::new(), 0_usize);
            let next = reader.follow_batches(from, &wanted.query, &mut |stored| {
                if wanted.is_behind(stored.end) {
                    return ControlFlow::Break(());
                }
                if stored.received >= wanted.since {
                    bytes += stored.batch.payload.len() + stored.batch.header.len();
                    let proof = prove(&mut prover, &stored.batch.header);
                    items.push(if stored.retired {
                        Item::Retired(stored.batch)
                    } else {
                        Item::Batch(stored.batch)
                    });
                    items.extend(proof.map(Item::Inclusion));
                }
                if bytes < PIECE_BYTES {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            Ok((next, items, prover))
        })
        .await
    }
}

/// Which batches.
#[derive(Clone, Debug)]
struct Wanted {
    query: Arc<Query>,
    since: UnixNanos,
    /// Up to where in the log, where not all of it is wanted.
    end: Option<Cursor>,
}

impl Wanted {
    fn is_behind(&self, place: Cursor) -> bool {
        self.end.is_some_and(|end| place > end)
    }
}

/// A tree that cannot be read proves nothing from then on.
fn prove(prover: &mut Option<Prover>, header: &[u8]) -> Option<v1::Inclusion> {
    match prover.as_mut()?.prove(header) {
        Ok(proof) => proof,
        Err(error) => {
            tracing::error!(%error, "the tree of checkpoints cannot be read");
            *prover = None;
            None
        }
    }
}

fn unsigned(error: &SignError) -> Status {
    let error = crate::failure::chain(error);
    tracing::error!(error, "checkpoints cannot be shown");
    Status::internal(
        "internal: the collector cannot sign or show its checkpoints; its log says why",
    )
}

fn identity(host: HostRow) -> Item {
    Item::Host(v1::EvidenceHost {
        host_id: host.id.as_bytes().to_vec(),
        name: host.name,
        first_event_public_key: host.event_key.as_bytes().to_vec(),
    })
}

fn item(item: Item) -> v1::EvidenceItem {
    v1::EvidenceItem { item: Some(item) }
}

/// Bytes of batches that are read at once.
const PIECE_BYTES: usize = 4 << 20;

/// Items that may wait for the operator's side to read them; each may be a whole batch.
const PARTS: usize = 4;
