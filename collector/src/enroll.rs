//! How a host comes in: a one-time token, a certificate request, and proof that it holds both keys.
//!
//! # Invariants
//!
//! - A challenge is answered once, within a minute.
//! - A token's use is taken in the same transaction in which the host is added: neither without the other.
//! - A host id is new. Who enrols again gets another.
//!
//! # Queues
//!
//! - Open challenges: `MAX_CHALLENGES`, and only for tokens that can be used. Full: the newest is
//!   refused as `busy`.

mod renewal;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use picket_event::token::secret_hash;
use picket_event::{Clock, HostId, UnixNanos};
use picket_proto::v1;
use picket_rpc::v1::enrollment_server::Enrollment;
use picket_rpc::v1::trust_server::Trust;
use picket_seal::{Domain, PublicKey, Signature, equal_in_constant_time};
use prost::Message;
use rusqlite::Transaction;
use tonic::{Request, Response, Status};

use crate::authority::{self, Authority};
use crate::database::hosts::{self, HostRow};
use crate::database::tokens::{self, Token, TokenRefusal};
use crate::database::{Database, DatabaseError, audit};
use crate::ingest::internal;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::registry::{Registry, host_name};
use renewal::Renewals;

/// `picket.v1.Trust`: what anybody may ask.
#[derive(Clone, Debug)]
pub struct TrustService {
    /// The authority's certificate, DER.
    pub ca_certificate: Vec<u8>,
    /// Trust root version 1, exact bytes.
    pub trust_root: Vec<u8>,
}

#[tonic::async_trait]
impl Trust for TrustService {
    async fn anchors(
        &self,
        _request: Request<v1::AnchorsRequest>,
    ) -> Result<Response<v1::AnchorsResponse>, Status> {
        Ok(Response::new(v1::AnchorsResponse {
            ca_certificate: self.ca_certificate.clone(),
            trust_root: self.trust_root.clone(),
        }))
    }
}

/// `picket.v1.Enrollment`.
#[derive(Clone, Debug)]
pub struct EnrollmentService {
    database: Database,
    registry: Registry,
    authority: Arc<Authority>,
    certificate_lifetime: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    challenges: Arc<Mutex<HashMap<[u8; 16], Challenge>>>,
    renewals: Arc<Renewals>,
}

#[derive(Debug)]
struct Challenge {
    nonce: [u8; 32],
    ends: UnixNanos,
    token: String,
    csr: authority::Request,
    event_key: PublicKey,
    facts: v1::HostFacts,
}

impl EnrollmentService {
    /// Of this collector.
    pub fn new(
        database: Database,
        registry: Registry,
        authority: Arc<Authority>,
        certificate_lifetime: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            database,
            registry,
            authority,
            certificate_lifetime,
            clock: Arc::new(picket_event::SystemClock),
            metrics,
            challenges: Arc::default(),
            renewals: Arc::default(),
        }
    }

    /// With this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn challenge(&self, request: v1::BeginRequest) -> Result<v1::Challenge, Refusal> {
        let now = self.clock.now();
        let facts = request.facts.unwrap_or_default();
        if request.csr.len() > LARGEST_REQUEST || facts.encoded_len() > LARGEST_REQUEST {
            return Err(Refusal::TooLarge);
        }
        let csr = authority::Request::read(&request.csr).map_err(|_form| Refusal::BadRequest)?;
        let event_key = PublicKey::from_slice(&request.event_public_key);
        let event_key = event_key.map_err(|_refused| Refusal::BadEventKey)?;
        let host = HostId::of_first_key(&event_key);
        if self.registry.known(&host).is_some() {
            return Err(Refusal::HostExists);
        }
        self.token(&request.token_id, now).await?;
        let nonce: [u8; 32] = picket_seal::random().map_err(|_kernel| Refusal::Internal)?;
        let ends = now.plus(CHALLENGE_LIFETIME);
        let token = request.token_id;
        let id = self.keep(
            Challenge {
                nonce,
                ends,
                token,
                csr,
                event_key,
                facts,
            },
            now,
        )?;
        Ok(v1::Challenge {
            challenge_id: id.to_vec(),
            nonce: nonce.to_vec(),
        })
    }

    fn keep(&self, challenge: Challenge, now: UnixNanos) -> Result<[u8; 16], Refusal> {
        let id: [u8; 16] = picket_seal::random().map_err(|_kernel| Refusal::Internal)?;
        let mut open = self
            .challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, kept| kept.ends > now);
        if open.len() >= MAX_CHALLENGES {
            return Err(Refusal::Busy);
        }
        open.insert(id, challenge);
        Ok(id)
    }

    async fn token(&self, id: &str, now: UnixNanos) -> Result<Token, Refusal> {
        let id = id.to_owned();
        let token = self.database.call(move |t| tokens::find(t, &id)).await;
        let token = token
            .map_err(|failed| internal(&failed))?
            .ok_or(Refusal::UnknownToken)?;
        token.check(now).map_err(token_refusal)?;
        Ok(token)
    }

    async fn admit(&self, request: v1::FinishRequest) -> Result<v1::Enrolled, Refusal> {
        let now = self.clock.now();
        let challenge = self.take(&request.challenge_id, now)?;
        let token = self.token(&challenge.token, now).await?;
        let shown = secret_hash(&request.token_secret);
        if !equal_in_constant_time(shown.as_bytes(), token.secret_hash.as_bytes()) {
            return Err(Refusal::WrongSecret);
        }
        check_proofs(&challenge, &request)?;
        let host = HostId::of_first_key(&challenge.event_key);
        let certificate_chain = self.certify(host, &challenge.csr, now)?;
        self.add(row(host, challenge, &token, now), now).await?;
        Ok(v1::Enrolled {
            host_id: host.as_bytes().to_vec(),
            certificate_chain,
        })
    }

    /// The host's certificate and those above it, DER.
    fn certify(
        &self,
        host: HostId,
        csr: &authority::Request,
        now: UnixNanos,
    ) -> Result<Vec<Vec<u8>>, Refusal> {
        let chain = self
            .authority
            .host(host, csr, now, self.certificate_lifetime);
        let chain = chain.map_err(|failed| {
            tracing::error!(error = %crate::failure::chain(&failed), "could not sign a certificate");
            Refusal::Internal
        })?;
        Ok(chain
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect())
    }

    fn take(&self, id: &[u8], now: UnixNanos) -> Result<Challenge, Refusal> {
        let mut open = self
            .challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let challenge = <[u8; 16]>::try_from(id)
            .ok()
            .and_then(|id| open.remove(&id));
        challenge
            .filter(|challenge| challenge.ends > now)
            .ok_or(Refusal::UnknownChallenge)
    }

    async fn add(&self, host: HostRow, now: UnixNanos) -> Result<(), Refusal> {
        let row = host.clone();
        let added = self.database.call(move |t| -> Result<_, Undone> {
            consume(t, &row, now)?;
            Ok(())
        });
        match added.await {
            Ok(()) => {}
            Err(Undone::Refused(refusal)) => return Err(refusal),
            Err(Undone::Failed(failed)) => return Err(internal(&failed)),
        }
        tracing::info!(host = %host.id, name = %host.name, token = %host.token, "enrolled a host");
        self.registry.enrolled(host);
        Ok(())
    }
}

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn begin(
        &self,
        request: Request<v1::BeginRequest>,
    ) -> Result<Response<v1::Challenge>, Status> {
        let challenge = self.challenge(request.into_inner()).await;
        let challenge = challenge.inspect_err(|refusal| self.metrics.call_refused(*refusal))?;
        Ok(Response::new(challenge))
    }

    async fn finish(
        &self,
        request: Request<v1::FinishRequest>,
    ) -> Result<Response<v1::Enrolled>, Status> {
        let enrolled = self.admit(request.into_inner()).await;
        let enrolled = enrolled.inspect_err(|refusal| self.metrics.call_refused(*refusal))?;
        Ok(Response::new(enrolled))
    }

    async fn begin_renewal(
        &self,
        request: Request<v1::BeginRenewalRequest>,
    ) -> Result<Response<v1::RenewalChallenge>, Status> {
        let begun = self.renewal(request.into_inner()).await;
        let begun = begun.inspect_err(|refusal| self.metrics.call_refused(*refusal))?;
        Ok(Response::new(begun))
    }

    async fn finish_renewal(
        &self,
        request: Request<v1::FinishRenewalRequest>,
    ) -> Result<Response<v1::CertificateChain>, Status> {
        let renewed = self.conclude(request.into_inner()).await;
        let renewed = renewed.inspect_err(|refusal| self.metrics.call_refused(*refusal))?;
        Ok(Response::new(renewed))
    }
}

/// Why the transaction was undone.
#[derive(Debug)]
enum Undone {
    Refused(Refusal),
    Failed(DatabaseError),
}

impl From<DatabaseError> for Undone {
    fn from(failed: DatabaseError) -> Self {
        Self::Failed(failed)
    }
}

fn consume(t: &Transaction<'_>, host: &HostRow, now: UnixNanos) -> Result<(), Undone> {
    let token = tokens::find(t, &host.token)?.ok_or(Undone::Refused(Refusal::UnknownToken))?;
    token
        .check(now)
        .map_err(|refusal| Undone::Refused(token_refusal(refusal)))?;
    if !tokens::take_use(t, &host.token)? {
        return Err(Undone::Refused(Refusal::TokenUsed));
    }
    if !hosts::add(t, host)? {
        return Err(Undone::Refused(Refusal::HostExists));
    }
    let object = host.id.to_string();
    let detail = format!("{} with token {}", host.name, host.token);
    let (who, action) = ("collector", "host.enroll");
    Ok(audit::add(
        t,
        audit::Entry {
            time: now,
            who,
            action,
            object: &object,
            detail: &detail,
            proof: &[],
        },
    )?)
}

fn check_proofs(challenge: &Challenge, request: &v1::FinishRequest) -> Result<(), Refusal> {
    let message = Domain::EnrollTls.message(&challenge.nonce);
    if !challenge.csr.key_signed(&message, &request.tls_signature) {
        return Err(Refusal::BadProof);
    }
    let signature = Signature::from_slice(&request.event_signature);
    let signature = signature.map_err(|_length| Refusal::BadProof)?;
    let verified = challenge
        .event_key
        .verify(Domain::EnrollEvent, &challenge.nonce, &signature);
    verified.map_err(|_differs| Refusal::BadProof)
}

fn row(id: HostId, challenge: Challenge, token: &Token, now: UnixNanos) -> HostRow {
    HostRow {
        id,
        event_key: challenge.event_key,
        name: host_name(&challenge.facts.hostname),
        group: token.shown.group.clone(),
        token: token.shown.id.clone(),
        enrolled: now,
        revoked: false,
        facts: challenge.facts,
        heartbeat: None,
        last_seen: UnixNanos(0),
        host_epoch: 0,
    }
}

fn token_refusal(refusal: TokenRefusal) -> Refusal {
    match refusal {
        TokenRefusal::Revoked => Refusal::TokenRevoked,
        TokenRefusal::Expired => Refusal::TokenExpired,
        TokenRefusal::UsedUp => Refusal::TokenUsed,
    }
}

const CHALLENGE_LIFETIME: Duration = Duration::from_mins(1);

/// Challenges open at once.
const MAX_CHALLENGES: usize = 1024;

/// Largest certificate request, and largest set of host facts, in bytes.
const LARGEST_REQUEST: usize = 8 << 10;
