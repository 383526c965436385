//! Signed content as the collector carries it: it keeps each version and hands it to those who may have it.
//!
//! # Invariants
//!
//! - A version is kept only if enough persons signed it, and is higher than all before it.
//! - What the collector believes decides nothing: hosts verify each version against their own trust root.
//! - A host is offered only a version above the one that it says it took.

mod fetch;

use std::sync::Arc;

use picket_event::audit::{action, content_proof};
use picket_event::content::{Content, ContentError, ContentKind, MAX_CONTENT_BYTES};
use picket_event::{HostId, UnixNanos};
use picket_proto::v1;
use picket_seal::Digest;
use prost::Message;
use rusqlite::Transaction;
use tokio::sync::watch;

use crate::database::{Database, DatabaseError, audit, contents};
use crate::refusal::Refusal;
use crate::trust::Trust;

pub use fetch::{Fetching, Parcel};

/// All content. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Contents {
    database: Database,
    trust: Trust,
    changed: Arc<watch::Sender<u64>>,
    parcels: Arc<fetch::Parcels>,
}

/// Why content was not taken or released.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Larger than any.
    #[error("the content is larger than {MAX_CONTENT_BYTES} bytes")]
    TooLarge,
    /// Its form is wrong, or too few signed it.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A higher version is there.
    #[error("version {got} does not come after version {has}")]
    Version {
        /// The highest.
        has: u64,
        /// The one that came.
        got: u64,
    },
    /// No such version.
    #[error("there is no such version")]
    NotFound,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl PublishError {
    /// Its fixed name.
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::TooLarge => Refusal::TooLarge,
            Self::Content(_) | Self::Version { .. } => Refusal::BadContent,
            Self::NotFound => Refusal::NotFound,
            Self::Database(_) => Refusal::Internal,
        }
    }
}

impl Contents {
    /// What is kept.
    pub fn new(database: Database, trust: Trust) -> Self {
        Self {
            database,
            trust,
            changed: Arc::new(watch::Sender::new(0)),
            parcels: Arc::default(),
        }
    }

    /// Hears of each publication and release.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes a version. No host has it yet.
    pub async fn publish(
        &self,
        signed: v1::SignedContent,
        operator: String,
        now: UnixNanos,
    ) -> Result<v1::ContentState, PublishError> {
        if signed.encoded_len() > MAX_CONTENT_BYTES {
            return Err(PublishError::TooLarge);
        }
        let (content, _) = Content::believe(&signed, &self.trust.current(), now)?;
        let this = (content.kind, content.version);
        let trust = self.trust.clone();
        self.database
            .call(move |t| -> Result<_, PublishError> {
                let has = contents::highest(t, this.0)?;
                if this.1 <= has {
                    let got = this.1;
                    return Err(PublishError::Version { has, got });
                }
                contents::add(t, this, &signed, now)?;
                let entry = audit::Entry {
                    time: now,
                    who: &operator,
                    action: action::CONTENT,
                    object: &format!("{} {}", this.0, this.1),
                    detail: &Digest::of(&signed.body).to_string(),
                    proof: &content_proof(&signed),
                };
                audit::add(t, entry)?;
                state(t, this, &trust)
            })
            .await
    }

    /// Lets hosts have a version.
    pub async fn release(
        &self,
        this: (ContentKind, u64),
        to: Option<Vec<HostId>>,
        (operator, now): (String, UnixNanos),
    ) -> Result<v1::ContentState, PublishError> {
        let trust = self.trust.clone();
        let state = self
            .database
            .call(move |t| -> Result<_, PublishError> {
                contents::get(t, this)?.ok_or(PublishError::NotFound)?;
                let detail = match &to {
                    None => {
                        contents::release_to_all(t, this)?;
                        "to all hosts".to_owned()
                    }
                    Some(hosts) => {
                        for host in hosts {
                            contents::release(t, this, host)?;
                        }
                        format!("to {} hosts", hosts.len())
                    }
                };
                let entry = audit::Entry {
                    time: now,
                    who: &operator,
                    action: "content.release",
                    object: &format!("{} {}", this.0, this.1),
                    detail: &detail,
                    proof: &[],
                };
                audit::add(t, entry)?;
                state(t, this, &trust)
            })
            .await?;
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
        Ok(state)
    }

    /// The newest versions of a kind, without their bodies.
    pub async fn list(&self, kind: ContentKind) -> Result<Vec<v1::ContentState>, PublishError> {
        let trust = self.trust.clone();
        self.database
            .call(move |t| -> Result<_, PublishError> {
                let versions = contents::versions(t, kind, LISTED)?;
                let states = versions
                    .into_iter()
                    .map(|one| state(t, (kind, one), &trust));
                states.collect()
            })
            .await
    }

    /// One version, with its body.
    pub async fn get(
        &self,
        this: (ContentKind, u64),
    ) -> Result<(v1::ContentState, v1::SignedContent), PublishError> {
        let trust = self.trust.clone();
        self.database
            .call(move |t| -> Result<_, PublishError> {
                let kept = contents::get(t, this)?.ok_or(PublishError::NotFound)?;
                Ok((state(t, this, &trust)?, kept.signed))
            })
            .await
    }
}

fn state(
    t: &Transaction<'_>,
    this: (ContentKind, u64),
    trust: &Trust,
) -> Result<v1::ContentState, PublishError> {
    let kept = contents::get(t, this)?.ok_or(PublishError::NotFound)?;
    let content = Content::decode(&kept.signed.body)?;
    // Who signed it may have left the trust root since.
    let signers = Content::weigh(&kept.signed, &trust.current());
    Ok(v1::ContentState {
        kind: this.0.to_wire(),
        version: this.1,
        sha256: Digest::of(&kept.signed.body).as_bytes().to_vec(),
        added_unix_ns: kept.added.0,
        signers: signers.map_or_else(|_gone| Vec::new(), |standing| standing.signers()),
        released_to: contents::released_to(t, this)?,
        everyone: kept.everyone,
        reason: content.reason,
    })
}

/// Versions of a kind that are listed.
const LISTED: u64 = 32;
