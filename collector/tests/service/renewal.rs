//! Certificates that have run out: who gets a new one by proof, and who does not.

use std::time::Duration;

use picket_event::Clock;
use picket_proto::v1;
use picket_rpc::v1::enrollment_client::EnrollmentClient;
use picket_seal::{Domain, SigningKey};
use rcgen::{KeyPair, SigningKey as _};
use tonic::Status;
use tonic::transport::Channel;

use crate::collector::Collector;
use crate::host::{Host, csr};

const DAY: Duration = Duration::from_hours(24);

/// One try to renew.
struct Renewing<'a> {
    client: EnrollmentClient<Channel>,
    host: &'a Host,
}

impl<'a> Renewing<'a> {
    async fn of(host: &'a Host, collector: &Collector) -> Self {
        let client = EnrollmentClient::new(collector.agents(None).await);
        Self { client, host }
    }

    async fn begin(&mut self) -> Result<v1::RenewalChallenge, Status> {
        let begin = v1::BeginRenewalRequest {
            host_id: self.host.id().as_bytes().to_vec(),
            csr: csr(&self.host.tls),
            successions: self.host.successions.clone(),
        };
        Ok(self.client.begin_renewal(begin).await?.into_inner())
    }

    async fn finish(
        &mut self,
        challenge: &v1::RenewalChallenge,
        event: &SigningKey,
        tls: &KeyPair,
    ) -> Result<v1::CertificateChain, Status> {
        let nonce = &challenge.nonce;
        let finish = v1::FinishRenewalRequest {
            challenge_id: challenge.challenge_id.clone(),
            tls_signature: tls.sign(&Domain::EnrollTls.message(nonce)).unwrap(),
            event_signature: event.sign(Domain::Renewal, nonce).0.to_vec(),
        };
        Ok(self.client.finish_renewal(finish).await?.into_inner())
    }
}

fn reason(status: &Status) -> &str {
    status.message().split(':').next().unwrap_or_default()
}

#[tokio::test]
async fn a_host_that_was_away_for_a_month_proves_itself_and_goes_on() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    collector.clock.by(DAY * 30);
    for _ in 0..3 {
        host.rotate();
    }
    let mut renewing = Renewing::of(&host, &collector).await;
    let challenge = renewing.begin().await.unwrap();
    assert_eq!(challenge.known_epoch, 3);
    let chain = renewing
        .finish(&challenge, &host.event, &host.tls)
        .await
        .unwrap();
    assert_eq!(chain.certificates.len(), 2);
    let (_, own) = x509_parser::parse_x509_certificate(&chain.certificates[0]).unwrap();
    let now = collector.clock.now().0 / 1_000_000_000;
    let validity = own.validity();
    assert!(validity.not_before.timestamp() <= now && now < validity.not_after.timestamp());
    let names = own.subject_alternative_name().unwrap().unwrap();
    let uri = picket_event::identity::Identity::Host(host.id()).uri();
    let names = format!("{:?}", names.value.general_names);
    assert_eq!(names, format!("[URI({uri:?})]"));
}

#[tokio::test]
async fn who_does_not_hold_both_keys_gets_nothing_and_a_challenge_is_answered_once() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let old = SigningKey::from_pkcs8(host.event.to_pkcs8()).unwrap();
    host.rotate();
    let mut renewing = Renewing::of(&host, &collector).await;
    // A key of an epoch that has ended is not enough: it may have been stolen before it was erased.
    let challenge = renewing.begin().await.unwrap();
    let refused = renewing
        .finish(&challenge, &old, &host.tls)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "bad_proof");
    let again = renewing
        .finish(&challenge, &host.event, &host.tls)
        .await
        .unwrap_err();
    assert_eq!(reason(&again), "unknown_challenge");
    let challenge = renewing.begin().await.unwrap();
    let other = KeyPair::generate().unwrap();
    let refused = renewing
        .finish(&challenge, &host.event, &other)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "bad_proof");
    let late = renewing.begin().await.unwrap();
    collector.clock.by(Duration::from_mins(2));
    let refused = renewing
        .finish(&late, &host.event, &host.tls)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "unknown_challenge");
}

// Whoever knew a host's id could begin renewals in its name, and each took the place of the one that the host had begun.
#[tokio::test]
async fn renewals_that_strangers_begin_do_not_disturb_the_hosts_own() {
    let collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let mut renewing = Renewing::of(&host, &collector).await;
    let challenge = renewing.begin().await.unwrap();
    let stranger = KeyPair::generate().unwrap();
    for _ in 0..50 {
        let begin = v1::BeginRenewalRequest {
            host_id: host.id().as_bytes().to_vec(),
            csr: csr(&stranger),
            successions: Vec::new(),
        };
        let theirs = renewing.client.begin_renewal(begin).await.unwrap();
        let theirs = theirs.into_inner();
        let own = SigningKey::generate().unwrap();
        let refused = renewing.finish(&theirs, &own, &stranger).await;
        assert_eq!(reason(&refused.unwrap_err()), "bad_proof");
    }
    // Nor can a challenge be altered: who it is for, until when, which key must sign, for which request.
    for at in (0..challenge.challenge_id.len()).step_by(7) {
        let mut altered = challenge.clone();
        altered.challenge_id[at] ^= 1;
        let refused = renewing.finish(&altered, &host.event, &host.tls).await;
        assert_eq!(reason(&refused.unwrap_err()), "unknown_challenge");
    }
    let chain = renewing.finish(&challenge, &host.event, &host.tls).await;
    assert_eq!(chain.unwrap().certificates.len(), 2);
}

#[tokio::test]
async fn the_revoked_the_unknown_and_the_long_gone_enrol_again() {
    let collector = Collector::start().await;
    let (gone, revoked) = (
        Host::enrolled(&collector).await,
        Host::enrolled(&collector).await,
    );
    let request = v1::RevokeHostRequest {
        host: revoked.id().to_string(),
    };
    collector
        .operators()
        .await
        .revoke_host(request)
        .await
        .unwrap();
    let refused = Renewing::of(&revoked, &collector)
        .await
        .begin()
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "revoked");
    let elsewhere = Collector::start().await;
    let unknown = Host::enrolled(&elsewhere).await;
    let refused = Renewing::of(&unknown, &collector)
        .await
        .begin()
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "unknown_peer");
    collector.clock.by(DAY * 89);
    Renewing::of(&gone, &collector).await.begin().await.unwrap();
    collector.clock.by(DAY * 91);
    let refused = Renewing::of(&gone, &collector)
        .await
        .begin()
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "too_long_away");
}
