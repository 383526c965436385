//! Who may not speak: without a certificate, with a foreign one, on the wrong port, or without TLS at all.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use picket_event::identity::Identity;
use picket_proto::v1;
use picket_rpc::v1::operator_client::OperatorClient;
use picket_tests::rig::{PATIENCE, Rig, portable_agent};
use picket_tests::wait;
use rcgen::{CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::rogue::{Papers, Rogue, Run};

#[test]
fn without_a_certificate_nothing_can_be_sent_or_asked() {
    let rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let channel = rogue.channel(&rig.addresses.agents, None).unwrap();
    let refused = rogue.call_over(channel).err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(
        refused.message().starts_with("no_certificate: "),
        "{refused}"
    );
    assert_eq!(calls_refused(&rig, "no_certificate"), 1);
    let asked = list_hosts(&rogue, &rig.addresses.operators, None);
    assert!(
        asked.is_err(),
        "the operators' port does not even speak to it"
    );
    assert_still_serves(&rig, &rogue);
}

#[test]
fn a_certificate_of_another_authority_does_not_get_past_the_handshake() {
    let rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let foreign = papers_of_another_authority(&rogue);
    let before = handshakes_failed(&rig);
    let channel = rogue.channel(&rig.addresses.agents, Some(&foreign));
    let sent = channel.map(|channel| rogue.call_over(channel).map(drop));
    assert!(!matches!(sent, Ok(Ok(()))), "it must not be served");
    wait_for_failed_handshake(&rig, before);
    assert_still_serves(&rig, &rogue);
}

#[test]
fn an_operators_certificate_cannot_send_events() {
    let rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let papers = papers_of_operator(&rig.operator());
    let channel = rogue.channel(&rig.addresses.agents, Some(&papers)).unwrap();
    let refused = rogue.call_over(channel).err().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().starts_with("wrong_role: "), "{refused}");
    assert_eq!(calls_refused(&rig, "wrong_role"), 1);
    assert_still_serves(&rig, &rogue);
}

#[test]
fn a_hosts_certificate_cannot_ask_what_operators_may_ask() {
    let rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let refused = list_hosts(&rogue, &rig.addresses.operators, Some(&rogue.papers)).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().starts_with("wrong_role: "), "{refused}");
    assert_eq!(calls_refused(&rig, "wrong_role"), 1);
    assert_still_serves(&rig, &rogue);
}

#[test]
fn a_revoked_host_is_cut_off_at_once_and_stays_out() {
    let rig = Rig::start().unwrap();
    let (rogue, neighbour) = (Rogue::enroll(&rig), Rogue::enroll(&rig));
    let run = Run::of(&rogue);
    let mut call = rogue.call();
    let before = run.next(&["before"]);
    call.send(before.seal(&rogue.key)).unwrap();
    rig.ctl_prints(&["host", "revoke", &rogue.host.to_string()])
        .unwrap();
    let ended = call.send(before.seal(&rogue.key)).unwrap_err();
    assert!(ended.message().starts_with("revoked: "), "{ended}");
    let channel = rogue
        .channel(&rig.addresses.agents, Some(&rogue.papers))
        .unwrap();
    let refused = rogue.call_over(channel).err().unwrap();
    assert!(refused.message().starts_with("revoked: "), "{refused}");
    assert_still_serves(&rig, &neighbour);
}

#[test]
fn an_impostor_in_the_collectors_place_gets_nothing_and_the_backlog_waits_for_the_real_one() {
    let (mut rig, mut impostor) = (Rig::start().unwrap(), Rig::start().unwrap());
    let state = rig.enroll("host").unwrap();
    rig.crash_collector();
    impostor.addresses.agents = rig.addresses.agents.clone();
    impostor.restart_collector().unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    let doubted = wait::until("the agent's doubt", PATIENCE, || {
        let link = rig.status(&state)?["link"].clone();
        let reason = link["reason"].as_str().unwrap_or_default();
        Ok(reason.contains("certificate").then_some(link))
    });
    assert_eq!(doubted.unwrap()["state"], "down");
    assert!(handshakes_failed(&impostor) > 0);
    assert!(impostor.hosts().unwrap().is_empty());
    impostor.crash_collector();
    rig.restart_collector().unwrap();
    // After such a doubt the agent waits long before it tries again; a new run tries at once.
    agent.stop(PATIENCE).unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    let id = rig.hosts().unwrap().remove(0);
    let back = wait::until("the backlog", PATIENCE, || {
        let last_event = rig.host(&id)?["last_event"].clone();
        Ok((!last_event.is_null()).then_some(()))
    });
    back.unwrap();
    agent.stop(PATIENCE).unwrap();
    let proven = rig.verify().unwrap();
    let streams: BTreeSet<_> = proven.iter().map(|line| line["stream"].as_str()).collect();
    assert_eq!(
        streams.len(),
        2,
        "the run in doubt is there, too: {proven:?}"
    );
}

#[test]
fn bytes_that_are_no_tls_end_their_own_connection_only() {
    let rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let before = handshakes_failed(&rig);
    for address in [&rig.addresses.agents, &rig.addresses.operators] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        // A reset is as good an end as any other.
        drop(stream.read_to_end(&mut answer));
        assert!(answer.len() < 64, "at most a TLS alert: {answer:?}");
    }
    wait_for_failed_handshake(&rig, before + 1);
    assert_still_serves(&rig, &rogue);
}

#[test]
fn a_message_that_is_no_batch_ends_its_call_only() {
    let rig = Rig::start().unwrap();
    let rogue = Rogue::enroll(&rig);
    let mut channel = tonic::client::Grpc::new(
        rogue
            .channel(&rig.addresses.agents, Some(&rogue.papers))
            .unwrap(),
    );
    let ended = rogue.block(async {
        channel.ready().await.unwrap();
        // Its first field is a number where a batch has bytes.
        let other = tokio_stream::once(v1::ListCommandsRequest { limit: 1 });
        let codec = ProstCodec::<v1::ListCommandsRequest, v1::EventAck>::default();
        let path = PathAndQuery::from_static("/picket.v1.Agent/Events");
        let answer = channel.streaming(Request::new(other), path, codec).await;
        answer.unwrap().into_inner().message().await.unwrap_err()
    });
    assert_ne!(ended.code(), Code::Ok);
    let name = "picket_ingest_refused_total{reason=\"bad_header\"}";
    assert_eq!(rig.figure(name).unwrap(), 1, "{ended}");
    assert_still_serves(&rig, &rogue);
}

fn list_hosts(rogue: &Rogue, address: &str, papers: Option<&Papers>) -> Result<usize, Status> {
    let channel = rogue.channel(address, papers);
    let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut client = OperatorClient::new(channel);
    let request = v1::ListHostsRequest::default();
    let answer = rogue.block(client.list_hosts(request))?;
    Ok(answer.into_inner().hosts.len())
}

/// A host with a good certificate is served as if nothing had been.
fn assert_still_serves(rig: &Rig, host: &Rogue) {
    let honest = Run::of(host).next(&["still-served"]);
    let ack = host.call().send(honest.seal(&host.key)).unwrap();
    assert_eq!((ack.refused.as_str(), ack.durable_seq), ("", 1));
    assert_eq!(rig.execs("still-served").unwrap().len(), 1);
}

fn calls_refused(rig: &Rig, reason: &str) -> u64 {
    let name = format!("picket_calls_refused_total{{reason=\"{reason}\"}}");
    rig.figure(&name).unwrap()
}

fn handshakes_failed(rig: &Rig) -> u64 {
    rig.figure("picket_handshakes_failed_total").unwrap()
}

fn wait_for_failed_handshake(rig: &Rig, before: u64) {
    let counted = wait::until("the count of a failed handshake", PATIENCE, || {
        let now = rig.figure("picket_handshakes_failed_total")?;
        Ok((now > before).then_some(()))
    });
    counted.unwrap();
}

/// Everything about it is right but the signature.
fn papers_of_another_authority(rogue: &Rogue) -> Papers {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let mut params = CertificateParams::default();
    let uri = Identity::Host(rogue.host).uri();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    Papers {
        chain: vec![certificate.der().to_vec(), ca_certificate.der().to_vec()],
        key: key.serialize_der(),
    }
}

fn papers_of_operator(folder: &Path) -> Papers {
    let chain = CertificateDer::pem_file_iter(folder.join("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("tls.key")).unwrap();
    Papers {
        chain: chain
            .map(|certificate| certificate.unwrap().to_vec())
            .collect(),
        key: key.secret_der().to_vec(),
    }
}

/// A certificate that ended long ago.
fn expired() -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 1, 2);
    params.self_signed(&key).unwrap().pem()
}

// A laptop that was asleep for more than a day was once locked out for good: a person had to enrol it anew.
#[test]
fn an_agent_whose_certificate_has_run_out_gets_another_by_itself() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    std::fs::write(state.join("chain.pem"), expired()).unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    wait::until("a connection under a new certificate", PATIENCE, || {
        let status = rig.status(&state)?;
        let ends = status["link"]["certificate_ends"].as_i64().unwrap_or(0);
        Ok((status["link"]["state"] == "connected" && ends > IN_2026).then_some(()))
    })
    .unwrap();
    agent.stop(PATIENCE).unwrap();
}

/// Long after the end of [`expired`], in seconds since 1970.
const IN_2026: i64 = 1_767_225_600;
