//! Evidence: everything that is needed to verify without believing the collector.
//!
//! First the wanted hosts, each with its first key and its successions, then their batches in the
//! order of arrival, byte for byte as they were signed.

use std::ops::ControlFlow;
use std::sync::Arc;

use picket_event::{HostId, UnixNanos};
use picket_proto::v1;
use picket_proto::v1::evidence_item::Item;
use picket_store::{Cursor, Query};
use tonic::Status;

use super::{OperatorService, no_host};
use crate::calls::{Answers, Parts};
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
        let service = self.clone();
        Ok(Answers::filled(
            operator.closing(),
            PARTS,
            async move |parts| {
                let hosts = Some(ids.iter().copied().collect());
                for id in ids {
                    service.send_keys(id, &parts).await?;
                }
                service
                    .send_batches(
                        Query {
                            hosts,
                            ..Query::default()
                        },
                        since,
                        &parts,
                    )
                    .await
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

    async fn send_batches(
        &self,
        query: Query,
        since: UnixNanos,
        parts: &Parts<v1::EvidenceItem>,
    ) -> Result<(), Status> {
        let query = Arc::new(query);
        let (mut cursor, end) = (Cursor::START, self.reader.end());
        while cursor < end {
            let (next, batches) = self.batches_behind(cursor, &query, since).await?;
            cursor = next;
            for batch in batches {
                parts.send(item(Item::Batch(batch))).await?;
            }
        }
        Ok(())
    }

    /// The wanted batches behind the cursor, up to a bound, and how far that is.
    async fn batches_behind(
        &self,
        from: Cursor,
        query: &Arc<Query>,
        since: UnixNanos,
    ) -> Result<(Cursor, Vec<v1::SignedBatch>), Status> {
        let query = Arc::clone(query);
        self.walk(move |reader| {
            let (mut batches, mut bytes) = (Vec::new(), 0_usize);
            let next = reader.follow_batches(from, &query, &mut |stored| {
                if stored.received >= since {
                    bytes += stored.batch.payload.len() + stored.batch.header.len();
                    batches.push(stored.batch);
                }
                if bytes < PIECE_BYTES {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            Ok((next, batches))
        })
        .await
    }
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
