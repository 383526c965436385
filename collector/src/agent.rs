//! The service that hosts call. Each method begins with the host's identity.

use std::sync::Arc;
use std::time::Duration;

use picket_event::Clock;
use picket_proto::v1;
use picket_rpc::v1::agent_server::Agent;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status, Streaming};

use crate::authority::{self, Authority};
use crate::calls::Answers;
use crate::collected::Collected;
use crate::ingest::{ANSWERS, IN_FLIGHT, Ingest};
use crate::metrics::Metrics;
use crate::peer::HostIdentity;
use crate::refusal::Refusal;
use crate::session::{FRAMES, Sessions};

/// `picket.v1.Agent`.
#[derive(Clone, Debug)]
pub struct AgentService {
    /// Batches.
    pub ingest: Ingest,
    /// Sessions.
    pub sessions: Sessions,
    /// Files that commands asked for.
    pub collected: Collected,
    /// Certificates.
    pub authority: Arc<Authority>,
    /// How long they are good.
    pub certificate_lifetime: Duration,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl AgentService {
    fn host<T>(&self, request: &Request<T>) -> Result<HostIdentity, Refusal> {
        HostIdentity::of(request).inspect_err(|refusal| self.metrics.call_refused(*refusal))
    }
}

#[tonic::async_trait]
impl Agent for AgentService {
    type SessionStream = Answers<v1::CollectorFrame>;
    type EventsStream = Answers<v1::EventAck>;
    type UploadStream = Answers<v1::ChunkAck>;
    type FetchStream = Answers<v1::Chunk>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentFrame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let host = self.host(&request)?;
        let (to, frames) = mpsc::channel(FRAMES);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.sessions.clone().run(host, request.into_inner(), to));
        Ok(Response::new(Answers::new(frames, tasks)))
    }

    async fn events(
        &self,
        request: Request<Streaming<v1::SignedBatch>>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let host = self.host(&request)?;
        let begun = self.sessions.registry.begin_events(host.id());
        let call = begun.inspect_err(|refusal| self.metrics.call_refused(*refusal))?;
        let (queued, pending) = mpsc::channel(IN_FLIGHT);
        let (answer, answers) = mpsc::channel(ANSWERS);
        let (ingest, batches) = (self.ingest.clone(), request.into_inner());
        let id = host.id();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            ingest.read(host, batches, queued).await;
            drop(call);
        });
        tasks.spawn(self.ingest.clone().answer(id, pending, answer));
        Ok(Response::new(Answers::new(answers, tasks)))
    }

    async fn upload(
        &self,
        request: Request<Streaming<v1::Chunk>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let host = self.host(&request)?;
        let (answer, answers) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let collected = self.collected.clone();
        tasks.spawn(collected.receive(host.id(), request.into_inner(), answer));
        Ok(Response::new(Answers::new(answers, tasks)))
    }

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let host = self.host(&request)?;
        let contents = &self.sessions.contents;
        let count = |refusal: &Refusal| self.metrics.call_refused(*refusal);
        let fetching = contents.begin_fetch(host.id()).inspect_err(count)?;
        let wanted = request.into_inner();
        let parcel = contents.named(host.id(), &wanted.sha256).await;
        let parcel = parcel.inspect_err(count)?;
        let give = |parts| async move {
            let given = parcel.give(wanted.offset, parts).await;
            drop(fetching);
            given
        };
        Ok(Response::new(Answers::filled(host.closing(), 1, give)))
    }

    async fn renew_certificate(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::CertificateChain>, Status> {
        let host = self.host(&request)?;
        let csr = authority::Request::read(&request.get_ref().csr);
        let csr = csr.map_err(|_malformed| Refusal::BadRequest)?;
        let now = self.clock.now();
        let chain = self
            .authority
            .host(host.id(), &csr, now, self.certificate_lifetime);
        let chain = chain.map_err(|failed| {
            tracing::error!(error = %crate::failure::chain(&failed), "could not renew a certificate");
            Refusal::Internal
        })?;
        let certificates = chain
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect();
        Ok(Response::new(v1::CertificateChain { certificates }))
    }
}
