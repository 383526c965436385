//! Takes what hosts say about commands out of the stored events and into the commands' state.
//!
//! It follows the store with a cursor that is kept in the same transaction as what was taken. A
//! receipt is therefore never lost and never needs a queue, whatever is killed when.

use std::ops::ControlFlow;
use std::sync::Arc;

use picket_event::{Detail, HostId, Kind, UnixNanos};
use picket_proto::v1;
use picket_store::{ChainKey, Cursor, KindSet, Query, Reader, StoreError, StoredEvent};
use rusqlite::Transaction;
use tokio::sync::watch;

use crate::branch::Standing;
use crate::command::Commands;
use crate::database::{self, Database, DatabaseError, commands};
use crate::metrics::Metrics;
use crate::registry::Registry;

/// Follows the store.
#[derive(Debug)]
pub struct Receipts {
    /// Where receipts are.
    pub reader: Reader,
    /// Where they go.
    pub database: Database,
    /// Which keys are a host's own.
    pub registry: Registry,
    /// Who wants to hear of them.
    pub commands: Commands,
    /// Changes with every sync of the store.
    pub synced: watch::Receiver<u64>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Why receipts could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The store cannot be read.
    #[error("failed to follow the store")]
    Store(#[from] StoreError),
    /// The database does not take them.
    #[error("failed to keep receipts")]
    Database(#[from] DatabaseError),
    /// The thread ended.
    #[error("the thread that follows the store ended")]
    Ended,
}

#[derive(Debug)]
struct Receipt {
    host: HostId,
    time: UnixNanos,
    containment: v1::Containment,
}

impl Receipts {
    /// Follows until nothing is written any more.
    pub async fn run(mut self) -> Result<(), ReceiptError> {
        let kept = self.database.call(|t| database::setting(t, CURSOR)).await?;
        let mut cursor = kept
            .and_then(|bytes| Cursor::from_bytes(&bytes))
            .unwrap_or(Cursor::START);
        let mut unkept = 0_u32;
        loop {
            self.synced.mark_unchanged();
            let (next, receipts) = self.follow(cursor).await?;
            let more = receipts.len() >= GROUP;
            unkept += 1;
            if !receipts.is_empty() || (unkept >= KEEP_EVERY && next != cursor) {
                self.keep(next, receipts).await?;
                unkept = 0;
            }
            cursor = next;
            if more {
                continue;
            }
            if self.synced.changed().await.is_err() {
                return self.keep(cursor, Vec::new()).await;
            }
        }
    }

    async fn follow(&self, from: Cursor) -> Result<(Cursor, Vec<Receipt>), ReceiptError> {
        let (reader, registry) = (self.reader.clone(), self.registry.clone());
        let followed = tokio::task::spawn_blocking(move || {
            let query = Query {
                kinds: KindSet::NONE.with(Kind::Containment),
                ..Query::default()
            };
            let mut receipts = Vec::new();
            let next = reader.follow(from, &query, &mut |stored| {
                // Commands are for the host; another that speaks for it was given none.
                if !is_hosts(&registry, &reader, &stored) {
                    return ControlFlow::Continue(());
                }
                if let Some(Detail::Containment(done)) = stored.event.detail {
                    let (host, time) = (stored.host, stored.event.time);
                    receipts.push(Receipt {
                        host,
                        time,
                        containment: done.into(),
                    });
                }
                if receipts.len() < GROUP {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            next.map(|next| (next, receipts))
        });
        Ok(followed.await.map_err(|_ended| ReceiptError::Ended)??)
    }

    async fn keep(&self, cursor: Cursor, receipts: Vec<Receipt>) -> Result<(), ReceiptError> {
        let taken = self
            .database
            .call(move |t| keep(t, cursor, &receipts))
            .await?;
        self.metrics.receipts.inc_by(taken);
        if taken > 0 {
            self.commands.changed();
        }
        Ok(())
    }
}

fn is_hosts(registry: &Registry, reader: &Reader, stored: &StoredEvent) -> bool {
    let Some(branches) = registry.branches(&stored.host) else {
        return true;
    };
    let key = ChainKey {
        stream: stored.stream,
        class: stored.class,
    };
    let by = reader.signed_by(&stored.host, key, stored.event.seq);
    by.is_none_or(|by| branches.standing(by) == Standing::Host)
}

fn keep(t: &Transaction<'_>, cursor: Cursor, receipts: &[Receipt]) -> Result<u64, DatabaseError> {
    let mut taken = 0;
    for receipt in receipts {
        taken += u64::from(commands::receipt(
            t,
            &receipt.host,
            &receipt.containment,
            receipt.time,
        )?);
    }
    database::keep_setting(t, CURSOR, &cursor.to_bytes())?;
    Ok(taken)
}

/// Where its cursor is kept.
pub const CURSOR: &str = "receipts_cursor";

/// Without receipts the cursor is kept after so many syncs; a restart reads that much again.
const KEEP_EVERY: u32 = 1_000;

/// Receipts that are taken in one transaction; more are taken in the next.
const GROUP: usize = 1_024;
