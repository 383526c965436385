//! A host that enrols, keeps its keys, signs batches and talks to the collector.

use picket_event::batch::Header;
use picket_event::token::EnrolmentToken;
use picket_event::{
    BootId, Class, Event, HostId, Kind, Process, ProcessUid, Source, StreamId, Text, UnixNanos,
};
use picket_proto::v1;
use picket_rpc::tls::Identity;
use picket_rpc::v1::agent_client::AgentClient;
use picket_rpc::v1::enrollment_client::EnrollmentClient;
use picket_seal::{Chain, Digest, Domain, SigningKey, header_hash, seal_header};
use picket_store::payload;
use prost::Message;
use rcgen::{CertificateParams, KeyPair, SigningKey as _};
use rustls::pki_types::CertificateDer;
use tokio_stream::iter;
use tonic::Status;
use tonic::transport::Channel;

use crate::collector::{Collector, all, identity};

pub(crate) const BOOT: BootId = BootId::new([9; 16]);

/// A host with one chain.
pub(crate) struct Host {
    pub(crate) tls: KeyPair,
    pub(crate) event: SigningKey,
    pub(crate) epoch: u64,
    pub(crate) first: SigningKey,
    pub(crate) chain_der: Vec<CertificateDer<'static>>,
    pub(crate) stream: StreamId,
    pub(crate) class: Class,
    pub(crate) chain: Chain,
    pub(crate) successions: Vec<v1::Succession>,
}

/// The keys of a host that is about to enrol.
pub(crate) struct Keys {
    pub(crate) tls: KeyPair,
    pub(crate) event: SigningKey,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            tls: KeyPair::generate().unwrap(),
            event: SigningKey::generate().unwrap(),
        }
    }

    pub(crate) fn begin(&self, token: &EnrolmentToken) -> v1::BeginRequest {
        v1::BeginRequest {
            token_id: token.id.clone(),
            csr: csr(&self.tls),
            event_public_key: self.event.public_key().as_bytes().to_vec(),
            facts: Some(v1::HostFacts {
                hostname: "web-1".to_owned(),
                ..v1::HostFacts::default()
            }),
        }
    }

    pub(crate) fn finish(&self, token: &EnrolmentToken, asked: v1::Challenge) -> v1::FinishRequest {
        let message = Domain::EnrollTls.message(&asked.nonce);
        v1::FinishRequest {
            challenge_id: asked.challenge_id,
            token_secret: token.secret.clone().into_bytes(),
            tls_signature: self.tls.sign(&message).unwrap(),
            event_signature: self
                .event
                .sign(Domain::EnrollEvent, &asked.nonce)
                .0
                .to_vec(),
        }
    }

    pub(crate) async fn enroll(
        &self,
        collector: &Collector,
        token: &EnrolmentToken,
    ) -> Result<v1::Enrolled, Status> {
        let mut client = EnrollmentClient::new(collector.agents(None).await);
        let asked = client.begin(self.begin(token)).await?.into_inner();
        Ok(client.finish(self.finish(token, asked)).await?.into_inner())
    }
}

pub(crate) fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default()
        .serialize_request(key)
        .unwrap()
        .der()
        .to_vec()
}

impl Host {
    /// Enrolled with a token of its own.
    pub(crate) async fn enrolled(collector: &Collector) -> Self {
        let token = collector.token(1, 60).await;
        let keys = Keys::new();
        let enrolled = keys.enroll(collector, &token).await.unwrap();
        let event = SigningKey::from_pkcs8(keys.event.to_pkcs8()).unwrap();
        let chain = enrolled
            .certificate_chain
            .into_iter()
            .map(CertificateDer::from);
        Self {
            tls: keys.tls,
            event,
            epoch: 0,
            first: keys.event,
            chain_der: chain.collect(),
            stream: StreamId::new(picket_seal::random().unwrap()),
            class: Class::Security,
            chain: Chain::START,
            successions: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> HostId {
        HostId::of_first_key(&self.first.public_key())
    }

    pub(crate) fn identity(&self) -> Identity {
        identity(self.chain_der.clone(), &self.tls)
    }

    pub(crate) async fn connect(&self, collector: &Collector) -> AgentClient<Channel> {
        let channel = collector.agents(Some(self.identity())).await;
        AgentClient::new(channel).max_encoding_message_size(64 << 20)
    }

    /// Sends these batches in one call and takes all answers.
    pub(crate) async fn send(
        &self,
        collector: &Collector,
        batches: Vec<v1::SignedBatch>,
    ) -> Result<Vec<v1::EventAck>, Status> {
        let mut client = self.connect(collector).await;
        all(client.events(iter(batches)).await?.into_inner()).await
    }

    /// The one answer to one batch.
    pub(crate) async fn send_one(
        &self,
        collector: &Collector,
        batch: v1::SignedBatch,
    ) -> v1::EventAck {
        let mut acks = self.send(collector, vec![batch]).await.unwrap();
        assert_eq!(acks.len(), 1);
        acks.remove(0)
    }

    /// The next key of its chain, vouched for; goes with the next batch.
    pub(crate) fn rotate(&mut self) {
        let next = SigningKey::generate().unwrap();
        self.epoch += 1;
        let body = v1::SuccessionBody {
            host_id: self.id().as_bytes().to_vec(),
            epoch: self.epoch,
            public_key: next.public_key().as_bytes().to_vec(),
            wall_unix_ns: 1,
        };
        let body = body.encode_to_vec();
        let signature = self.event.sign(Domain::Succession, &body).0.to_vec();
        self.successions.push(v1::Succession { body, signature });
        self.event = next;
    }

    pub(crate) fn batch(&mut self, events: Vec<Event>) -> v1::SignedBatch {
        self.batch_with(events, |_| {})
    }

    /// The next batch, after `change` has had its way with the header.
    pub(crate) fn batch_with(
        &mut self,
        mut events: Vec<Event>,
        change: impl FnOnce(&mut v1::BatchHeader),
    ) -> v1::SignedBatch {
        for (event, seq) in events.iter_mut().zip(self.chain.next_seq..) {
            event.seq = seq;
        }
        let count = events.len() as u64;
        let payload = payload::close(events.into_iter().map(Into::into).collect()).unwrap();
        self.sealed(payload, count, change)
    }

    pub(crate) fn sealed(
        &mut self,
        payload: Vec<u8>,
        count: u64,
        change: impl FnOnce(&mut v1::BatchHeader),
    ) -> v1::SignedBatch {
        let link = self.chain.next_link(count);
        let mut header = v1::BatchHeader::from(self.header(&payload, count));
        change(&mut header);
        let header = header.encode_to_vec();
        let moved = self.chain.advance(&link, header_hash(&header));
        assert_eq!(moved, Ok(picket_seal::Position::Next));
        let signature = seal_header(&self.event, &header).0.to_vec();
        v1::SignedBatch {
            header,
            payload,
            signature,
            successions: std::mem::take(&mut self.successions),
        }
    }

    fn header(&self, payload: &[u8], count: u64) -> Header {
        Header {
            host: self.id(),
            stream: self.stream,
            class: self.class,
            seq_first: self.chain.next_seq,
            count,
            prev_hash: self.chain.head,
            payload_hash: Digest::of(payload),
            other_heads: Vec::new(),
            gaps: Vec::new(),
            epoch: self.epoch,
            key_id: self.event.public_key().key_id(),
            boot: BOOT,
            wall: UnixNanos(1),
            mono_ns: 1,
            agent_version: "0".to_owned(),
            previous_stream: None,
            last_checkpoint: None,
            range_end: None,
        }
    }
}

/// An exec of this program, now.
pub(crate) fn exec(exe: &str) -> Event {
    let mut process = Process::new(ProcessUid::new([7; 16]), 4242);
    process.exe = Text::from(exe);
    Event::new(Kind::Exec, UnixNanos(1_000_000_000), Source::Ebpf).by(process)
}
