//! What operators see and do.

use std::collections::HashMap;
use std::time::Duration;

use picket_collector::database::{Database, DatabaseError, audit};
use picket_collector::init::{InitError, add_operator};
use picket_event::{Clock, HostId, SystemClock};
use picket_proto::v1;
use picket_proto::v1::evidence_item::Item;
use picket_rpc::channel::connect;
use picket_rpc::tls::client_config;
use picket_rpc::v1::operator_client::OperatorClient;
use picket_seal::{Payload, PublicKey, Signature, SuccessionChain, verify_header};
use prost::Message;

use crate::collector::{Collector, Operator, all};
use crate::host::{Host, exec};

#[tokio::test]
async fn evidence_verifies_without_believing_the_collector() {
    let collector = Collector::start().await;
    let (mut first, mut second) = (
        Host::enrolled(&collector).await,
        Host::enrolled(&collector).await,
    );
    for host in [&mut first, &mut second] {
        for _ in 0..3 {
            host.rotate();
            let batch = host.batch(vec![exec("/a"), exec("/b")]);
            host.send_one(&collector, batch).await;
        }
    }
    let items = collector
        .operators()
        .await
        .evidence(v1::EvidenceRequest::default())
        .await;
    let items = all(items.unwrap().into_inner()).await.unwrap();
    let mut keys: HashMap<Vec<u8>, SuccessionChain> = HashMap::new();
    let mut verified = 0;
    for item in items {
        match item.item.unwrap() {
            Item::Host(host) => {
                let key = PublicKey::from_slice(&host.first_event_public_key).unwrap();
                assert_eq!(
                    HostId::of_first_key(&key).as_bytes(),
                    host.host_id.as_slice()
                );
                keys.insert(host.host_id, SuccessionChain::new(key));
            }
            Item::Succession(succession) => {
                let body = v1::SuccessionBody::decode(succession.body.as_slice()).unwrap();
                let key = PublicKey::from_slice(&body.public_key).unwrap();
                let signature = Signature::from_slice(&succession.signature).unwrap();
                let chain = keys.get_mut(&body.host_id).unwrap();
                chain
                    .accept(body.epoch, key, &succession.body, &signature)
                    .unwrap();
            }
            Item::Batch(batch) => {
                let header = v1::BatchHeader::decode(batch.header.as_slice()).unwrap();
                let key = keys[&header.host_id].key(header.epoch).unwrap();
                let signature = Signature::from_slice(&batch.signature).unwrap();
                let hash = picket_seal::Digest::from_slice(&header.payload_hash).unwrap();
                let payload = Payload::Present(&batch.payload);
                verify_header(&key, &batch.header, &signature, payload, &hash).unwrap();
                verified += 1;
            }
            other => panic!("no checkpoint was signed yet: {other:?}"),
        }
    }
    assert_eq!(verified, 6);
    let one = v1::EvidenceRequest {
        host: first.id().to_string(),
        ..v1::EvidenceRequest::default()
    };
    let items = all(collector
        .operators()
        .await
        .evidence(one)
        .await
        .unwrap()
        .into_inner())
    .await;
    assert_eq!(items.unwrap().len(), 1 + 3 + 3);
}

#[tokio::test]
async fn a_tail_shows_what_comes_and_only_what_is_wanted() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let before = host.batch(vec![exec("/bin/before")]);
    host.send_one(&collector, before).await;
    let request = v1::SearchRequest {
        r#where: "process.exe ~ 'x'".to_owned(),
        ..v1::SearchRequest::default()
    };
    let mut tail = collector
        .operators()
        .await
        .tail_events(request)
        .await
        .unwrap()
        .into_inner();
    for round in 0..5 {
        let batch = host.batch(vec![exec("/bin/y"), exec(&format!("/bin/x{round}"))]);
        host.send_one(&collector, batch).await;
        let found = tail.message().await.unwrap().unwrap();
        let process = found.event.unwrap().process.unwrap();
        assert_eq!(process.exe, format!("/bin/x{round}").into_bytes());
    }
    let quiet = tokio::time::timeout(Duration::from_millis(200), tail.message()).await;
    assert!(quiet.is_err());
}

/// A reader who does not read must cost no memory and lose nothing.
#[tokio::test]
async fn a_slow_tail_misses_nothing() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let request = v1::SearchRequest::default();
    let mut tail = collector
        .operators()
        .await
        .tail_events(request)
        .await
        .unwrap()
        .into_inner();
    let batches: Vec<_> = (0..60)
        .map(|_| {
            host.batch(
                (0..100)
                    .map(|n| exec(&format!("/bin/{n}/{}", "x".repeat(200))))
                    .collect(),
            )
        })
        .collect();
    host.send(&collector, batches).await.unwrap();
    for expected in 0..6_000 {
        let found = tail.message().await.unwrap().unwrap();
        assert_eq!(found.event.unwrap().seq, expected);
    }
}

#[tokio::test]
async fn a_search_says_what_is_wrong_with_it() {
    let collector = Collector::start().await;
    let mut client = collector.operators().await;
    let ask = |r#where: &str, host: &str| v1::SearchRequest {
        r#where: r#where.to_owned(),
        host: host.to_owned(),
        ..v1::SearchRequest::default()
    };
    let refused = client
        .search_events(ask("proces.exe = 'x'", ""))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(
        refused.message().contains("near: `process.exe`"),
        "{refused}"
    );
    let refused = client.search_events(ask("", "nowhere")).await.unwrap_err();
    assert_eq!(refused.message(), "not_found: no host is called `nowhere`");
    let kinds = v1::SearchRequest {
        kinds: vec![4711],
        ..ask("", "")
    };
    let refused = client.search_events(kinds).await.unwrap_err();
    assert!(refused.message().contains("no kind 4711"), "{refused}");
}

#[tokio::test]
async fn hosts_are_found_by_id_prefix_and_name_and_two_are_never_taken_for_one() {
    let collector = Collector::start().await;
    let (first, _second) = (
        Host::enrolled(&collector).await,
        Host::enrolled(&collector).await,
    );
    let mut client = collector.operators().await;
    let mut found = async |host: String| {
        let request = v1::ListHostsRequest { host };
        client
            .list_hosts(request)
            .await
            .unwrap()
            .into_inner()
            .hosts
            .len()
    };
    assert_eq!(found(String::new()).await, 2);
    assert_eq!(found("web-1".to_owned()).await, 2);
    assert_eq!(found(first.id().to_string()).await, 1);
    assert_eq!(
        found(first.id().to_string().chars().take(16).collect()).await,
        1
    );
    assert_eq!(found("nobody".to_owned()).await, 0);
    let request = v1::RevokeHostRequest {
        host: "web-1".to_owned(),
    };
    let refused = collector
        .operators()
        .await
        .revoke_host(request)
        .await
        .unwrap_err();
    assert_eq!(refused.message(), "ambiguous: `web-1` names 2 hosts");
}

#[tokio::test]
async fn a_further_operator_gets_in_once_added_and_what_is_done_is_on_record() {
    let mut collector = Collector::start().await;
    let bob = Operator::new("bob", collector.folder.path());
    let data = collector.folder.path().join("data");
    add_operator(&data, &bob.folder.join("request.pem"), SystemClock.now()).unwrap();
    let again = add_operator(&data, &bob.folder.join("request.pem"), SystemClock.now());
    assert!(matches!(again, Err(InitError::CertificateExists(_))));
    let config = client_config(&collector.ca(), Some(bob.identity())).unwrap();
    let channel = connect(&collector.addresses().operators.to_string(), config)
        .await
        .unwrap();
    let listed = OperatorClient::new(channel)
        .list_tokens(v1::ListTokensRequest {})
        .await;
    assert!(listed.unwrap().into_inner().tokens.is_empty());
    let token = collector.token(1, 60).await;
    let request = v1::RevokeTokenRequest { id: token.id };
    collector
        .operators()
        .await
        .revoke_token(request)
        .await
        .unwrap();
    collector.stop().await;

    let database = Database::open(&data.join("collector.db")).unwrap();
    // alice and bob added, the first trust root, a token created and revoked.
    let verified = database.run(audit::verify).unwrap();
    assert_eq!(verified, Ok(5));
    let change = database.run(|t| -> Result<(), DatabaseError> {
        t.execute("UPDATE audit SET who = 'mallory' WHERE number = 2", [])?;
        Ok(())
    });
    assert!(change.is_err());
    let forced = database.run(|t| -> Result<_, DatabaseError> {
        t.execute_batch("DROP TRIGGER audit_is_never_changed")?;
        t.execute("UPDATE audit SET who = 'mallory' WHERE number = 2", [])?;
        audit::verify(t)
    });
    assert_eq!(forced.unwrap(), Err(2));
}
