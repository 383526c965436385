//! The service that operators call. Each method begins with the operator's identity.

mod contents;
mod events;
mod evidence;
mod fleet;
mod orders;
mod query;
mod records;
mod stack;

use std::sync::Arc;

use picket_event::{Clock, HostId};
use picket_proto::v1;
use picket_rpc::v1::operator_server::Operator;
use picket_store::Reader;
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status};

use crate::calls::Answers;
use crate::checkpoint::Checkpoints;
use crate::collected::Collected;
use crate::command::Commands;
use crate::content::Contents;
use crate::database::{Database, DatabaseError, operators};
use crate::ingest::internal;
use crate::metrics::Metrics;
use crate::peer::OperatorIdentity;
use crate::refusal::Refusal;
use crate::registry::{Known, Registry};
use crate::trust::Trust;

pub use query::{Queries, WORKER};

/// `picket.v1.Operator`.
#[derive(Clone, Debug)]
pub struct OperatorService {
    /// Tokens, operators, keys, audit.
    pub database: Database,
    /// Hosts.
    pub registry: Registry,
    /// Commands.
    pub commands: Commands,
    /// Trust roots.
    pub trust: Trust,
    /// Rules and policy.
    pub contents: Contents,
    /// Events.
    pub reader: Reader,
    /// What was signed over all of them.
    pub checkpoints: Checkpoints,
    /// Changes with every sync of the store.
    pub synced: watch::Receiver<u64>,
    /// How many walks over the store may run at once; the others wait.
    pub walks: Arc<Semaphore>,
    /// SQL.
    pub queries: Queries,
    /// Files that hosts sent.
    pub collected: Collected,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl OperatorService {
    /// The operator who calls, if they are still known here.
    async fn operator<T>(&self, request: &Request<T>) -> Result<OperatorIdentity, Status> {
        let found = self.known_operator(OperatorIdentity::of(request)).await;
        found.map_err(|refusal| self.refused(refusal))
    }

    async fn known_operator(
        &self,
        identity: Result<OperatorIdentity, Refusal>,
    ) -> Result<OperatorIdentity, Refusal> {
        let identity = identity?;
        let name = identity.name().to_owned();
        let known = self
            .database
            .call(move |t| -> Result<bool, DatabaseError> { operators::exists(t, &name) });
        match known.await {
            Ok(true) => Ok(identity),
            Ok(false) => Err(Refusal::UnknownPeer),
            Err(failed) => Err(internal(&failed)),
        }
    }

    fn refused(&self, refusal: Refusal) -> Status {
        self.metrics.call_refused(refusal);
        refusal.status()
    }

    fn failed(&self, failed: DatabaseError) -> Status {
        self.refused(internal(&failed))
    }

    /// The one host that is meant.
    fn host(&self, wanted: &str) -> Result<(HostId, Known), Status> {
        let mut found = if wanted.is_empty() {
            Vec::new()
        } else {
            self.registry.select(wanted)
        };
        match (found.pop(), found.len()) {
            (Some(only), 0) => Ok(only),
            (None, _) => Err(no_host(wanted)),
            (Some(_), more) => {
                Err(Refusal::Ambiguous.saying(format!("`{wanted}` names {} hosts", more + 1)))
            }
        }
    }
}

fn no_host(wanted: &str) -> Status {
    let wanted: String = wanted.chars().take(128).collect();
    Refusal::NotFound.saying(format!("no host is called `{wanted}`"))
}

#[tonic::async_trait]
impl Operator for OperatorService {
    type SearchEventsStream = Answers<v1::FoundEvent>;
    type TailEventsStream = Answers<v1::FoundEvent>;
    type QueryStream = Answers<v1::QueryReply>;
    type EvidenceStream = Answers<v1::EvidenceItem>;
    type WatchCommandStream = Answers<v1::CommandStatus>;
    type ReadAuditStream = Answers<v1::AuditEntry>;
    type FetchCollectedStream = Answers<v1::Chunk>;

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::Token>, Status> {
        let operator = self.operator(&request).await?;
        self.add_token(&operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        self.operator(&request).await?;
        let tokens = self.all_tokens().await?;
        Ok(Response::new(v1::ListTokensResponse { tokens }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::Token>, Status> {
        let operator = self.operator(&request).await?;
        self.end_token(&operator, request.into_inner().id)
            .await
            .map(Response::new)
    }

    async fn list_hosts(
        &self,
        request: Request<v1::ListHostsRequest>,
    ) -> Result<Response<v1::ListHostsResponse>, Status> {
        self.operator(&request).await?;
        let hosts = self.shown_hosts(&request.get_ref().host).await?;
        Ok(Response::new(v1::ListHostsResponse { hosts }))
    }

    async fn revoke_host(
        &self,
        request: Request<v1::RevokeHostRequest>,
    ) -> Result<Response<v1::Host>, Status> {
        let operator = self.operator(&request).await?;
        self.end_host(&operator, &request.get_ref().host)
            .await
            .map(Response::new)
    }

    async fn replace_host(
        &self,
        request: Request<v1::SignedReplacement>,
    ) -> Result<Response<v1::Host>, Status> {
        let operator = self.operator(&request).await?;
        self.pair_hosts(&operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn decide_branch(
        &self,
        request: Request<v1::DecideBranchRequest>,
    ) -> Result<Response<v1::Host>, Status> {
        let operator = self.operator(&request).await?;
        self.settle_branch(&operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn search_events(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<Self::SearchEventsStream>, Status> {
        let operator = self.operator(&request).await?;
        self.search(&operator, request.get_ref())
            .await
            .map(Response::new)
    }

    async fn tail_events(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<Self::TailEventsStream>, Status> {
        let operator = self.operator(&request).await?;
        self.tail(&operator, request.get_ref()).map(Response::new)
    }

    async fn process_tree(
        &self,
        request: Request<v1::TreeRequest>,
    ) -> Result<Response<v1::TreeResponse>, Status> {
        self.operator(&request).await?;
        self.tree(request.into_inner()).await
    }

    async fn stack(
        &self,
        request: Request<v1::StackRequest>,
    ) -> Result<Response<v1::StackResponse>, Status> {
        self.operator(&request).await?;
        self.stacked(request.into_inner()).await.map(Response::new)
    }

    async fn query(
        &self,
        request: Request<v1::QueryRequest>,
    ) -> Result<Response<Self::QueryStream>, Status> {
        let operator = self.operator(&request).await?;
        self.run_query(&operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn evidence(
        &self,
        request: Request<v1::EvidenceRequest>,
    ) -> Result<Response<Self::EvidenceStream>, Status> {
        let operator = self.operator(&request).await?;
        self.evidence_of(&operator, request.get_ref())
            .map(Response::new)
    }

    async fn submit_command(
        &self,
        request: Request<v1::SignedCommand>,
    ) -> Result<Response<v1::CommandStatus>, Status> {
        let operator = self.operator(&request).await?;
        self.submit(&operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_commands(
        &self,
        request: Request<v1::ListCommandsRequest>,
    ) -> Result<Response<v1::ListCommandsResponse>, Status> {
        self.operator(&request).await?;
        let commands = self.shown_commands(request.get_ref().limit).await?;
        Ok(Response::new(v1::ListCommandsResponse { commands }))
    }

    async fn watch_command(
        &self,
        request: Request<v1::WatchCommandRequest>,
    ) -> Result<Response<Self::WatchCommandStream>, Status> {
        let operator = self.operator(&request).await?;
        self.watch(&operator, &request.get_ref().command_id)
            .await
            .map(Response::new)
    }

    async fn fetch_collected(
        &self,
        request: Request<v1::FetchCollectedRequest>,
    ) -> Result<Response<Self::FetchCollectedStream>, Status> {
        let operator = self.operator(&request).await?;
        self.fetch(&operator, request.get_ref())
            .await
            .map(Response::new)
    }

    async fn cancel_command(
        &self,
        request: Request<v1::CancelCommandRequest>,
    ) -> Result<Response<v1::CommandStatus>, Status> {
        self.operator(&request).await?;
        self.cancel(request.into_inner()).await.map(Response::new)
    }

    async fn approve_command(
        &self,
        request: Request<v1::ApproveCommandRequest>,
    ) -> Result<Response<v1::CommandStatus>, Status> {
        self.operator(&request).await?;
        self.approve(request.into_inner()).await.map(Response::new)
    }

    async fn deny_command(
        &self,
        request: Request<v1::DenyCommandRequest>,
    ) -> Result<Response<v1::CommandStatus>, Status> {
        self.operator(&request).await?;
        self.deny(request.into_inner()).await.map(Response::new)
    }

    async fn start_ring(
        &self,
        request: Request<v1::StartRingRequest>,
    ) -> Result<Response<v1::CommandStatus>, Status> {
        self.operator(&request).await?;
        self.start(request.into_inner()).await.map(Response::new)
    }

    async fn list_trust_roots(
        &self,
        request: Request<v1::ListTrustRootsRequest>,
    ) -> Result<Response<v1::ListTrustRootsResponse>, Status> {
        self.operator(&request).await?;
        self.trust_roots(request.get_ref().after_version)
            .await
            .map(Response::new)
    }

    async fn publish_trust_root(
        &self,
        request: Request<v1::SignedTrustRoot>,
    ) -> Result<Response<v1::PublishTrustRootResponse>, Status> {
        let operator = self.operator(&request).await?;
        self.publish(&operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn publish_content(
        &self,
        request: Request<v1::SignedContent>,
    ) -> Result<Response<v1::ContentState>, Status> {
        let operator = self.operator(&request).await?;
        self.publish_it(&operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn release_content(
        &self,
        request: Request<v1::ReleaseContentRequest>,
    ) -> Result<Response<v1::ContentState>, Status> {
        let operator = self.operator(&request).await?;
        self.release_it(&operator, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn list_content(
        &self,
        request: Request<v1::ListContentRequest>,
    ) -> Result<Response<v1::ListContentResponse>, Status> {
        self.operator(&request).await?;
        self.list_it(request.into_inner()).await.map(Response::new)
    }

    async fn read_audit(
        &self,
        request: Request<v1::ReadAuditRequest>,
    ) -> Result<Response<Self::ReadAuditStream>, Status> {
        let operator = self.operator(&request).await?;
        Ok(Response::new(
            self.audit_of(&operator, request.get_ref().since_unix_ns),
        ))
    }
}
