//! The trust root as the collector carries it: it keeps each version and hands it on, and can make none.
//!
//! # Invariants
//!
//! - A version is kept only if the one before it lets it; a lower or other one of a known number never is.
//! - What the collector believes decides nothing: hosts and operators verify each version against their own.

use std::sync::Arc;

use picket_event::UnixNanos;
use picket_event::audit::{action, trust_proof};
use picket_event::trust::{TrustError, TrustRoot};
use picket_proto::v1;
use prost::Message;
use tokio::sync::watch;

use crate::database::{Database, DatabaseError, audit, roots};
use crate::refusal::Refusal;

/// The newest trust root. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Trust {
    database: Database,
    newest: Arc<watch::Sender<Arc<TrustRoot>>>,
}

/// Why a version was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Larger than any.
    #[error("the trust root is larger than {MAX_TRUST_BYTES} bytes")]
    TooLarge,
    /// The one before does not let it.
    #[error("the trust root is refused")]
    Trust(#[from] TrustError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl PublishError {
    /// Its fixed name.
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::TooLarge => Refusal::TooLarge,
            Self::Trust(_) => Refusal::BadTrustRoot,
            Self::Database(_) => Refusal::Internal,
        }
    }
}

impl Trust {
    /// What is kept, or `first` where nothing is yet.
    pub fn open(database: Database, first: &[u8], now: UnixNanos) -> Result<Self, PublishError> {
        let newest = database.run(|t| -> Result<_, PublishError> {
            if let Some(kept) = roots::newest(t)? {
                return Ok(TrustRoot::decode(&kept.body)?);
            }
            let root = TrustRoot::decode(first)?;
            let signed = v1::SignedTrustRoot {
                body: first.to_vec(),
                signatures: Vec::new(),
            };
            keep(t, (&root, &signed), (action::TRUST_FIRST, "collector"), now)?;
            Ok(root)
        })?;
        Ok(Self {
            database,
            newest: Arc::new(watch::Sender::new(Arc::new(newest))),
        })
    }

    /// The newest version.
    pub fn current(&self) -> Arc<TrustRoot> {
        Arc::clone(&self.newest.borrow())
    }

    /// Hears of each new version.
    pub fn newest(&self) -> watch::Receiver<Arc<TrustRoot>> {
        self.newest.subscribe()
    }

    /// Takes the next version.
    pub async fn publish(
        &self,
        signed: v1::SignedTrustRoot,
        operator: String,
        now: UnixNanos,
    ) -> Result<u64, PublishError> {
        if signed.encoded_len() > MAX_TRUST_BYTES {
            return Err(PublishError::TooLarge);
        }
        let next = self
            .database
            .call(move |t| -> Result<_, PublishError> {
                let kept = roots::newest(t)?.ok_or(DatabaseError::Damaged("trust root"))?;
                let (next, _) = TrustRoot::decode(&kept.body)?.succeed(&signed, now)?;
                keep(t, (&next, &signed), (action::TRUST_CHANGE, &operator), now)?;
                Ok(next)
            })
            .await?;
        let version = next.version;
        self.newest.send_if_modified(|newest| {
            let newer = next.version > newest.version;
            if newer {
                *newest = Arc::new(next);
            }
            newer
        });
        tracing::warn!(version, "another trust root is in force");
        Ok(version)
    }

    /// The versions behind `version`, the oldest first.
    pub async fn after(&self, version: u64) -> Result<Vec<v1::SignedTrustRoot>, DatabaseError> {
        self.database
            .call(move |t| roots::after(t, version, MOST_AT_ONCE))
            .await
    }
}

fn keep(
    t: &rusqlite::Transaction<'_>,
    (root, signed): (&TrustRoot, &v1::SignedTrustRoot),
    (action, who): (&str, &str),
    now: UnixNanos,
) -> Result<(), DatabaseError> {
    roots::add(t, root.version, signed, now)?;
    let detail = format!("{} persons, expires {}", root.persons.len(), root.expires);
    let entry = audit::Entry {
        time: now,
        who,
        action,
        object: &root.version.to_string(),
        detail: &detail,
        proof: &trust_proof(signed),
    };
    audit::add(t, entry)
}

/// Largest signed trust root, in bytes.
const MAX_TRUST_BYTES: usize = 1 << 20;

/// Versions that are handed on at once.
const MOST_AT_ONCE: u64 = 1_000;
