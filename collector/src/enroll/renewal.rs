//! A certificate for a host whose last one has run out: it proves again who it is, without a token.
//!
//! # Invariants
//!
//! - Only a host that is enrolled, not revoked, and was heard of within [`LONGEST_AWAY`] gets one.
//! - The proof is by the event key of the newest epoch, which the keys before it vouch for: nobody else has it.
//! - A challenge is answered once, within its time, by the run of the collector that made it.
//! - Nothing is kept of a renewal that was begun: strangers cannot fill or empty anything.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use picket_event::{HostId, UnixNanos};
use picket_proto::v1;
use picket_seal::{Domain, PublicKey, Signature};
use ring::hmac;

use super::{CHALLENGE_LIFETIME, EnrollmentService, LARGEST_REQUEST};
use crate::authority;
use crate::database::audit;
use crate::database::keys::{self, Forks, KeyError};
use crate::ingest::{internal, key_refusal};
use crate::refusal::Refusal;

/// Makes challenges and knows them again. What was asked stands in the challenge itself, so whoever begins renewals in a host's name
/// takes nothing from those that the host has begun.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    /// Made when it is needed first, and never kept.
    secret: OnceLock<hmac::Key>,
    answered: Mutex<Answered>,
}

/// Nonces of challenges that were answered and could be answered again, the oldest first.
#[derive(Debug, Default)]
struct Answered {
    order: VecDeque<(UnixNanos, Nonce)>,
    all: HashSet<Nonce>,
}

type Nonce = [u8; 32];

/// What a host asked for, until `ends`.
#[derive(Debug)]
struct Renewal {
    host: HostId,
    nonce: Nonce,
    ends: UnixNanos,
    /// The event key that must sign.
    key: PublicKey,
    /// DER.
    csr: Vec<u8>,
}

impl Renewals {
    fn secret(&self) -> Result<&hmac::Key, Refusal> {
        if let Some(made) = self.secret.get() {
            return Ok(made);
        }
        let secret: [u8; 32] = picket_seal::random().map_err(|_kernel| Refusal::Internal)?;
        let new = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        // Two at once: both use the one that was first.
        Ok(self.secret.get_or_init(|| new))
    }

    /// The id of a challenge.
    fn seal(&self, renewal: &Renewal) -> Result<Vec<u8>, Refusal> {
        let mut id = renewal.written();
        let tag = hmac::sign(self.secret()?, &id);
        id.extend_from_slice(tag.as_ref());
        Ok(id)
    }

    /// What the challenge of this id asked for. It counts as answered, whatever the answer is worth.
    fn take(&self, id: &[u8], now: UnixNanos) -> Result<Renewal, Refusal> {
        let (written, tag) = id
            .split_last_chunk::<TAG>()
            .ok_or(Refusal::UnknownChallenge)?;
        let ours = hmac::verify(self.secret()?, written, tag);
        ours.map_err(|_differs| Refusal::UnknownChallenge)?;
        let renewal = Renewal::read(written).filter(|renewal| renewal.ends > now);
        let renewal = renewal.ok_or(Refusal::UnknownChallenge)?;
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.is_new(&renewal, now) {
            Ok(renewal)
        } else {
            Err(Refusal::UnknownChallenge)
        }
    }
}

impl Answered {
    fn is_new(&mut self, renewal: &Renewal, now: UnixNanos) -> bool {
        let is_over = |order: &VecDeque<(UnixNanos, Nonce)>| {
            order.len() >= MOST_ANSWERED || order.front().is_some_and(|(ends, _)| *ends <= now)
        };
        while is_over(&self.order) {
            if let Some((_, nonce)) = self.order.pop_front() {
                self.all.remove(&nonce);
            }
        }
        let is_new = self.all.insert(renewal.nonce);
        if is_new {
            self.order.push_back((renewal.ends, renewal.nonce));
        }
        is_new
    }
}

impl Renewal {
    /// `host | nonce | ends, i64 le | event key | csr`
    fn written(&self) -> Vec<u8> {
        let mut bytes = self.host.as_bytes().to_vec();
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.ends.0.to_le_bytes());
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(&self.csr);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (host, rest) = bytes.split_first_chunk::<32>()?;
        let (nonce, rest) = rest.split_first_chunk::<32>()?;
        let (ends, rest) = rest.split_first_chunk::<8>()?;
        let (key, csr) = rest.split_first_chunk::<32>()?;
        Some(Self {
            host: HostId::new(*host),
            nonce: *nonce,
            ends: UnixNanos(i64::from_le_bytes(*ends)),
            key: PublicKey::from_slice(key).ok()?,
            csr: csr.to_vec(),
        })
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
        authority::Request::read(&request.csr).map_err(|_form| Refusal::BadRequest)?;
        let (known_epoch, key) = self.learn(host, request.successions).await?;
        let renewal = Renewal {
            host,
            nonce: picket_seal::random().map_err(|_kernel| Refusal::Internal)?,
            ends: now.plus(CHALLENGE_LIFETIME),
            key,
            csr: request.csr,
        };
        Ok(v1::RenewalChallenge {
            challenge_id: self.renewals.seal(&renewal)?,
            nonce: renewal.nonce.to_vec(),
            known_epoch,
        })
    }

    /// Signs a certificate for who has proved to be the host.
    pub(super) async fn conclude(
        &self,
        request: v1::FinishRenewalRequest,
    ) -> Result<v1::CertificateChain, Refusal> {
        let now = self.clock.now();
        let renewal = self.renewals.take(&request.challenge_id, now)?;
        let host = renewal.host;
        self.may_renew(&host, now)?;
        let csr = authority::Request::read(&renewal.csr).map_err(|_form| Refusal::BadRequest)?;
        let message = Domain::EnrollTls.message(&renewal.nonce);
        if !csr.key_signed(&message, &request.tls_signature) {
            return Err(Refusal::BadProof);
        }
        let signature = Signature::from_slice(&request.event_signature);
        let signature = signature.map_err(|_length| Refusal::BadProof)?;
        let proven = renewal
            .key
            .verify(Domain::Renewal, &renewal.nonce, &signature);
        proven.map_err(|_differs| Refusal::BadProof)?;
        let chain = self.certify(host, &csr, now)?;
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

/// Bytes of an HMAC-SHA256.
const TAG: usize = 32;

/// Answers of one minute that are remembered. Behind them a host could answer a challenge twice, and would get the same twice.
const MOST_ANSWERED: usize = 16_384;

/// Who was not heard of for so long enrols again.
const LONGEST_AWAY: Duration = Duration::from_hours(90 * 24);
