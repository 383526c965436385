//! Who speaks is what the certificate says: no certificate, another's, an operator's, a revoked one.

use std::time::{Duration, Instant};

use picket_proto::v1;
use picket_rpc::channel::connect;
use picket_rpc::tls::client_config;
use picket_rpc::v1::agent_client::AgentClient;
use picket_rpc::v1::operator_client::OperatorClient;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::AsyncReadExt;
use tokio_stream::iter;
use tonic::{Code, Status};

use crate::collector::{Collector, all, identity};
use crate::host::{Host, exec};

async fn events(client: &mut AgentClient<tonic::transport::Channel>) -> Result<(), Status> {
    all(client.events(iter(Vec::new())).await?.into_inner())
        .await
        .map(drop)
}

#[tokio::test]
async fn without_a_certificate_no_agent_method_is_to_be_had() {
    let collector = Collector::start().await;
    let mut client = AgentClient::new(collector.agents(None).await);
    let refused = [
        events(&mut client).await.unwrap_err(),
        client.session(iter(Vec::new())).await.unwrap_err(),
        client
            .renew_certificate(v1::RenewRequest { csr: Vec::new() })
            .await
            .unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(status.message().starts_with("no_certificate: "), "{status}");
    }
    assert_eq!(collector.calls_refused("no_certificate").await, 3);
}

#[tokio::test]
async fn a_certificate_of_another_authority_does_not_get_in() {
    let collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(ca, ca_key);
    let mut params = CertificateParams::default();
    let uri = picket_event::identity::Identity::Host(host.id()).uri();
    params.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into().unwrap())];
    let forged = params.signed_by(&key, &issuer).unwrap();
    let identity = identity(vec![forged.der().clone()], &key);
    let config = client_config(&collector.ca(), Some(identity)).unwrap();
    // Under TLS 1.3 the refusal comes after the client thinks it is connected.
    let address = collector.addresses().agents.to_string();
    let refused = match connect(&address, config).await {
        Ok(channel) => events(&mut AgentClient::new(channel)).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    assert_eq!(collector.figure("picket_handshakes_failed_total").await, 1);
}

#[tokio::test]
async fn an_operators_certificate_is_no_hosts_and_the_other_way_round() {
    let collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let mut as_agent =
        AgentClient::new(collector.agents(Some(collector.operator.identity())).await);
    let status = events(&mut as_agent).await.unwrap_err();
    assert!(status.message().starts_with("wrong_role: "), "{status}");

    let config = client_config(&collector.ca(), Some(host.identity())).unwrap();
    let address = collector.addresses().operators.to_string();
    let mut as_operator = OperatorClient::new(connect(&address, config).await.unwrap());
    let status = as_operator
        .list_hosts(v1::ListHostsRequest::default())
        .await
        .unwrap_err();
    assert!(status.message().starts_with("wrong_role: "), "{status}");
}

#[tokio::test]
async fn the_operators_port_asks_for_a_certificate_in_the_handshake() {
    let collector = Collector::start().await;
    let config = client_config(&collector.ca(), None).unwrap();
    let address = collector.addresses().operators.to_string();
    let refused = match connect(&address, config).await {
        Ok(channel) => OperatorClient::new(channel)
            .list_hosts(v1::ListHostsRequest::default())
            .await
            .is_err(),
        Err(_) => true,
    };
    assert!(refused);
    assert_eq!(collector.figure("picket_handshakes_failed_total").await, 1);
}

#[tokio::test]
async fn the_servers_certificate_is_no_clients() {
    let collector = Collector::start().await;
    let data = collector.folder.path().join("data");
    let chain = std::fs::read(data.join("server.pem")).unwrap();
    let chain = picket_collector::authority::certificates(&chain, "server.pem").unwrap();
    let key =
        KeyPair::from_pem(&std::fs::read_to_string(data.join("server.key")).unwrap()).unwrap();
    let config = client_config(&collector.ca(), Some(identity(chain, &key))).unwrap();
    let address = collector.addresses().agents.to_string();
    let refused = match connect(&address, config).await {
        Ok(channel) => events(&mut AgentClient::new(channel)).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn revoking_a_host_ends_its_streams_within_seconds_and_keeps_it_out() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let mut client = host.connect(&collector).await;
    let (sender, batches) = tokio::sync::mpsc::channel(4);
    sender.send(host.batch(vec![exec("/a")])).await.unwrap();
    let batches = tokio_stream::wrappers::ReceiverStream::new(batches);
    let mut acks = client.events(batches).await.unwrap().into_inner();
    assert_eq!(acks.message().await.unwrap().unwrap().durable_seq, 1);

    let begun = Instant::now();
    let request = v1::RevokeHostRequest {
        host: host.id().to_string(),
    };
    let shown = collector
        .operators()
        .await
        .revoke_host(request)
        .await
        .unwrap()
        .into_inner();
    assert!(shown.revoked);
    let ended = acks.message().await.unwrap_err();
    assert!(ended.message().starts_with("revoked: "), "{ended}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(events(&mut client).await.is_err());
    let again = events(&mut host.connect(&collector).await)
        .await
        .unwrap_err();
    assert!(again.message().starts_with("revoked: "), "{again}");
    drop(sender);
}

#[tokio::test]
async fn who_never_shakes_hands_holds_up_nobody() {
    let collector = Collector::start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(
            tokio::net::TcpStream::connect(collector.addresses().agents)
                .await
                .unwrap(),
        );
    }
    let mut host = Host::enrolled(&collector).await;
    let batch = host.batch(vec![exec("/a")]);
    assert_eq!(host.send_one(&collector, batch).await.durable_seq, 1);
    // And is shown out after the two seconds that a handshake may take here.
    let mut buffer = [0; 1];
    let ended = tokio::time::timeout(Duration::from_secs(4), silent[0].read(&mut buffer)).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))));
}

/// A stolen key or a fault must not fill the collector with connections of one host.
#[tokio::test]
async fn of_many_connections_of_one_host_the_latest_stay() {
    let collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(host.connect(&collector).await);
        events(clients.last_mut().unwrap()).await.unwrap();
    }
    let mut alive = Vec::new();
    for client in &mut clients {
        alive.push(events(client).await.is_ok());
    }
    assert_eq!(alive, [false, false, false, false, true, true, true, true]);
}
