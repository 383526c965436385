//! Effects that can be undone, with the real programs: what is said, what is so, and that it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use picket_seal::Digest;
use picket_tests::rig::{PATIENCE, Rig, parse, portable_agent};
use picket_tests::service::Service;
use picket_tests::wait;
use serde_json::Value;

use crate::prey::Prey;

#[test]
fn a_suspended_process_goes_on_when_it_is_resumed_and_its_command_is_reverted() {
    let (rig, _agent) = host();
    let prey = Prey::waiting("suspended");
    let uid = prey.uid().to_string();
    let suspended = contain(&rig, &["suspend", &uid, "--reason", "looks like a miner"]);
    assert_eq!(receipt(&suspended)["state"], "executed", "{suspended}");
    assert_eq!(receipt(&suspended)["affected"][0]["outcome"], "stopped");
    let resumed = contain(&rig, &["resume", &uid]);
    assert_eq!(receipt(&resumed)["state"], "executed", "{resumed}");
    assert_eq!(receipt(&resumed)["affected"][0]["outcome"], "alive");
    assert_eq!(prey.running_processes(), 1);
    becomes(&rig, &suspended, "reverted");
    rig.verify().unwrap();
}

#[test]
fn a_suspension_ends_by_itself_also_over_a_restart_of_the_agent() {
    let (rig, agent) = host();
    let prey = Prey::waiting("for-a-while");
    let uid = prey.uid().to_string();
    let suspended = contain(&rig, &["suspend", &uid, "--for", "3s"]);
    assert_eq!(receipt(&suspended)["state"], "executed", "{suspended}");
    agent.crash();
    let _agent = portable_agent(&rig, &rig.path().join("host")).unwrap();
    becomes(&rig, &suspended, "reverted");
    assert_eq!(receipt(&shown(&rig, &suspended))["reason"], "auto_release");
}

/// Two hosts on this machine; their ids.
fn two_hosts() -> (Rig, [Service; 2], [String; 2]) {
    let rig = Rig::start().unwrap();
    let host = |name: &str| {
        let state = rig.enroll(name).unwrap();
        let about = fs::read_to_string(state.join("host.json")).unwrap();
        let id = parse("host.json", &about).unwrap()["host_id"].clone();
        let agent = portable_agent(&rig, &state).unwrap();
        (agent, id.as_str().unwrap().to_owned())
    };
    let ((one, first), (two, second)) = (host("one"), host("two"));
    (rig, [one, two], [first, second])
}

#[test]
fn rings_go_on_while_hosts_do_well_and_halt_and_undo_where_one_does_not() {
    let (rig, _agents, [first, second]) = two_hosts();
    let path = rig.path().join("dropper");
    fs::write(&path, "bad").unwrap();
    let target = path.to_str().unwrap();
    let in_rings = |action: &[&str]| {
        let hosts = [
            "--host", &first, "--host", &second, "--rings", "--settle", "0s",
        ];
        rig.ctl(&[&["contain"], action, &hosts].concat()).unwrap()
    };
    let well = in_rings(&["collect", target]);
    assert_eq!(well.code, Some(0), "{}", well.stderr);
    assert!(
        well.stdout.contains("ring 1 of 2: 1 hosts did it"),
        "{}",
        well.stdout
    );
    assert!(
        well.stdout.contains("ring 2 of 2: 1 hosts did it"),
        "{}",
        well.stdout
    );
    // Both are this machine: what the first has taken away the second does not find.
    let badly = in_rings(&["quarantine", target, "--undo-on-halt"]);
    assert_eq!(badly.code, Some(1), "{}", badly.stderr);
    assert!(
        badly.stderr.contains("halted in ring 2 of 2"),
        "{}",
        badly.stderr
    );
    let back = wait::until("the file", PATIENCE, || Ok(path.exists().then_some(())));
    back.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"bad");
    rig.ctl_prints(&["verify"]).unwrap();
}

#[test]
fn a_quarantined_file_is_gone_and_is_put_back() {
    let (rig, _agent) = host();
    let path = rig.path().join("dropper");
    fs::write(&path, "bad").unwrap();
    let hash = Digest::of(b"bad").to_string();
    let target = path.to_str().unwrap();
    let taken = contain(&rig, &["quarantine", target, "--sha256", &hash]);
    assert_eq!(receipt(&taken)["state"], "executed", "{taken}");
    assert_eq!(receipt(&taken)["affected"][0]["object"], target);
    assert!(!path.exists());
    let back = contain(&rig, &["restore", taken["id"].as_str().unwrap()]);
    assert_eq!(receipt(&back)["state"], "executed", "{back}");
    assert_eq!(fs::read(&path).unwrap(), b"bad");
    becomes(&rig, &taken, "reverted");
}

#[test]
fn a_collected_file_is_fetched_and_compared_with_the_receipt() {
    let (rig, _agent) = host();
    let (path, out) = (rig.path().join("evidence"), rig.path().join("fetched"));
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&path, &bytes).unwrap();
    let collected = contain(&rig, &["collect", path.to_str().unwrap()]);
    assert_eq!(receipt(&collected)["state"], "executed", "{collected}");
    let hash = format!("sha256:{}", Digest::of(&bytes));
    assert_eq!(receipt(&collected)["affected"][1]["object"], hash);
    let id = collected["id"].as_str().unwrap();
    let fetch = ["command", "fetch", id, "--out", out.to_str().unwrap()];
    rig.ctl_prints(&fetch).unwrap();
    assert_eq!(fs::read(&out).unwrap(), bytes);
    let again = rig.ctl(&fetch).unwrap();
    assert_eq!(
        again.code,
        Some(1),
        "nothing is overwritten: {}",
        again.stderr
    );
    // Whoever owns the collector cannot pass another file off as the host's.
    let host = rig.hosts().unwrap().remove(0);
    let kept = rig.data().join("collected").join(&host).join(id);
    fs::write(&kept, "forged").unwrap();
    let other = rig.path().join("other");
    let forged = rig
        .ctl(&["command", "fetch", id, "--out", other.to_str().unwrap()])
        .unwrap();
    assert_eq!(forged.code, Some(5), "{}", forged.stderr);
    assert!(!other.exists());
    let large = contain(
        &rig,
        &["collect", path.to_str().unwrap(), "--max-bytes", "10"],
    );
    assert_eq!(receipt(&large)["reason"], "too_large");
}

#[test]
fn a_triage_is_fetched_and_unpacked_and_knows_a_process_by_name() {
    let (rig, _agent) = host();
    let prey = Prey::waiting("triaged");
    let host = rig.hosts().unwrap().remove(0);
    let args = ["contain", "triage", &host, "--wait", "--json"];
    let ended = rig.ctl(&args).unwrap();
    let gathered = parse("contain", ended.stdout.lines().last().unwrap_or_default());
    let gathered = gathered.unwrap_or_else(|_| panic!("{}", ended.stderr));
    assert_eq!(receipt(&gathered)["state"], "executed", "{gathered}");
    let (out, folder) = (rig.path().join("triage.tar"), rig.path().join("triage"));
    let id = gathered["id"].as_str().unwrap();
    rig.ctl_prints(&["command", "fetch", id, "--out", out.to_str().unwrap()])
        .unwrap();
    fs::create_dir(&folder).unwrap();
    let tar = Command::new("tar")
        .arg("-xf")
        .arg(&out)
        .current_dir(&folder)
        .status();
    assert!(tar.unwrap().success());
    let processes = fs::read_to_string(folder.join("processes.jsonl")).unwrap();
    let uid = format!("\"uid\":\"{}\"", prey.uid());
    let line = processes.lines().find(|line| line.contains(&uid)).unwrap();
    assert!(line.contains("\"sha256\":\""), "{line}");
    let status = fs::read_to_string(folder.join("agent.json")).unwrap();
    assert_eq!(parse("agent.json", &status).unwrap()["host"], host);
    let small = rig
        .ctl(&["contain", "triage", &host, "--max-bytes", "10"])
        .unwrap();
    assert_eq!(small.code, Some(2), "{}", small.stderr);
    rig.verify().unwrap();
}

#[test]
fn a_program_of_blocked_content_is_killed_as_it_starts() {
    let (rig, _agent) = host();
    let program = rig.path().join("blocked");
    let mut bytes = fs::read("/bin/sleep").unwrap();
    bytes.extend_from_slice(rig.path().as_os_str().as_encoded_bytes());
    fs::write(&program, &bytes).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let hash = Digest::of(&bytes).to_string();
    let blocked = contain(&rig, &["block-hash", &hash]);
    assert_eq!(receipt(&blocked)["reason"], "not_prevented", "{blocked}");
    let mut child = Command::new(&program)
        .arg("600")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let killed = wait::until("the end of the program", PATIENCE, || {
        Ok(child.try_wait().ok().flatten())
    });
    if killed.is_err() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(!killed.unwrap().success());
    let told = wait::until("the receipt of the kill", PATIENCE, || {
        let all = rig.receipts()?;
        let mut kills = all
            .iter()
            .filter(|one| one["affected"][0]["outcome"] == "dead");
        Ok(kills.next().cloned())
    });
    assert_eq!(told.unwrap()["command_id"], blocked["id"]);
}

#[test]
fn what_makes_no_sense_is_refused_before_it_is_signed() {
    let (rig, _agent) = host();
    let host = rig.hosts().unwrap().remove(0);
    for wrong in [
        &["quarantine", "relative/path"][..],
        &["block-hash", "abc"],
        &["isolate", "--allow", "example.org"],
        &["kill", "42", "--for", "1h"],
        &["restore", "42"],
        &["suspend"],
        &["lock-user", "a b"],
        &["kill", "42", "--allow", "10.0.0.0/8"],
        &["release", "--break-glass"],
    ] {
        let args = [&["contain"], wrong, &["--host", &host]].concat();
        let ended = rig.ctl(&args).unwrap();
        assert_eq!(ended.code, Some(2), "{wrong:?}: {}", ended.stderr);
    }
}

fn host() -> (Rig, Service) {
    let rig = Rig::start().unwrap();
    rig.enroll("host").unwrap();
    let agent = portable_agent(&rig, &rig.path().join("host")).unwrap();
    (rig, agent)
}

/// The command as it is shown after its answer.
fn contain(rig: &Rig, what: &[&str]) -> Value {
    let host = rig.hosts().unwrap().remove(0);
    let end = ["--host", &host, "--ttl", "60s", "--wait", "--json"];
    let ended = rig.ctl(&[&["contain"], what, &end].concat()).unwrap();
    let line = ended.stdout.lines().last().unwrap_or_default();
    parse("picketctl contain", line).unwrap_or_else(|_| panic!("{what:?}: {}", ended.stderr))
}

fn shown(rig: &Rig, command: &Value) -> Value {
    let id = command["id"].as_str().unwrap();
    rig.ctl_json(&["command", "show", id]).unwrap().remove(0)
}

fn receipt(command: &Value) -> &Value {
    &command["hosts"][0]["receipt"]
}

fn becomes(rig: &Rig, command: &Value, state: &str) {
    let reached = wait::until(state, PATIENCE, || {
        Ok((shown(rig, command)["hosts"][0]["state"] == state).then_some(()))
    });
    reached.unwrap();
}
