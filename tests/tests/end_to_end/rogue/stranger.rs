//! A host before it is enrolled: what it says to come in, honest or not as a test wants.

use std::future::Future;

use picket_event::token::EnrolmentToken;
use picket_proto::v1;
use picket_rpc::channel::connect;
use picket_rpc::tls::{client_config, unverified_client_config};
use picket_rpc::v1::enrollment_client::EnrollmentClient;
use picket_rpc::v1::trust_client::TrustClient;
use picket_seal::{Domain, SigningKey};
use picket_tests::rig::Rig;
use rcgen::{CertificateParams, KeyPair, SigningKey as _};
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::Channel;

use super::{new_key, runtime, within};

/// Somebody with keys who is not known yet.
pub(crate) struct Stranger {
    /// Its first event key.
    pub(crate) key: SigningKey,
    /// The key of the certificate that it wants.
    pub(crate) tls: KeyPair,
    pub(super) ca: Vec<u8>,
    pub(super) runtime: Runtime,
    channel: Channel,
}

impl Stranger {
    /// Connects without a certificate, as who has none yet.
    pub(crate) fn at(rig: &Rig) -> Self {
        let runtime = runtime();
        let address = rig.addresses.agents.as_str();
        let ca = within(&runtime, anchors(address)).ca_certificate;
        let config = client_config(&ca, None).expect("the CA can be used");
        let channel = within(&runtime, connect(address, config));
        Self {
            key: new_key(),
            tls: KeyPair::generate().expect("ring makes keys"),
            ca,
            runtime,
            channel: channel.expect("the collector listens"),
        }
    }

    /// The whole way in.
    pub(crate) fn enroll(&self, token: &str) -> Result<v1::Enrolled, Status> {
        let token = EnrolmentToken::parse(token).expect("picketctl prints a token");
        let challenge = self.begin(self.beginning(&token))?;
        self.finish(self.proofs(&challenge, &token))
    }

    /// What an honest host says first.
    pub(crate) fn beginning(&self, token: &EnrolmentToken) -> v1::BeginRequest {
        let csr = CertificateParams::default().serialize_request(&self.tls);
        v1::BeginRequest {
            token_id: token.id.clone(),
            csr: csr.expect("the request has its form").der().to_vec(),
            event_public_key: self.key.public_key().as_bytes().to_vec(),
            facts: Some(v1::HostFacts {
                hostname: "rogue".to_owned(),
                ..v1::HostFacts::default()
            }),
        }
    }

    /// What an honest host answers to the challenge.
    pub(crate) fn proofs(
        &self,
        challenge: &v1::Challenge,
        token: &EnrolmentToken,
    ) -> v1::FinishRequest {
        let message = Domain::EnrollTls.message(&challenge.nonce);
        let event_signature = self.key.sign(Domain::EnrollEvent, &challenge.nonce);
        v1::FinishRequest {
            challenge_id: challenge.challenge_id.clone(),
            token_secret: token.secret.clone().into_bytes(),
            tls_signature: self.tls.sign(&message).expect("the key signs"),
            event_signature: event_signature.as_bytes().to_vec(),
        }
    }

    /// Asks for a challenge.
    pub(crate) fn begin(&self, request: v1::BeginRequest) -> Result<v1::Challenge, Status> {
        self.call(|mut client| async move { client.begin(request).await })
    }

    /// Answers a challenge.
    pub(crate) fn finish(&self, request: v1::FinishRequest) -> Result<v1::Enrolled, Status> {
        self.call(|mut client| async move { client.finish(request).await })
    }

    /// Its connection.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Waits for an answer, but not for ever.
    pub(crate) fn block<T>(&self, answer: impl Future<Output = T>) -> T {
        within(&self.runtime, answer)
    }

    fn call<T, F>(&self, call: impl FnOnce(EnrollmentClient<Channel>) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let answer = call(EnrollmentClient::new(self.channel.clone()));
        Ok(within(&self.runtime, answer)?.into_inner())
    }
}

/// What anybody may ask a collector.
async fn anchors(address: &str) -> v1::AnchorsResponse {
    let config = unverified_client_config(None).expect("the settings are constant");
    let channel = connect(address, config).await;
    let mut client = TrustClient::new(channel.expect("the collector listens"));
    let answer = client.anchors(v1::AnchorsRequest {}).await;
    answer.expect("anybody may ask").into_inner()
}
