//! A second person, and who is believed at all: with the real programs, from the draft of a trust root to what becomes
//! of a process.

use picket_event::HostId;
use picket_event::command::Command;
use picket_event::trust::{TrustRoot, from_pem, to_pem};
use picket_proto::v1;
use picket_seal::{Domain, SigningKey};
use picket_tests::programs::{Ended, Programs};
use picket_tests::rig::{PATIENCE, Rig, parse, portable_agent};
use picket_tests::service::Service;
use picket_tests::wait;
use prost::Message;
use rusqlite::Connection;
use serde_json::Value;

use crate::operator::{kill, minutes_from_now, sign, signing_key};
use crate::prey::Prey;
use crate::rogue::new_key;

#[test]
fn on_a_critical_host_a_kill_waits_for_a_second_person_who_signs_the_same_bytes() {
    let place = Place::with_bob();
    place.make_critical();
    let (prey, spared) = (Prey::waiting("approved"), Prey::waiting("denied"));
    let asked = place.ask(&prey);
    assert_eq!(
        (&asked["state"], prey.running_processes()),
        (&"requested".into(), 1),
        "{asked}"
    );
    let id = asked["id"].as_str().unwrap();
    let own = place.rig.ctl(&["approve", id, "--yes"]).unwrap();
    assert_eq!(own.code, Some(3), "{}", own.stderr);
    assert!(own.stderr.contains("own request"), "{}", own.stderr);
    let shown = place.rig.ctl_prints(&["command", "show", id]).unwrap();
    for part in [
        "1 more of 2 persons for the class critical",
        "alice",
        "miner",
        "kill",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let approved = place.bob(&["approve", id, "--yes"]);
    assert_eq!(approved.code, Some(0), "{}", approved.stderr);
    assert!(approved.stdout.contains("miner"), "{}", approved.stdout);
    let receipt = place.receipt(|receipt| receipt["command_id"] == id);
    assert_eq!(
        (
            &receipt["state"],
            &receipt["signers"],
            prey.running_processes()
        ),
        (&"executed".into(), &serde_json::json!(["alice", "bob"]), 0),
        "{receipt}"
    );
    let asked = place.ask(&spared);
    let id = asked["id"].as_str().unwrap();
    let denied = place.bob(&["deny", id, "--reason", "that is the backup"]);
    assert_eq!(denied.code, Some(0), "{}", denied.stderr);
    let late = place.bob(&["approve", id, "--yes"]);
    assert_eq!(late.code, Some(3), "{}", late.stderr);
    let shown = place.rig.ctl_prints(&["command", "show", id]).unwrap();
    assert!(shown.contains("deny by bob: that is the backup"), "{shown}");
    assert_eq!(spared.running_processes(), 1);
    place.assert_audit(&[
        ("trust.change", "bob"),
        ("command.request", "alice"),
        ("command.approve", "bob"),
        ("command.deny", "bob"),
    ]);
}

#[test]
fn who_waits_is_told_that_the_command_was_denied() {
    let place = Place::with_bob();
    place.make_critical();
    let prey = Prey::waiting("waited-for");
    let uid = prey.uid().to_string();
    let host = place.host.to_string();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let args = ["contain", "kill", &uid, "--host", &host, "--wait", "--json"];
            place.rig.ctl(&args).unwrap()
        });
        let id = wait::until("the request", PATIENCE, || {
            let commands = place.rig.ctl_json(&["commands"])?;
            let id = commands.first().and_then(|one| one["id"].as_str());
            Ok(id.map(str::to_owned))
        });
        place.bob(&["deny", &id.unwrap(), "--reason", "no"]);
        let ended = waiting.join().unwrap();
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains("denied"), "{}", ended.stderr);
    });
    assert_eq!(prey.running_processes(), 1);
}

#[test]
fn whoever_left_the_trust_root_is_refused_by_the_collector_and_by_the_host() {
    let mut place = Place::with_bob();
    let bob = signing_key(&place.rig.path().join("bob"));
    let draft = place.draft(&[
        "--remove",
        "bob",
        "--threshold",
        "fleet=1",
        "--threshold",
        "content=1",
        "--threshold",
        "trust=1",
        "--threshold",
        "critical=1",
        "--threshold",
        "recovery=1",
    ]);
    let alone = place.rig.ctl(&["trust", "sign", &draft, "--yes"]).unwrap();
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    let early = place.rig.ctl(&["trust", "publish", &draft]).unwrap();
    assert_eq!(early.code, Some(3), "one of two: {}", early.stderr);
    assert_eq!(place.bob(&["trust", "sign", &draft, "--yes"]).code, Some(0));
    place.rig.ctl_prints(&["trust", "publish", &draft]).unwrap();
    place.wait_for_version("2");
    let prey = Prey::waiting("bobs");
    let uid = prey.uid().to_string();
    let host = place.host.to_string();
    let refused = place.bob(&["contain", "kill", &uid, "--host", &host]);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("not_approved"),
        "{}",
        refused.stderr
    );
    // A stolen collector hands it out all the same.
    let command = kill(place.host, prey.uid());
    place.plant(&command, &sign(&command, &bob));
    let id = command.id.to_string();
    let receipt = place.receipt(|receipt| receipt["command_id"] == id.as_str());
    assert_eq!(
        (&receipt["reason"], prey.running_processes()),
        (&"unknown_key".into(), 1)
    );
    let rotated = place.receipt(|receipt| receipt["action"] == "trust-root");
    assert_eq!(
        rotated["signers"],
        serde_json::json!(["alice", "bob"]),
        "{rotated}"
    );
    place.assert_audit(&[("trust.first", "collector"), ("trust.change", "alice")]);
}

#[test]
fn a_stolen_collector_publishes_no_trust_root_of_its_own_and_rolls_none_back() {
    let mut place = Place::with_bob();
    place.make_critical();
    let thief = new_key();
    let second = stored_root(&place.rig);
    let own = TrustRoot {
        version: 3,
        persons: second
            .persons
            .iter()
            .map(|person| picket_event::trust::Person {
                keys: vec![thief.public_key()],
                ..person.clone()
            })
            .take(1)
            .collect(),
        thresholds: second
            .thresholds
            .iter()
            .map(|(class, _)| (*class, 1))
            .collect(),
        ..second.clone()
    };
    let signed = sign_root(&own, &thief);
    place.tamper(|database| {
        let sql = "INSERT INTO trust_root (version, signed, added) VALUES (3, ?1, 0)";
        database.execute(sql, [signed.encode_to_vec()]).unwrap();
    });
    let refused =
        place.receipt(|receipt| receipt["action"] == "trust-root" && receipt["state"] == "refused");
    assert_eq!(refused["reason"], "trust_root", "{refused}");
    let looked = place.rig.ctl(&["trust", "show"]).unwrap();
    assert_eq!(looked.code, Some(5), "{}", looked.stderr);
    // Back to the first one: operators who have seen the second notice, and the host keeps it.
    place.tamper(|database| {
        database
            .execute_batch(
                "DROP TRIGGER trust_root_is_never_cut; DELETE FROM trust_root WHERE version > 1;",
            )
            .unwrap();
    });
    let looked = place.rig.ctl(&["trust", "show"]).unwrap();
    assert_eq!(looked.code, Some(5), "{}", looked.stderr);
    assert!(looked.stderr.contains("older than 2"), "{}", looked.stderr);
    let prey = Prey::waiting("rolled-back");
    let command = kill(place.host, prey.uid());
    let alice = signing_key(&place.rig.operator());
    place.plant(&command, &sign(&command, &alice));
    let id = command.id.to_string();
    let receipt = place.receipt(|receipt| receipt["command_id"] == id.as_str());
    assert_eq!(
        (&receipt["reason"], prey.running_processes()),
        (&"threshold".into(), 1)
    );
}

#[test]
fn root_on_the_host_replaces_the_trust_root_while_the_agent_runs_and_that_is_an_event() {
    let place = Place::with_bob();
    let carol = new_key();
    let first = stored_root(&place.rig);
    let other = TrustRoot {
        persons: vec![picket_event::trust::Person {
            name: "carol".to_owned(),
            keys: vec![carol.public_key()],
            ..first.persons[0].clone()
        }],
        thresholds: first
            .thresholds
            .iter()
            .map(|(class, _)| (*class, 1))
            .collect(),
        ..first
    };
    let file = place.rig.path().join("replacement");
    std::fs::write(&file, to_pem(&sign_root(&other, &carol))).unwrap();
    let state = place.rig.path().join("host").display().to_string();
    let args = [
        "trust",
        "replace",
        &file.display().to_string(),
        "--state",
        &state,
    ];
    let printed = place.rig.programs.succeed("picket-agent", &args).unwrap();
    assert!(printed.contains("in force"), "{printed}");
    let told = place.receipt(|receipt| receipt["reason"] == "replaced_locally");
    assert_eq!(
        (&told["state"], &told["action"]),
        (&"executed".into(), &"trust-root".into())
    );
}

/// A host with a running agent, and two operators.
struct Place {
    host: HostId,
    agent: Option<Service>,
    rig: Rig,
}

impl Place {
    fn with_bob() -> Self {
        let rig = Rig::start_as(Programs::find().unwrap(), &["bob"]).unwrap();
        let state = rig.enroll("host").unwrap();
        let host = HostId::parse(&rig.hosts().unwrap()[0]).unwrap();
        let agent = Some(portable_agent(&rig, &state).unwrap());
        Self { host, agent, rig }
    }

    fn bob(&self, args: &[&str]) -> Ended {
        self.rig.ctl_as("bob", args).unwrap()
    }

    fn draft(&self, options: &[&str]) -> String {
        let draft = self.rig.path().join("next.trust").display().to_string();
        let args = [&["trust", "propose", "--out", &draft][..], options].concat();
        self.rig.ctl_prints(&args).unwrap();
        draft
    }

    /// Trust root 2: the host is critical. Alice drafts, both sign, bob publishes.
    fn make_critical(&self) {
        let draft = self.draft(&["--critical", &self.host.to_string()]);
        self.rig
            .ctl_prints(&["trust", "sign", &draft, "--yes"])
            .unwrap();
        for args in [
            &["trust", "sign", &draft, "--yes"][..],
            &["trust", "publish", &draft],
        ] {
            let ended = self.bob(args);
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        }
        let (signed, _) = from_pem(&std::fs::read_to_string(&draft).unwrap()).unwrap();
        assert_eq!(signed.signatures.len(), 2);
        self.wait_for_version("2");
    }

    fn wait_for_version(&self, version: &str) {
        let believed = wait::until("the host believes the new trust root", PATIENCE, || {
            let shown = self.rig.ctl_json(&["trust", "show"])?;
            Ok((shown[0]["hosts_by_version"][version] == 1).then_some(()))
        });
        believed.unwrap();
    }

    /// As alice; gives the command as the collector shows it.
    fn ask(&self, prey: &Prey) -> Value {
        let (uid, host) = (prey.uid().to_string(), self.host.to_string());
        let args = [
            "contain", "kill", &uid, "--host", &host, "--reason", "miner",
        ];
        self.rig.ctl_json(&args).unwrap().remove(0)
    }

    fn receipt(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = wait::until("the receipt", PATIENCE, || {
            Ok(self.rig.receipts()?.into_iter().find(&wanted))
        });
        found.unwrap()
    }

    /// The audit verifies, holds these, and is in a bundle that verifies without the collector.
    fn assert_audit(&self, wanted: &[(&str, &str)]) {
        let ended = self.rig.ctl(&["audit", "--json"]).unwrap();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let lines = ended
            .stdout
            .lines()
            .map(|line| parse("picketctl audit", line).unwrap());
        let entries: Vec<Value> = lines.collect();
        for (action, who) in wanted {
            let found = entries
                .iter()
                .any(|entry| entry["action"] == *action && entry["who"] == *who);
            assert!(found, "{action} by {who}: {entries:?}");
        }
        let offline = self.verified_offline().unwrap();
        assert!(offline.contains("audit: "), "{offline}");
    }

    fn verified_offline(&self) -> Result<String, picket_tests::failure::Failure> {
        let bundle = self.rig.path().join("bundle");
        let bundle = bundle.display().to_string();
        let printed = self.rig.ctl_prints(&["verify", "--export", &bundle])?;
        let key = printed.trim().rsplit(' ').next().unwrap_or_default();
        let args = ["verify", "--bundle", &bundle, "--checkpoint-key", key];
        self.rig.programs.succeed("picketctl", &args)
    }

    /// Puts a command into the database as if it had been approved.
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
}

/// The newest trust root of the collector's database.
fn stored_root(rig: &Rig) -> TrustRoot {
    let database = Connection::open(rig.data().join("collector.db")).unwrap();
    let sql = "SELECT signed FROM trust_root ORDER BY version DESC LIMIT 1";
    let bytes: Vec<u8> = database.query_row(sql, [], |row| row.get(0)).unwrap();
    let signed = v1::SignedTrustRoot::decode(bytes.as_slice()).unwrap();
    TrustRoot::decode(&signed.body).unwrap()
}

fn sign_root(root: &TrustRoot, key: &SigningKey) -> v1::SignedTrustRoot {
    let body = root.encode();
    v1::SignedTrustRoot {
        signatures: vec![v1::Signature {
            key_id: key.public_key().key_id().0.to_vec(),
            signature: key.sign(Domain::TrustRoot, &body).0.to_vec(),
        }],
        body,
    }
}
