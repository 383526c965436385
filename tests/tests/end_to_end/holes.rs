//! What is lost on the way is told, signed, and the rest goes on: damage of the spool, a collector from a backup.

use std::fs;
use std::path::Path;
use std::process::Command;

use picket_tests::rig::{PATIENCE, Rig, execs_taken, portable_agent};
use picket_tests::wait;
use serde_json::Value;

/// Starts a program, and waits until the agent has it on disk.
fn one_exec(rig: &Rig, state: &Path, marker: &str) {
    let taken = execs_taken(&rig.status(state).unwrap());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "sleep 1; true", marker]);
    assert!(shell.status().unwrap().success());
    rig.wait_until_kept(state, taken + 1).unwrap();
}

/// Flips a byte in the middle of every segment of the spool.
fn damage(state: &Path) -> usize {
    let mut damaged = 0;
    for entry in fs::read_dir(state.join("spool")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if path.extension().is_some_and(|ext| ext == "log") && bytes.len() > 400 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    damaged
}

fn gaps(lines: &[Value], reason: &str) -> u64 {
    let of = lines.iter().map(|line| line["gaps"][reason].as_u64());
    of.map(Option::unwrap_or_default).sum()
}

/// Waits until nothing of the evidence is outstanding, and gives it.
fn settled(rig: &Rig, state: &Path) -> Vec<Value> {
    let done = wait::until("evidence without anything outstanding", PATIENCE, || {
        let lines = rig.verify()?;
        let open = |line: &Value| line["outstanding"].as_u64().unwrap_or(0) > 0;
        Ok((!lines.iter().any(open)).then_some(lines))
    });
    done.unwrap_or_else(|late| {
        let log = fs::read_to_string(state.with_extension("log")).unwrap_or_default();
        panic!("{late:?}: {:?}\n{log}", rig.verify())
    })
}

// A flipped bit in the spool once stopped its class for good, and every later run behind it.
#[test]
fn a_damaged_spool_costs_what_was_damaged_and_nothing_else() {
    let mut rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    rig.crash_collector();
    for number in 0..4 {
        one_exec(&rig, &state, &format!("before-{number}"));
    }
    agent.crash();
    assert!(damage(&state) >= 1);
    rig.restart_collector().unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    one_exec(&rig, &state, "behind-the-damage");
    rig.wait_for_execs("behind-the-damage", 1).unwrap();
    let lines = settled(&rig, &state);
    agent.stop(PATIENCE).unwrap();
    assert!(
        gaps(&lines, "corrupt") + gaps(&lines, "crash") >= 1,
        "{lines:?}"
    );
}

// The second of two runs that never met the collector was once told to be lost, and its batches, which came behind those of the first, were
// then taken for a second history: `make test-faults SEED=5003 ROUNDS=13`.
#[test]
fn several_runs_while_the_collector_is_away_come_whole_and_accuse_nobody() {
    let mut rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    rig.crash_collector();
    for number in 0..3 {
        let agent = portable_agent(&rig, &state).unwrap();
        one_exec(&rig, &state, &format!("offline-run-{number}"));
        if number == 0 {
            agent.crash();
        } else {
            agent.stop(PATIENCE).unwrap();
        }
    }
    rig.restart_collector().unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    for number in 0..3 {
        rig.wait_for_execs(&format!("offline-run-{number}"), 1)
            .unwrap();
    }
    let lines = settled(&rig, &state);
    agent.stop(PATIENCE).unwrap();
    assert!(lines.iter().all(|line| line["ok"] == true), "{lines:?}");
    assert_eq!(gaps(&lines, "corrupt"), 0, "{lines:?}");
    let host = rig.hosts().unwrap().remove(0);
    let shown = rig.host(&host).unwrap();
    assert_eq!(shown["alarms"], serde_json::json!([]), "{shown}");
}

// A collector that was restored from a backup once refused everything that its hosts had to say.
#[test]
fn a_collector_from_a_backup_goes_on_and_its_loss_is_signed() {
    let mut rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    one_exec(&rig, &state, "in-the-backup");
    rig.wait_for_execs("in-the-backup", 1).unwrap();
    rig.crash_collector();
    let (data, backup) = (rig.data(), rig.path().join("backup"));
    copy(&data, &backup);
    rig.restart_collector().unwrap();
    one_exec(&rig, &state, "after-the-backup");
    rig.wait_for_execs("after-the-backup", 1).unwrap();
    rig.crash_collector();
    fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    rig.restart_collector().unwrap();
    one_exec(&rig, &state, "behind-the-loss");
    rig.wait_for_execs("behind-the-loss", 1).unwrap();
    let lines = settled(&rig, &state);
    agent.stop(PATIENCE).unwrap();
    assert!(gaps(&lines, "collector_loss") >= 1, "{lines:?}");
    assert!(rig.execs("after-the-backup").unwrap().is_empty());
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}
