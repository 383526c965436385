//! `watch`: what is chosen is shown in the form that was asked for, and what is not counts as filtered.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use picket_tests::programs::Programs;
use picket_tests::wait;
use serde_json::Value;

#[test]
fn a_condition_holds_back_the_rest_and_the_ledger_says_how_many() {
    let lines = watched("--json --where file.path~wanted");
    let (ledger, events) = lines.split_last().unwrap();
    let events: Vec<Value> = events.iter().map(|line| json(line)).collect();
    assert!(!events.is_empty(), "something was chosen");
    for event in &events {
        assert_eq!(event["source"], "portable", "as the settings say");
        let path = event["file"]["path"].as_str().unwrap();
        assert!(path.contains("/wanted-"), "{event}");
    }
    let ledger = json(ledger);
    let counts = ledger["loss"].as_object().unwrap();
    let count = |line: &Value, name: &str| line[name].as_u64().unwrap();
    for (kind, line) in counts {
        let shares = ["filtered", "aggregated", "submitted", "lost"].map(|name| count(line, name));
        let sum: u64 = shares.iter().sum();
        assert_eq!(count(line, "generated"), sum, "{kind} balances: {line}");
        let shown = events.iter().filter(|event| event["kind"] == kind.as_str());
        let shown = u64::try_from(shown.count()).unwrap();
        assert_eq!(
            count(line, "submitted"),
            shown,
            "{kind} was shown as often as it says"
        );
    }
    let created = &counts["file_create"];
    assert!(
        count(created, "filtered") > 0,
        "the others are filtered: {created}"
    );
}

#[test]
fn ocsf_is_one_object_of_its_class_per_line() {
    let lines = watched("--ocsf --kinds file_create");
    let objects: Vec<Value> = lines.iter().map(|line| json(line)).collect();
    let (ledger, events) = objects.split_last().unwrap();
    assert!(!events.is_empty(), "something was chosen");
    for event in events {
        assert_eq!(event["type_uid"], 100_101, "{event}");
        assert_eq!(event["metadata"]["version"], "1.7.0");
        assert!(event["device"]["hostname"].is_string(), "{event}");
    }
    assert_eq!(ledger["class_uid"], 6008, "{ledger}");
}

#[test]
fn people_read_a_table_at_the_end_and_what_nobody_judged_is_below_any_severity() {
    let lines = watched("--min-severity critical");
    let head = lines.iter().position(|line| line.starts_with("kind "));
    let table = &lines[head.expect("the table has a head")..];
    assert_eq!(
        table[0].split_whitespace().collect::<Vec<_>>(),
        [
            "kind",
            "generated",
            "filtered",
            "aggregated",
            "submitted",
            "lost"
        ]
    );
    let created = table.iter().find(|line| line.starts_with("file_create "));
    let cells: Vec<&str> = created.unwrap().split_whitespace().collect();
    assert_eq!(
        (cells[1], cells[4]),
        (cells[2], "0"),
        "all of them: {table:?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains('\u{1b}')),
        "no colour in a pipe"
    );
}

/// What `watch` prints with these flags about a folder in which files are made all the time.
fn watched(flags: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (folder, config) = (dir.path().join("folder"), dir.path().join("agent.toml"));
    fs::create_dir(&folder).unwrap();
    let settings = format!("source = \"portable\"\nwatch_paths = [{folder:?}]\n");
    fs::write(&config, settings).unwrap();
    let line = format!("watch --for 2s --config {} {flags}", config.display());
    let words: Vec<&str> = line.split_whitespace().collect();
    let over = AtomicBool::new(false);
    let printed = thread::scope(|scope| {
        scope.spawn(|| make_files(&folder, &over));
        let printed = Programs::find().unwrap().succeed("picket-agent", &words);
        over.store(true, Ordering::Relaxed);
        printed.unwrap()
    });
    printed.lines().map(str::to_owned).collect()
}

fn make_files(folder: &Path, over: &AtomicBool) {
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        for name in ["wanted", "other"] {
            fs::write(folder.join(format!("{name}-{number}")), name).unwrap();
        }
        wait::pause(Duration::from_millis(50));
    }
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
