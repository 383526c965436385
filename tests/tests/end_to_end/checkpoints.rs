//! Checkpoints end to end: a bundle that anybody can verify, hosts that name what they heard of, a past that is gone.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use picket_tests::rig::{PATIENCE, Rig, portable_agent};
use picket_tests::wait;
use serde_json::Value;

/// Starts a program and waits until it is found.
fn one_exec(rig: &Rig, marker: &str) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "sleep 1; true", marker]);
    assert!(shell.status().unwrap().success());
    rig.wait_for_execs(marker, 1).unwrap();
}

/// Writes a bundle, for which a checkpoint is signed. Gives the checkpoint key.
fn export(rig: &Rig, file: &Path) -> String {
    let printed = rig
        .ctl_prints(&["verify", "--export", &file.display().to_string()])
        .unwrap();
    let key = printed.trim().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(key.len(), 64, "{printed}");
    key
}

fn offline(rig: &Rig, file: &Path, key: &str) -> Option<i32> {
    let file = file.display().to_string();
    let args = ["verify", "--bundle", &file, "--checkpoint-key", key].map(str::to_owned);
    rig.programs.run("picketctl", &args).unwrap().code
}

fn sum(lines: &[Value], of: &str) -> u64 {
    lines.iter().map(|line| line[of].as_u64().unwrap()).sum()
}

#[test]
fn a_bundle_is_verified_without_the_collector_and_no_altered_one_is() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    one_exec(&rig, "in-the-bundle");
    agent.stop(PATIENCE).unwrap();
    let file = rig.path().join("evidence");
    let key = export(&rig, &file);
    assert_eq!(offline(&rig, &file, &key), Some(0));
    assert_eq!(
        offline(&rig, &file, &"01".repeat(32)),
        Some(5),
        "another key"
    );
    let whole = fs::read(&file).unwrap();
    let name = name_in(&rig, &whole);
    for part in 1..20 {
        let mut bytes = whole.clone();
        let at = bytes.len() * part / 20;
        if name.contains(&at) {
            continue;
        }
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert_eq!(offline(&rig, &file, &key), Some(5), "byte {at}");
    }
    let lines = rig.verify().unwrap();
    assert_eq!(sum(&lines, "proven"), sum(&lines, "batches"));
}

/// Where the host's name stands in the bundle: nobody signs it, it is the collector's word.
fn name_in(rig: &Rig, bundle: &[u8]) -> Range<usize> {
    let hosts = rig.ctl_json(&["hosts"]).unwrap();
    let name = hosts[0]["name"].as_str().unwrap().as_bytes();
    let field = [&[0x12, u8::try_from(name.len()).unwrap()], name].concat();
    let at = bundle.windows(field.len()).position(|part| part == field);
    let end = at.unwrap() + field.len();
    end - name.len()..end
}

// A collector that is put back to an older copy looks whole to itself: only who saw more can tell.
#[test]
fn a_past_that_is_gone_is_found_by_the_operator_and_by_what_hosts_name() {
    let mut rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    one_exec(&rig, "before");
    rig.crash_collector();
    let (data, backup) = (rig.data(), rig.path().join("backup"));
    copy(&data, &backup);
    rig.restart_collector().unwrap();
    one_exec(&rig, "between");
    export(&rig, &rig.path().join("evidence"));
    // The host has heard of the checkpoint and names it.
    one_exec(&rig, "behind");
    rig.crash_collector();
    fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    rig.restart_collector().unwrap();
    one_exec(&rig, "after");
    let refused = rig.ctl(&["verify"]).unwrap();
    assert_eq!(refused.code, Some(5));
    let gone = "is not in the collector's log";
    assert!(refused.stderr.contains(gone), "{}", refused.stderr);
    let hash = word_behind(&refused.stderr, "the checkpoint ");
    // Another operator has seen nothing; the host has.
    fs::remove_file(rig.operator().join("checkpoints")).unwrap();
    let by_host = wait::until("a batch that names the lost checkpoint", PATIENCE, || {
        let refused = rig.ctl(&["verify"])?;
        Ok(refused.stderr.contains(gone).then_some(refused.stderr))
    });
    assert!(by_host.unwrap().contains("host "), "the host says so");
    rig.ctl_prints(&["verify", "--accept-lost", &hash]).unwrap();
    rig.ctl_prints(&["verify"]).unwrap();
    agent.stop(PATIENCE).unwrap();
}

fn word_behind(text: &str, words: &str) -> String {
    let behind = text.split(words).nth(1).unwrap();
    behind.split_whitespace().next().unwrap().to_owned()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}
