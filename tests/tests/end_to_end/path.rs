//! The main job: what happens on a host is found at the collector, once, and both ledgers say so.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use picket_tests::rig::{PATIENCE, Rig, execs_taken, portable_agent};
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
fn the_status_tells_of_each_login_source_whether_it_can_be_read() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let agent = portable_agent(&rig, &state).unwrap();
    let hooks = wait::until("the login sources", PATIENCE, || {
        let hooks = rig.status(&state)?["logins"]["hooks"].clone();
        let told = hooks.as_array().is_some_and(|hooks| !hooks.is_empty());
        Ok(told.then_some(hooks))
    });
    let hooks = hooks.unwrap();
    for source in [
        "login pam",
        "login kernel_session",
        "login audit",
        "login /var/log/wtmp",
        "login wtmpdb /var/lib/wtmpdb/wtmp.db",
    ] {
        let hook = hooks
            .as_array()
            .unwrap()
            .iter()
            .find(|hook| hook["name"] == source);
        let hook = hook.unwrap_or_else(|| panic!("{source} is not in {hooks}"));
        let is_silent = hook["state"] == "unavailable" && hook["detail"] == "";
        assert!(!is_silent, "{source} does not say why: {hook}");
    }
    agent.stop(PATIENCE).unwrap();
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
    // The host does not stand still: between two looks of the agent, the collector comes to the first one's numbers.
    let before = numbered(&rig.status(&state).unwrap());
    let books = wait::until("the agent's numbers at the collector", PATIENCE, || {
        let host = rig.host(&id)?;
        let (there, told) = (numbered(&host), execs_taken(&host) >= 5);
        Ok((told && reaches(&there, &before)).then_some((host, there)))
    });
    let (books, there) = books.unwrap();
    assert_transport_balances(&books);
    assert_sensor_balances(&books);
    let after = wait::until("the collector's numbers at the agent", PATIENCE, || {
        let status = rig.status(&state)?;
        Ok(reaches(&numbered(&status), &there).then_some(status))
    });
    let after = after.unwrap();
    assert_transport_balances(&after);
    assert_sensor_balances(&after);
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

/// Nothing is on its way: what is not stored is a gap.
fn is_settled(host: &Value) -> bool {
    let settled = |line: &Value| number(line, "spooled") == 0 && balances(line);
    lines(host).iter().all(settled)
}

/// Per stream and class: numbered = stored + spooled + gaps.
fn assert_transport_balances(books: &Value) {
    assert!(!lines(books).is_empty(), "{books}");
    for line in lines(books) {
        assert!(balances(line), "{line}");
    }
}

fn balances(line: &Value) -> bool {
    let parts = ["stored", "spooled", "gaps"].map(|part| number(line, part));
    number(line, "numbered") == parts.iter().sum::<u64>()
}

/// The numbers given so far in each chain that has any.
fn numbered(books: &Value) -> BTreeMap<String, u64> {
    let name = |line: &Value| format!("{} {}", line["stream"], line["class"]);
    let lines = lines(books).iter();
    let lines = lines.map(|line| (name(line), number(line, "numbered")));
    lines.filter(|(_, numbered)| *numbered > 0).collect()
}

fn reaches(there: &BTreeMap<String, u64>, wanted: &BTreeMap<String, u64>) -> bool {
    let reached = |(chain, wanted): (&String, &u64)| there.get(chain).is_some_and(|n| n >= wanted);
    wanted.iter().all(reached)
}

fn lines(books: &Value) -> &Vec<Value> {
    books["ledger"]["transport"].as_array().unwrap()
}

/// Per kind: generated = filtered + aggregated + submitted + lost.
fn assert_sensor_balances(books: &Value) {
    let kinds = books["ledger"]["sensor"].as_array().unwrap();
    assert!(execs_taken(books) >= 5, "{books}");
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
