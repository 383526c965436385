//! `replay`: recordings in every format are judged as if they happened, and what could not be read is said.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use picket_tests::programs::Programs;
use serde_json::Value;

const BRUTE_FORCE: &str = "
title: refused
name: refused
id: 11111111-1111-4111-8111-111111111111
logsource: {product: linux, category: login_failed}
detection: {s: {login.service: sshd}, condition: s}
level: informational
---
title: many refused from one source
id: 22222222-2222-4222-8222-222222222222
correlation:
  type: event_count
  rules: [refused]
  group-by: [login.source_ip]
  timespan: 1m
  condition: {gte: 5}
level: high
---
title: curves fail
id: 33333333-3333-4333-8333-333333333333
logsource: {product: linux, service: sshd}
detection: {keywords: ['failed to generate curve*'], condition: keywords}
level: medium
";

#[test]
fn a_source_that_guesses_passwords_is_found_in_a_log_by_event_time() {
    let home = tempfile::tempdir().unwrap();
    let rules = rules(home.path(), BRUTE_FORCE);
    let mut log = String::new();
    for attempt in 0..12 {
        let second = attempt * 5;
        // The slow one makes as many attempts, but never five within a minute.
        writeln!(log, "Jan  4 10:{:02}:{:02} web1 sshd[{}]: Failed password for root from 203.0.113.7 port 4000 ssh2", second / 60, second % 60, 100 + attempt).unwrap();
        writeln!(log, "Jan  4 1{}:{:02}:{:02} web1 sshd[{}]: Failed password for ada from 198.51.100.9 port 4001 ssh2", attempt % 10, second % 60, second % 60, 200 + attempt).unwrap();
    }
    let file = file(home.path(), "auth.log", &log);
    let output = replay(&["--json", "--rules", &rules, &file]);
    assert!(output.status.success());
    let found: Vec<Value> = events(&output)
        .into_iter()
        .filter(|event| has(event, "2222"))
        .collect();
    assert_eq!(
        found.len(),
        2,
        "12 attempts are two rounds of five: {found:?}"
    );
    for event in &found {
        assert_eq!(event["login"]["source_ip"], "203.0.113.7");
        let verdicts = event["verdicts"].as_array().unwrap();
        let verdict = verdicts
            .iter()
            .find(|verdict| verdict["title"] == "many refused from one source")
            .unwrap();
        let rests_on = verdict["rests_on"].as_array().unwrap();
        assert_eq!(rests_on.len(), 5, "{verdict}");
        assert_eq!(rests_on[4]["time"], event["time"]);
        assert_eq!(rests_on[0]["kind"], "login_failed");
    }
}

const SEVERAL: &str = "
title: written and run
id: 44444444-4444-4444-8444-444444444444
logsource: {product: linux, category: process_creation}
detection:
  written: {Image|endswith: /curl}
  allowed: {Image|endswith: /chmod}
  started: {Image|startswith: /home/}
  condition: started
x-sequence: {steps: [written, allowed, started], by: parent_tree, maxspan: 5m}
level: high
---
title: new program
id: 55555555-5555-4555-8555-555555555555
logsource: {product: linux, category: process_creation}
detection: {s: {Image|startswith: /}, condition: s}
x-first-seen: {fields: Image, within: 30d, learning: 2d}
level: low
";

/// A shell (9) fetches, allows and runs a program, while others do the like apart from each other.
#[test]
fn steps_of_one_shell_are_found_in_a_recording_and_those_of_several_are_not() {
    let home = tempfile::tempdir().unwrap();
    let rules = rules(home.path(), SEVERAL);
    let lines = [
        exec("2026-01-05T10:00:00Z", 20, "/usr/bin/curl", 9),
        exec("2026-01-05T10:00:01Z", 21, "/usr/bin/chmod", 8),
        exec("2026-01-05T10:00:02Z", 22, "/home/ada/tool", 9),
        exec("2026-01-05T10:00:03Z", 23, "/usr/bin/chmod", 9),
        exec("2026-01-05T10:00:04Z", 24, "/home/ada/tool", 8),
        exec("2026-01-05T10:00:05Z", 25, "/home/ada/k", 9),
    ];
    let file = file(home.path(), "events.jsonl", &lines.concat());
    let output = replay(&["--json", "--rules", &rules, &file]);
    assert!(output.status.success(), "{}", said(&output));
    let found: Vec<Value> = events(&output)
        .into_iter()
        .filter(|event| has(event, "4444"))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["process"]["pid"], 25);
    let verdicts = found[0]["verdicts"].as_array().unwrap();
    let rests_on: Vec<&Value> = verdicts[0]["rests_on"].as_array().unwrap().iter().collect();
    let uids: Vec<&Value> = rests_on.iter().map(|it| &it["process_uid"]).collect();
    assert_eq!(uids, [&uid(20), &uid(23), &uid(25)]);
    assert!(
        said(&output).contains("1 rules about what is new were silent"),
        "{}",
        said(&output)
    );
}

#[test]
fn what_is_new_in_a_recording_is_told_by_its_own_time() {
    let home = tempfile::tempdir().unwrap();
    let rules = rules(home.path(), SEVERAL);
    let mut lines = String::new();
    for hour in 0..72 {
        let time = format!("2026-01-{:02}T{:02}:00:00Z", 5 + hour / 24, hour % 24);
        lines += &exec(&time, 20, "/usr/bin/true", 9);
    }
    lines += &exec("2026-01-08T00:00:00Z", 21, "/usr/bin/true", 9);
    lines += &exec("2026-01-08T00:00:01Z", 22, "/usr/bin/nsenter", 9);
    lines += &exec("2026-01-08T00:00:02Z", 23, "/usr/bin/nsenter", 9);
    let file = file(home.path(), "events.jsonl", &lines);
    let output = replay(&["--json", "--rules", &rules, &file]);
    let found = events(&output)
        .into_iter()
        .filter(|event| has(event, "5555"));
    let pids: Vec<Value> = found.map(|event| event["process"]["pid"].clone()).collect();
    assert_eq!(pids, [22], "{}", said(&output));
    assert!(!said(&output).contains("silent"));
}

fn exec(time: &str, pid: u32, exe: &str, parent: u32) -> String {
    let event = serde_json::json!({
        "kind": "exec", "time": time, "source": "replay",
        "process": {
            "uid": uid(pid), "pid": pid, "ppid": parent, "parent_uid": uid(parent), "exe": exe,
            "ancestry": [{"uid": uid(parent), "pid": parent, "exe": "/usr/bin/bash"}],
        },
    });
    format!("{event}\n")
}

fn uid(pid: u32) -> Value {
    format!("{pid:032x}").into()
}

#[test]
fn a_line_in_which_a_rule_finds_something_is_a_finding_and_others_are_none() {
    let home = tempfile::tempdir().unwrap();
    let rules = rules(home.path(), BRUTE_FORCE);
    let log = "Jan  4 10:00:00 web1 sshd[7]: error: Failed to generate curve25519 keys\n\
               Jan  4 10:00:01 web1 kernel: Failed to generate curve25519 keys\n\
               Jan  4 10:00:02 web1 sshd[8]: Connection closed by 192.0.2.7 port 1 [preauth]\n";
    let output = replay(&[
        "--json",
        "--rules",
        &rules,
        &file(home.path(), "syslog", log),
    ]);
    let events = events(&output);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (&events[0]["kind"], &events[0]["log"]["pid"]),
        (&"finding".into(), &7.into())
    );
    assert!(has(&events[0], "3333"));
    assert!(
        said(&output)
            .contains("1 events, 2 lines without an event, 0 unread lines, 1 verdicts, 1 alerts")
    );
    // What was printed can be replayed again.
    let printed = file(
        home.path(),
        "printed.jsonl",
        &String::from_utf8(output.stdout).unwrap(),
    );
    let again = self::events(&replay(&["--json", "--rules", &rules, &printed]));
    assert_eq!(again, events);
}

#[test]
fn every_format_is_known_by_its_lines_and_what_cannot_be_read_is_named() {
    let home = tempfile::tempdir().unwrap();
    let mixed = "type=EXECVE msg=audit(1767607200.009:9): argc=2 a0=\"ls\" a1=\"-l\"\n\
                 nonsense\n\
                 Jan  4 10:00:00 web1 sshd[7]: Accepted password for ada from 192.0.2.7 port 1 ssh2\n";
    let mixed = file(home.path(), "mixed.log", mixed);
    let output = replay(&["--json", &mixed]);
    assert!(output.status.success(), "{}", said(&output));
    let events = events(&output);
    let sources: Vec<&Value> = events.iter().map(|event| &event["source"]).collect();
    assert_eq!(sources, ["audit", "auth_log"]);
    let expected = format!("unread: {mixed}:2: not a line of any format that is known");
    assert!(said(&output).contains(&expected), "{}", said(&output));
    let forced = replay(&["--json", "--format", "auditd", &mixed]);
    assert!(
        said(&forced).contains("2 unread lines"),
        "{}",
        said(&forced)
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_failure_after_the_others_were_replayed() {
    let home = tempfile::tempdir().unwrap();
    let packed = home.path().join("packed.gz");
    fs::write(&packed, b"\x1f\x8b\x08\x00").unwrap();
    let good = file(
        home.path(),
        "good.log",
        "Jan  4 10:00:00 h sshd[7]: Accepted password for ada from 192.0.2.7 port 1 ssh2\n",
    );
    let output = replay(&["--json", &packed.display().to_string(), &good]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(events(&output).len(), 1);
    assert!(
        said(&output).contains("is compressed\nhint: zcat"),
        "{}",
        said(&output)
    );
}

/// The labelled attacks among the recordings: what finds something in how many of them.
#[test]
fn labelled_attack_recordings_are_found() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let Ok(index) = fs::read(root.join("recordings/INDEX.json")) else {
        eprintln!("SKIPPED: no recordings beside the project");
        return;
    };
    let index: Vec<Value> = serde_json::from_slice(&index).unwrap();
    let attacks: Vec<PathBuf> = index
        .iter()
        .filter(|entry| entry["label"].as_str().unwrap().contains("attack"))
        .map(|entry| {
            root.join("recordings")
                .join(entry["file"].as_str().unwrap())
        })
        .collect();
    let sigma = root.join("sigma-linux").display().to_string();
    let by_pack = attacks.iter().filter(|path| is_found(path, &[])).count();
    let by_sigma = attacks
        .iter()
        .filter(|path| is_found(path, &["--rules", &sigma]))
        .count();
    let by_any = attacks
        .iter()
        .filter(|path| is_found(path, &[]) || is_found(path, &["--rules", &sigma]))
        .count();
    eprintln!(
        "{} attacks: {by_pack} found by the pack, {by_sigma} by Sigma, {by_any} by one of them",
        attacks.len()
    );
    assert_eq!((attacks.len(), by_pack, by_any), (6, 6, 6));
    assert!(by_sigma >= 4, "{by_sigma}");
}

/// Sources that tried at least six passwords within ten minutes, the threshold of the rule, counted in the sample by another program.
#[test]
fn the_sources_that_guess_passwords_in_the_openssh_sample_are_found_and_no_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/recordings");
    let log = root.join("loghub/OpenSSH_2k.log");
    if !log.is_file() {
        eprintln!("SKIPPED: no recordings beside the project");
        return;
    }
    let output = replay(&["--json", &log.display().to_string()]);
    let mut sources: Vec<String> = events(&output)
        .iter()
        .filter(|event| titled(event, "Passwords guessed from one source"))
        .map(|event| event["login"]["source_ip"].as_str().unwrap().to_owned())
        .collect();
    sources.sort();
    sources.dedup();
    assert_eq!(sources, GUESSING);
}

const GUESSING: [&str; 10] = [
    "103.99.0.122",
    "106.5.5.195",
    "112.95.230.3",
    "119.4.203.64",
    "123.235.32.19",
    "183.62.140.253",
    "185.190.58.151",
    "187.141.143.180",
    "5.188.10.180",
    "5.36.59.76",
];

fn is_found(path: &Path, rules: &[&str]) -> bool {
    let path = path.display().to_string();
    let mut arguments = vec!["--json"];
    arguments.extend(rules);
    arguments.push(&path);
    let output = replay(&arguments);
    assert!(output.status.success(), "{path}: {}", said(&output));
    let rule = |event: &Value| {
        let verdicts = event["verdicts"].as_array();
        verdicts
            .into_iter()
            .flatten()
            .any(|verdict| verdict["by"] == "rule" && verdict["severity"] != "informational")
    };
    events(&output).iter().any(rule)
}

fn replay(arguments: &[&str]) -> Output {
    let agent = Programs::find().unwrap().path("picket-agent").unwrap();
    Command::new(agent)
        .arg("replay")
        .args(arguments)
        .output()
        .unwrap()
}

fn rules(home: &Path, text: &str) -> String {
    let folder = home.join("rules");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("rules.yml"), text).unwrap();
    folder.display().to_string()
}

fn file(home: &Path, name: &str, text: &str) -> String {
    let path = home.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn events(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn has(event: &Value, id: &str) -> bool {
    let verdicts = event["verdicts"].as_array().into_iter().flatten();
    verdicts
        .filter_map(|verdict| verdict["id"].as_str())
        .any(|found| found.starts_with(id))
}

fn titled(event: &Value, title: &str) -> bool {
    let verdicts = event["verdicts"].as_array().into_iter().flatten();
    verdicts
        .filter_map(|verdict| verdict["title"].as_str())
        .any(|found| found == title)
}
