//! The main job: what happens on a host is found at the collector, once, and both ledgers say so.

use std::process::{Command, Stdio};

use picket_tests::rig::{PATIENCE, Rig, portable_agent};
use picket_tests::wait;
use serde_json::Value;

#[test]
fn an_exec_on_the_host_is_found_by_a_search_once_with_everything_that_is_known_of_it() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    let marker = format!("path-marker-{}", std::process::id());
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "sleep 2; true", &marker])
        .stdin(Stdio::null());
    let mut child = shell.spawn().unwrap();
    let found = rig.wait_for_execs(&marker, 1).unwrap();
    assert!(child.wait().unwrap().success());
    agent.stop(PATIENCE).unwrap();
    assert_eq!(
        rig.execs(&marker).unwrap(),
        found,
        "the same event, once only, also at the end"
    );
    let process = &found[0]["process"];
    assert_eq!(
        process["argv"],
        serde_json::json!(["/bin/sh", "-c", "sleep 2; true", marker])
    );
    assert_eq!(process["pid"], child.id());
    assert_eq!(process["ppid"], std::process::id());
    assert_eq!(process["uid"].as_str().unwrap().len(), 32);
    assert_eq!(found[0]["source"], "portable", "the source is honest");
    assert_eq!(found[0]["host"], rig.hosts().unwrap()[0].as_str());
}

#[test]
fn both_ledgers_balance_on_both_sides_while_it_runs_and_when_it_has_ended() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    let id = rig.hosts().unwrap().remove(0);
    let marker = format!("ledger-marker-{}", std::process::id());
    let mut sleepers = start_sleepers(&marker, 5);
    rig.wait_for_execs(&marker, 5).unwrap();
    let books = wait::until("balanced books with everything stored", PATIENCE, || {
        let (host, status) = (rig.host(&id)?, rig.status(&state)?);
        let same = transport(&host) == transport(&status);
        Ok((is_settled(&host) && same).then_some(host))
    });
    assert_sensor_balances(&books.unwrap());
    for sleeper in &mut sleepers {
        sleeper.wait().unwrap();
    }
    agent.stop(PATIENCE).unwrap();
    let ended = wait::until("the books of a stopped agent", PATIENCE, || {
        let host = rig.host(&id)?;
        Ok((host["connected"] == false && is_settled(&host)).then_some(host))
    });
    assert_sensor_balances(&ended.unwrap());
    let proven = rig.verify().unwrap();
    assert!(proven.iter().all(|line| line["ok"] == true), "{proven:?}");
    let found = rig.ctl_json(&["events", "--limit", "100000"]).unwrap();
    let events: u64 = proven.iter().map(|line| number(line, "events")).sum();
    assert_eq!(
        events,
        found.len() as u64,
        "what is proven is what is found"
    );
}

fn start_sleepers(marker: &str, count: usize) -> Vec<std::process::Child> {
    let start = |number| {
        let marker = format!("{marker}-{number}");
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", "sleep 2; true", &marker])
            .stdin(Stdio::null());
        shell.spawn().unwrap()
    };
    (0..count).map(start).collect()
}

/// Per stream and class: numbered = stored + spooled + gaps, and nothing is on its way.
fn is_settled(host: &Value) -> bool {
    let lines = transport(host);
    let settled = |line: &Vec<u64>| matches!(line[..], [numbered, stored, 0, gaps] if numbered == stored + gaps);
    !lines.is_empty() && lines.iter().all(|(_, line)| settled(line))
}

/// Numbered, stored, spooled and gaps of each chain.
fn transport(books: &Value) -> Vec<(String, Vec<u64>)> {
    let lines = books["ledger"]["transport"].as_array().unwrap().iter();
    let mut lines: Vec<_> = lines
        .map(|line| {
            let name = format!("{} {}", line["stream"], line["class"]);
            let columns = ["numbered", "stored", "spooled", "gaps"];
            (name, columns.map(|column| number(line, column)).to_vec())
        })
        .collect();
    lines.sort();
    lines
}

/// Per kind: generated = filtered + aggregated + submitted + lost.
fn assert_sensor_balances(host: &Value) {
    let kinds = host["ledger"]["sensor"].as_array().unwrap();
    let exec = kinds.iter().find(|line| line["kind"] == "exec").unwrap();
    assert!(number(exec, "submitted") >= 5, "{exec}");
    for line in kinds {
        let parts = ["filtered", "aggregated", "submitted", "lost"];
        let sum: u64 = parts.iter().map(|part| number(line, part)).sum();
        assert_eq!(number(line, "generated"), sum, "{line}");
    }
}

fn number(line: &Value, column: &str) -> u64 {
    line[column]
        .as_u64()
        .unwrap_or_else(|| panic!("{column} is no number: {line}"))
}
