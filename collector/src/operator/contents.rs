//! What operators publish of rules, policy and configuration, and to whom it goes.

use picket_event::HostId;
use picket_event::content::ContentKind;
use picket_proto::v1;
use tonic::Status;

use super::OperatorService;
use crate::content::PublishError;
use crate::failure::chain;
use crate::ingest::internal;
use crate::peer::OperatorIdentity;
use crate::refusal::Refusal;

impl OperatorService {
    pub(super) async fn publish_it(
        &self,
        operator: &OperatorIdentity,
        signed: v1::SignedContent,
    ) -> Result<v1::ContentState, Status> {
        let name = operator.name().to_owned();
        let published = self.contents.publish(signed, name, self.clock.now()).await;
        published.map_err(|refused| self.not_published(refused))
    }

    pub(super) async fn release_it(
        &self,
        operator: &OperatorIdentity,
        request: v1::ReleaseContentRequest,
    ) -> Result<v1::ContentState, Status> {
        let this = (self.content_kind(request.kind)?, request.version);
        let hosts = request
            .host_ids
            .iter()
            .map(|host| HostId::from_slice(host))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_form| self.refused(Refusal::NotFound))?;
        let to = (!request.everyone).then_some(hosts);
        let by = (operator.name().to_owned(), self.clock.now());
        let released = self.contents.release(this, to, by).await;
        released.map_err(|refused| self.not_published(refused))
    }

    pub(super) async fn list_it(
        &self,
        request: v1::ListContentRequest,
    ) -> Result<v1::ListContentResponse, Status> {
        if request.version > 0 {
            let this = (self.content_kind(request.kind)?, request.version);
            let got = self.contents.get(this).await;
            let (state, signed) = got.map_err(|refused| self.not_published(refused))?;
            return Ok(v1::ListContentResponse {
                contents: vec![state],
                content: Some(signed),
            });
        }
        let kinds = match request.kind {
            0 => ContentKind::ALL.to_vec(),
            kind => vec![self.content_kind(kind)?],
        };
        let mut contents = Vec::new();
        for kind in kinds {
            let listed = self.contents.list(kind).await;
            contents.extend(listed.map_err(|refused| self.not_published(refused))?);
        }
        Ok(v1::ListContentResponse {
            contents,
            content: None,
        })
    }

    fn content_kind(&self, kind: i32) -> Result<ContentKind, Status> {
        ContentKind::from_wire(kind).ok_or_else(|| self.refused(Refusal::UnknownEnum))
    }

    fn not_published(&self, refused: PublishError) -> Status {
        let refusal = refused.refusal();
        self.metrics.call_refused(refusal);
        match refused {
            PublishError::Database(failed) => internal(&failed).status(),
            other => refusal.saying(chain(&other)),
        }
    }
}
