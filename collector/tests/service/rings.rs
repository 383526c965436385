//! Commands in rings: nobody is given one before its ring began, by a signature of who asked.

use std::time::Duration;

use picket_event::command::Command;
use picket_event::statement::{Statement, StatementKind};
use picket_proto::v1;
use picket_proto::v1::collector_frame::Frame as ToAgent;
use picket_seal::SigningKey;
use tonic::Status;

use crate::collector::Collector;
use crate::commands::{cancellation, command, signed, statement, submit};
use crate::host::Host;
use crate::session::{Session, open};

/// Three hosts with open sessions, and a command for one and then two of them.
async fn ringed(collector: &Collector) -> (Command, Vec<Session>) {
    let (mut ids, mut sessions) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let host = Host::enrolled(collector).await;
        ids.push(host.id());
        sessions.push(open(&host, collector).await);
    }
    let mut ringed = command(ids[0]);
    ringed.hosts = ids;
    ringed.rings = vec![1, 3];
    (ringed, sessions)
}

fn begins(command: &Command, ring: u32, key: &SigningKey) -> v1::StartRingRequest {
    let said = Statement {
        ring,
        ..statement(command, StatementKind::Start)
    };
    v1::StartRingRequest {
        command_id: command.id.as_bytes().to_vec(),
        statement: Some(said.sign(key)),
    }
}

async fn start(
    collector: &Collector,
    request: v1::StartRingRequest,
) -> Result<v1::CommandStatus, Status> {
    let answer = collector.operators().await.start_ring(request).await;
    Ok(answer?.into_inner())
}

async fn refused(collector: &Collector, request: v1::StartRingRequest, name: &str) {
    let refused = start(collector, request).await.unwrap_err();
    assert!(refused.message().starts_with(name), "{name}: {refused}");
}

async fn is_quiet(session: &mut Session) -> bool {
    let next = tokio::time::timeout(Duration::from_millis(300), session.from.message());
    next.await.is_err()
}

async fn started(session: &mut Session) -> (v1::SignedCommand, v1::SignedStatement) {
    let frame = session.from.message().await.unwrap().unwrap().frame;
    let Some(ToAgent::Started(started)) = frame else {
        panic!("{frame:?}")
    };
    (started.command.unwrap(), started.start.unwrap())
}

fn states(status: &v1::CommandStatus) -> Vec<&str> {
    let mut states: Vec<&str> = status
        .hosts
        .iter()
        .map(|host| host.state.as_str())
        .collect();
    states.sort_unstable();
    states
}

#[tokio::test]
async fn each_ring_is_handed_out_once_it_began_and_not_before() {
    let collector = Collector::start().await;
    let (command, mut sessions) = ringed(&collector).await;
    let alice = &collector.operator.signing;
    let sent = signed(&command, alice);
    let taken = submit(&collector, sent.clone()).await.unwrap();
    assert_eq!(
        (taken.state.as_str(), states(&taken)),
        ("pending", vec!["held"; 3])
    );
    for session in &mut sessions {
        assert!(is_quiet(session).await);
    }
    refused(&collector, begins(&command, 2, alice), "not_next").await;
    let first = begins(&command, 1, alice);
    let status = start(&collector, first.clone()).await.unwrap();
    assert_eq!(status.ring, 1);
    let (got, word) = started(&mut sessions[0]).await;
    assert_eq!((got, Some(word)), (sent.clone(), first.statement.clone()));
    for session in &mut sessions[1..] {
        assert!(is_quiet(session).await);
    }
    refused(&collector, first, "not_next").await;
    start(&collector, begins(&command, 2, alice)).await.unwrap();
    for session in &mut sessions[1..] {
        assert_eq!(started(session).await.0, sent);
    }
    refused(&collector, begins(&command, 3, alice), "not_next").await;
    let (entries, _chain) = collector.audit().await;
    let began = entries
        .iter()
        .filter(|entry| entry.action == "command.start");
    let began: Vec<&str> = began.map(|entry| entry.detail.as_str()).collect();
    assert_eq!(began, ["ring 1 of 2", "ring 2 of 2"]);
}

#[tokio::test]
async fn only_who_asked_begins_a_ring_and_a_cancelled_command_goes_no_further() {
    let collector = Collector::start_with(&["bob"]).await;
    let (command, mut sessions) = ringed(&collector).await;
    let alice = &collector.operator.signing;
    submit(&collector, signed(&command, alice)).await.unwrap();
    let bob = &collector.others[0].signing;
    refused(&collector, begins(&command, 1, bob), "").await;
    let stranger = SigningKey::generate().unwrap();
    refused(&collector, begins(&command, 1, &stranger), "").await;
    let mut other = begins(&command, 1, alice);
    other.statement = cancellation(&command, alice).statement;
    refused(&collector, other, "bad_statement").await;
    start(&collector, begins(&command, 1, alice)).await.unwrap();
    started(&mut sessions[0]).await;
    let mut client = collector.operators().await;
    client
        .cancel_command(cancellation(&command, alice))
        .await
        .unwrap();
    refused(&collector, begins(&command, 2, alice), "not_next").await;
    for session in &mut sessions[1..] {
        assert!(is_quiet(session).await);
    }
}
