//! A certificate for a host whose last one has run out: it proves again who it is, without a token.
//!
//! # Invariants
//!
//! - Only a host that is enrolled, not revoked, and was heard of within [`LONGEST_AWAY`] gets one.
//! - The proof is by the event key of the newest epoch, which the keys before it vouch for: nobody else has it.
//! - A challenge is answered once, within its time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use picket_event::{HostId, UnixNanos};
use picket_proto::v1;
use picket_seal::{Domain, PublicKey, Signature};

use super::{CHALLENGE_LIFETIME, EnrollmentService, LARGEST_REQUEST, MAX_CHALLENGES};
use crate::authority;
use crate::database::audit;
use crate::database::keys::{self, Forks, KeyError};
use crate::ingest::{internal, key_refusal};
use crate::refusal::Refusal;

/// Renewals that were begun and not yet finished; at most one for each host.
#[derive(Debug, Default)]
pub(super) struct Renewals(Mutex<HashMap<HostId, Renewal>>);

#[derive(Debug)]
struct Renewal {
    challenge_id: [u8; 16],
    nonce: [u8; 32],
    ends: UnixNanos,
    csr: authority::Request,
    key: PublicKey,
}

impl Renewals {
    fn keep(&self, host: HostId, renewal: Renewal, now: UnixNanos) -> Result<(), Refusal> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, kept| kept.ends > now);
        if open.len() >= MAX_CHALLENGES && !open.contains_key(&host) {
            return Err(Refusal::Busy);
        }
        open.insert(host, renewal);
        Ok(())
    }

    fn take(&self, id: &[u8], now: UnixNanos) -> Result<(HostId, Renewal), Refusal> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let host = open
            .iter()
            .find(|(_, renewal)| renewal.challenge_id == id)
            .map(|(host, _)| *host);
        let taken = host.and_then(|host| Some((host, open.remove(&host)?)));
        taken
            .filter(|(_, renewal)| renewal.ends > now)
            .ok_or(Refusal::UnknownChallenge)
    }
}

impl EnrollmentService {
    /// Takes the keys that are new, and asks for proof that the host has the newest.
    pub(super) async fn renewal(
        &self,
        request: v1::BeginRenewalRequest,
    ) -> Result<v1::RenewalChallenge, Refusal> {
        let now = self.clock.now();
        let host = HostId::from_slice(&request.host_id).map_err(|_length| Refusal::UnknownPeer)?;
        self.may_renew(&host, now)?;
        if request.csr.len() > LARGEST_REQUEST {
            return Err(Refusal::TooLarge);
        }
        let csr = authority::Request::read(&request.csr).map_err(|_form| Refusal::BadRequest)?;
        let (known_epoch, key) = self.learn(host, request.successions).await?;
        let random = |_kernel| Refusal::Internal;
        let renewal = Renewal {
            challenge_id: picket_seal::random().map_err(random)?,
            nonce: picket_seal::random().map_err(random)?,
            ends: now.plus(CHALLENGE_LIFETIME),
            csr,
            key,
        };
        let challenge = v1::RenewalChallenge {
            challenge_id: renewal.challenge_id.to_vec(),
            nonce: renewal.nonce.to_vec(),
            known_epoch,
        };
        self.renewals.keep(host, renewal, now)?;
        Ok(challenge)
    }

    /// Signs a certificate for who has proved to be the host.
    pub(super) async fn conclude(
        &self,
        request: v1::FinishRenewalRequest,
    ) -> Result<v1::CertificateChain, Refusal> {
        let now = self.clock.now();
        let (host, renewal) = self.renewals.take(&request.challenge_id, now)?;
        self.may_renew(&host, now)?;
        let message = Domain::EnrollTls.message(&renewal.nonce);
        if !renewal.csr.key_signed(&message, &request.tls_signature) {
            return Err(Refusal::BadProof);
        }
        let signature = Signature::from_slice(&request.event_signature);
        let signature = signature.map_err(|_length| Refusal::BadProof)?;
        let proven = renewal
            .key
            .verify(Domain::Renewal, &renewal.nonce, &signature);
        proven.map_err(|_differs| Refusal::BadProof)?;
        let chain = self.certify(host, &renewal.csr, now)?;
        self.note(host, now).await?;
        tracing::info!(%host, "renewed a certificate that had run out");
        Ok(v1::CertificateChain {
            certificates: chain,
        })
    }

    fn may_renew(&self, host: &HostId, now: UnixNanos) -> Result<(), Refusal> {
        self.registry.admits(host)?;
        let known = self.registry.known(host).ok_or(Refusal::UnknownPeer)?;
        let heard = known.last_seen.max(known.enrolled);
        if heard.plus(LONGEST_AWAY) < now {
            return Err(Refusal::TooLongAway);
        }
        Ok(())
    }

    /// Successions prove themselves, so they are kept whoever brings them.
    async fn learn(
        &self,
        host: HostId,
        successions: Vec<v1::Succession>,
    ) -> Result<(u64, PublicKey), Refusal> {
        let learned = self.database.call(move |t| -> Result<_, KeyError> {
            keys::accept(t, &host, &successions, Forks::Refused)?;
            Ok(keys::newest(t, &host)?)
        });
        let (epoch, key) = learned.await.map_err(|refused| key_refusal(&refused))?;
        Ok((epoch, key.ok_or(Refusal::UnknownEpoch)?))
    }

    async fn note(&self, host: HostId, now: UnixNanos) -> Result<(), Refusal> {
        let noted = self.database.call(move |t| {
            let object = host.to_string();
            let entry = audit::Entry {
                time: now,
                who: "collector",
                action: "host.renew",
                object: &object,
                detail: "by event key, after the certificate had run out",
                proof: &[],
            };
            audit::add(t, entry)
        });
        noted.await.map_err(|failed| internal(&failed))
    }
}

/// Who was not heard of for so long enrols again.
const LONGEST_AWAY: Duration = Duration::from_hours(90 * 24);
