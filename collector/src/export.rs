//! Exports: what is stored goes on to files, to syslog servers and by HTTP, each by itself.
//!
//! # Invariants
//!
//! - An export follows the log with a cursor of its own, which is kept only after the receiver has what was sent
//!   before it: nothing is left out, and after a failure the last group may come twice.
//! - Files are written and synced on threads that may wait.
//! - A receiver that is slow or away holds nobody up but its own export: ingest never waits for one.

pub mod form;
mod http;
mod otlp;
pub mod settings;
mod sink;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use picket_event::HostId;
use picket_store::{Cursor, KindSet, Query, Reader, StoreError};
use tokio::sync::watch;

use crate::branch::{self, Branches};
use crate::database::{self, Database, DatabaseError};
use crate::failure::chain;
use crate::metrics::Metrics;
use crate::registry::Registry;
use form::{Message, message};
use settings::{From, Settings};
use sink::Sink;

/// One export.
#[derive(Debug)]
pub struct Export {
    /// What, where to and how.
    pub settings: Settings,
    /// Where events are.
    pub reader: Reader,
    /// Where its cursor is.
    pub database: Database,
    /// Hosts' names.
    pub registry: Registry,
    /// Changes with every sync of the store.
    pub synced: watch::Receiver<u64>,
    /// Turns true when the collector ends.
    pub stop: watch::Receiver<bool>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Why an export ended.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error("failed to follow the store")]
    Store(#[from] StoreError),
    /// The cursor cannot be kept.
    #[error("failed to keep the cursor")]
    Database(#[from] DatabaseError),
    /// The thread ended.
    #[error("the thread that follows the store ended")]
    Ended,
}

impl Export {
    /// Sends until the collector ends.
    pub async fn run(mut self) -> Result<(), ExportError> {
        let mut sink = Sink::new(&self.settings);
        let mut cursor = self.begin().await?;
        self.metrics.export_begins(&self.settings.name);
        let mut unkept = 0_u32;
        loop {
            self.synced.mark_unchanged();
            let (next, messages) = self.follow(cursor).await?;
            let (sends, more) = (!messages.is_empty(), messages.len() >= GROUP);
            if sends && !self.send(&mut sink, messages).await {
                return Ok(());
            }
            unkept += 1;
            if sends || (unkept >= KEEP_EVERY && next != cursor) {
                self.keep(next).await?;
                unkept = 0;
            }
            cursor = next;
            if more {
                continue;
            }
            let ended = tokio::select! {
                changed = self.synced.changed() => changed.is_err(),
                _ended = self.stop.wait_for(|stop| *stop) => true,
            };
            if ended {
                return self.keep(cursor).await;
            }
        }
    }

    /// From where it stood, or where a new one is to begin.
    async fn begin(&self) -> Result<Cursor, ExportError> {
        let name = self.cursor_name();
        let kept = self.database.call(move |t| database::setting(t, &name));
        let kept = kept.await?.and_then(|bytes| Cursor::from_bytes(&bytes));
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let begin = match self.settings.from {
            From::Start => Cursor::START,
            From::Now => self.reader.end(),
        };
        self.keep(begin).await?;
        Ok(begin)
    }

    async fn keep(&self, cursor: Cursor) -> Result<(), ExportError> {
        let name = self.cursor_name();
        let bytes = cursor.to_bytes();
        let kept = self
            .database
            .call(move |t| database::keep_setting(t, &name, &bytes));
        Ok(kept.await?)
    }

    fn cursor_name(&self) -> String {
        cursor_name(&self.settings)
    }

    async fn follow(&self, from: Cursor) -> Result<(Cursor, Vec<Message>), ExportError> {
        let (reader, registry) = (self.reader.clone(), self.registry.clone());
        let settings = self.settings.clone();
        let followed = tokio::task::spawn_blocking(move || -> Result<_, ExportError> {
            let kinds = settings
                .kinds
                .iter()
                .fold(KindSet::NONE, |all, kind| all.with(*kind));
            let query = Query {
                kinds,
                min_severity: settings.min_severity,
                ..Query::default()
            };
            let mut taken = Vec::new();
            let next = reader.follow(from, &query, &mut |stored| {
                taken.push(stored);
                if taken.len() < GROUP {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            let mut hosts: HashMap<HostId, (String, Option<Branches>)> = HashMap::new();
            let messages = taken.iter().map(|stored| {
                let (name, branches) = hosts.entry(stored.host).or_insert_with(|| {
                    (registry.name(&stored.host), registry.branches(&stored.host))
                });
                let doubtful = branches.as_ref();
                let doubtful = doubtful.and_then(|all| branch::doubtful(all, &reader, stored));
                let doubtful = doubtful.map(|name| name.to_string());
                let of = (name.as_str(), doubtful.as_deref());
                message(stored, of, settings.format)
            });
            Ok((next, messages.collect()))
        });
        followed.await.map_err(|_ended| ExportError::Ended)?
    }

    /// Sends a group, however long the receiver is away. `false`: the collector ends before it could.
    async fn send(&mut self, sink: &mut Sink, messages: Vec<Message>) -> bool {
        let (name, mut wait) = (self.settings.name.clone(), SHORTEST_WAIT);
        let messages = Arc::new(messages);
        loop {
            let failed = tokio::select! {
                sent = sink.send(&messages) => sent,
                _ended = self.stop.wait_for(|stop| *stop) => return false,
            };
            let error = match failed {
                Ok(rejected) => {
                    self.metrics.exported(&name, messages.len());
                    self.thrown_away(&name, rejected);
                    return true;
                }
                Err(error) => error,
            };
            self.metrics.export_fails(&name);
            let reason = chain(&error);
            tracing::warn!(export = name, reason, "an export waits for its receiver");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ended = self.stop.wait_for(|stop| *stop) => return false,
            }
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
    }
}

/// Where its cursor is kept.
pub fn cursor_name(settings: &Settings) -> String {
    format!("export.{}", settings.name)
}

impl Export {
    /// A receiver took them and threw some away: they are not sent again, as it would do the same.
    fn thrown_away(&self, name: &str, events: u64) {
        if events > 0 {
            self.metrics.export_rejected(name, events);
            tracing::error!(export = name, events, "a receiver threw events away");
        }
    }
}

/// Events that are sent before the cursor is kept.
const GROUP: usize = 1_024;
/// Syncs of the store after which the cursor is kept though nothing was sent: so much is read again after a crash.
const KEEP_EVERY: u32 = 1_000;
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
