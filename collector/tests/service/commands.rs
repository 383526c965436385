//! Commands from the operator's key to the host's receipt.

use std::time::Duration;

use picket_event::command::{Action, Command, Mode, Target};
use picket_event::statement::{Statement, StatementKind};
use picket_event::{
    Clock, CommandId, Containment, Detail, Event, HostId, Kind, ProcessUid, ReceiptState, Source,
    SystemClock, UnixNanos,
};
use picket_proto::v1;
use picket_proto::v1::collector_frame::Frame as ToAgent;
use picket_seal::{Digest, Domain, SigningKey};
use tonic::Status;

use crate::collector::{Collector, eventually};
use crate::host::Host;
use crate::session::{Session, open};

pub(crate) fn command(host: HostId) -> Command {
    let now = SystemClock.now();
    Command {
        id: CommandId::new(picket_seal::random().unwrap()),
        hosts: vec![host],
        host_epoch: 0,
        not_before: now,
        expires: now.plus(Duration::from_mins(15)),
        mode: Mode::Enforce,
        auto_release: None,
        exe_sha256: None,
        action: Action::KillTree(Target {
            process: ProcessUid::new([1; 16]),
            pid: 1,
        }),
        reason: "test".to_owned(),
        incident: String::new(),
        dry_run_digest: None,
        break_glass: None,
        rings: Vec::new(),
        host_set: None,
    }
}

pub(crate) fn signed(command: &Command, key: &SigningKey) -> v1::SignedCommand {
    let body = command.encode();
    let signature = v1::Signature {
        key_id: key.public_key().key_id().0.to_vec(),
        signature: key.sign(Domain::Command, &body).0.to_vec(),
    };
    v1::SignedCommand {
        body,
        signatures: vec![signature],
        host_ids: command.beside(),
        proof: None,
    }
}

pub(crate) fn cancellation(command: &Command, key: &SigningKey) -> v1::CancelCommandRequest {
    v1::CancelCommandRequest {
        command_id: command.id.as_bytes().to_vec(),
        statement: Some(statement(command, StatementKind::Cancel).sign(key)),
    }
}

pub(crate) fn statement(command: &Command, kind: StatementKind) -> Statement {
    Statement {
        kind,
        command: command.id,
        command_sha256: Digest::of(&command.encode()),
        reason: "not today".to_owned(),
        time: SystemClock.now(),
        ring: 0,
    }
}

pub(crate) async fn submit(
    collector: &Collector,
    command: v1::SignedCommand,
) -> Result<v1::CommandStatus, Status> {
    Ok(collector
        .operators()
        .await
        .submit_command(command)
        .await?
        .into_inner())
}

pub(crate) async fn status(collector: &Collector) -> v1::CommandStatus {
    let request = v1::ListCommandsRequest { limit: 0 };
    let listed = collector
        .operators()
        .await
        .list_commands(request)
        .await
        .unwrap();
    listed.into_inner().commands.remove(0)
}

pub(crate) async fn next_command(session: &mut Session) -> v1::SignedCommand {
    let frame = session.from.message().await.unwrap().unwrap().frame;
    let Some(ToAgent::Command(command)) = frame else {
        panic!("{frame:?}")
    };
    command
}

fn receipt(command: &Command, state: ReceiptState) -> Event {
    let done = Containment {
        command_id: command.id,
        action: command.action.name().to_owned(),
        state,
        reason: String::new(),
        effect: "did it".to_owned(),
        affected: Vec::new(),
        verified: true,
        redelivered: false,
        undo_token: String::new(),
        signers: Vec::new(),
        stated_reason: String::new(),
        cause: None,
    };
    let detail = Detail::Containment(done);
    Event::new(Kind::Containment, UnixNanos(7), Source::Agent).with(detail)
}

#[tokio::test]
async fn a_command_goes_to_its_host_at_once_and_comes_back_as_a_receipt() {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let mut session = open(&host, &collector).await;
    let command = command(host.id());
    let sent = signed(&command, &collector.operator.signing);
    let taken = submit(&collector, sent.clone()).await.unwrap();
    assert_eq!(
        (taken.action.as_str(), taken.requester.as_str()),
        ("kill-tree", "alice")
    );
    assert_eq!(next_command(&mut session).await, sent);
    eventually(async || status(&collector).await.state == "delivered").await;

    let request = v1::WatchCommandRequest {
        command_id: command.id.as_bytes().to_vec(),
    };
    let watched = collector
        .operators()
        .await
        .watch_command(request)
        .await
        .unwrap();
    let mut watched = watched.into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().state, "delivered");
    let accepted = host.batch(vec![receipt(&command, ReceiptState::Accepted)]);
    host.send_one(&collector, accepted).await;
    let seen = watched.message().await.unwrap().unwrap();
    assert_eq!(
        (seen.state.as_str(), seen.hosts[0].state.as_str()),
        ("delivered", "accepted")
    );
    let executed = host.batch(vec![receipt(&command, ReceiptState::Executed)]);
    host.send_one(&collector, executed).await;
    let seen = watched.message().await.unwrap().unwrap();
    assert_eq!(
        (seen.state.as_str(), seen.hosts[0].state.as_str()),
        ("done", "executed")
    );
    assert!(seen.hosts[0].receipt.as_ref().unwrap().verified);
    assert!(watched.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_host_that_was_away_gets_its_command_in_each_session_until_it_answers() {
    let mut collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let command = command(host.id());
    let sent = signed(&command, &collector.operator.signing);
    let taken = submit(&collector, sent.clone()).await.unwrap();
    assert_eq!(
        (taken.state.as_str(), taken.hosts[0].state.as_str()),
        ("pending", "waiting")
    );
    for _ in 0..2 {
        assert_eq!(next_command(&mut open(&host, &collector).await).await, sent);
    }
    collector.stop().await;
    collector.run().await;
    assert_eq!(next_command(&mut open(&host, &collector).await).await, sent);
    let batch = host.batch(vec![receipt(&command, ReceiptState::Refused)]);
    host.send_one(&collector, batch).await;
    eventually(async || status(&collector).await.state == "done").await;
    let mut session = open(&host, &collector).await;
    let quiet = tokio::time::timeout(Duration::from_millis(300), session.from.message()).await;
    assert!(quiet.is_err());
}

#[tokio::test]
async fn a_receipt_stored_just_before_a_kill_is_taken_at_the_next_start() {
    let mut collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let command = command(host.id());
    submit(&collector, signed(&command, &collector.operator.signing))
        .await
        .unwrap();
    let batch = host.batch(vec![receipt(&command, ReceiptState::Executed)]);
    host.send_one(&collector, batch).await;
    collector.stop().await;
    // As if the kill had come between the log and the database.
    let database = collector.folder.path().join("data/collector.db");
    let raw = rusqlite::Connection::open(&database).unwrap();
    raw.execute("UPDATE command_host SET receipt = NULL, final = 0", [])
        .unwrap();
    raw.execute("DELETE FROM setting WHERE name = 'receipts_cursor'", [])
        .unwrap();
    drop(raw);
    collector.run().await;
    eventually(async || status(&collector).await.state == "done").await;
}

#[tokio::test]
async fn commands_that_no_host_would_obey_are_refused_at_once() {
    let collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let good = command(host.id());
    let key = &collector.operator.signing;
    let stranger = SigningKey::generate().unwrap();
    let mut altered = signed(&good, key);
    altered.body = Command {
        reason: "other".to_owned(),
        ..good.clone()
    }
    .encode();
    let expired = Command {
        expires: UnixNanos(1),
        ..good.clone()
    };
    let endless = Command {
        expires: good.expires.plus(Duration::from_hours(48)),
        ..good.clone()
    };
    let elsewhere = command(HostId::new([5; 32]));
    let nobody = Command {
        hosts: Vec::new(),
        ..good.clone()
    };
    for (expected, sent) in [
        ("not_approved", signed(&good, &stranger)),
        (
            "not_approved",
            v1::SignedCommand {
                signatures: Vec::new(),
                ..signed(&good, key)
            },
        ),
        ("not_approved", altered),
        ("command_expired", signed(&expired, key)),
        ("command_expired", signed(&endless, key)),
        ("not_found", signed(&elsewhere, key)),
        ("bad_command", signed(&nobody, key)),
        (
            "bad_command",
            v1::SignedCommand {
                body: vec![0xff; 9],
                ..signed(&good, key)
            },
        ),
        (
            "too_large",
            v1::SignedCommand {
                body: vec![0; 70 << 10],
                ..signed(&good, key)
            },
        ),
    ] {
        let refused = submit(&collector, sent).await.unwrap_err();
        assert!(
            refused.message().starts_with(expected),
            "{expected}: {refused}"
        );
    }
    assert_eq!(collector.calls_refused("not_approved").await, 3);
    submit(&collector, signed(&good, key)).await.unwrap();
    submit(&collector, signed(&good, key)).await.unwrap();
    let other = Command {
        reason: "same id".to_owned(),
        ..good
    };
    let refused = submit(&collector, signed(&other, key)).await.unwrap_err();
    assert!(refused.message().starts_with("command_exists"), "{refused}");
}

#[tokio::test]
async fn a_cancelled_or_expired_command_is_not_handed_out() {
    let collector = Collector::start().await;
    let host = Host::enrolled(&collector).await;
    let cancelled = command(host.id());
    submit(&collector, signed(&cancelled, &collector.operator.signing))
        .await
        .unwrap();
    let request = cancellation(&cancelled, &collector.operator.signing);
    let shown = collector
        .operators()
        .await
        .cancel_command(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (shown.state.as_str(), shown.hosts[0].state.as_str()),
        ("cancelled", "cancelled")
    );
    let mut session = open(&host, &collector).await;
    let quiet = tokio::time::timeout(Duration::from_millis(300), session.from.message()).await;
    assert!(quiet.is_err());

    let host = Host::enrolled(&collector).await;
    let late = command(host.id());
    submit(&collector, signed(&late, &collector.operator.signing))
        .await
        .unwrap();
    collector.clock.by(Duration::from_hours(1));
    assert_eq!(status(&collector).await.state, "expired");
    let mut session = open(&host, &collector).await;
    let quiet = tokio::time::timeout(Duration::from_millis(300), session.from.message()).await;
    assert!(quiet.is_err());
}
