//! An agent that the tests wrote: enrolled like any other, with keys of its own, honest or not as a test wants.

mod draft;
mod stranger;

use std::future::Future;
use std::time::Duration;

use picket_event::HostId;
use picket_proto::v1;
use picket_rpc::channel::{ConnectError, connect};
use picket_rpc::tls::{Identity, client_config};
use picket_rpc::v1::agent_client::AgentClient;
use picket_seal::SigningKey;
use picket_tests::rig::Rig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

pub(crate) use draft::{Draft, Run};
pub(crate) use stranger::Stranger;

/// A host that does what the test says.
pub(crate) struct Rogue {
    /// Its name.
    pub(crate) host: HostId,
    /// Its first event key.
    pub(crate) key: SigningKey,
    /// What it shows when it connects.
    pub(crate) papers: Papers,
    address: String,
    ca: Vec<u8>,
    runtime: Runtime,
}

/// A certificate chain and its key, DER.
#[derive(Clone)]
pub(crate) struct Papers {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key: Vec<u8>,
}

impl Papers {
    pub(crate) fn identity(&self) -> Identity {
        let chain = self.chain.iter().cloned().map(CertificateDer::from);
        Identity {
            chain: chain.collect(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone())),
        }
    }
}

impl Rogue {
    /// Enrols with a fresh token.
    pub(crate) fn enroll(rig: &Rig) -> Self {
        let stranger = Stranger::at(rig);
        let token = rig.token().expect("the operator may make tokens");
        let enrolled = stranger.enroll(&token).expect("a fresh token enrols");
        Self {
            host: HostId::from_slice(&enrolled.host_id).expect("a host id has 32 bytes"),
            papers: Papers {
                chain: enrolled.certificate_chain,
                key: stranger.tls.serialize_der(),
            },
            key: stranger.key,
            address: rig.addresses.agents.clone(),
            ca: stranger.ca,
            runtime: stranger.runtime,
        }
    }

    /// A channel to `address` that shows these papers, or none.
    pub(crate) fn channel(
        &self,
        address: &str,
        papers: Option<&Papers>,
    ) -> Result<Channel, ConnectError> {
        let identity = papers.map(Papers::identity);
        let config = client_config(&self.ca, identity).expect("the papers have their form");
        within(&self.runtime, connect(address, config))
    }

    /// A call that sends batches, over a connection of its own.
    pub(crate) fn call(&self) -> Call<'_> {
        let channel = self.channel(&self.address, Some(&self.papers));
        self.call_over(channel.expect("the collector listens"))
            .expect("an enrolled host may send")
    }

    /// A call that sends batches over this channel.
    pub(crate) fn call_over(&self, channel: Channel) -> Result<Call<'_>, Status> {
        let (batches, sent) = mpsc::channel(16);
        let mut client = AgentClient::new(channel);
        let answer = self.block(client.events(ReceiverStream::new(sent)))?;
        Ok(Call {
            rogue: self,
            batches,
            acks: answer.into_inner(),
        })
    }

    /// Waits for an answer, but not for ever.
    pub(crate) fn block<T>(&self, answer: impl Future<Output = T>) -> T {
        within(&self.runtime, answer)
    }
}

/// An open call that sends batches.
pub(crate) struct Call<'a> {
    rogue: &'a Rogue,
    batches: mpsc::Sender<v1::SignedBatch>,
    acks: Streaming<v1::EventAck>,
}

impl Call<'_> {
    /// Sends one batch and waits for what is said about it.
    pub(crate) fn send(&mut self, batch: v1::SignedBatch) -> Result<v1::EventAck, Status> {
        let (batches, acks) = (&self.batches, &mut self.acks);
        self.rogue.block(async {
            // A call that has ended says why in its next answer.
            drop(batches.send(batch).await);
            let ack = acks.message().await?;
            ack.ok_or_else(|| Status::unknown("the call ended without a word"))
        })
    }
}

/// Ed25519, as every host has.
pub(crate) fn new_key() -> SigningKey {
    SigningKey::generate().expect("the kernel gives random bytes")
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build();
    runtime.expect("a runtime can be made")
}

fn within<T>(runtime: &Runtime, answer: impl Future<Output = T>) -> T {
    runtime.block_on(async {
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
        answer.expect("the collector answers within 20 seconds")
    })
}
