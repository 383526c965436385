//! Wrong words: flags, names and files that no program can make sense of.

use std::fs;
use std::process::{Command, Stdio};

use picket_tests::programs::{Programs, finish};

use super::{ZEROS, fails};

#[test]
fn wrong_flags_and_missing_commands_are_usage_errors() {
    for (program, line) in [
        ("picket-agent", ""),
        ("picket-agent", "watch --jsn"),
        ("picket-agent", "watch --for soon"),
        ("picket-agent", "watch --source crystal-ball"),
        ("picket-agent", "watch --kinds magic"),
        ("picket-agent", "watch --where proces.exe=x"),
        ("picket-agent", "watch --where"),
        ("picket-agent", "watch --min-severity dire"),
        ("picket-agent", "watch --json --ocsf"),
        ("picket-agent", "enroll"),
        ("picket-agent", "rules check"),
        ("picket-agent", "dance"),
        ("picket-collector", ""),
        ("picket-collector", "serve"),
        ("picket-collector", "serve --data x --agents nowhere"),
        ("picket-collector", "init --data x"),
        ("picket-collector", "operator"),
        ("picket-collector", "dance"),
        ("picketctl", ""),
        ("picketctl", "token"),
        ("picketctl", "events --limit none"),
        ("picketctl", "events --kind magic"),
        ("picketctl", "events --since yore"),
        ("picketctl", "token create --uses 0"),
        ("picketctl", "token create --ttl 0s"),
        ("picketctl", "contain kill"),
        ("picketctl", "contain kill 1 --host h --ttl 25h"),
        ("picketctl", "contain hug 1 --host h"),
        ("picketctl", "dance"),
    ] {
        fails(program, 2).with_hint().on(line);
    }
}

#[test]
fn help_and_version_are_answers_with_an_example() {
    let programs = Programs::find().unwrap();
    for (program, verbs) in VERBS {
        for verb in *verbs {
            let words: Vec<&str> = verb.split_whitespace().chain(["--help"]).collect();
            let ended = programs.run(program, &words).unwrap();
            let what = format!("{program} {verb} --help: {ended:?}");
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{what}");
            let example = ended.stdout.split("Example").nth(1).unwrap_or_default();
            assert!(example.contains(program), "an example is missing: {what}");
        }
        let ended = programs.run(program, &["--version"]).unwrap();
        assert!(ended.stdout.starts_with(program), "{}", ended.stdout);
        assert_eq!(ended.code, Some(0));
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing").display().to_string();
    let new = dir.path().join("new").display().to_string();
    let agent = fails("picket-agent", 1).saying(&missing);
    agent.on(&format!("run --config {missing}"));
    agent.with_hint().on(&format!("run --state {missing}"));
    agent.with_hint().on(&format!("status --state {missing}"));
    agent.on(&format!("replay {missing}"));
    agent.on(&format!("rules check {missing}"));
    let collector = fails("picket-collector", 1).saying(&missing);
    collector.with_hint().on(&format!("serve --data {missing}"));
    collector.on(&format!("serve --data {new} --config {missing}"));
    collector.on(&format!("check-config {missing}"));
    let init = format!("init --data {new} --name localhost --operator {missing}");
    collector.on(&init);
    let ctl = fails("picketctl", 1).saying(&missing).with_hint();
    ctl.on(&format!("--operator {missing} hosts"));
    let finish = format!("operator finish {missing} --collector 127.0.0.1:1");
    ctl.on(&format!("{finish} --fingerprint {ZEROS}"));
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn without_an_operators_directory_picketctl_says_how_to_name_one() {
    let programs = Programs::find().unwrap();
    let mut command = Command::new(programs.path("picketctl").unwrap());
    command.arg("hosts").env_remove("PICKET_OPERATOR");
    command.stdin(Stdio::null());
    let ended = finish("picketctl hosts", command).unwrap();
    let expected = fails("picketctl", 2).saying("operator").with_hint();
    expected.check("hosts", &ended);
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.toml");
    let path = file.display();
    for (text, says) in [("\nagnets = 1\n", "agnets"), ("\n= 7\n", "line 2")] {
        fs::write(&file, text).unwrap();
        let collector = fails("picket-collector", 1).saying(says);
        collector.on(&format!("check-config {path}"));
        let agent = fails("picket-agent", 1).saying(says);
        agent.on(&format!("watch --config {path} --for 1s"));
    }
}

#[test]
fn tokens_and_fingerprints_of_the_wrong_form_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let zeros = |digits| "0".repeat(digits);
    let token = format!("pt1-{}-{}-{}", zeros(12), zeros(32), zeros(64));
    for (token, fingerprint) in [("pt1-short", ZEROS), (token.as_str(), "md5:00")] {
        let enroll = format!("enroll --collector 127.0.0.1:1 --state {}", state.display());
        let line = format!("{enroll} --token {token} --fingerprint {fingerprint}");
        fails("picket-agent", 2).on(&line);
        assert!(!state.exists(), "nothing half-made");
    }
}

/// What can be asked for help.
const VERBS: &[(&str, &[&str])] = &[
    (
        "picket-agent",
        &[
            "",
            "enroll",
            "run",
            "watch",
            "doctor",
            "replay",
            "rules check",
            "status",
        ],
    ),
    (
        "picket-collector",
        &["", "init", "operator add", "serve", "check-config"],
    ),
    (
        "picketctl",
        &[
            "",
            "operator init",
            "operator finish",
            "token create",
            "hosts",
            "events",
            "tail",
            "tree",
            "verify",
            "contain",
            "commands",
        ],
    ),
];
