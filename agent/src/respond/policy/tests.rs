//! Decisions of a policy, from the judged event to the receipt. Only processes and files that a test made are touched.

#![cfg(test)]

use std::path::PathBuf;
use std::process::{Child, Command as Program, Stdio};

use picket_event::content::{Content, ContentFile, ContentKind};
use picket_event::{Kind, Process, RuleVerdict, Severity, Source, Text, UnixNanos, Verdict};
use picket_proto::v1;
use picket_seal::{Digest, Domain};

use super::*;
use crate::respond::procfs;
use crate::respond::tests::{Bench, NOW};

fn sign(bench: &Bench, version: u64, text: &str) -> v1::SignedContent {
    let content = Content {
        kind: ContentKind::Policy,
        version,
        created: NOW,
        files: vec![ContentFile {
            name: "policy.toml".to_owned(),
            text: text.to_owned(),
        }],
        reason: String::new(),
    };
    let body = content.encode();
    let digest = Digest::of(&body);
    let signature = bench.operator.sign(Domain::Content, digest.as_bytes());
    v1::SignedContent {
        body,
        signatures: vec![v1::Signature {
            key_id: bench.operator.public_key().key_id().0.to_vec(),
            signature: signature.0.to_vec(),
        }],
    }
}

/// A responder under this policy, and the way from the path to it.
fn under(bench: &Bench, policy: &str) -> (Responder, Lookout, mpsc::Receiver<Decision>) {
    let mut responder = bench.responder();
    let (inputs, _path) = std::sync::mpsc::sync_channel(8);
    let told = responder.take_content(&sign(bench, 1, policy), &inputs);
    assert_eq!(told[0].state, ReceiptState::Executed, "{told:?}");
    let contents = Arc::clone(&responder.contents);
    let (lookout, due) = Lookout::over(contents, &responder);
    (responder, lookout, due)
}

fn entry(mode: &str, action: &str) -> String {
    format!(
        "irreversible = true\n[budgets]\nkill_per_hour = 2\n\
         [[entry]]\nname = \"e\"\nmode = \"{mode}\"\naction = \"{action}\"\nlevel = \"high\"\n"
    )
}

/// A copy of `sleep` with a content of its own, running.
fn sleeper(dir: &tempfile::TempDir, name: &str) -> (Child, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.path().join(name);
    let mut bytes = std::fs::read("/bin/sleep").unwrap();
    bytes.extend_from_slice(name.as_bytes());
    std::fs::write(&path, &bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let child = Program::new(&path).arg("60").stdin(Stdio::null()).spawn();
    (child.unwrap(), path)
}

fn exec(pid: u32, exe: &std::path::Path) -> Event {
    let found = procfs::find(&crate::clock::boot_id(), pid).unwrap();
    let mut process = Process::new(found.uid, pid);
    process.exe = Text::from(exe.to_str().unwrap());
    process.sha256 = Some(Digest::of(&std::fs::read(exe).unwrap()));
    let mut event = Event::new(Kind::Exec, UnixNanos(1), Source::Ebpf).by(process);
    event.verdicts.push(Verdict::Rule(RuleVerdict {
        id: "rule-1".to_owned(),
        title: "A rule".to_owned(),
        severity: Severity::High,
        attack: Vec::new(),
        author: String::new(),
        license: String::new(),
        rests_on: Vec::new(),
    }));
    event
}

fn decide(
    responder: &mut Responder,
    (lookout, due): (&Lookout, &mut mpsc::Receiver<Decision>),
    event: &Event,
) -> Vec<Containment> {
    lookout.look(event);
    due.try_recv()
        .map_or_else(|_none| Vec::new(), |one| responder.decide(one))
}

#[test]
fn what_a_rule_found_is_ended_and_the_receipt_says_why() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let (mut responder, lookout, mut due) = under(&bench, &entry("act", "kill"));
    let (mut child, exe) = sleeper(&dir, "one");
    let event = exec(child.id(), &exe);
    let told = decide(&mut responder, (&lookout, &mut due), &event);
    let told = &told[0];
    assert_eq!((told.state, told.verified), (ReceiptState::Executed, true));
    assert_eq!(told.signers, ["alice"]);
    let cause = told.cause.as_deref().unwrap();
    assert_eq!((cause.policy_version, cause.entry.as_str()), (1, "e"));
    assert_eq!((cause.mode.as_str(), cause.id.as_str()), ("act", "rule-1"));
    assert_eq!(cause.process, Some(event.process.as_ref().unwrap().uid));
    assert!(!child.wait().unwrap().success());
}

#[test]
fn who_only_observes_or_asks_touches_nothing() {
    for (mode, reason, words) in [
        ("observe", "observed", "would be"),
        ("ask", "asked", "picketctl contain suspend "),
    ] {
        let bench = Bench::new();
        let dir = tempfile::tempdir().unwrap();
        let (mut responder, lookout, mut due) = under(&bench, &entry(mode, "suspend"));
        let (mut child, exe) = sleeper(&dir, mode);
        let event = exec(child.id(), &exe);
        let told = decide(&mut responder, (&lookout, &mut due), &event);
        let told = &told[0];
        assert_eq!(
            (told.state, told.reason.as_str()),
            (ReceiptState::Accepted, reason)
        );
        assert!(told.effect.contains(words), "{}", told.effect);
        assert!(responder.effects.as_ref().unwrap().all().is_empty());
        let found = procfs::find(&crate::clock::boot_id(), child.id()).unwrap();
        assert!(found.is_alive() && !found.is_stopped());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_suspension_by_policy_is_in_force_and_ends_by_itself() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let policy = format!("{}for = \"1ms\"\n", entry("act", "suspend"));
    let (mut responder, lookout, mut due) = under(&bench, &policy);
    let (mut child, exe) = sleeper(&dir, "suspended");
    let event = exec(child.id(), &exe);
    let told = decide(&mut responder, (&lookout, &mut due), &event);
    assert_eq!(told[0].state, ReceiptState::Executed, "{told:?}");
    std::thread::park_timeout(Duration::from_millis(5));
    let ended = responder.tick();
    assert_eq!(ended[0].state, ReceiptState::Reverted);
    assert_eq!(ended[0].command_id, told[0].command_id);
    let found = procfs::find(&crate::clock::boot_id(), child.id()).unwrap();
    assert!(found.is_alive() && !found.is_stopped());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_used_up_budget_asks_also_after_a_restart() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let policy = entry("act", "kill");
    let (mut responder, lookout, mut due) = under(&bench, &policy);
    let mut sleepers: Vec<(Child, PathBuf)> = (0..3)
        .map(|number| sleeper(&dir, &format!("s{number}")))
        .collect();
    for (child, exe) in &sleepers[..2] {
        let told = decide(&mut responder, (&lookout, &mut due), &exec(child.id(), exe));
        assert_eq!(told[0].state, ReceiptState::Executed);
    }
    drop((responder, lookout, due));
    let mut again = bench.responder();
    let (lookout, mut due) = Lookout::over(Arc::clone(&again.contents), &again);
    let (child, exe) = &sleepers[2];
    let event = exec(child.id(), exe);
    let told = decide(&mut again, (&lookout, &mut due), &event);
    assert_eq!(
        (told[0].state, told[0].reason.as_str()),
        (ReceiptState::Accepted, "budget")
    );
    // An hour later there is a new one.
    bench.at(NOW.plus(Duration::from_mins(61)));
    again.memory = Memory::default();
    let told = decide(&mut again, (&lookout, &mut due), &event);
    assert_eq!(told[0].state, ReceiptState::Executed);
    for (child, _) in &mut sleepers {
        child.wait().unwrap();
    }
}

#[test]
fn the_same_is_not_done_twice_to_the_same_and_what_finds_no_place_is_counted() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let (mut responder, lookout, mut due) = under(&bench, &entry("observe", "suspend"));
    let (mut child, exe) = sleeper(&dir, "same");
    let event = exec(child.id(), &exe);
    assert_eq!(
        decide(&mut responder, (&lookout, &mut due), &event).len(),
        1
    );
    assert!(decide(&mut responder, (&lookout, &mut due), &event).is_empty());
    for _ in 0..=QUEUE {
        lookout.look(&event);
    }
    let status = responder.policy_status();
    assert_eq!(
        (&status["repeated"], &status["missed"]),
        (&json!(1), &json!(1))
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_systems_own_files_and_programs_are_left_alone() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    // A copy of a program of the system, started elsewhere: its content is needed.
    let path = dir.path().join("copy");
    std::fs::copy("/usr/bin/sleep", &path).unwrap();
    let mut child = Program::new(&path)
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let (mut responder, lookout, mut due) = under(&bench, &entry("act", "block-hash"));
    let told = decide(
        &mut responder,
        (&lookout, &mut due),
        &exec(child.id(), &path),
    );
    assert_eq!(told[0].reason, "system", "{told:?}");
    child.kill().unwrap();
    child.wait().unwrap();

    let bench = Bench::new();
    let (mut responder, lookout, mut due) = under(&bench, &entry("act", "quarantine"));
    let mut child = Program::new("/usr/bin/sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let event = exec(child.id(), std::path::Path::new("/bin/sleep"));
    let told = decide(&mut responder, (&lookout, &mut due), &event);
    assert_eq!(told[0].reason, "system", "{told:?}");
    assert!(responder.effects.as_ref().unwrap().all().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_is_protected_from_operators_is_protected_from_the_policy_and_costs_no_budget() {
    let bench = Bench::new();
    let (mut responder, lookout, mut due) = under(&bench, &entry("act", "kill"));
    let own = std::env::current_exe().unwrap();
    let event = exec(std::process::id(), &own);
    let told = decide(&mut responder, (&lookout, &mut due), &event);
    assert_eq!(
        (told[0].state, told[0].reason.as_str()),
        (ReceiptState::Refused, "protected")
    );
    assert_eq!(responder.policy_status()["used"]["kill"], json!(0));
}

#[test]
fn what_was_under_way_when_the_agent_was_killed_is_told() {
    let bench = Bench::new();
    let (mut responder, lookout, mut due) = under(&bench, &entry("act", "kill"));
    let own = std::env::current_exe().unwrap();
    lookout.look(&exec(std::process::id(), &own));
    let decision = due.try_recv().unwrap();
    let checked = responder.checked(&decision, decision.on.clone().unwrap(), Mode::Enforce);
    responder
        .spent
        .take(decision.action, (&checked, &decision.cause), NOW)
        .unwrap();
    drop((responder, lookout));
    let mut again = bench.responder();
    let told = again.resume();
    assert_eq!(told[0].reason, "interrupted");
    assert_eq!(told[0].cause.as_deref().unwrap().entry, "e");
    assert_eq!(told[0].command_id, checked.command.id);
}

#[test]
fn a_damaged_record_of_budgets_is_a_used_up_one() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let (responder, ..) = under(&bench, &entry("act", "kill"));
    std::fs::write(responder.state.path("policy.spent"), b"{").unwrap();
    drop(responder);
    let mut again = bench.responder();
    let (lookout, mut due) = Lookout::over(Arc::clone(&again.contents), &again);
    let (mut child, exe) = sleeper(&dir, "spared");
    let told = decide(&mut again, (&lookout, &mut due), &exec(child.id(), &exe));
    assert_eq!(told[0].reason, "budget");
    child.kill().unwrap();
    child.wait().unwrap();
}
