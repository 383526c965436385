//! Commands, from the bytes that operators sign to what becomes of the test's own children.

use std::path::PathBuf;
use std::process::{Child, Command as Program, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use picket_event::Clock;
use picket_event::command::{MAX_COMMAND_BYTES, Target};
use picket_event::statement::{Statement, StatementKind};
use picket_event::trust::{Person, Role};
use picket_seal::{Domain, SigningKey};

use picket_event::{ProcessUid, StreamId};
use picket_seal::Digest;

use super::*;
use crate::content::Contents;
use crate::health::{Health, Status};
use crate::state::StateDir;

pub(super) const OWN: HostId = HostId::new([7; 32]);
pub(super) const NOW: UnixNanos = UnixNanos(1_800_000_000_000_000_000);

#[derive(Debug)]
struct Hands(Mutex<UnixNanos>);

impl Clock for Hands {
    fn now(&self) -> UnixNanos {
        *self.0.lock().unwrap()
    }
}

pub(super) struct Bench {
    dir: tempfile::TempDir,
    pub(super) operator: SigningKey,
    clock: Arc<Hands>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            operator: SigningKey::generate().unwrap(),
            clock: Arc::new(Hands(Mutex::new(NOW))),
        }
    }

    fn protected_exe(&self) -> PathBuf {
        self.dir.path().join("protected")
    }

    /// A process of this test whose executable the settings protect.
    fn protected_sleeper(&self) -> Child {
        std::fs::copy("/bin/sleep", self.protected_exe()).unwrap();
        Program::new(self.protected_exe())
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Where the users of the test are.
    pub(super) fn accounts(&self) -> PathBuf {
        self.dir.path().join("accounts")
    }

    /// As after a start of the agent.
    pub(super) fn responder(&self) -> Responder {
        let state = StateDir::open(self.dir.path()).unwrap();
        let person = Person {
            name: "alice".to_owned(),
            keys: vec![self.operator.public_key()],
            roles: vec![Role::Requester, Role::Content],
        };
        let trust = TrustRoot::first(vec![person], NOW);
        let believer = Believer {
            host: OWN,
            host_epoch: 3,
            trust: trust.clone(),
            told: watch::Sender::new(Told::default()),
        };
        let clock: SharedClock = Arc::<Hands>::clone(&self.clock);
        let protection = Protection::new(crate::clock::boot_id(), vec![self.protected_exe()]);
        let boot = crate::clock::boot_id();
        let state = Arc::new(state);
        let rules = self.dir.path().join("rules.d");
        let contents = Contents::open(Arc::clone(&state), rules, &trust);
        let kept = Kept {
            log: CommandLog::open(&state, NOW),
            effects: Effects::open(&state, boot),
            state,
            contents,
            accounts: Accounts {
                root: self.accounts(),
            },
            places: Arc::default(),
            protects_removal: false,
            health: Health::new(Status::new(OWN, StreamId::new([1; 16]), String::new())),
        };
        Responder::new(believer, clock, kept, SharedTable::default(), protection)
    }

    /// Sets the clock.
    pub(super) fn at(&self, now: UnixNanos) {
        *self.clock.0.lock().unwrap() = now;
    }

    pub(super) fn sign(&self, command: &Command) -> v1::SignedCommand {
        let body = command.encode();
        let signature = self.operator.sign(Domain::Command, &body);
        let key_id = self.operator.public_key().key_id();
        let signature = v1::Signature {
            key_id: key_id.as_bytes().to_vec(),
            signature: signature.as_bytes().to_vec(),
        };
        v1::SignedCommand {
            body,
            signatures: vec![signature],
            ..v1::SignedCommand::default()
        }
    }
}

pub(super) fn command(number: u8, action: Action) -> Command {
    Command {
        id: CommandId::new([number; 16]),
        hosts: vec![OWN],
        host_epoch: 3,
        not_before: NOW,
        expires: NOW.plus(Duration::from_mins(15)),
        mode: Mode::Enforce,
        auto_release: None,
        exe_sha256: None,
        action,
        reason: "test".to_owned(),
        incident: String::new(),
        dry_run_digest: None,
        break_glass: None,
        rings: Vec::new(),
        host_set: None,
    }
}

/// The first answer.
pub(super) trait Ask {
    fn ask(&mut self, signed: &v1::SignedCommand) -> Option<Containment>;
}

impl Ask for Responder {
    fn ask(&mut self, signed: &v1::SignedCommand) -> Option<Containment> {
        self.answer(signed, None).into_iter().next()
    }
}

fn sleeper() -> Child {
    Program::new("sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn target(child: &Child) -> Target {
    let found = procfs::find(&crate::clock::boot_id(), child.id()).unwrap();
    Target {
        process: found.uid,
        pid: found.pid,
    }
}

fn nobody() -> Target {
    Target {
        process: ProcessUid::new([0xee; 16]),
        pid: 0,
    }
}

#[test]
fn each_check_has_its_place_and_its_code() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    let mut protected = bench.protected_sleeper();
    // Everything is wrong; each step repairs what the step before was refused for.
    let mut wrong = command(1, Action::Kill(nobody()));
    wrong.hosts = vec![HostId::new([8; 32])];
    wrong.host_epoch = 2;
    wrong.not_before = NOW.minus(Duration::from_hours(25));
    wrong.expires = NOW.minus(Duration::from_secs(1));
    wrong.exe_sha256 = Some(Digest::of(b"another"));
    wrong.reason = "x".repeat(MAX_COMMAND_BYTES);
    let mut code = |command: &Command, signed: v1::SignedCommand| {
        let receipt = responder.ask(&signed).unwrap();
        assert_eq!(
            receipt.command_id.as_bytes()[0] == 0,
            signed.body.len() > MAX_COMMAND_BYTES
        );
        assert!(
            !receipt.verified && receipt.affected.is_empty(),
            "{command:?}"
        );
        (receipt.state.name(), receipt.reason)
    };
    let unsigned = |command: &Command| {
        let mut signed = bench.sign(command);
        signed.signatures[0].signature[5] ^= 1;
        signed
    };
    let refused = |code: &str| ("refused", code.to_owned());
    assert_eq!(code(&wrong, unsigned(&wrong)), refused("too_large"));
    wrong.reason = "short".to_owned();
    assert_eq!(code(&wrong, unsigned(&wrong)), refused("bad_signature"));
    let nobody_signed = v1::SignedCommand {
        body: wrong.encode(),
        signatures: Vec::new(),
        ..v1::SignedCommand::default()
    };
    assert_eq!(code(&wrong, nobody_signed), refused("threshold"));
    assert_eq!(code(&wrong, bench.sign(&wrong)), refused("wrong_host"));
    wrong.hosts.push(OWN);
    assert_eq!(code(&wrong, bench.sign(&wrong)), refused("wrong_epoch"));
    wrong.host_epoch = 0;
    assert_eq!(
        code(&wrong, bench.sign(&wrong)),
        ("expired", "expired".to_owned())
    );
    wrong.expires = NOW.plus(Duration::from_mins(1));
    assert_eq!(code(&wrong, bench.sign(&wrong)), refused("too_long"));
    wrong.not_before = NOW.plus(Duration::from_secs(50));
    assert_eq!(code(&wrong, bench.sign(&wrong)), refused("not_yet_valid"));
    wrong.not_before = NOW;
    assert_eq!(code(&wrong, bench.sign(&wrong)), refused("not_found"));
    wrong.id = CommandId::new([2; 16]);
    wrong.action = Action::Kill(target(&protected));
    assert_eq!(code(&wrong, bench.sign(&wrong)), refused("precondition"));
    wrong.id = CommandId::new([3; 16]);
    wrong.exe_sha256 = None;
    assert_eq!(code(&wrong, bench.sign(&wrong)), refused("protected"));
    wrong.incident = "altered".to_owned();
    assert_eq!(code(&wrong, bench.sign(&wrong)), refused("replayed"));
    assert!(protected.try_wait().unwrap().is_none(), "it lives");
    protected.kill().unwrap();
    protected.wait().unwrap();
}

#[test]
fn an_altered_command_and_a_foreign_signature_are_refused() {
    let (bench, stranger) = (Bench::new(), Bench::new());
    let mut responder = bench.responder();
    let plain = command(1, Action::Kill(nobody()));
    let mut altered = bench.sign(&plain);
    altered.body = command(1, Action::KillTree(nobody())).encode();
    assert_eq!(responder.ask(&altered).unwrap().reason, "bad_signature");
    assert_eq!(
        responder.ask(&stranger.sign(&plain)).unwrap().reason,
        "unknown_key"
    );
    let garbage = v1::SignedCommand {
        body: vec![0xff; 40],
        signatures: Vec::new(),
        ..v1::SignedCommand::default()
    };
    assert_eq!(responder.ask(&garbage).unwrap().reason, "malformed");
}

#[test]
fn a_kill_is_done_once_and_its_answer_survives_a_restart() {
    let bench = Bench::new();
    let mut child = sleeper();
    let mut kill = command(1, Action::Kill(target(&child)));
    let exe = std::fs::canonicalize(format!("/proc/{}/exe", child.id())).unwrap();
    kill.exe_sha256 = Some(Digest::of(&std::fs::read(exe).unwrap()));
    let signed = bench.sign(&kill);
    let mut responder = bench.responder();
    let first = responder.ask(&signed).unwrap();
    child.wait().unwrap();
    assert_eq!(
        (first.state, first.verified),
        (ReceiptState::Executed, true),
        "{first:?}"
    );
    assert_eq!(first.affected[0].outcome, "dead");
    assert_eq!(
        (first.signers.as_slice(), first.stated_reason.as_str()),
        (&["alice".to_owned()][..], "test")
    );
    drop(responder);
    let again = bench.responder().ask(&signed).unwrap();
    assert_eq!(
        again,
        Containment {
            redelivered: true,
            ..first
        }
    );
}

#[test]
fn a_dry_run_names_the_tree_and_touches_nothing() {
    let bench = Bench::new();
    let mut shell = Program::new("sh")
        .args(["-c", "sleep 60 & wait"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::park_timeout(Duration::from_millis(200));
    let dry = Command {
        mode: Mode::DryRun,
        ..command(1, Action::KillTree(target(&shell)))
    };
    let mut responder = bench.responder();
    let receipt = responder.ask(&bench.sign(&dry)).unwrap();
    assert_eq!(
        (receipt.state, receipt.reason.as_str()),
        (ReceiptState::Accepted, "dry_run")
    );
    assert_eq!(receipt.affected.len(), 2, "{receipt:?}");
    assert!(shell.try_wait().unwrap().is_none());
    let real = command(2, Action::KillTree(target(&shell)));
    let receipt = responder.ask(&bench.sign(&real)).unwrap();
    assert_eq!(receipt.state, ReceiptState::Executed, "{receipt:?}");
    shell.wait().unwrap();
}

#[test]
fn time_does_not_fall_below_what_operators_have_signed() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    responder.ask(&bench.sign(&command(1, Action::Kill(nobody()))));
    // The host's clock is set back by a day, to make an old command good again.
    *bench.clock.0.lock().unwrap() = NOW.minus(Duration::from_hours(24));
    let mut old = command(2, Action::Kill(nobody()));
    old.not_before = NOW.minus(Duration::from_hours(24));
    old.expires = NOW.minus(Duration::from_secs(80_000));
    assert_eq!(responder.ask(&bench.sign(&old)).unwrap().reason, "expired");
    drop(responder);
    assert_eq!(
        bench.responder().ask(&bench.sign(&old)).unwrap().reason,
        "expired"
    );
}

#[test]
fn after_a_crash_between_act_and_answer_the_effect_is_read_again() {
    let bench = Bench::new();
    let (mut dead, mut alive) = (sleeper(), sleeper());
    let commands = [
        command(1, Action::Kill(target(&dead))),
        command(2, Action::Kill(target(&alive))),
    ];
    dead.kill().unwrap();
    dead.wait().unwrap();
    let state = StateDir::open(bench.dir.path()).unwrap();
    let mut log = CommandLog::open(&state, NOW).unwrap();
    for command in &commands {
        log.intend(command, &command.encode()).unwrap();
    }
    drop((log, state));
    let mut responder = bench.responder();
    let mut answers = responder.resume();
    answers.sort_by_key(|answer| answer.command_id);
    let told: Vec<_> = answers
        .iter()
        .map(|answer| (answer.state, answer.verified))
        .collect();
    assert_eq!(
        told,
        [
            (ReceiptState::Executed, true),
            (ReceiptState::Partial, false)
        ]
    );
    assert!(alive.try_wait().unwrap().is_none(), "nothing is done twice");
    assert!(
        responder
            .ask(&bench.sign(&commands[1]))
            .unwrap()
            .redelivered
    );
    drop(responder);
    assert!(bench.responder().resume().is_empty());
    alive.kill().unwrap();
    alive.wait().unwrap();
}

#[test]
fn without_the_table_of_seen_commands_nothing_is_done() {
    let bench = Bench::new();
    std::fs::write(bench.dir.path().join("commands"), "{}\n").unwrap();
    let mut child = sleeper();
    let kill = bench.sign(&command(1, Action::Kill(target(&child))));
    assert_eq!(bench.responder().ask(&kill).unwrap().reason, "no_record");
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn strangers_cannot_fill_the_spool_with_refusals() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    let garbage = v1::SignedCommand {
        body: vec![0xff; 40],
        signatures: Vec::new(),
        ..v1::SignedCommand::default()
    };
    let told = (0..500)
        .filter(|_| responder.ask(&garbage).is_some())
        .count();
    assert_eq!(told, MAX_REFUSALS as usize);
}

fn still(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    let found = procfs::find(&crate::clock::boot_id(), child.id()).unwrap();
    found.is_stopped() || stat.contains("picket-contain-")
}

#[test]
fn a_suspended_tree_stands_still_until_it_is_resumed() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    let mut child = sleeper();
    let meant = target(&child);
    let home = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    let stopped = responder
        .ask(&bench.sign(&command(1, Action::Suspend(meant))))
        .unwrap();
    assert_eq!(
        (stopped.state, stopped.verified),
        (ReceiptState::Executed, true),
        "{stopped:?}"
    );
    assert_eq!(stopped.undo_token, CommandId::new([1; 16]).to_string());
    assert_eq!(stopped.affected[0].outcome, "stopped");
    assert!(still(&child));
    // The table outlives the agent.
    drop(responder);
    let mut responder = bench.responder();
    let answers = responder.answer(&bench.sign(&command(2, Action::Resume(meant))), None);
    let states: Vec<_> = answers
        .iter()
        .map(|one| (one.command_id, one.state))
        .collect();
    assert_eq!(
        states,
        [
            (CommandId::new([2; 16]), ReceiptState::Executed),
            (CommandId::new([1; 16]), ReceiptState::Reverted)
        ],
        "{answers:?}"
    );
    assert!(!still(&child));
    let back = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    assert_eq!(home, back, "it is where it came from");
    let nothing = responder
        .ask(&bench.sign(&command(3, Action::Resume(meant))))
        .unwrap();
    assert_eq!(nothing.reason, "not_in_force");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_suspension_ends_by_itself() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    let mut child = sleeper();
    let mut suspend = command(1, Action::Suspend(target(&child)));
    suspend.auto_release = Some(Duration::from_millis(300));
    responder.ask(&bench.sign(&suspend)).unwrap();
    assert!(still(&child) && responder.tick().is_empty());
    let until = Instant::now() + Duration::from_secs(20);
    let told = loop {
        std::thread::park_timeout(Duration::from_millis(20));
        let told = responder.tick();
        if !told.is_empty() || Instant::now() > until {
            break told;
        }
    };
    assert_eq!(
        (told[0].state, told[0].reason.as_str()),
        (ReceiptState::Reverted, "auto_release")
    );
    assert!(!still(&child) && responder.tick().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_suspended_fork_bomb_makes_no_more_children() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    let mut shell = Program::new("sh")
        .args(["-c", "while :; do sleep 0.01 & wait; done"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::park_timeout(Duration::from_millis(100));
    let meant = target(&shell);
    let stopped = responder
        .ask(&bench.sign(&command(1, Action::Suspend(meant))))
        .unwrap();
    assert_eq!(stopped.state, ReceiptState::Executed, "{stopped:?}");
    let children = || responder_children(&shell);
    let before = children();
    std::thread::park_timeout(Duration::from_millis(200));
    assert_eq!(before, children());
    responder.answer(&bench.sign(&command(2, Action::Resume(meant))), None);
    let killed = responder
        .ask(&bench.sign(&command(3, Action::KillTree(meant))))
        .unwrap();
    assert_eq!(killed.state, ReceiptState::Executed, "{killed:?}");
    shell.wait().unwrap();
}

fn responder_children(parent: &Child) -> Vec<u32> {
    let all = procfs::all(&crate::clock::boot_id());
    let mut pids: Vec<u32> = all
        .iter()
        .filter(|found| found.ppid == parent.id())
        .map(|found| found.pid)
        .collect();
    pids.sort_unstable();
    pids
}

#[test]
fn a_command_in_rings_is_done_only_once_a_person_says_that_the_ring_began() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    let other = HostId::new([8; 32]);
    let mut child = sleeper();
    let mut ringed = command(1, Action::Kill(target(&child)));
    ringed.host_epoch = 0;
    ringed.hosts = vec![other, OWN];
    ringed.rings = vec![1, 2];
    let signed = bench.sign(&ringed);
    let word = |ring: u32, change: fn(&mut Statement)| {
        let mut said = Statement {
            kind: StatementKind::Start,
            command: ringed.id,
            command_sha256: Digest::of(&signed.body),
            reason: String::new(),
            time: NOW,
            ring,
        };
        change(&mut said);
        said
    };
    let begins = |ring| word(ring, |_| {}).sign(&bench.operator);
    let stranger = SigningKey::generate().unwrap();
    let refused: [Option<v1::SignedStatement>; 6] = [
        None,
        Some(begins(1)),
        Some(word(2, |_| {}).sign(&stranger)),
        Some(word(2, |said| said.command = CommandId::new([9; 16])).sign(&bench.operator)),
        Some(word(2, |said| said.command_sha256 = Digest::ZERO).sign(&bench.operator)),
        Some(word(0, |said| said.kind = StatementKind::Cancel).sign(&bench.operator)),
    ];
    for start in refused {
        let answers = responder.answer(&signed, start.as_ref());
        let told = (answers[0].state, answers[0].reason.as_str());
        assert_eq!(told, (ReceiptState::Refused, "not_begun"), "{answers:?}");
        assert!(child.try_wait().unwrap().is_none());
    }
    // The id was not used up by that; of a later ring it is as good.
    let answers = responder.answer(&signed, Some(&begins(3)));
    assert_eq!(answers[0].state, ReceiptState::Executed, "{answers:?}");
    child.wait().unwrap();
    // Rings cannot be taken off: they are signed.
    let mut bare = ringed.clone();
    bare.rings = Vec::new();
    let taken_off = v1::SignedCommand {
        body: bare.encode(),
        signatures: signed.signatures,
        ..v1::SignedCommand::default()
    };
    let answers = responder.answer(&taken_off, None);
    assert_eq!(answers[0].state, ReceiptState::Refused);
}
