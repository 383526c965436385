//! A command for more hosts than its bytes list: with the real programs, from the request to the receipts and the audit.

use std::fs;

use picket_event::command::Command;
use picket_proto::v1;
use picket_tests::programs::Programs;
use picket_tests::rig::{PATIENCE, Rig, portable_agent};
use picket_tests::service::Service;
use picket_tests::wait;
use prost::Message;
use rusqlite::Connection;
use serde_json::Value;

/// More than are listed in the bytes that are signed.
const HOSTS: usize = 66;
const RUNNING: usize = 2;

/// Two hosts that run, the others enrolled and away, and two operators.
struct Place {
    rig: Rig,
    hosts: Vec<String>,
    _agents: Vec<Service>,
}

impl Place {
    fn new() -> Self {
        let rig = Rig::start_as(Programs::find().unwrap(), &["bob"]).unwrap();
        let uses = HOSTS.to_string();
        let token = rig
            .ctl_prints(&["token", "create", "--uses", &uses])
            .unwrap();
        let states = (0..HOSTS).map(|number| rig.path().join(format!("host-{number}")));
        let states: Vec<_> = states.collect();
        for state in &states {
            let state = state.display().to_string();
            let to = ["--collector", &rig.addresses.agents];
            let by = ["--token", token.trim(), "--fingerprint", &rig.fingerprint];
            let args = [&["enroll", "--state", &state][..], &to, &by].concat();
            rig.programs.succeed("picket-agent", &args).unwrap();
        }
        let running = states.iter().take(RUNNING);
        let agents = running.map(|state| portable_agent(&rig, state).unwrap());
        let agents = agents.collect();
        let hosts = rig.hosts().unwrap();
        assert_eq!(hosts.len(), HOSTS);
        Self {
            rig,
            hosts,
            _agents: agents,
        }
    }

    /// What alice types to have a file of every host.
    fn asking<'a>(&'a self, file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let hosts = self.hosts.iter().flat_map(|host| ["--host", host]);
        let asking = ["contain", "collect", file, "--reason", "evidence"];
        asking
            .into_iter()
            .chain(hosts)
            .chain(more.iter().copied())
            .collect()
    }

    fn shown(&self, id: &str) -> Value {
        self.rig
            .ctl_json(&["command", "show", id])
            .unwrap()
            .remove(0)
    }

    /// As soon as it is there.
    fn requested(&self) -> String {
        let id = wait::until("the request", PATIENCE, || {
            let commands = self.rig.ctl_json(&["commands"])?;
            let mut waiting = commands.iter().filter(|one| one["state"] == "requested");
            Ok(waiting
                .next()
                .and_then(|one| one["id"].as_str())
                .map(str::to_owned))
        });
        id.unwrap()
    }
}

fn count(shown: &Value, state: &str) -> usize {
    let hosts = shown["hosts"].as_array().unwrap();
    hosts.iter().filter(|host| host["state"] == state).count()
}

#[test]
fn two_persons_command_many_hosts_by_their_root_and_each_acts_on_its_own_proof() {
    let mut place = Place::new();
    let file = place.rig.path().join("evidence");
    fs::write(&file, "seen").unwrap();
    let file = file.display().to_string();
    let asked = place
        .rig
        .ctl_json(&place.asking(&file, &[]))
        .unwrap()
        .remove(0);
    assert_eq!(asked["state"], "requested", "{asked}");
    let root = asked["host_set_root"].as_str().unwrap().to_owned();
    let id = asked["id"].as_str().unwrap().to_owned();
    let approved = place
        .rig
        .ctl_as("bob", &["approve", id.get(..12).unwrap(), "--yes"])
        .unwrap();
    assert_eq!(approved.code, Some(0), "{}", approved.stderr);
    for part in [
        root.as_str(),
        "of 66 hosts",
        place.hosts[0].get(..16).unwrap(),
    ] {
        assert!(
            approved.stdout.contains(part),
            "{part}: {}",
            approved.stdout
        );
    }
    let done = wait::until("the receipts", PATIENCE, || {
        let shown = place.shown(&id);
        Ok((count(&shown, "executed") == RUNNING).then_some(shown))
    });
    let done = done.unwrap();
    assert_eq!(count(&done, "waiting"), HOSTS - RUNNING, "{done}");
    let signers = done["hosts"].as_array().unwrap().iter();
    let signers = signers.filter_map(|host| host["receipt"]["signers"].as_array());
    assert!(signers.clone().count() > 0);
    assert!(signers.into_iter().all(|signers| signers.len() == 2));
    place.rig.ctl_prints(&["audit"]).unwrap();
    place.rig.ctl_prints(&["verify"]).unwrap();
    others_are_not_signed(&mut place, &file);
}

/// A collector that shows other hosts than those whose root was signed is found out before anybody signs.
fn others_are_not_signed(place: &mut Place, file: &str) {
    let asked = place
        .rig
        .ctl_json(&place.asking(file, &[]))
        .unwrap()
        .remove(0);
    let id = asked["id"].as_str().unwrap().to_owned();
    place.rig.crash_collector();
    let database = Connection::open(place.rig.data().join("collector.db")).unwrap();
    let key = hex::decode(&id).unwrap();
    let sql = "SELECT signed FROM command WHERE id = ?1";
    let bytes: Vec<u8> = database.query_row(sql, [&key], |row| row.get(0)).unwrap();
    let mut signed = v1::SignedCommand::decode(bytes.as_slice()).unwrap();
    assert!(Command::read(&signed).is_ok());
    signed.host_ids[7] = vec![7; 32];
    let sql = "UPDATE command SET signed = ?2 WHERE id = ?1";
    let changed = database
        .execute(sql, (&key, signed.encode_to_vec()))
        .unwrap();
    assert_eq!(changed, 1);
    database.close().unwrap();
    place.rig.restart_collector().unwrap();
    let refused = place.rig.ctl_as("bob", &["approve", &id, "--yes"]).unwrap();
    assert_eq!(
        refused.code,
        Some(5),
        "{} {}",
        refused.stdout,
        refused.stderr
    );
    assert!(
        refused.stderr.contains("not those that were signed"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stdout.contains("evidence"), "{}", refused.stdout);
}

#[test]
fn many_hosts_go_ring_by_ring_as_their_root_says() {
    let place = Place::new();
    let file = place.rig.path().join("evidence");
    fs::write(&file, "seen").unwrap();
    let file = file.display().to_string();
    let args = place.asking(&file, &["--rings", "--settle", "0s"]);
    let ended = std::thread::scope(|scope| {
        let rings = scope.spawn(|| place.rig.ctl(&args).unwrap());
        let id = place.requested();
        let approved = place.rig.ctl_as("bob", &["approve", &id, "--yes"]).unwrap();
        assert_eq!(approved.code, Some(0), "{}", approved.stderr);
        rings.join().unwrap()
    });
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
    for line in [
        "ring 1 of 2: 1 hosts did it",
        "ring 2 of 2: 1 hosts did it, 64 away",
    ] {
        assert!(ended.stdout.contains(line), "{line}: {}", ended.stdout);
    }
    place.rig.ctl_prints(&["verify"]).unwrap();
}
