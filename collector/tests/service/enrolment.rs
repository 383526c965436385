//! How hosts come in, and who does not.

use std::time::Duration;

use picket_event::token::EnrolmentToken;
use picket_event::{Clock, HostId, SystemClock};
use picket_proto::v1;
use picket_rpc::v1::agent_client::AgentClient;
use picket_rpc::v1::enrollment_client::EnrollmentClient;
use picket_rpc::v1::trust_client::TrustClient;
use picket_seal::{Domain, SigningKey, enrolment_fingerprint};
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use tonic::Status;

use crate::collector::{Collector, identity};
use crate::host::{Host, Keys, csr, exec};

fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let status = answer.unwrap_err();
    status
        .message()
        .split(':')
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn the_anchors_are_those_of_the_fingerprint() {
    let collector = Collector::start().await;
    let mut client = TrustClient::new(collector.agents(None).await);
    let anchors = client
        .anchors(v1::AnchorsRequest {})
        .await
        .unwrap()
        .into_inner();
    let fingerprint = enrolment_fingerprint(&anchors.ca_certificate, &anchors.trust_root);
    assert_eq!(fingerprint, collector.fingerprint);
}

#[tokio::test]
async fn a_host_with_a_token_gets_the_id_of_its_first_event_key() {
    let collector = Collector::start().await;
    let token = collector.token(1, 60).await;
    for (alg, uses) in [(&rcgen::PKCS_ED25519, token)] {
        let keys = Keys {
            tls: KeyPair::generate_for(alg).unwrap(),
            ..Keys::new()
        };
        let enrolled = keys.enroll(&collector, &uses).await.unwrap();
        let id = HostId::of_first_key(&keys.event.public_key());
        assert_eq!(enrolled.host_id, id.as_bytes());
        assert_eq!(enrolled.certificate_chain.len(), 2);
    }
    let hosts = collector
        .operators()
        .await
        .list_hosts(v1::ListHostsRequest::default())
        .await;
    let hosts = hosts.unwrap().into_inner().hosts;
    assert_eq!(
        (hosts[0].name.as_str(), hosts[0].group.as_str()),
        ("web-1", "test")
    );
    assert!(!hosts[0].connected);
}

#[tokio::test]
async fn a_token_is_good_for_its_uses_and_its_time_only() {
    let collector = Collector::start().await;
    let token = collector.token(2, 60).await;
    for _ in 0..2 {
        Keys::new().enroll(&collector, &token).await.unwrap();
    }
    assert_eq!(
        reason(Keys::new().enroll(&collector, &token).await),
        "token_used"
    );

    let short = collector.token(1, 60).await;
    let unknown = EnrolmentToken::generate(collector.fingerprint).unwrap();
    assert_eq!(
        reason(Keys::new().enroll(&collector, &unknown).await),
        "unknown_token"
    );
    let revoked = collector.token(1, 60).await;
    let request = v1::RevokeTokenRequest {
        id: revoked.id.clone(),
    };
    collector
        .operators()
        .await
        .revoke_token(request)
        .await
        .unwrap();
    assert_eq!(
        reason(Keys::new().enroll(&collector, &revoked).await),
        "token_revoked"
    );
    collector.clock.by(Duration::from_secs(61));
    assert_eq!(
        reason(Keys::new().enroll(&collector, &short).await),
        "token_expired"
    );
    assert_eq!(collector.calls_refused("token_expired").await, 1);
}

#[tokio::test]
async fn of_two_hosts_that_race_for_one_use_one_gets_it() {
    let collector = Collector::start().await;
    let token = collector.token(1, 60).await;
    let mut client = EnrollmentClient::new(collector.agents(None).await);
    let (first, second) = (Keys::new(), Keys::new());
    let asked_first = client
        .begin(first.begin(&token))
        .await
        .unwrap()
        .into_inner();
    let asked_second = client
        .begin(second.begin(&token))
        .await
        .unwrap()
        .into_inner();
    client
        .finish(first.finish(&token, asked_first))
        .await
        .unwrap();
    assert_eq!(
        reason(client.finish(second.finish(&token, asked_second)).await),
        "token_used"
    );
}

#[tokio::test]
async fn a_wrong_secret_or_proof_is_refused_and_ends_the_challenge() {
    let collector = Collector::start().await;
    let token = collector.token(1, 600).await;
    let keys = Keys::new();
    let mut client = EnrollmentClient::new(collector.agents(None).await);
    let mut asked = async || client.begin(keys.begin(&token)).await.unwrap().into_inner();

    let wrong = EnrolmentToken {
        secret: "0".repeat(32),
        ..token.clone()
    };
    let tries = [
        ("wrong_secret", keys.finish(&wrong, asked().await)),
        (
            "bad_proof",
            Keys {
                tls: KeyPair::generate().unwrap(),
                event: copy(&keys.event),
            }
            .finish(&token, asked().await),
        ),
        ("bad_proof", {
            let challenge = asked().await;
            let stranger = SigningKey::generate().unwrap();
            let event_signature = stranger
                .sign(Domain::EnrollEvent, &challenge.nonce)
                .0
                .to_vec();
            v1::FinishRequest {
                event_signature,
                ..keys.finish(&token, challenge)
            }
        }),
        ("bad_proof", {
            let challenge = asked().await;
            let other_domain = keys
                .event
                .sign(Domain::Command, &challenge.nonce)
                .0
                .to_vec();
            v1::FinishRequest {
                event_signature: other_domain,
                ..keys.finish(&token, challenge)
            }
        }),
    ];
    let late = asked().await;
    let mut client = EnrollmentClient::new(collector.agents(None).await);
    for (expected, request) in tries {
        assert_eq!(reason(client.finish(request.clone()).await), expected);
        assert_eq!(reason(client.finish(request).await), "unknown_challenge");
    }
    collector.clock.by(Duration::from_secs(61));
    assert_eq!(
        reason(client.finish(keys.finish(&token, late)).await),
        "unknown_challenge"
    );
    // The token was never used up by all this.
    keys.enroll(&collector, &token).await.unwrap();
    assert_eq!(reason(keys.enroll(&collector, &token).await), "host_exists");
}

fn copy(key: &SigningKey) -> SigningKey {
    SigningKey::from_pkcs8(key.to_pkcs8()).unwrap()
}

#[tokio::test]
async fn malformed_requests_are_refused_before_any_token_is_looked_at() {
    let collector = Collector::start().await;
    let unknown = EnrolmentToken::generate(collector.fingerprint).unwrap();
    let mut client = EnrollmentClient::new(collector.agents(None).await);
    let keys = Keys::new();
    let good = keys.begin(&unknown);
    let mut flipped = good.csr.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let p384 = csr(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap());
    for (expected, request) in [
        (
            "bad_csr",
            v1::BeginRequest {
                csr: flipped,
                ..good.clone()
            },
        ),
        (
            "bad_csr",
            v1::BeginRequest {
                csr: b"csr".to_vec(),
                ..good.clone()
            },
        ),
        (
            "bad_csr",
            v1::BeginRequest {
                csr: p384,
                ..good.clone()
            },
        ),
        (
            "too_large",
            v1::BeginRequest {
                csr: vec![0; 9_000],
                ..good.clone()
            },
        ),
        (
            "bad_event_key",
            v1::BeginRequest {
                event_public_key: vec![0; 32],
                ..good.clone()
            },
        ),
        (
            "bad_event_key",
            v1::BeginRequest {
                event_public_key: vec![1; 31],
                ..good.clone()
            },
        ),
        ("unknown_token", good),
    ] {
        assert_eq!(reason(client.begin(request).await), expected);
    }
}

#[tokio::test]
async fn a_certificate_says_what_the_collector_decided_not_what_was_asked() {
    let collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let tls = KeyPair::generate().unwrap();
    let victim = picket_event::identity::Identity::Host(HostId::new([1; 32])).uri();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![rcgen::SanType::URI(victim.try_into().unwrap())];
    params.is_ca = rcgen::IsCa::NoCa;
    let csr = params.serialize_request(&tls).unwrap().der().to_vec();
    let mut client = host.connect(&collector).await;
    let renewed = client
        .renew_certificate(v1::RenewRequest { csr })
        .await
        .unwrap()
        .into_inner();
    let chain: Vec<_> = renewed
        .certificates
        .into_iter()
        .map(CertificateDer::from)
        .collect();
    let (_, seen) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    let names = &seen
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names;
    let own = picket_event::identity::Identity::Host(host.id()).uri();
    assert_eq!(format!("{names:?}"), format!("[URI({own:?})]"));
    assert!(!seen.is_ca());
    let good_for = seen.validity().not_after.timestamp() - SystemClock.now().0 / 1_000_000_000;
    assert!((86_000..=86_400).contains(&good_for), "{good_for}");

    let mut renewed = AgentClient::new(collector.agents(Some(identity(chain, &tls))).await);
    let mut host = host;
    let batch = host.batch(vec![exec("/a")]);
    let acks = renewed
        .events(tokio_stream::iter([batch]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(crate::collector::all(acks).await.unwrap()[0].durable_seq, 1);
}
