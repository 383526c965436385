//! `enroll`: makes this host known to a collector, once, and only to the one that was meant.
//!
//! ```text
//! ask for the anchors (unverified) -> compare the fingerprint -> token id, CSR (verified) -> challenge
//!   -> token secret, proofs -> certificate -> state files, host.json last
//! ```
//!
//! # Invariants
//!
//! - Nothing secret is sent before the anchors' fingerprint was found to be the one given by hand.
//! - An enrolment that fails leaves nothing behind.

use std::fs;
use std::path::Path;

use picket_event::HostId;
use picket_event::token::EnrolmentToken;
use picket_event::trust::TrustRoot;
use picket_proto::v1;
use picket_rpc::channel::{self, ConnectError};
use picket_rpc::tls;
use picket_rpc::v1::enrollment_client::EnrollmentClient;
use picket_rpc::v1::trust_client::TrustClient;
use picket_seal::{
    Digest, Domain, SigningKey, enrolment_fingerprint, format_fingerprint, parse_fingerprint,
};
use rcgen::KeyPair;
use rustls::ClientConfig;
use tonic::transport::Channel;
use tonic::{Code as RpcCode, Status};

use crate::cli::EnrollArgs;
use crate::config::Config;
use crate::failure::{Code, Failure, chain};
use crate::health;
use crate::state::StateDir;
use crate::state::epoch::Epochs;
use crate::state::host::{self, Certificate, Host};
use crate::uplink::certificate::{new_key, prove, request};
use crate::uplink::facts::facts;

mod seed;

/// The generation of a new state.
const FIRST_HOST_EPOCH: u64 = 1;

/// Enrols this host, as the command line or a file says.
pub(crate) fn enroll(arguments: &EnrollArgs) -> Result<(), Failure> {
    let proxy = Config::load(arguments.config.as_deref())?.proxy;
    let way = Way {
        proxy: proxy.as_deref(),
        root: &arguments.state,
    };
    if let Some(file) = &arguments.file {
        return seed::enroll(file, way);
    }
    let given = Given {
        collector: arguments.collector.clone().unwrap_or_default(),
        token: arguments.token.clone().unwrap_or_default(),
        fingerprint: arguments.fingerprint.clone(),
    };
    enroll_as(&given, way)
}

/// How the collector is reached, and where the state will be.
#[derive(Clone, Copy, Debug)]
struct Way<'a> {
    /// The proxy of the settings.
    proxy: Option<&'a str>,
    /// The state directory.
    root: &'a Path,
}

/// What somebody gave this host to enrol with.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    /// The collector's address for agents, `HOST:PORT`.
    collector: String,
    /// The token that an operator made.
    token: String,
    /// Of the anchors; the token carries it too.
    fingerprint: Option<String>,
}

impl Given {
    /// The token and the fingerprint, which must speak of the same anchors.
    fn checked(&self) -> Result<(EnrolmentToken, Digest), Failure> {
        let usage = |line: String| Failure::line(Code::Usage, format!("failed to enrol: {line}"));
        let token = EnrolmentToken::parse(&self.token).map_err(|error| usage(error.to_string()))?;
        let Some(fingerprint) = &self.fingerprint else {
            let carried = token.fingerprint;
            return Ok((token, carried));
        };
        let fingerprint = parse_fingerprint(fingerprint)
            .map_err(|error| usage(format!("--fingerprint: {}", chain(&error))))?;
        if token.fingerprint != fingerprint {
            return Err(Failure::line(
                Code::Unverified,
                "failed to enrol: the token was made for another fingerprint than --fingerprint",
            )
            .hint("take both from the same `picketctl token create`; nothing was sent"));
        }
        Ok((token, fingerprint))
    }
}

fn enroll_as(given: &Given, way: Way<'_>) -> Result<(), Failure> {
    let root = way.root;
    let (token, fingerprint) = given.checked()?;
    let (state, created) = prepare(root)?;
    let at = Place {
        collector: &given.collector,
        proxy: way.proxy,
    };
    let done = agree(at, &token, fingerprint).and_then(|agreed| keep(&state, &agreed));
    match done {
        Ok(id) => {
            health::say(&format!("enrolled as host {id} in {}", root.display()));
            Ok(())
        }
        Err(failure) => {
            undo(&state, created);
            Err(failure)
        }
    }
}

/// Where the collector is.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    collector: &'a str,
    proxy: Option<&'a str>,
}

/// What was agreed on, before it is on disk.
struct Agreed {
    host: Host,
    trust_root: Vec<u8>,
    event_key: SigningKey,
    certificate: Certificate,
}

/// The state directory, before anything is sent: a token is not used up for a disk that refuses.
fn prepare(root: &Path) -> Result<(StateDir, bool), Failure> {
    refuse_enrolled(root)?;
    let opened = StateDir::open_or_create(root)?;
    // Another enrolment may have ended while this one waited for the lock.
    refuse_enrolled(root)?;
    Ok(opened)
}

/// Keys without an enrolment are refused too: they may be all that is left of one.
fn refuse_enrolled(root: &Path) -> Result<(), Failure> {
    let remains = ["keys", "successions"]
        .iter()
        .any(|name| root.join(name).exists());
    let (found, hint) = if host::is_enrolled(root) {
        (
            "an enrolment already",
            "picket-agent status, or name another directory with --state",
        )
    } else if remains {
        let hint = "restore the missing files, or name another directory with --state";
        ("keys of an enrolment whose other files are missing", hint)
    } else {
        return Ok(());
    };
    let line = format!("failed to enrol: `{}` holds {found}", root.display());
    Err(Failure::line(Code::Refused, line).hint(hint))
}

fn agree(at: Place<'_>, token: &EnrolmentToken, fingerprint: Digest) -> Result<Agreed, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::new(Code::Failed, &error))?;
    runtime.block_on(talk(at, token, fingerprint))
}

async fn talk(
    at: Place<'_>,
    token: &EnrolmentToken,
    fingerprint: Digest,
) -> Result<Agreed, Failure> {
    let anchors = ask_anchors(at).await?;
    let got = enrolment_fingerprint(&anchors.ca_certificate, &anchors.trust_root);
    if got != fingerprint {
        let got = format_fingerprint(&got);
        let line =
            format!("failed to enrol: the collector's fingerprint is {got}, not the given one");
        return Err(
            Failure::line(Code::Unverified, line).hint("ask the operator; the token was not sent")
        );
    }
    let trust = TrustRoot::decode(&anchors.trust_root).map_err(|error| unverified(&error))?;
    let config = tls::client_config(&anchors.ca_certificate, None).map_err(|e| unverified(&e))?;
    let channel = connect(at, config).await?;
    let keys = Keys::new()?;
    let enrolled = hand_shake(channel, token, &keys).await?;
    let id = HostId::of_first_key(&keys.event.public_key());
    if enrolled.host_id != id.as_bytes() || enrolled.certificate_chain.is_empty() {
        return Err(Failure::line(
            Code::Unverified,
            "failed to enrol: the collector enrolled somebody else",
        ));
    }
    Ok(Agreed {
        host: Host {
            id,
            first_key: keys.event.public_key(),
            collector: at.collector.to_owned(),
            epoch: FIRST_HOST_EPOCH,
            ca: anchors.ca_certificate,
            trust,
        },
        trust_root: anchors.trust_root,
        event_key: keys.event,
        certificate: Certificate {
            key: keys.tls.serialize_der(),
            chain: enrolled.certificate_chain,
        },
    })
}

/// The keys of a host that is about to be.
struct Keys {
    event: SigningKey,
    tls: KeyPair,
}

impl Keys {
    fn new() -> Result<Self, Failure> {
        let event = SigningKey::generate().map_err(|error| Failure::new(Code::Failed, &error))?;
        Ok(Self {
            event,
            tls: new_key().map_err(tls_key)?,
        })
    }
}

async fn ask_anchors(at: Place<'_>) -> Result<v1::AnchorsResponse, Failure> {
    let config = tls::unverified_client_config(None).map_err(|error| unverified(&error))?;
    let channel = connect(at, config).await?;
    let answer = TrustClient::new(channel)
        .anchors(v1::AnchorsRequest {})
        .await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| refused(&status))
}

async fn connect(at: Place<'_>, config: ClientConfig) -> Result<Channel, Failure> {
    let connected = channel::connect_through(at.proxy, at.collector, config).await;
    connected.map_err(|error| {
        let line = format!("failed to enrol: {}", chain(&error));
        match error {
            ConnectError::Address(_) => Failure::line(Code::Usage, line),
            ConnectError::Unreachable { .. } | ConnectError::Channel { .. } => {
                Failure::line(Code::Unreachable, line)
                    .hint("is the collector running, and is this its port for agents?")
            }
            ConnectError::Tls { .. } => Failure::line(Code::Unverified, line).hint(
                "is this the collector's port for agents, and does its certificate name this host?",
            ),
        }
    })
}

async fn hand_shake(
    channel: Channel,
    token: &EnrolmentToken,
    keys: &Keys,
) -> Result<v1::Enrolled, Failure> {
    let mut client = EnrollmentClient::new(channel);
    let begin = v1::BeginRequest {
        token_id: token.id.clone(),
        csr: request(&keys.tls).map_err(tls_key)?,
        event_public_key: keys.event.public_key().as_bytes().to_vec(),
        facts: Some(facts()),
    };
    let challenge = client
        .begin(begin)
        .await
        .map_err(|status| refused(&status))?
        .into_inner();
    let tls_proof = prove(&keys.tls, &Domain::EnrollTls.message(&challenge.nonce));
    let event_proof = keys.event.sign(Domain::EnrollEvent, &challenge.nonce);
    let finish = v1::FinishRequest {
        challenge_id: challenge.challenge_id,
        token_secret: token.secret.as_bytes().to_vec(),
        tls_signature: tls_proof.map_err(tls_key)?,
        event_signature: event_proof.as_bytes().to_vec(),
    };
    let enrolled = client
        .finish(finish)
        .await
        .map_err(|status| refused(&status))?;
    Ok(enrolled.into_inner())
}

/// What the collector said, by whose fault it is.
fn refused(status: &Status) -> Failure {
    let line = format!("failed to enrol: {}", status.message());
    match status.code() {
        RpcCode::Unavailable | RpcCode::DeadlineExceeded | RpcCode::Cancelled => {
            Failure::line(Code::Unreachable, line).hint("try again")
        }
        RpcCode::PermissionDenied | RpcCode::Unauthenticated | RpcCode::FailedPrecondition => {
            Failure::line(Code::Refused, line)
                .hint("ask an operator for a new token: picketctl token create")
        }
        RpcCode::AlreadyExists => Failure::line(Code::Refused, line),
        _ => Failure::line(Code::Failed, line),
    }
}

fn unverified(error: &dyn std::error::Error) -> Failure {
    Failure::line(
        Code::Unverified,
        format!("failed to enrol: {}", chain(error)),
    )
}

fn tls_key(error: rcgen::Error) -> Failure {
    Failure::line(
        Code::Failed,
        format!("failed to use the new TLS key: {error}"),
    )
}

fn keep(state: &StateDir, agreed: &Agreed) -> Result<HostId, Failure> {
    Epochs::create(state, &agreed.event_key)?;
    host::write(state, &agreed.host, &agreed.trust_root, &agreed.certificate)?;
    Ok(agreed.host.id)
}

/// Removes what this enrolment wrote, and the directory if it made it.
fn undo(state: &StateDir, created: bool) {
    let files = host::FILES.iter().chain(&["successions", "lock"]);
    for name in files {
        // What was never written cannot be removed.
        drop(fs::remove_file(state.path(name)));
    }
    drop(fs::remove_dir_all(state.path("keys")));
    if created && fs::remove_dir(state.root()).is_err() {
        let root = state.root().display().to_string();
        tracing::warn!(root, "directory not removed");
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn keys_that_are_left_of_an_enrolment_are_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refuse_enrolled(dir.path()).is_ok());
        fs::create_dir(dir.path().join("keys")).unwrap();
        let failure = refuse_enrolled(dir.path()).unwrap_err();
        assert_eq!(failure.code, Code::Refused);
        assert!(
            failure.line.contains("other files are missing"),
            "{}",
            failure.line
        );
    }

    pub(super) fn token() -> String {
        let token = EnrolmentToken::generate(Digest::of(b"anchors"));
        token.unwrap().to_string()
    }

    fn arguments(fingerprint: Digest, state: PathBuf) -> EnrollArgs {
        EnrollArgs {
            collector: Some("127.0.0.1:1".to_owned()),
            token: Some(token()),
            fingerprint: Some(format_fingerprint(&fingerprint)),
            file: None,
            config: None,
            state,
        }
    }

    #[test]
    fn a_token_of_other_anchors_is_refused_before_anything_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let failure = enroll(&arguments(Digest::of(b"others"), state.clone())).unwrap_err();
        assert_eq!(failure.code, Code::Unverified);
        assert!(!state.exists());
    }

    #[test]
    fn a_collector_that_does_not_answer_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let failure = enroll(&arguments(Digest::of(b"anchors"), state.clone())).unwrap_err();
        assert_eq!(failure.code, Code::Unreachable);
        assert!(!failure.hint.is_empty());
        assert!(!state.exists());
    }

    #[test]
    fn a_wrong_form_is_a_usage_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut wrong = arguments(Digest::of(b"anchors"), dir.path().join("state"));
        wrong.token = Some("pt1-x".to_owned());
        assert_eq!(enroll(&wrong).unwrap_err().code, Code::Usage);
    }

    #[test]
    fn a_token_alone_says_whom_to_believe() {
        let given = Given {
            collector: "127.0.0.1:1".to_owned(),
            token: token(),
            fingerprint: None,
        };
        assert_eq!(given.checked().unwrap().1, Digest::of(b"anchors"));
    }
}
