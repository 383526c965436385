//! The whole life of commands as a random walk: persons ask, approve, deny and cancel, the collector restarts, clocks
//! step, a thief replays whatever ever left the collector, in any order and to anybody.
//!
//! Real are the collector's commands, database and trust, and the code by which signatures are weighed. A host is a
//! model: it makes the agent's checks in their order (`agent/src/respond/check.rs`) and keeps what it has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use picket_collector::command::Commands;
use picket_collector::database::hosts::HostRow;
use picket_collector::database::{Database, DatabaseError, commands, hosts};
use picket_collector::metrics::Metrics;
use picket_collector::registry::Registry;
use picket_collector::trust::Trust;
use picket_event::command::Command;
use picket_event::statement::{Statement, StatementKind};
use picket_event::trust::{Person, Role, Signed, TrustRoot};
use picket_event::{CommandId, HostId, ReceiptState, UnixNanos};
use picket_proto::v1;
use picket_seal::{Digest, Domain, SigningKey};

use crate::commands::command;

const SEEDS: [u64; 3] = [
    0x9e37_79b9_7f4a_7c15,
    0x2545_f491_4f6c_dd1d,
    0xbf58_476d_1ce4_e5b9,
];
const STEPS: usize = 500;
const NOW: UnixNanos = UnixNanos(1_800_000_000_000_000_000);
const PEOPLE: [(&str, &[Role]); 4] = [
    ("alice", &[Role::Requester, Role::Approver]),
    ("bob", &[Role::Requester, Role::Approver]),
    ("carol", &[Role::Requester]),
    ("robot", &[Role::Automation]),
];

struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most.max(1) as u64).unwrap()
    }
}

/// What the walk knows of a command, whatever the collector says.
struct Known {
    command: Command,
    /// Whoever really signed these bytes, the requester first.
    signers: Vec<usize>,
    left_collector: bool,
    ended_before_leaving: bool,
}

/// A host: durable is what it has seen and done.
#[derive(Default)]
struct Host {
    seen: BTreeMap<CommandId, (Vec<u8>, ReceiptState)>,
    done: Vec<CommandId>,
    newest_not_before: Option<UnixNanos>,
    ahead: i64,
}

struct Walk {
    folder: tempfile::TempDir,
    commands: Commands,
    database: Database,
    root: TrustRoot,
    keys: Vec<SigningKey>,
    stranger: SigningKey,
    ids: Vec<HostId>,
    hosts: Vec<Host>,
    known: Vec<Known>,
    /// Everything that ever left the collector.
    captured: Vec<v1::SignedCommand>,
    now: UnixNanos,
    random: Random,
}

fn row(number: u8) -> HostRow {
    let event_key = SigningKey::generate().unwrap().public_key();
    HostRow {
        id: HostId::new([number; 32]),
        event_key,
        name: format!("h{number}"),
        group: String::new(),
        token: String::new(),
        enrolled: NOW,
        revoked: false,
        facts: v1::HostFacts {
            takes_host_sets: true,
            ..v1::HostFacts::default()
        },
        heartbeat: None,
        last_seen: NOW,
        host_epoch: 0,
    }
}

fn open(folder: &std::path::Path, root: &TrustRoot, rows: Vec<HostRow>) -> (Commands, Database) {
    let path = folder.join("collector.db");
    let database = if path.exists() {
        Database::open(&path).unwrap()
    } else {
        std::fs::write(&path, b"").unwrap();
        let database = Database::create(&path).unwrap();
        let add = |t: &rusqlite::Transaction<'_>| -> Result<(), DatabaseError> {
            for row in &rows {
                hosts::add(t, row)?;
            }
            Ok(())
        };
        database.run(add).unwrap();
        database
    };
    let registry = Registry::new(rows, Arc::new(Metrics::new()));
    let trust = Trust::open(database.clone(), &root.encode(), NOW).unwrap();
    (
        Commands::new(database.clone(), registry, trust, 1_000),
        database,
    )
}

impl Walk {
    fn new(seed: u64) -> Self {
        let keys: Vec<_> = PEOPLE
            .iter()
            .map(|_| SigningKey::generate().unwrap())
            .collect();
        let persons = keys.iter().zip(PEOPLE).map(|(key, (name, roles))| Person {
            name: name.to_owned(),
            keys: vec![key.public_key()],
            roles: roles.to_vec(),
        });
        let mut root = TrustRoot::first(persons.collect(), NOW);
        let rows: Vec<HostRow> = (1..=3).map(row).collect();
        // On the first host whatever is done takes two persons.
        root.critical_hosts.insert(rows[0].id);
        let folder = tempfile::tempdir().unwrap();
        let ids = rows.iter().map(|row| row.id).collect();
        let (commands, database) = open(folder.path(), &root, rows);
        Self {
            folder,
            commands,
            database,
            root,
            keys,
            stranger: SigningKey::generate().unwrap(),
            ids,
            hosts: (0..3).map(|_| Host::default()).collect(),
            known: Vec::new(),
            captured: Vec::new(),
            now: NOW,
            random: Random(seed),
        }
    }

    async fn step(&mut self) {
        match self.random.below(12) {
            0 | 1 => self.ask().await,
            2 | 3 => self.approve().await,
            4 => self.end(StatementKind::Deny).await,
            5 => self.end(StatementKind::Cancel).await,
            6 => self.clocks(),
            7 => self.restart(),
            8..=10 => self.deliver().await,
            _ => self.replay(),
        }
        self.compare().await;
    }

    fn signature(&self, who: usize, body: &[u8]) -> v1::Signature {
        let key = self.keys.get(who).unwrap_or(&self.stranger);
        v1::Signature {
            key_id: key.public_key().key_id().0.to_vec(),
            signature: key.sign(Domain::Command, body).0.to_vec(),
        }
    }

    async fn ask(&mut self) {
        let mut one = command(self.ids[0]);
        one.id = CommandId::new(picket_seal::random().unwrap());
        let from = self.random.below(3);
        one.hosts = self.ids[from..].to_vec();
        one.not_before = self.now;
        let minutes = 1 + self.random.below(20) as u64;
        one.expires = self.now.plus(Duration::from_mins(minutes));
        if self.random.below(2) == 0 {
            one = one.by_root().unwrap();
        }
        let who = self.random.below(5);
        let body = one.encode();
        let signed = v1::SignedCommand {
            signatures: vec![self.signature(who, &body)],
            body,
            host_ids: one.beside(),
            proof: None,
        };
        let taken = self.commands.submit(signed, "x".to_owned(), self.now).await;
        assert_eq!(taken.is_ok(), who < 4, "{taken:?}");
        if taken.is_ok() {
            self.known.push(Known {
                command: one,
                signers: vec![who],
                left_collector: false,
                ended_before_leaving: false,
            });
        }
    }

    async fn approve(&mut self) {
        if self.known.is_empty() {
            return;
        }
        let at = self.random.below(self.known.len());
        let who = self.random.below(5);
        let mut body = self.known[at].command.encode();
        let altered = self.random.below(8) == 0;
        if altered {
            body.push(0);
        }
        let signature = self.signature(who, &body);
        let id = self.known[at].command.id;
        let taken = self.commands.approve(id, signature, self.now).await;
        if taken.is_err() {
            return;
        }
        assert!(!altered && who < 2, "only approvers of the very bytes");
        let signers = &mut self.known[at].signers;
        if !signers.contains(&who) {
            signers.push(who);
        }
    }

    async fn end(&mut self, kind: StatementKind) {
        if self.known.is_empty() {
            return;
        }
        let at = self.random.below(self.known.len());
        let who = self.random.below(5);
        let known = &self.known[at];
        let statement = Statement {
            kind,
            command: known.command.id,
            command_sha256: Digest::of(&known.command.encode()),
            reason: String::new(),
            time: self.now,
            ring: 0,
        };
        let statement = statement.sign(self.keys.get(who).unwrap_or(&self.stranger));
        let id = known.command.id;
        let taken = match kind {
            StatementKind::Deny => self.commands.deny(id, statement, self.now).await,
            StatementKind::Cancel => self.commands.cancel(id, statement, self.now).await,
            StatementKind::Start => self.commands.start(id, statement, self.now).await,
        };
        if taken.is_ok() {
            assert!(who < 4, "not a stranger");
            let known = &mut self.known[at];
            known.ended_before_leaving |= !known.left_collector;
        }
    }

    /// Time goes on, and now and then a clock goes back: the collector's, or a host's.
    fn clocks(&mut self) {
        let seconds = self.random.below(240) as u64;
        match self.random.below(4) {
            0 => self.now = self.now.minus(Duration::from_secs(seconds / 2)),
            1 => {
                let host = self.random.below(3);
                self.hosts[host].ahead =
                    i64::try_from(seconds).unwrap() * 1_000_000_000 - 120_000_000_000;
            }
            _ => self.now = self.now.plus(Duration::from_secs(seconds)),
        }
    }

    fn restart(&mut self) {
        let rows = (1..=3).map(row).collect();
        (self.commands, self.database) = open(self.folder.path(), &self.root, rows);
    }

    async fn deliver(&mut self) {
        let host = self.random.below(3);
        let id = self.ids[host];
        for row in self.commands.open_for(id, self.now).await.unwrap() {
            let known = self
                .known
                .iter_mut()
                .find(|known| known.command.id == row.id);
            known.unwrap().left_collector = true;
            let handed = row.to_host();
            self.captured.push(handed.clone());
            self.commands.delivered(row.id, id, self.now).await.unwrap();
            // The way there, or the way back, is sometimes lost.
            if self.random.below(5) == 0 {
                continue;
            }
            let state = self.host_takes(host, &handed);
            if self.random.below(5) > 0 {
                let receipt = v1::Containment {
                    command_id: row.id.as_bytes().to_vec(),
                    state: state.to_wire(),
                    ..v1::Containment::default()
                };
                let keep =
                    move |t: &rusqlite::Transaction<'_>| commands::receipt(t, &id, &receipt, NOW);
                self.database.run(keep).unwrap();
            }
        }
    }

    /// Whoever holds the line sends anything to anybody, with its signatures in any order and number.
    fn replay(&mut self) {
        if self.captured.is_empty() {
            return;
        }
        let mut signed = self.captured[self.random.below(self.captured.len())].clone();
        let other = &self.captured[self.random.below(self.captured.len())];
        let (others, proof) = (other.signatures.clone(), other.proof.clone());
        match self.random.below(6) {
            4 => signed.proof = proof,
            0 => signed.signatures.reverse(),
            1 => signed.signatures.truncate(1),
            2 => signed.signatures.extend(others),
            3 => signed.body[20] ^= 1,
            _ => {}
        }
        let host = self.random.below(3);
        self.host_takes(host, &signed);
    }

    /// The checks of an agent, in their order, and what it then does.
    fn host_takes(&mut self, host: usize, signed: &v1::SignedCommand) -> ReceiptState {
        let own = self.ids[host];
        let model = &mut self.hosts[host];
        let floor = model.newest_not_before.unwrap_or(UnixNanos(i64::MIN));
        let now = UnixNanos(self.now.0 + model.ahead).max(floor);
        let Ok(command) = Command::decode(&signed.body) else {
            return ReceiptState::Refused;
        };
        let said = Signed {
            domain: Domain::Command,
            body: &signed.body,
            signatures: &signed.signatures,
        };
        let is_for = command.ring_for(&own, signed.proof.as_ref()).is_some();
        if self.root.authorize(&command, said, now).is_err() || !is_for {
            return ReceiptState::Refused;
        }
        if let Some((body, state)) = model.seen.get(&command.id) {
            return if *body == signed.body {
                *state
            } else {
                ReceiptState::Refused
            };
        }
        if command.expires < now {
            return ReceiptState::Expired;
        }
        if command.not_before > now.plus(Duration::from_secs(30)) {
            return ReceiptState::Refused;
        }
        model.newest_not_before = Some(floor.max(command.not_before));
        model
            .seen
            .insert(command.id, (signed.body.clone(), ReceiptState::Executed));
        model.done.push(command.id);
        self.judge(host, &command, now);
        ReceiptState::Executed
    }

    /// What was just done was allowed, by what the walk itself knows.
    fn judge(&self, host: usize, command: &Command, now: UnixNanos) {
        let known = self
            .known
            .iter()
            .find(|known| known.command.id == command.id);
        let known = known.expect("nothing is done that nobody asked for");
        assert_eq!(known.command.encode(), command.encode(), "the very bytes");
        let command = &known.command;
        assert!(
            command.hosts.contains(&self.ids[host]),
            "never on another host"
        );
        assert!(now <= command.expires, "never after its end");
        assert!(
            !known.ended_before_leaving,
            "denied or cancelled before it left"
        );
        let persons: BTreeSet<usize> = known
            .signers
            .iter()
            .copied()
            .filter(|who| *who < 3)
            .collect();
        // The first host is critical; by a root anybody may be.
        let critical = command.hosts.contains(&self.ids[0]) || command.host_set.is_some();
        let needed = if critical { 2 } else { 1 };
        assert!(persons.len() >= needed, "{:?} of {needed}", known.signers);
        let times = self.hosts[host]
            .done
            .iter()
            .filter(|done| **done == command.id);
        assert_eq!(times.count(), 1, "at most once");
    }

    /// What the collector shows is true.
    async fn compare(&self) {
        for shown in self.commands.list(1_000, self.now).await.unwrap() {
            for outcome in shown.hosts {
                let host = self
                    .ids
                    .iter()
                    .position(|id| outcome.host_id == id.as_bytes())
                    .unwrap();
                let id = CommandId::from_slice(&shown.command_id).unwrap();
                if outcome.state == "executed" {
                    assert!(
                        self.hosts[host].done.contains(&id),
                        "{id} is said to be done"
                    );
                }
                if shown.state == "requested" || shown.state == "denied" {
                    assert!(
                        !self.hosts[host].done.contains(&id),
                        "{id} is {}",
                        shown.state
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn whatever_happens_a_command_is_done_at_most_once_and_only_as_enough_persons_signed_it() {
    for seed in SEEDS {
        let mut walk = Walk::new(seed);
        for _ in 0..STEPS {
            walk.step().await;
        }
        let done: usize = walk.hosts.iter().map(|host| host.done.len()).sum();
        assert!(done > 10, "the walk does something: {done}");
    }
}
