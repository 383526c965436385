//! Owning the collector is not owning the fleet: whoever holds its database can hand out what they like, and the
//! agent does nothing that operators did not sign, for this host, for now, once.

use picket_event::HostId;
use picket_event::command::Command;
use picket_proto::v1;
use picket_seal::SigningKey;
use picket_tests::rig::{PATIENCE, Rig, portable_agent};
use picket_tests::service::Service;
use picket_tests::wait;
use prost::Message;
use rusqlite::Connection;
use serde_json::Value;

use crate::operator::{kill, minutes_from_now, sign, signing_key};
use crate::prey::Prey;
use crate::rogue::{Rogue, new_key};

#[test]
fn a_submitted_command_that_was_altered_by_one_bit_is_refused() {
    let mut theft = Theft::prepare();
    let prey = Prey::waiting("altered");
    let host = theft.host.to_string();
    let uid = prey.uid().to_string();
    let args = [
        "contain", "kill", &uid, "--host", &host, "--reason", "miner",
    ];
    let submitted = theft.rig.ctl_json(&args).unwrap();
    theft.tamper(|database| {
        let mut signed = stored(database);
        let at = signed
            .body
            .windows(5)
            .position(|word| word == b"miner")
            .unwrap();
        signed.body[at] ^= 1;
        let sql = "UPDATE command SET signed = ?1";
        assert_eq!(database.execute(sql, [signed.encode_to_vec()]).unwrap(), 1);
    });
    let receipt = theft.receipt(|receipt| receipt["command_id"] == submitted[0]["id"]);
    assert_harmless(&receipt, "bad_signature", &prey);
}

#[test]
fn a_command_signed_by_a_key_outside_the_trust_root_is_refused() {
    assert_planted_is_refused("unknown_key", |_, command| sign(command, &new_key()));
}

#[test]
fn a_command_without_a_signature_is_refused() {
    assert_planted_is_refused("threshold", |_, command| v1::SignedCommand {
        body: command.encode(),
        signatures: Vec::new(),
        ..v1::SignedCommand::default()
    });
}

#[test]
fn a_command_whose_time_is_over_is_refused() {
    assert_planted_is_refused("expired", |theft, command| {
        command.not_before = minutes_from_now(-30);
        command.expires = minutes_from_now(-15);
        sign(command, &theft.operator)
    });
}

#[test]
fn a_command_for_another_host_is_refused() {
    assert_planted_is_refused("wrong_host", |theft, command| {
        command.hosts = vec![theft.neighbour];
        sign(command, &theft.operator)
    });
}

#[test]
fn a_command_for_an_earlier_state_of_the_host_is_refused() {
    assert_planted_is_refused("wrong_epoch", |theft, command| {
        command.host_epoch = 77;
        sign(command, &theft.operator)
    });
}

#[test]
fn what_was_done_is_not_done_again_whatever_comes_under_its_id() {
    let mut theft = Theft::prepare();
    let (first, second) = (Prey::waiting("first"), Prey::waiting("second"));
    let command = kill(theft.host, first.uid());
    let signed = sign(&command, &theft.operator);
    theft.plant(&command, &signed);
    let done = theft.receipt(|receipt| receipt["state"] == "executed");
    assert_eq!(
        (&done["verified"], first.running_processes()),
        (&Value::Bool(true), 0)
    );
    // The very same bytes: the old answer, marked as such.
    theft.tamper(forget_answers);
    let again = theft.receipt(|receipt| receipt["redelivered"] == true);
    assert_eq!(
        (&again["state"], &again["effect"]),
        (&done["state"], &done["effect"])
    );
    // Other bytes under the same id, even if an operator signed them.
    let other = Command {
        id: command.id,
        ..kill(theft.host, second.uid())
    };
    let other = sign(&other, &theft.operator).encode_to_vec();
    theft.tamper(|database| {
        forget_answers(database);
        database
            .execute("UPDATE command SET signed = ?1", [other])
            .unwrap();
    });
    let refused = theft.receipt(|receipt| receipt["reason"] == "replayed");
    assert_harmless(&refused, "replayed", &second);
}

/// Hands out a command that no honest collector would, and expects the host to refuse it for `reason`.
fn assert_planted_is_refused(
    reason: &str,
    forge: impl FnOnce(&Theft, &mut Command) -> v1::SignedCommand,
) {
    let mut theft = Theft::prepare();
    let prey = Prey::waiting(reason);
    let mut command = kill(theft.host, prey.uid());
    let signed = forge(&theft, &mut command);
    theft.plant(&command, &signed);
    let id = command.id.to_string();
    let receipt = theft.receipt(|receipt| receipt["command_id"] == id.as_str());
    assert_harmless(&receipt, reason, &prey);
    let status = theft.rig.status(&theft.rig.path().join("host")).unwrap();
    assert_eq!(status["containment"]["refused"][reason], 1, "{status}");
    theft.rig.verify().unwrap();
}

fn assert_harmless(receipt: &Value, reason: &str, prey: &Prey) {
    assert_eq!(receipt["reason"], reason, "{receipt}");
    assert_ne!(receipt["state"], "executed", "{receipt}");
    assert_eq!(receipt["verified"], false, "{receipt}");
    assert_eq!(prey.running_processes(), 1, "the process lives");
}

/// A rig whose database is somebody else's.
struct Theft {
    operator: SigningKey,
    host: HostId,
    /// An enrolled host that never connects.
    neighbour: HostId,
    agent: Option<Service>,
    rig: Rig,
}

impl Theft {
    fn prepare() -> Self {
        let rig = Rig::start().unwrap();
        rig.enroll("host").unwrap();
        let host = HostId::parse(&rig.hosts().unwrap()[0]).unwrap();
        Self {
            operator: signing_key(&rig.operator()),
            host,
            neighbour: Rogue::enroll(&rig).host,
            agent: None,
            rig,
        }
    }

    /// Puts a command into the database as if it had been submitted for this host.
    fn plant(&mut self, command: &Command, signed: &v1::SignedCommand) {
        let (id, host) = (*command.id.as_bytes(), *self.host.as_bytes());
        let signed = signed.encode_to_vec();
        self.tamper(|database| {
            let sql =
                "INSERT INTO command (id, signed, action, requester, reason, submitted, expires)
                       VALUES (?1, ?2, 'kill', 'alice', '', ?3, ?4)";
            let times = (minutes_from_now(0).0, minutes_from_now(60).0);
            database
                .execute(sql, (id, signed, times.0, times.1))
                .unwrap();
            let sql = "INSERT INTO command_host (command, host) VALUES (?1, ?2)";
            database.execute(sql, (id, host)).unwrap();
        });
    }

    /// Stops both sides, changes the database, and starts both again.
    fn tamper(&mut self, change: impl FnOnce(&Connection)) {
        if let Some(agent) = self.agent.take() {
            agent.stop(PATIENCE).unwrap();
        }
        self.rig.crash_collector();
        let database = Connection::open(self.rig.data().join("collector.db")).unwrap();
        change(&database);
        database.close().unwrap();
        self.rig.restart_collector().unwrap();
        let state = self.rig.path().join("host");
        self.agent = Some(portable_agent(&self.rig, &state).unwrap());
    }

    /// The first receipt of this kind that reaches the store.
    fn receipt(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = wait::until("the receipt", PATIENCE, || {
            Ok(self.rig.receipts()?.into_iter().find(&wanted))
        });
        found.unwrap()
    }
}

fn stored(database: &Connection) -> v1::SignedCommand {
    let read = |row: &rusqlite::Row<'_>| row.get::<_, Vec<u8>>(0);
    let bytes = database
        .query_row("SELECT signed FROM command", [], read)
        .unwrap();
    v1::SignedCommand::decode(bytes.as_slice()).unwrap()
}

fn forget_answers(database: &Connection) {
    let sql = "UPDATE command_host SET delivered = 0, receipt = NULL, received = 0, final = 0";
    assert_eq!(database.execute(sql, []).unwrap(), 1);
}
