//! Commands that wait for a second person, and trust roots that follow each other.

use std::time::Duration;

use picket_event::audit::Chain;
use picket_event::command::{Action, Command};
use picket_event::statement::StatementKind;
use picket_event::trust::{MAX_TRUST_AGE, TrustRoot};
use picket_event::{Clock, HostId, SystemClock, UnixNanos};
use picket_proto::v1;
use picket_proto::v1::collector_frame::Frame as ToAgent;
use picket_seal::{Domain, SigningKey};
use tonic::Status;

use crate::collector::{Collector, all, eventually};
use crate::commands::{cancellation, command, next_command, signed, statement, submit};
use crate::host::Host;
use crate::session::open;

/// A command for more hosts than one person may act on.
pub(crate) async fn fleet(collector: &Collector) -> (Command, Vec<Host>) {
    let mut hosts = Vec::new();
    for _ in 0..11 {
        hosts.push(Host::enrolled(collector).await);
    }
    let ids: Vec<HostId> = hosts.iter().map(Host::id).collect();
    let mut fleet = command(ids[0]);
    fleet.hosts = ids;
    (fleet, hosts)
}

fn approval(command: &Command, key: &SigningKey) -> v1::ApproveCommandRequest {
    v1::ApproveCommandRequest {
        command_id: command.id.as_bytes().to_vec(),
        signature: Some(signed(command, key).signatures.remove(0)),
    }
}

async fn approve(
    collector: &Collector,
    request: v1::ApproveCommandRequest,
) -> Result<v1::CommandStatus, Status> {
    let answer = collector.operators().await.approve_command(request).await;
    Ok(answer?.into_inner())
}

fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>, name: &str) {
    let refused = answer.unwrap_err();
    assert!(refused.message().starts_with(name), "{name}: {refused}");
}

#[tokio::test]
async fn a_command_waits_for_another_person_and_then_goes_out_at_once() {
    let mut collector = Collector::start_with(&["bob", "carol"]).await;
    let (fleet, hosts) = fleet(&collector).await;
    let alice = &collector.operator.signing;
    let sent = signed(&fleet, alice);
    let mut session = open(&hosts[0], &collector).await;
    let taken = submit(&collector, sent.clone()).await.unwrap();
    assert_eq!(
        (taken.state.as_str(), taken.hosts[0].state.as_str()),
        ("requested", "requested")
    );
    let quiet = tokio::time::timeout(Duration::from_millis(300), session.from.message()).await;
    assert!(quiet.is_err(), "nothing goes out before it is approved");
    // By the requester, by a stranger, over other bytes, for another command.
    assert_refused(
        approve(&collector, approval(&fleet, alice)).await,
        "own_request",
    );
    let stranger = SigningKey::generate().unwrap();
    assert_refused(
        approve(&collector, approval(&fleet, &stranger)).await,
        "not_approved",
    );
    let bob = &collector.others[0].signing;
    let mut altered = fleet.clone();
    altered.reason = "something else".to_owned();
    assert_refused(
        approve(&collector, approval(&altered, bob)).await,
        "not_approved",
    );
    let elsewhere = command(fleet.hosts[0]);
    assert_refused(
        approve(&collector, approval(&elsewhere, bob)).await,
        "not_found",
    );
    // A restart forgets nothing.
    drop(session);
    collector.stop().await;
    collector.run().await;
    let mut session = open(&hosts[0], &collector).await;
    let bob = &collector.others[0].signing;
    let out = approve(&collector, approval(&fleet, bob)).await.unwrap();
    assert_eq!(out.state, "pending");
    assert!(out.approved_unix_ns > 0);
    let given = next_command(&mut session).await;
    assert_eq!((&given.body, given.signatures.len()), (&sent.body, 2));
    // Once more changes nothing; a third person comes too late.
    approve(&collector, approval(&fleet, bob)).await.unwrap();
    let carol = &collector.others[1].signing;
    assert_refused(
        approve(&collector, approval(&fleet, carol)).await,
        "not_requested",
    );
    // Whoever submits both signatures at once need not wait.
    let mut second = fleet.clone();
    second.id = picket_event::CommandId::new([7; 16]);
    let mut both = signed(&second, &collector.operator.signing);
    both.signatures
        .push(approval(&second, bob).signature.unwrap());
    assert_eq!(submit(&collector, both).await.unwrap().state, "pending");
}

#[tokio::test]
async fn what_was_denied_cancelled_or_never_approved_is_not_handed_out() {
    let collector = Collector::start_with(&["bob"]).await;
    let (fleet, hosts) = fleet(&collector).await;
    let (alice, bob) = (&collector.operator.signing, &collector.others[0].signing);
    let mut commands: Vec<Command> = (1..=3)
        .map(|number| Command {
            id: picket_event::CommandId::new([number; 16]),
            ..fleet.clone()
        })
        .collect();
    for one in &commands {
        submit(&collector, signed(one, alice)).await.unwrap();
    }
    let late = commands.pop().unwrap();
    let deny = |command: &Command, of: &Command, key: &SigningKey| v1::DenyCommandRequest {
        command_id: command.id.as_bytes().to_vec(),
        statement: Some(statement(of, StatementKind::Deny).sign(key)),
    };
    let mut operators = collector.operators().await;
    // A denial of another command, by a stranger, or a cancellation in its place.
    let other = deny(&commands[0], &commands[1], bob);
    assert_refused(operators.deny_command(other).await, "bad_statement");
    let stranger = SigningKey::generate().unwrap();
    let strange = deny(&commands[0], &commands[0], &stranger);
    assert_refused(operators.deny_command(strange).await, "not_approved");
    let mut swapped = deny(&commands[0], &commands[0], bob);
    swapped.statement = cancellation(&commands[0], bob).statement;
    assert_refused(operators.deny_command(swapped).await, "bad_statement");
    let denied = deny(&commands[0], &commands[0], bob);
    let denied = operators.deny_command(denied).await.unwrap().into_inner();
    assert_eq!(
        (denied.state.as_str(), denied.hosts[0].state.as_str()),
        ("denied", "denied")
    );
    assert!(denied.ended_by.is_some());
    let mut unsigned = cancellation(&commands[1], alice);
    unsigned.statement = None;
    assert_refused(operators.cancel_command(unsigned).await, "bad_statement");
    let cancelled = cancellation(&commands[1], alice);
    let cancelled = operators
        .cancel_command(cancelled)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(cancelled.state, "cancelled");
    for one in &commands {
        assert_refused(
            approve(&collector, approval(one, bob)).await,
            "not_requested",
        );
    }
    collector.clock.by(Duration::from_mins(16));
    assert_refused(
        approve(&collector, approval(&late, bob)).await,
        "command_expired",
    );
    let mut session = open(&hosts[0], &collector).await;
    let quiet = tokio::time::timeout(Duration::from_millis(300), session.from.message()).await;
    assert!(quiet.is_err());
}

#[tokio::test]
async fn after_the_last_approval_a_command_is_handed_out_for_a_quarter_of_an_hour() {
    let collector = Collector::start_with(&["bob"]).await;
    let (mut fleet, hosts) = fleet(&collector).await;
    fleet.expires = fleet.not_before.plus(Duration::from_hours(20));
    submit(&collector, signed(&fleet, &collector.operator.signing))
        .await
        .unwrap();
    collector.clock.by(Duration::from_hours(3));
    let out = approve(&collector, approval(&fleet, &collector.others[0].signing))
        .await
        .unwrap();
    let left = UnixNanos(out.expires_unix_ns).since(collector.clock.now());
    assert!(left <= Duration::from_mins(15), "{left:?}");
    collector
        .clock
        .by(Duration::from_hours(3) + Duration::from_mins(16));
    let mut session = open(&hosts[0], &collector).await;
    let quiet = tokio::time::timeout(Duration::from_millis(300), session.from.message()).await;
    assert!(quiet.is_err());
}

#[tokio::test]
async fn nobody_cuts_a_fleet_command_into_tens() {
    let collector = Collector::start_with(&["bob"]).await;
    let mut hosts = Vec::new();
    for _ in 0..31 {
        hosts.push(Host::enrolled(&collector).await.id());
    }
    let alice = &collector.operator.signing;
    let part = |hosts: &[HostId]| {
        let mut one = command(hosts[0]);
        one.hosts = hosts.to_vec();
        one
    };
    for ten in hosts[..30].chunks(10) {
        submit(&collector, signed(&part(ten), alice)).await.unwrap();
    }
    // The same hosts again are no further hosts; another one is.
    submit(&collector, signed(&part(&hosts[..10]), alice))
        .await
        .unwrap();
    let more = part(&hosts[30..]);
    assert_refused(
        submit(&collector, signed(&more, alice)).await,
        "too_many_hosts",
    );
    // What ends effects is never held up, another person has hours of their own, and an hour ends.
    let mut undo = part(&hosts[30..]);
    undo.action = Action::Release;
    submit(&collector, signed(&undo, alice)).await.unwrap();
    submit(&collector, signed(&more, &collector.others[0].signing))
        .await
        .unwrap();
    collector.clock.by(Duration::from_mins(61));
    let mut later = part(&hosts[30..]);
    let now = collector.clock.now();
    (later.not_before, later.expires) = (now, now.plus(Duration::from_mins(5)));
    submit(&collector, signed(&later, alice)).await.unwrap();
}

/// The version after `root`, changed by `change` and signed by these.
fn next(
    root: &TrustRoot,
    keys: &[&SigningKey],
    change: impl FnOnce(&mut TrustRoot),
) -> v1::SignedTrustRoot {
    let now = SystemClock.now();
    let mut next = TrustRoot {
        version: root.version + 1,
        created: now,
        expires: now.plus(MAX_TRUST_AGE),
        ..root.clone()
    };
    change(&mut next);
    let body = next.encode();
    let signatures = keys.iter().map(|key| v1::Signature {
        key_id: key.public_key().key_id().0.to_vec(),
        signature: key.sign(Domain::TrustRoot, &body).0.to_vec(),
    });
    v1::SignedTrustRoot {
        signatures: signatures.collect(),
        body,
    }
}

async fn first_root(collector: &Collector) -> TrustRoot {
    let request = v1::ListTrustRootsRequest::default();
    let listed = collector.operators().await.list_trust_roots(request).await;
    let listed = listed.unwrap().into_inner();
    assert_eq!(listed.newest, listed.trust_roots.len() as u64);
    TrustRoot::decode(&listed.trust_roots[0].body).unwrap()
}

#[tokio::test]
async fn a_trust_root_is_kept_in_order_handed_to_hosts_and_ends_the_removed_persons_word() {
    let mut collector = Collector::start_with(&["bob"]).await;
    let host = Host::enrolled(&collector).await;
    let first = first_root(&collector).await;
    let (alice, bob) = (&collector.operator.signing, &collector.others[0].signing);
    let without_bob = |root: &mut TrustRoot| {
        root.persons.retain(|person| person.name != "bob");
        for threshold in &mut root.thresholds {
            threshold.1 = 1;
        }
    };
    let mut operators = collector.operators().await;
    let thief = SigningKey::generate().unwrap();
    for keys in [&[alice][..], &[&thief, alice], &[alice, alice]] {
        let alone = next(&first, keys, without_bob);
        assert_refused(operators.publish_trust_root(alone).await, "bad_trust_root");
    }
    let mut session = open(&host, &collector).await;
    let second = next(&first, &[alice, bob], without_bob);
    operators.publish_trust_root(second.clone()).await.unwrap();
    let frame = session.from.message().await.unwrap().unwrap().frame;
    assert_eq!(frame, Some(ToAgent::TrustRoot(second.clone())));
    let ack = v1::TrustAck {
        version: 2,
        refused: String::new(),
    };
    let frame = Some(v1::agent_frame::Frame::Trust(ack));
    session.to.send(v1::AgentFrame { frame }).await.unwrap();
    eventually(async || {
        let hosts = collector
            .operators()
            .await
            .list_hosts(v1::ListHostsRequest::default())
            .await;
        hosts.unwrap().into_inner().hosts[0].trust_version == 2
    })
    .await;
    // The removed person, an older version, and the same number again.
    let theirs = signed(&command(host.id()), bob);
    assert_refused(submit(&collector, theirs).await, "not_approved");
    assert_refused(operators.publish_trust_root(second).await, "bad_trust_root");
    let again = next(&first, &[alice, bob], |_| {});
    assert_refused(operators.publish_trust_root(again).await, "bad_trust_root");
    collector.stop().await;
    collector.run().await;
    let request = v1::ListTrustRootsRequest { after_version: 1 };
    let kept = collector.operators().await.list_trust_roots(request).await;
    assert_eq!(kept.unwrap().into_inner().newest, 2);
}

#[tokio::test]
async fn an_expired_trust_root_lets_effects_end_and_takes_its_successor() {
    let collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let first = first_root(&collector).await;
    let alice = &collector.operator.signing;
    collector.clock.by(MAX_TRUST_AGE + Duration::from_hours(1));
    let now = collector.clock.now();
    let mut kill = command(host.id());
    (kill.not_before, kill.expires) = (now, now.plus(Duration::from_mins(5)));
    assert_refused(
        submit(&collector, signed(&kill, alice)).await,
        "trust_expired",
    );
    let mut release = kill.clone();
    release.id = picket_event::CommandId::new([3; 16]);
    release.action = Action::Release;
    submit(&collector, signed(&release, alice)).await.unwrap();
    let second = next(&first, &[alice], |root| {
        root.expires = now.plus(Duration::from_hours(24));
        root.created = now;
    });
    collector
        .operators()
        .await
        .publish_trust_root(second)
        .await
        .unwrap();
    submit(&collector, signed(&kill, alice)).await.unwrap();
}

#[tokio::test]
async fn the_audit_has_each_persons_own_signature_and_its_head_is_in_the_checkpoint() {
    let collector = Collector::start_with(&["bob"]).await;
    let (fleet, mut hosts) = fleet(&collector).await;
    let (alice, bob) = (&collector.operator.signing, &collector.others[0].signing);
    submit(&collector, signed(&fleet, alice)).await.unwrap();
    approve(&collector, approval(&fleet, bob)).await.unwrap();
    let mut operators = collector.operators().await;
    operators
        .cancel_command(cancellation(&fleet, alice))
        .await
        .unwrap();
    let batch = hosts[0].batch(vec![crate::host::exec("/a")]);
    hosts[0].send_one(&collector, batch).await;
    let (entries, chain) = collector.audit().await;
    assert_eq!(chain.signed(), 3);
    let by = |action: &str| {
        let found = entries.iter().find(|entry| entry.action == action);
        found.unwrap().who.clone()
    };
    assert_eq!(
        [
            by("command.request"),
            by("command.approve"),
            by("command.cancel")
        ],
        ["alice", "bob", "alice"]
    );
    assert_forgeries_are_found(&entries);
    let request = v1::EvidenceRequest {
        checkpoint_now: true,
        audit: true,
        ..v1::EvidenceRequest::default()
    };
    let items = operators.evidence(request).await.unwrap().into_inner();
    let items = all(items).await.unwrap();
    let checkpoint = items.iter().find_map(|item| match &item.item {
        Some(v1::evidence_item::Item::Checkpoint(one)) => one.signed.clone(),
        _ => None,
    });
    let body: v1::CheckpointBody =
        prost::Message::decode(checkpoint.unwrap().body.as_slice()).unwrap();
    assert_eq!(body.audit_entries, entries.len() as u64);
    assert_eq!(body.audit_head, entries.last().unwrap().hash);
}

/// Whoever holds the database can compute hashes, but not sign.
fn assert_forgeries_are_found(entries: &[v1::AuditEntry]) {
    let rehashed = |change: &dyn Fn(&mut Vec<v1::AuditEntry>)| {
        let mut entries = entries.to_vec();
        change(&mut entries);
        let mut previous = picket_seal::Digest::ZERO;
        for (number, entry) in (1..).zip(&mut entries) {
            let said = picket_event::audit::Entry {
                time: UnixNanos(entry.time_unix_ns),
                who: &entry.who,
                action: &entry.action,
                object: &entry.object,
                detail: &entry.detail,
                proof: &entry.proof,
            };
            let hash = said.hash(number, &previous);
            entry.number = number;
            entry.previous = previous.as_bytes().to_vec();
            entry.hash = hash.as_bytes().to_vec();
            previous = hash;
        }
        let mut chain = Chain::default();
        entries.iter().try_for_each(|entry| chain.take(entry))
    };
    let at = |entries: &[v1::AuditEntry], action: &str| {
        entries
            .iter()
            .position(|entry| entry.action == action)
            .unwrap()
    };
    rehashed(&|_| {}).unwrap();
    let approve = at(entries, "command.approve");
    let cancel = at(entries, "command.cancel");
    assert!(rehashed(&|entries| "alice".clone_into(&mut entries[approve].who)).is_err());
    assert!(rehashed(&|entries| entries[approve].proof.clear()).is_err());
    assert!(rehashed(&|entries| entries[approve].object = "00".repeat(16)).is_err());
    assert!(rehashed(&|entries| "command.deny".clone_into(&mut entries[cancel].action)).is_err());
    assert!(rehashed(&|entries| entries[approve].proof[40] ^= 1).is_err());
}
