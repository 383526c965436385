//! A new certificate after the last one has run out: a laptop that slept for a month is not locked out.
//!
//! The host proves itself by its newest event key. Only the path holds that, so it is asked for a signature.

use std::time::Duration;

use picket_proto::v1;
use picket_rpc::tls::client_config;
use picket_rpc::v1::enrollment_client::EnrollmentClient;
use picket_seal::{Domain, Signature};
use tonic::transport::Channel;

use super::certificate::{keep, own_key, prove, request};
use super::connection::connect;
use super::{LinkError, Uplink};
use crate::state::epoch::successions_after;
use crate::state::host::Certificate;

/// How long it may take, the path's signature included.
const RENEWAL_WAIT: Duration = Duration::from_mins(1);
/// How often to look whether the path has signed.
const LOOK: Duration = Duration::from_millis(50);
/// Successions that one request may bring: the collector reads no large messages of strangers.
const AT_ONCE: usize = 128;

/// Gets and keeps a new certificate under the same TLS key.
pub(super) async fn after_expiry(
    uplink: &Uplink,
    collector: &str,
    mut certificate: Certificate,
) -> Result<(), LinkError> {
    let config = client_config(&uplink.ca, None)?;
    let (channel, _) = connect(uplink, collector, config).await?;
    let late = |_elapsed| LinkError::Protocol("the certificate was not renewed in time");
    let renewed = renew(uplink, EnrollmentClient::new(channel), &certificate);
    certificate.chain = tokio::time::timeout(RENEWAL_WAIT, renewed)
        .await
        .map_err(late)??;
    keep(uplink, &certificate)
}

async fn renew(
    uplink: &Uplink,
    mut client: EnrollmentClient<Channel>,
    certificate: &Certificate,
) -> Result<Vec<Vec<u8>>, LinkError> {
    let key = own_key(uplink, certificate)?;
    let csr = request(&key).map_err(unusable)?;
    let challenge = begin(uplink, &mut client, csr).await?;
    let event_signature = event_proof(uplink, &challenge).await?;
    let message = Domain::EnrollTls.message(&challenge.nonce);
    let finish = v1::FinishRenewalRequest {
        challenge_id: challenge.challenge_id,
        tls_signature: prove(&key, &message).map_err(unusable)?,
        event_signature: event_signature.as_bytes().to_vec(),
    };
    let answer = client.finish_renewal(finish).await?;
    Ok(answer.into_inner().certificates)
}

/// Tells the collector of all newer event keys, some at a time, until it asks for proof of the newest.
async fn begin(
    uplink: &Uplink,
    client: &mut EnrollmentClient<Channel>,
    csr: Vec<u8>,
) -> Result<v1::RenewalChallenge, LinkError> {
    let mut known = 0;
    let mut successions = Vec::new();
    loop {
        let begin = v1::BeginRenewalRequest {
            host_id: uplink.health.status().host.as_bytes().to_vec(),
            csr: csr.clone(),
            successions,
        };
        let challenge = client.begin_renewal(begin).await?.into_inner();
        let newer = successions_after(&uplink.successions, challenge.known_epoch)?;
        if newer.is_empty() {
            return Ok(challenge);
        }
        if known > 0 && challenge.known_epoch <= known {
            return Err(LinkError::Protocol(
                "the collector does not take event keys",
            ));
        }
        known = challenge.known_epoch;
        successions = newer.into_iter().take(AT_ONCE).collect();
    }
}

/// The path signs at its next look.
async fn event_proof(
    uplink: &Uplink,
    challenge: &v1::RenewalChallenge,
) -> Result<Signature, LinkError> {
    uplink.store.proof.ask(challenge.nonce.clone());
    loop {
        tokio::time::sleep(LOOK).await;
        match uplink.store.proof.take() {
            Some((epoch, signature)) if epoch == challenge.known_epoch => return Ok(signature),
            Some(_) => return Err(LinkError::Protocol("the event key changed meanwhile")),
            None => {}
        }
    }
}

fn unusable(_error: rcgen::Error) -> LinkError {
    LinkError::Protocol("the TLS key cannot be used")
}
