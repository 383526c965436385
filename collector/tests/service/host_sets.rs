//! Commands that name their hosts by a root: the collector holds all hosts, each host is handed its own place among them.

use std::time::Duration;

use picket_event::HostId;
use picket_event::audit::action;
use picket_event::command::Command;
use picket_event::statement::{Statement, StatementKind};
use picket_proto::v1;
use picket_proto::v1::collector_frame::Frame as ToAgent;
use prost::Message;

use crate::collector::{Collector, eventually};
use crate::commands::{command, next_command, signed, statement, status, submit};
use crate::host::Host;
use crate::session::{Session, open, open_as};

/// Hosts and a command for them by their root, in these rings.
async fn by_root(collector: &Collector, count: usize, rings: &[u32]) -> (Command, Vec<Host>) {
    let mut hosts = Vec::new();
    for _ in 0..count {
        hosts.push(Host::enrolled(collector).await);
    }
    let mut one = command(hosts[0].id());
    (one.hosts, one.rings) = (hosts.iter().map(Host::id).collect(), rings.to_vec());
    let one = one.by_root().unwrap();
    // In the order of the tree, as the command has them.
    hosts.sort_by_key(|host| one.hosts.iter().position(|id| *id == host.id()));
    (one, hosts)
}

async fn current(host: &Host, collector: &Collector) -> Session {
    let facts = v1::HostFacts {
        takes_host_sets: true,
        ..v1::HostFacts::default()
    };
    open_as(host, collector, facts).await
}

async fn is_quiet(session: &mut Session) -> bool {
    let next = tokio::time::timeout(Duration::from_millis(300), session.from.message());
    next.await.is_err()
}

/// What is done to a list of hosts.
type Change<'a> = &'a dyn Fn(&mut Vec<Vec<u8>>);

/// What the host is handed is the body, the signatures and a proof for it alone.
fn assert_handed(got: &v1::SignedCommand, (sent, host): (&v1::SignedCommand, HostId), ring: u32) {
    assert_eq!((&got.body, &got.signatures), (&sent.body, &sent.signatures));
    assert!(got.host_ids.is_empty());
    let bare = Command::decode(&got.body).unwrap();
    assert_eq!(bare.ring_for(&host, got.proof.as_ref()), Some(ring));
}

#[tokio::test]
async fn each_host_is_handed_its_own_proof_and_operators_are_shown_all_hosts() {
    let collector = Collector::start().await;
    let (command, hosts) = by_root(&collector, 5, &[]).await;
    let mut sessions = Vec::new();
    for host in &hosts {
        sessions.push(current(host, &collector).await);
    }
    let mut sent = signed(&command, &collector.operator.signing);
    // What is meant for a host is of no use here and not kept.
    sent.proof = Some(v1::HostProof::default());
    let taken = submit(&collector, sent.clone()).await.unwrap();
    sent.proof = None;
    assert_eq!(taken.command, Some(sent.clone()));
    assert_eq!(taken.hosts.len(), 5);
    for (host, session) in hosts.iter().zip(&mut sessions) {
        let got = next_command(session).await;
        assert_handed(&got, (&sent, host.id()), 0);
    }
    eventually(async || status(&collector).await.state == "delivered").await;
    let (entries, _chain) = collector.audit().await;
    let asked = entries.iter().find(|entry| entry.action == action::REQUEST);
    let proof = v1::AuditProof::decode(asked.unwrap().proof.as_slice()).unwrap();
    let Some(v1::audit_proof::Signed::Command(kept)) = proof.signed else {
        panic!("{proof:?}")
    };
    assert_eq!(kept.host_ids, sent.host_ids, "the audit names the hosts");
}

#[tokio::test]
async fn a_root_without_its_hosts_or_with_others_is_not_taken() {
    let collector = Collector::start().await;
    let (command, hosts) = by_root(&collector, 3, &[]).await;
    let sent = signed(&command, &collector.operator.signing);
    let other = Host::enrolled(&collector).await.id();
    let changes: [Change<'_>; 5] = [
        &|hosts| hosts.clear(),
        &|hosts| hosts.truncate(2),
        &|hosts| hosts.push(other.as_bytes().to_vec()),
        &|hosts| hosts.swap(0, 1),
        &|hosts| hosts[1] = other.as_bytes().to_vec(),
    ];
    for change in changes {
        let mut changed = sent.clone();
        change(&mut changed.host_ids);
        let refused = submit(&collector, changed).await.unwrap_err();
        assert!(refused.message().starts_with("bad_command"), "{refused}");
    }
    let mut listed = crate::commands::command(hosts[0].id());
    listed.hosts.truncate(1);
    let mut stray = signed(&listed, &collector.operator.signing);
    stray.host_ids = vec![hosts[1].id().as_bytes().to_vec()];
    let refused = submit(&collector, stray).await.unwrap_err();
    assert!(refused.message().starts_with("bad_command"), "{refused}");
}

#[tokio::test]
async fn an_agent_of_an_earlier_version_is_not_handed_what_it_would_refuse() {
    let collector = Collector::start().await;
    let (command, hosts) = by_root(&collector, 2, &[]).await;
    let mut earlier = open(&hosts[0], &collector).await;
    let mut newer = current(&hosts[1], &collector).await;
    let sent = signed(&command, &collector.operator.signing);
    submit(&collector, sent.clone()).await.unwrap();
    assert_handed(&next_command(&mut newer).await, (&sent, hosts[1].id()), 0);
    assert!(is_quiet(&mut earlier).await);
    let shown = status(&collector).await;
    let waits = |id: HostId| {
        let mut hosts = shown.hosts.iter();
        hosts.any(|host| host.host_id == id.as_bytes() && host.state == "waiting")
    };
    assert!(waits(hosts[0].id()), "{shown:?}");
    drop(earlier);
    let mut updated = current(&hosts[0], &collector).await;
    assert_handed(&next_command(&mut updated).await, (&sent, hosts[0].id()), 0);
}

#[tokio::test]
async fn rings_hold_back_hosts_of_a_root_as_they_do_those_of_a_list() {
    let collector = Collector::start().await;
    let (command, hosts) = by_root(&collector, 4, &[1, 4]).await;
    let mut sessions = Vec::new();
    for host in &hosts {
        sessions.push(current(host, &collector).await);
    }
    let alice = &collector.operator.signing;
    let sent = signed(&command, alice);
    let taken = submit(&collector, sent.clone()).await.unwrap();
    assert!(
        taken.hosts.iter().all(|host| host.state == "held"),
        "{taken:?}"
    );
    for (ring, members) in [(1, 0..1), (2, 1..4)] {
        for session in &mut sessions[members.clone()] {
            assert!(is_quiet(session).await);
        }
        let said = Statement {
            ring,
            ..statement(&command, StatementKind::Start)
        };
        let request = v1::StartRingRequest {
            command_id: command.id.as_bytes().to_vec(),
            statement: Some(said.sign(alice)),
        };
        collector
            .operators()
            .await
            .start_ring(request)
            .await
            .unwrap();
        for member in members {
            let frame = sessions[member]
                .from
                .message()
                .await
                .unwrap()
                .unwrap()
                .frame;
            let Some(ToAgent::Started(started)) = frame else {
                panic!("{frame:?}")
            };
            let got = started.command.unwrap();
            assert_handed(&got, (&sent, hosts[member].id()), ring);
        }
    }
}
