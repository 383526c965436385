//! A run on disk becomes a report: what was played, what was not, and the shares.

use picket_event::{BootId, json};
use picket_event::{
    Event, Kind, Origin, Process, ProcessUid, RuleVerdict, Severity, Source, Text, UnixNanos,
    Verdict,
};

use super::*;
use crate::coverage::record::{Outcome, Played, events_file};

const LIST: &str = r#"{"tests":[
    {"guid":"a","name":"A","technique":"T1033","executor":"sh","command":"whoami","split":"one","technique_split":"one"},
    {"guid":"b","name":"B","technique":"T1053.003","executor":"sh","command":"crontab -l","split":"one","technique_split":"two"},
    {"guid":"c","name":"C","technique":"T1070.003","executor":"bash","command":"history -c","builtin_only":true,"split":"one","technique_split":"one"}]}"#;

fn step(number: usize, guid: &str, variant: Variant, exit: i32) -> Step {
    Step {
        guid: guid.to_owned(),
        number,
        variant,
        played: Played {
            root: Some(ProcessUid::new([2; 16]).to_string()),
            programs: BTreeMap::from([("whoami".to_owned(), "/usr/bin/whoami".into())]),
            renamed: BTreeMap::from([("whoami".to_owned(), "zumi".to_owned())]),
            began: 1,
            outcome: Outcome {
                exit: Some(exit),
                ..Outcome::default()
            },
            ..Played::default()
        },
        ..Step::default()
    }
}

fn line(exe: &str, judged: bool) -> String {
    let mut process = Process::new(ProcessUid::new([3; 16]), 3);
    process.parent_uid = Some(ProcessUid::new([2; 16]));
    process.exe = Text::from(exe);
    let mut event = Event::new(Kind::Exec, UnixNanos(1_000_000_000), Source::Ebpf).by(process);
    if judged {
        event.verdicts.push(Verdict::Rule(RuleVerdict {
            id: "1".to_owned(),
            title: "Asks who it is".to_owned(),
            severity: Severity::Informational,
            attack: vec!["T1033".to_owned()],
            author: String::new(),
            license: String::new(),
            rests_on: Vec::new(),
        }));
    }
    let origin = Origin {
        host: None,
        boot: BootId::new([0; 16]),
    };
    format!("3500000000 {}\n", json::to_string(&event, &origin))
}

fn write(folder: &Path, steps: &[(Step, String)]) {
    std::fs::create_dir_all(folder.join("events")).unwrap();
    std::fs::write(folder.join("list.json"), LIST).unwrap();
    std::fs::write(folder.join("run.json"), "{\"renamed\":true}").unwrap();
    let mut log = String::new();
    for (step, events) in steps {
        std::fs::write(events_file(folder, step.number, step.variant), events).unwrap();
        log.extend([serde_json::to_string(step).unwrap(), "\n".to_owned()]);
    }
    std::fs::write(folder.join("steps.jsonl"), log).unwrap();
}

fn report(steps: &[(Step, String)]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), steps);
    let list = folder.path().join("list.json");
    Report::of(&list, folder.path(), Techniques::default()).unwrap()
}

#[test]
fn shares_are_of_what_was_executed_and_the_rest_is_counted_by_reason() {
    let report = report(&[
        (
            step(1, "a", Variant::Plain, 0),
            line("/usr/bin/whoami", true),
        ),
        (
            step(2, "b", Variant::Plain, 7),
            line("/usr/bin/crontab", false),
        ),
        (
            step(1, "a", Variant::Renamed, 0),
            line("/usr/local/bin/zumi", false),
        ),
    ]);
    let told = report.to_json();
    let all = &told["totals"]["plain"]["all"];
    assert_eq!((&all["tests"], &all["executed"]), (&json!(2), &json!(1)));
    assert_eq!(all["not_executed"], json!({ "the command failed": 1 }));
    assert_eq!(all["levels"]["Technique"], 1);
    assert_eq!(all["alert_levels"]["Telemetry"], 1);
    assert_eq!(all["delayed"], 1);
    assert_eq!(
        told["totals"]["plain"]["only the shell"]["not_executed"],
        json!({ "not run": 1 })
    );
    assert_eq!(told["twins"]["judged"], 1);
    assert_eq!(told["twins"]["judged_renamed"], 0);
    assert_eq!(told["tests"][1]["reason"], "exit 7");
}

#[test]
fn a_table_has_each_test_with_what_gave_its_level() {
    let report = report(&[(
        step(1, "a", Variant::Plain, 0),
        line("/usr/bin/whoami", true),
    )]);
    let lines = report.lines();
    assert!(
        lines[1].contains("Technique")
            && lines[1].contains("Asks who it is (informational, late: 2500 ms)"),
        "{lines:?}"
    );
    assert!(lines[2].contains("not run"), "{lines:?}");
}

#[test]
fn a_step_of_another_list_is_not_taken_for_one_of_this() {
    let report = report(&[(step(1, "z", Variant::Plain, 0), String::new())]);
    assert!(report.plain.iter().all(|row| row.state == State::NotRun));
}
