//! One state directory, two lives: restored from an old copy, or copied to a second machine.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use picket_tests::rig::{PATIENCE, Rig, portable_agent};
use picket_tests::wait;
use serde_json::Value;

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

fn start_exec(marker: &str) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "sleep 1; true", marker]);
    assert!(shell.status().unwrap().success());
}

/// Starts programs until an exec event came from each of these agents, told apart by whose word it is: on a busy machine the portable
/// sensor misses some. Else says what the agents said.
fn arrived(rig: &Rig, marker: &str, states: &[&Path]) -> Vec<Value> {
    let found = wait::until(marker, PATIENCE * 2, || {
        start_exec(marker);
        let found = rig.execs(marker)?;
        let speakers: HashSet<_> = found.iter().map(|it| it["doubtful"].as_str()).collect();
        let all = speakers.len() >= states.len();
        Ok(all.then_some(found))
    });
    found.unwrap_or_else(|late| {
        let log = |state: &&Path| fs::read_to_string(state.with_extension("log"));
        let logs: Vec<_> = states.iter().filter_map(|state| log(state).ok()).collect();
        panic!("{late:?}\n{}", logs.join("\n--\n"))
    })
}

/// Starts an agent and waits until the collector has its first events.
fn live(rig: &Rig, state: &Path, marker: &str) {
    let agent = portable_agent(rig, state).unwrap();
    arrived(rig, marker, &[state]);
    agent.stop(PATIENCE).unwrap();
}

/// What is wanted of the one host, once it is so.
fn host_when(rig: &Rig, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let id = rig.hosts().unwrap().remove(0);
    let found = wait::until(what, PATIENCE, || {
        let shown = rig.host(&id)?;
        Ok(is_so(&shown).then_some(shown))
    });
    found.unwrap_or_else(|late| panic!("{late:?}: {:?}", rig.host(&id)))
}

fn why(rig: &Rig, state: &Path, wanted: &str) {
    wait::until("the agent's word about its state", PATIENCE, || {
        let status = rig.status(state)?;
        let why = status["link"]["reason"].as_str().unwrap_or_default();
        Ok(why.contains(wanted).then_some(()))
    })
    .unwrap();
}

/// Events of this marker by the branch that signed them; the host's own have none.
fn branches_of(rig: &Rig, marker: &str, doubtful: &str) -> Vec<Option<String>> {
    let filter = format!("process.argv ~ '{marker}' and not process.exe $= '/picketctl'");
    let args = [
        "events",
        "--kind",
        "exec",
        "--doubtful",
        doubtful,
        "--where",
        &filter,
    ];
    let found = rig.ctl_json(&args).unwrap();
    let branch = |event: &Value| event["doubtful"].as_str().map(str::to_owned);
    found.iter().map(branch).collect()
}

#[test]
fn the_events_of_an_old_copy_are_taken_in_and_marked_and_everybody_says_so() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    live(&rig, &state, "first-life");
    let old = rig.path().join("old");
    copy(&state, &old);
    live(&rig, &state, "second-life");
    live(&rig, &state, "third-life");
    let agent = portable_agent(&rig, &old).unwrap();
    why(&rig, &old, "old copy");
    let found = arrived(&rig, "from-the-copy", &[&old]);
    let shown = host_when(&rig, "a branch", |host| {
        host["branches"][0]["connected"] == true
    });
    assert_eq!(shown["alarms"][0]["name"], "older_keys", "{shown}");
    assert_eq!(shown["alarms"][1]["name"], "two_successors", "{shown}");
    let branch = &shown["branches"][0];
    assert_eq!(branch["state"], "undecided");
    assert_eq!(found[0]["doubtful"], branch["branch"]);
    for marker in ["first-life", "second-life", "third-life"] {
        assert!(branches_of(&rig, marker, "only").is_empty(), "{marker}");
    }
    assert!(branches_of(&rig, "from-the-copy", "without").is_empty());
    told_everywhere(&rig, branch["branch"].as_str().unwrap());
    agent.stop(PATIENCE).unwrap();
    let lines = rig.verify().unwrap();
    assert!(lines.iter().all(|line| line["ok"] == true), "{lines:?}");
    let apart = lines
        .iter()
        .filter(|line| line["branch"] == branch["branch"]);
    assert!(apart.count() >= 1, "{lines:?}");
}

/// SQL, stacks and the other views say which events the copy signed.
fn told_everywhere(rig: &Rig, branch: &str) {
    let sql = "SELECT doubtful, count(*) AS n FROM process WHERE kind = 'exec' \
               AND process_cmd_line LIKE '%from-the-copy%' GROUP BY doubtful";
    let rows = rig.ctl_json(&["query", sql]).unwrap();
    assert!(rows.iter().any(|row| row["doubtful"] == branch), "{rows:?}");
    let sql = "SELECT count(*) AS n FROM process WHERE doubtful IS NULL AND kind = 'exec'";
    let rows = rig.ctl_json(&["query", sql]).unwrap();
    assert!(rows[0]["n"].as_u64().unwrap() > 0, "{rows:?}");
    let filter = "process.argv ~ 'first-life'";
    for (which, found) in [("only", false), ("without", true)] {
        let args = [
            "stack",
            "process.exe",
            "--doubtful",
            which,
            "--where",
            filter,
        ];
        assert_eq!(!rig.ctl_json(&args).unwrap().is_empty(), found, "{which}");
    }
    for (view, place) in [("--ocsf", "unmapped"), ("--ecs", "picket")] {
        let printed = rig
            .ctl_prints(&["events", "--doubtful", "only", view])
            .unwrap();
        let first = printed.lines().next().unwrap();
        let first: Value = serde_json::from_str(first).unwrap();
        assert_eq!(first[place]["doubtful"], branch);
    }
}

#[test]
fn two_copies_live_at_once_their_books_balance_and_an_operator_decides() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    live(&rig, &state, "before-the-copy");
    let clone = rig.path().join("clone");
    copy(&state, &clone);
    let own = portable_agent(&rig, &state).unwrap();
    arrived(&rig, "both-awake-1", &[&state]);
    let other = portable_agent(&rig, &clone).unwrap();
    arrived(&rig, "both-awake-2", &[&state, &clone]);
    let shown = host_when(&rig, "both connected", |host| {
        host["connected"] == true && host["branches"][0]["connected"] == true
    });
    // Neither throws the other out: each has one session, for as long as both go on.
    let sessions = rig
        .figure("picket_calls_refused_total{reason=\"superseded\"}")
        .unwrap_or(0);
    arrived(&rig, "both-awake-3", &[&state, &clone]);
    let later = rig
        .figure("picket_calls_refused_total{reason=\"superseded\"}")
        .unwrap_or(0);
    assert_eq!(sessions, later);
    let branch = shown["branches"][0]["branch"].as_str().unwrap().to_owned();
    let marks = branches_of(&rig, "both-awake-3", "only");
    let of_branch = |mark: &Option<String>| mark.as_ref() == Some(&branch);
    assert!(
        !marks.is_empty() && marks.iter().all(of_branch),
        "{marks:?}"
    );
    host_when(&rig, "both books balanced", |host| {
        let lines = host["ledger"]["transport"].as_array().unwrap();
        let apart = lines
            .iter()
            .filter(|line| line["doubtful"] == branch.as_str());
        host["ledger"]["balanced"] == true && apart.count() >= 1
    });
    let reason = ["--reason", "the one in the lab", "--yes"];
    let id = rig.hosts().unwrap().remove(0);
    let beginning = branch.get(..6).unwrap();
    let refuse = [&["host", "refuse", &id, beginning][..], &reason].concat();
    rig.ctl_prints(&refuse).unwrap();
    why(&rig, &clone, "an operator refused");
    arrived(&rig, "after-the-word", &[&state]);
    host_when(&rig, "the host alone", |host| {
        host["connected"] == true && host["branches"][0]["connected"] == false
    });
    assert!(branches_of(&rig, "after-the-word", "only").is_empty());
    other.stop(PATIENCE).unwrap();
    own.stop(PATIENCE).unwrap();
    rig.verify().unwrap();
}
