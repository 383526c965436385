//! What operators read and add of the trust: its roots, and the audit.

use picket_event::UnixNanos;
use picket_proto::v1;
use tonic::Status;

use super::OperatorService;
use crate::calls::{Answers, Parts};
use crate::database::audit;
use crate::failure::chain;
use crate::ingest::internal;
use crate::peer::OperatorIdentity;
use crate::trust::PublishError;

impl OperatorService {
    pub(super) async fn trust_roots(
        &self,
        after_version: u64,
    ) -> Result<v1::ListTrustRootsResponse, Status> {
        let later = self.trust.after(after_version).await;
        Ok(v1::ListTrustRootsResponse {
            trust_roots: later.map_err(|failed| self.failed(failed))?,
            newest: self.trust.current().version,
        })
    }

    pub(super) async fn publish(
        &self,
        operator: &OperatorIdentity,
        signed: v1::SignedTrustRoot,
    ) -> Result<v1::PublishTrustRootResponse, Status> {
        let name = operator.name().to_owned();
        let published = self.trust.publish(signed, name, self.clock.now()).await;
        let version = published.map_err(|refused| {
            let refusal = refused.refusal();
            self.metrics.call_refused(refusal);
            match refused {
                PublishError::Database(failed) => internal(&failed).status(),
                other => refusal.saying(chain(&other)),
            }
        })?;
        Ok(v1::PublishTrustRootResponse { version })
    }

    pub(super) fn audit_of(
        &self,
        operator: &OperatorIdentity,
        since: i64,
    ) -> Answers<v1::AuditEntry> {
        let since = if since == 0 { i64::MIN } else { since };
        let service = self.clone();
        Answers::filled(operator.closing(), PARTS, async move |parts| {
            service
                .send_audit(UnixNanos(since), &parts, |entry| entry)
                .await
        })
    }

    /// All entries from then on, each as `item` makes it.
    pub(super) async fn send_audit<T: Send + 'static>(
        &self,
        since: UnixNanos,
        parts: &Parts<T>,
        item: impl Fn(v1::AuditEntry) -> T + Send,
    ) -> Result<(), Status> {
        let mut after = 0;
        loop {
            let read = self
                .database
                .call(move |t| audit::list(t, after, since, GROUP))
                .await;
            let entries = read.map_err(|failed| self.failed(failed))?;
            let Some(last) = entries.last() else {
                return Ok(());
            };
            after = last.number;
            for entry in entries {
                parts.send(item(entry)).await?;
            }
        }
    }
}

/// Entries that are read at once.
const GROUP: u64 = 256;

/// Entries that may wait to be read.
const PARTS: usize = 64;
