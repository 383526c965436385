//! Two that speak for one host: taken in apart, marked, until an operator decides.

use picket_event::StreamId;
use picket_proto::v1;
use picket_proto::v1::agent_frame::Frame as FromAgent;
use picket_proto::v1::collector_frame::Frame as ToAgent;
use picket_seal::{Chain, SigningKey};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::collector::{Collector, all};
use crate::commands::{command, signed};
use crate::host::{Host, exec};

/// As if the host's state directory had been copied: the same keys, and a run of its own.
fn clone_of(host: &Host) -> Host {
    let again = |key: &SigningKey| SigningKey::from_pkcs8(key.to_pkcs8()).unwrap();
    Host {
        tls: rcgen::KeyPair::try_from(host.tls.serialize_der().as_slice()).unwrap(),
        event: again(&host.event),
        epoch: host.epoch,
        first: again(&host.first),
        chain_der: host.chain_der.clone(),
        stream: StreamId::new(picket_seal::random().unwrap()),
        class: host.class,
        chain: Chain::START,
        successions: host.successions.clone(),
    }
}

/// A host and its copy, each with a batch that the collector took.
async fn two(collector: &Collector) -> (Host, Host) {
    let mut host = Host::enrolled(collector).await;
    let mut copy = clone_of(&host);
    host.rotate();
    copy.rotate();
    let batch = host.batch(vec![exec("/own")]);
    assert_eq!(host.send_one(collector, batch).await.refused, "");
    let batch = copy.batch(vec![exec("/copy"), exec("/copy")]);
    let ack = copy.send_one(collector, batch).await;
    assert_eq!((ack.refused.as_str(), ack.durable_seq), ("", 2));
    (host, copy)
}

fn name(host: &Host) -> Vec<u8> {
    host.event.public_key().key_id().as_bytes().to_vec()
}

async fn shown(collector: &Collector, host: &Host) -> v1::Host {
    let request = v1::ListHostsRequest {
        host: host.id().to_string(),
    };
    let listed = collector.operators().await.list_hosts(request).await;
    listed.unwrap().into_inner().hosts.remove(0)
}

async fn found(collector: &Collector, doubt: v1::Doubt) -> Vec<v1::FoundEvent> {
    let request = v1::SearchRequest {
        doubt: doubt.into(),
        ..v1::SearchRequest::default()
    };
    let found = collector.operators().await.search_events(request).await;
    all(found.unwrap().into_inner()).await.unwrap()
}

async fn decide(
    collector: &Collector,
    host: &Host,
    (branch, accept): (Vec<u8>, bool),
) -> Result<v1::Host, Status> {
    let request = v1::DecideBranchRequest {
        host: host.id().to_string(),
        branch,
        accept,
        reason: "test".to_owned(),
    };
    let decided = collector.operators().await.decide_branch(request).await;
    decided.map(tonic::Response::into_inner)
}

/// A session that is open: both its ends and its welcome.
type Open = (
    mpsc::Sender<v1::AgentFrame>,
    tonic::Streaming<v1::CollectorFrame>,
    v1::Welcome,
);

/// Opens a session that says what an agent says, but not on which machine; gives it and the first frame.
async fn session(host: &Host, collector: &Collector) -> Open {
    session_on(host, collector, &[]).await
}

/// The same, on this machine.
async fn session_on(host: &Host, collector: &Collector, machine: &[u8]) -> Open {
    let (to, frames) = mpsc::channel(8);
    let facts = v1::HostFacts {
        machine_id_hash: machine.to_vec(),
        ..v1::HostFacts::default()
    };
    let hello = v1::Hello {
        facts: Some(facts),
        stream: host.stream.as_bytes().to_vec(),
        epoch: host.epoch,
        key_id: name(host),
        successions: host.successions.clone(),
        ..v1::Hello::default()
    };
    let hello = v1::AgentFrame {
        frame: Some(FromAgent::Hello(hello)),
    };
    to.send(hello).await.unwrap();
    let mut client = host.connect(collector).await;
    let from = client.session(ReceiverStream::new(frames)).await;
    let mut from = from.unwrap().into_inner();
    let first = from.message().await.unwrap().unwrap().frame;
    let Some(ToAgent::Welcome(welcome)) = first else {
        panic!("{first:?}")
    };
    (to, from, welcome)
}

#[tokio::test]
async fn a_copy_is_taken_in_marked_and_changes_nothing_of_the_host() {
    let mut collector = Collector::start().await;
    let (host, copy) = two(&collector).await;
    for _ in 0..2 {
        let all = found(&collector, v1::Doubt::Unspecified).await;
        let marks: Vec<&[u8]> = all.iter().map(|it| it.doubtful.as_slice()).collect();
        assert_eq!(all.len(), 3);
        assert_eq!(marks.iter().filter(|mark| **mark == name(&copy)).count(), 2);
        assert_eq!(marks.iter().filter(|mark| mark.is_empty()).count(), 1);
        assert_eq!(found(&collector, v1::Doubt::Only).await.len(), 2);
        assert_eq!(found(&collector, v1::Doubt::Without).await.len(), 1);
        let shown = shown(&collector, &host).await;
        assert_eq!(shown.alarms[0].name, "two_successors");
        let branch = &shown.branches[0];
        assert_eq!((&branch.name, branch.fork_epoch), (&name(&copy), 0));
        assert_eq!(branch.state, "undecided");
        let stored = |of: &Host| {
            shown
                .stored
                .iter()
                .find(|it| it.stream == of.stream.as_bytes())
        };
        assert!(stored(&host).unwrap().branch.is_empty());
        let line = stored(&copy).unwrap();
        assert_eq!(
            (&line.branch, line.next_seq, line.stored),
            (&name(&copy), 2, 2)
        );
        // What is known of it is read back.
        collector.stop().await;
        collector.run().await;
    }
    assert_eq!(collector.figure("picket_host_alarms_total").await, 0);
}

#[tokio::test]
async fn a_run_is_never_continued_by_another_branch() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let shared = host.batch(vec![exec("/shared")]);
    host.send_one(&collector, shared).await;
    let (mut copy, stream, chain) = (clone_of(&host), host.stream, host.chain);
    host.rotate();
    copy.rotate();
    let own = host.batch(vec![exec("/own")]);
    host.send_one(&collector, own).await;
    // The copy knows where the run stood, and behind it the host went on.
    (copy.stream, copy.chain) = (stream, host.chain);
    let other = copy.batch(vec![exec("/other")]);
    let ack = copy.send_one(&collector, other).await;
    assert_eq!(ack.refused, "other_branch");
    // Nor may it say that the run's end is lost, before the host has sent it.
    let (mut other, mut third) = (clone_of(&host), clone_of(&host));
    other.rotate();
    third.rotate();
    (other.stream, other.chain) = (stream, host.chain);
    let first = third.batch(vec![exec("/third")]);
    third.send_one(&collector, first).await;
    let hole = other.sealed(Vec::new(), 1, |header| {
        header.range_end = vec![7; 32];
        header.gaps = vec![v1::Gap {
            seq_first: 2,
            count: Some(1),
            reason: v1::GapReason::Crash.into(),
            ..v1::Gap::default()
        }];
    });
    assert_eq!(
        other.send_one(&collector, hole).await.refused,
        "other_branch"
    );
    let next = host.batch(vec![exec("/own")]);
    assert_eq!(host.send_one(&collector, next).await.durable_seq, 3);
    assert_eq!(chain.next_seq, 1);
}

#[tokio::test]
async fn the_one_whose_key_was_heard_of_later_goes_on_with_its_run() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let shared = host.batch(vec![exec("/shared")]);
    host.send_one(&collector, shared).await;
    let mut copy = clone_of(&host);
    copy.rotate();
    let first = copy.batch(vec![exec("/copy")]);
    assert_eq!(copy.send_one(&collector, first).await.refused, "");
    assert!(shown(&collector, &host).await.branches.is_empty());
    // Until it changes its key nothing tells which is which; then it is the second, and its run goes on all the same.
    let same = host.batch(vec![exec("/own")]);
    assert_eq!(host.send_one(&collector, same).await.durable_seq, 2);
    host.rotate();
    let next = host.batch(vec![exec("/own")]);
    assert_eq!(host.send_one(&collector, next).await.durable_seq, 3);
    let doubtful = found(&collector, v1::Doubt::Only).await;
    assert_eq!(doubtful.len(), 1);
    assert_eq!(doubtful[0].event.as_ref().unwrap().seq, 2);
    // An operator knows better.
    let shown = decide(&collector, &host, (name(&host), true))
        .await
        .unwrap();
    assert_eq!(shown.branches[0].state, "refused");
    assert_eq!(shown.branches[0].name, host.id().as_bytes()[..8]);
    let doubtful = found(&collector, v1::Doubt::Only).await;
    let streams: Vec<_> = doubtful.iter().map(|it| it.stream.as_slice()).collect();
    assert_eq!(streams, [copy.stream.as_bytes()]);
    let late = copy.batch(vec![exec("/copy")]);
    assert_eq!(
        copy.send_one(&collector, late).await.refused,
        "branch_refused"
    );
    let own = host.batch(vec![exec("/own")]);
    assert_eq!(host.send_one(&collector, own).await.refused, "");
}

#[tokio::test]
async fn an_operator_refuses_a_copy_and_nothing_more_is_taken_from_it() {
    let mut collector = Collector::start().await;
    let (mut host, mut copy) = two(&collector).await;
    let unknown = decide(&collector, &host, (vec![1; 8], true)).await;
    assert!(unknown.unwrap_err().message().starts_with("not_found"));
    let own = host.id().as_bytes()[..8].to_vec();
    let itself = decide(&collector, &host, (own.clone(), false)).await;
    assert!(itself.unwrap_err().message().starts_with("bad_query"));
    let shown = decide(&collector, &host, (name(&copy), false))
        .await
        .unwrap();
    assert_eq!(shown.branches[0].state, "refused");
    for _ in 0..2 {
        let late = copy.batch(vec![exec("/copy")]);
        assert_eq!(
            copy.send_one(&collector, late).await.refused,
            "branch_refused"
        );
        collector.stop().await;
        collector.run().await;
    }
    copy.rotate();
    let late = copy.batch(vec![exec("/copy")]);
    assert_eq!(
        copy.send_one(&collector, late).await.refused,
        "branch_refused"
    );
    let next = host.batch(vec![exec("/own")]);
    assert_eq!(host.send_one(&collector, next).await.refused, "");
    assert_eq!(found(&collector, v1::Doubt::Only).await.len(), 2);
    let (audit, _) = collector.audit().await;
    let said = audit.iter().find(|entry| entry.action == "host.refuse");
    assert!(said.unwrap().detail.ends_with(" test"));
    assert!(audit.iter().any(|entry| entry.action == "host.branch"));
}

#[tokio::test]
async fn branches_without_a_decision_are_few() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let before = clone_of(&host);
    host.rotate();
    let batch = host.batch(vec![exec("/own")]);
    host.send_one(&collector, batch).await;
    let mut refused = Vec::new();
    for _ in 0..10 {
        let mut copy = clone_of(&before);
        copy.rotate();
        let batch = copy.batch(vec![exec("/copy")]);
        refused.push(copy.send_one(&collector, batch).await.refused);
    }
    assert!(refused[..8].iter().all(String::is_empty), "{refused:?}");
    assert_eq!(refused[8..], ["two_successors", "two_successors"]);
    let branch = shown(&collector, &host).await.branches[0].name.clone();
    decide(&collector, &host, (branch, false)).await.unwrap();
    let mut copy = clone_of(&before);
    copy.rotate();
    let batch = copy.batch(vec![exec("/copy")]);
    assert_eq!(copy.send_one(&collector, batch).await.refused, "");
}

#[tokio::test]
async fn both_are_connected_at_once_and_only_the_host_is_given_commands() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let mut copy = clone_of(&host);
    host.rotate();
    copy.rotate();
    let (_to, mut own, welcome) = session(&host, &collector).await;
    assert!(welcome.branch.is_empty());
    let (_too, mut other, welcome) = session(&copy, &collector).await;
    assert_eq!(welcome.branch, name(&copy));
    let known: Vec<_> = welcome.known_keys.iter().map(|key| key.epoch).collect();
    assert_eq!(known, [1, 0]);
    assert_eq!(welcome.known_keys[0].key_id, name(&host));
    let shown = shown(&collector, &host).await;
    assert!(shown.connected && shown.branches[0].connected);
    let sent = signed(&command(host.id()), &collector.operator.signing);
    let mut operators = collector.operators().await;
    operators.submit_command(sent).await.unwrap();
    let next = own.message().await.unwrap().unwrap().frame;
    assert!(matches!(next, Some(ToAgent::Command(_))), "{next:?}");
    let quiet = std::time::Duration::from_secs(1);
    let nothing = tokio::time::timeout(quiet, other.message()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    // Once it is the host, it begins anew, and the one that was is told why it may not.
    decide(&collector, &host, (name(&copy), true))
        .await
        .unwrap();
    assert!(other.message().await.is_err());
    let (_three, _from, welcome) = session(&copy, &collector).await;
    assert!(welcome.branch.is_empty());
    assert!(own.message().await.is_err());
}

#[tokio::test]
async fn what_comes_from_another_machine_is_marked_from_its_first_event_on() {
    let mut collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    host.rotate();
    let old = session_on(&host, &collector, &[1; 32]).await;
    assert!(old.2.branch.is_empty());
    let mut copy = clone_of(&host);
    copy.rotate();
    // It is the only one that speaks, with the next key of the chain: only the machine gives it away.
    let moved = session_on(&copy, &collector, &[2; 32]).await;
    assert_eq!(moved.2.branch, name(&copy));
    let batch = copy.batch(vec![exec("/copy")]);
    assert_eq!(copy.send_one(&collector, batch).await.refused, "");
    let doubtful = found(&collector, v1::Doubt::Only).await;
    assert_eq!(doubtful.len(), 1);
    assert_eq!(doubtful[0].doubtful, name(&copy));
    // The one that was before goes on as the host.
    host.rotate();
    let batch = host.batch(vec![exec("/own")]);
    assert_eq!(host.send_one(&collector, batch).await.refused, "");
    assert_eq!(found(&collector, v1::Doubt::Without).await.len(), 1);
    let seen = shown(&collector, &host).await;
    assert_eq!(seen.alarms.len(), 1, "{:?}", seen.alarms);
    assert_eq!(seen.alarms[0].name, "other_machine");
    assert_eq!(seen.facts.unwrap().machine_id_hash, [1; 32]);
    assert!(seen.connected && seen.branches[0].connected);
    // Once an operator says that it is the host, it is, also over a restart.
    decide(&collector, &host, (name(&copy), true))
        .await
        .unwrap();
    for _ in 0..2 {
        let again = session_on(&copy, &collector, &[2; 32]).await;
        assert!(again.2.branch.is_empty());
        let seen = shown(&collector, &host).await;
        assert_eq!(seen.branches.len(), 1, "no further branch");
        assert_eq!(seen.facts.unwrap().machine_id_hash, [2; 32]);
        copy.rotate();
        let batch = copy.batch(vec![exec("/copy")]);
        assert_eq!(copy.send_one(&collector, batch).await.refused, "");
        drop(again);
        collector.stop().await;
        collector.run().await;
    }
    assert_eq!(found(&collector, v1::Doubt::Only).await.len(), 1);
    let late = host.batch(vec![exec("/own")]);
    let ack = host.send_one(&collector, late).await;
    assert_eq!(ack.refused, "branch_refused");
}

// Of keys that a hello is too short to name, the batches bring the successions.
#[tokio::test]
async fn a_machine_whose_keys_come_with_its_batches_is_marked_too() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let old = session_on(&host, &collector, &[1; 32]).await;
    let mut copy = clone_of(&host);
    for _ in 0..3 {
        copy.rotate();
    }
    let (all, mut late) = (copy.successions.clone(), clone_of(&copy));
    late.stream = copy.stream;
    late.successions = all[2..].to_vec();
    let moved = session_on(&late, &collector, &[2; 32]).await;
    assert!(moved.2.branch.is_empty(), "nothing is known of its keys");
    let batch = copy.batch(vec![exec("/copy")]);
    assert_eq!(copy.send_one(&collector, batch).await.refused, "");
    assert_eq!(found(&collector, v1::Doubt::Only).await.len(), 1);
    host.rotate();
    let batch = host.batch(vec![exec("/own")]);
    assert_eq!(host.send_one(&collector, batch).await.refused, "");
    assert_eq!(found(&collector, v1::Doubt::Without).await.len(), 1);
    drop((old, moved));
}
