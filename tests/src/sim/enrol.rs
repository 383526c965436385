//! Enrolment of many hosts through the collector's own service.
//!
//! Each host has a TLS key, a certificate request, an event key, a challenge and both proofs of its own, as an
//! agent has. What differs: one token serves them all, and connections without a certificate are shared by some
//! hundreds of hosts each, which a real host would never do.

use std::sync::Arc;

use picket_event::HostId;
use picket_event::token::EnrolmentToken;
use picket_event::trust::TrustRoot;
use picket_proto::v1;
use picket_rpc::channel::connect;
use picket_rpc::tls::{client_config, unverified_client_config};
use picket_rpc::v1::enrollment_client::EnrollmentClient;
use picket_rpc::v1::trust_client::TrustClient;
use picket_seal::{Domain, SigningKey, enrolment_fingerprint};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::host::{Enrolled, Papers, facts};
use super::{Trouble, place_of};
use crate::failure::Failure;

/// Where to enrol, and by what right.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) address: String,
    pub(super) token: EnrolmentToken,
    pub(super) ca: Arc<[u8]>,
}

/// The authority's certificate and the operators, if their fingerprint is the token's.
pub(super) async fn anchors(
    address: &str,
    token: &EnrolmentToken,
) -> Result<(Arc<[u8]>, Arc<TrustRoot>), Trouble> {
    let config = unverified_client_config(None)?;
    let channel = connect(address, config).await?;
    let mut client = TrustClient::new(channel);
    let anchors = client.anchors(v1::AnchorsRequest {}).await?.into_inner();
    let got = enrolment_fingerprint(&anchors.ca_certificate, &anchors.trust_root);
    if got != token.fingerprint {
        return Err(Trouble::Protocol("the collector is not that of the token"));
    }
    let trust = TrustRoot::decode(&anchors.trust_root)
        .map_err(|_malformed| Trouble::Protocol("the trust root cannot be read"))?;
    Ok((anchors.ca_certificate.into(), Arc::new(trust)))
}

/// Enrols `count` hosts. One that is refused fails them all.
pub(super) async fn many(gate: Gate, count: usize) -> Result<Vec<Enrolled>, Failure> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS.min(count) {
        let gate = gate.clone();
        workers.spawn(async move {
            let mine: Vec<usize> = (worker..count).step_by(WORKERS).collect();
            let mut enrolled = Vec::with_capacity(mine.len());
            for some in mine.chunks(SHARED) {
                let config = client_config(&gate.ca, None)?;
                let mut client = EnrollmentClient::new(connect(&gate.address, config).await?);
                for number in some {
                    enrolled.push(one(&mut client, &gate.token, *number).await?);
                }
            }
            Ok::<_, Trouble>(enrolled)
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(done) = workers.join_next().await {
        let done =
            done.map_err(|_panic| place_of("the enrolment of simulated hosts", "it broke"))?;
        all.extend(
            done.map_err(|trouble| place_of("the enrolment of simulated hosts", &trouble.chain()))?,
        );
    }
    Ok(all)
}

async fn one(
    client: &mut EnrollmentClient<Channel>,
    token: &EnrolmentToken,
    number: usize,
) -> Result<Enrolled, Trouble> {
    let name = name(number);
    let event_key =
        SigningKey::generate().map_err(|_kernel| Trouble::Protocol("no random bytes"))?;
    let tls = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let csr = CertificateParams::default().serialize_request(&tls)?;
    let begin = v1::BeginRequest {
        token_id: token.id.clone(),
        csr: csr.der().to_vec(),
        event_public_key: event_key.public_key().as_bytes().to_vec(),
        facts: Some(facts(&name)),
    };
    let challenge = client.begin(begin).await?.into_inner();
    let event_proof = event_key.sign(Domain::EnrollEvent, &challenge.nonce);
    let finish = v1::FinishRequest {
        tls_signature: tls.sign(&Domain::EnrollTls.message(&challenge.nonce))?,
        challenge_id: challenge.challenge_id,
        token_secret: token.secret.clone().into_bytes(),
        event_signature: event_proof.as_bytes().to_vec(),
    };
    let enrolled = client.finish(finish).await?.into_inner();
    let id = HostId::of_first_key(&event_key.public_key());
    if enrolled.host_id != id.as_bytes() || enrolled.certificate_chain.is_empty() {
        return Err(Trouble::Protocol("the collector enrolled somebody else"));
    }
    Ok(Enrolled {
        id,
        name,
        first_key: event_key,
        papers: Papers {
            chain: enrolled.certificate_chain,
            key: tls.serialize_der(),
        },
    })
}

/// What the simulated host of this number is called.
pub(super) fn name(number: usize) -> String {
    format!("sim-{number:05}")
}

/// Enrolments at once.
const WORKERS: usize = 16;

/// Hosts that enrol over one connection; the collector ends such a connection after a minute.
const SHARED: usize = 200;
