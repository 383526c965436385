//! What counts for a test and what does not, on small recordings made by hand.

use picket_event::{Detail, File, Kind, Process, RuleVerdict, Source, Text, UnixNanos};

use super::*;
use crate::coverage::record::{Met, Outcome, Played};

const RUNNER: u8 = 1;
const SHELL: u8 = 2;
const CHILD: u8 = 3;
const STRANGER: u8 = 9;

fn uid(number: u8) -> ProcessUid {
    ProcessUid::new([number; 16])
}

fn cron_test() -> Test {
    Test {
        guid: "g".to_owned(),
        technique: "T1053.003".to_owned(),
        executor: "sh".to_owned(),
        command: "tee /etc/cron.d/x".to_owned(),
        ..Test::default()
    }
}

/// A step that went well, with `tee` among the programs of the guest.
fn step() -> Step {
    Step {
        variant: Variant::Plain,
        played: Played {
            root: Some(uid(SHELL).to_string()),
            programs: BTreeMap::from([("tee".to_owned(), "/usr/bin/tee".into())]),
            began: 10,
            ended: 20,
            settled: true,
            outcome: Outcome {
                exit: Some(0),
                ..Outcome::default()
            },
            ..Played::default()
        },
        ..Step::default()
    }
}

fn event(kind: Kind, who: u8, parent: u8, exe: &str) -> Event {
    let mut process = Process::new(uid(who), u32::from(who));
    process.parent_uid = Some(uid(parent));
    process.exe = Text::from(exe);
    process.argv = vec![Text::from("program"), Text::from("argument")];
    Event::new(kind, UnixNanos(0), Source::Ebpf).by(process)
}

fn started_shell() -> Event {
    let mut event = event(Kind::Exec, SHELL, RUNNER, "/usr/bin/dash");
    if let Some(process) = &mut event.process {
        process.argv.truncate(1);
    }
    event
}

fn rule(severity: Severity, attack: &str) -> Verdict {
    Verdict::Rule(RuleVerdict {
        id: attack.to_owned(),
        title: format!("rule of {attack}"),
        severity,
        attack: vec![attack.to_owned()],
        author: String::new(),
        license: String::new(),
        rests_on: Vec::new(),
    })
}

fn judged(mut event: Event, verdict: Verdict) -> Event {
    event.verdicts.push(verdict);
    event
}

fn told(events: Vec<Event>) -> Vec<Told> {
    let told = |event| Told {
        event,
        arrived: UnixNanos(5_000_000),
    };
    events.into_iter().map(told).collect()
}

fn row(step: &Step, events: Vec<Event>) -> Row {
    let (test, events) = (cron_test(), told(events));
    super::test(
        (1, &test),
        Variant::Plain,
        Some((step, &events)),
        &Techniques::default(),
    )
}

#[test]
fn an_event_that_shows_what_the_command_names_is_telemetry() {
    let tee = event(Kind::Exec, CHILD, SHELL, "/usr/bin/tee");
    let row = row(&step(), vec![started_shell(), tee]);
    assert_eq!((row.level, row.events), (Level::Telemetry, 1));
    assert_eq!(row.telemetry, ["exec tee"]);
}

#[test]
fn an_event_of_the_tree_that_shows_nothing_of_it_is_none() {
    let other = event(Kind::Exec, CHILD, SHELL, "/usr/bin/uptime");
    assert_eq!(
        row(&step(), vec![started_shell(), other]).level,
        Level::None
    );
}

#[test]
fn a_file_that_the_shell_itself_writes_counts() {
    let file = File {
        path: Text::from("/etc/cron.d/x"),
        ..File::default()
    };
    let write = event(Kind::FileModify, SHELL, RUNNER, "/usr/bin/dash").with(Detail::File(file));
    assert_eq!(
        row(&step(), vec![write]).telemetry,
        ["file_modify /etc/cron.d/x"]
    );
}

#[test]
fn the_start_of_the_shell_counts_for_nothing() {
    let start = judged(started_shell(), rule(Severity::High, "T1053.003"));
    let row = row(&step(), vec![start]);
    assert_eq!((row.level, row.findings.len()), (Level::None, 0));
}

#[test]
fn a_judgement_about_somebody_else_counts_for_nothing_and_is_told_as_outside() {
    let cron = event(Kind::Exec, STRANGER, RUNNER, "/usr/bin/tee");
    let cron = judged(cron, rule(Severity::High, "T1053.003"));
    let row = row(&step(), vec![started_shell(), cron.clone()]);
    assert_eq!(row.level, Level::None);
    let outside = outside(&step(), &told(vec![cron]));
    let who: Vec<_> = outside.keys().map(|(who, ..)| who.as_str()).collect();
    assert_eq!(who, ["rest of the machine"]);
}

#[test]
fn a_grandchild_belongs_to_the_tree() {
    let child = event(Kind::Fork, CHILD, SHELL, "/usr/bin/dash");
    let grandchild = event(Kind::Exec, 4, CHILD, "/usr/bin/tee");
    let grandchild = judged(grandchild, rule(Severity::Low, "T1053"));
    assert_eq!(
        row(&step(), vec![child, grandchild]).level,
        Level::Technique
    );
}

#[test]
fn a_correlation_that_rests_on_others_too_counts_for_nothing() {
    let tee = event(Kind::Exec, CHILD, SHELL, "/usr/bin/tee");
    let other = event(Kind::Exec, STRANGER, RUNNER, "/usr/bin/tee");
    let Verdict::Rule(mut many) = rule(Severity::High, "T1053.003") else {
        unreachable!("a rule was asked for")
    };
    many.rests_on = vec![
        picket_event::Evidence::of(&tee),
        picket_event::Evidence::of(&other),
    ];
    let row = row(&step(), vec![judged(tee, Verdict::Rule(many))]);
    assert_eq!(row.level, Level::Telemetry);
}

#[test]
fn a_wrong_technique_is_general_and_a_remark_is_no_alert() {
    let tee = event(Kind::Exec, CHILD, SHELL, "/usr/bin/tee");
    let tee = judged(tee, rule(Severity::Medium, "T1098"));
    let tee = judged(tee, rule(Severity::Low, "T1053.003"));
    let row = row(&step(), vec![tee]);
    assert_eq!(
        (row.level, row.alert_level),
        (Level::Technique, Level::General)
    );
    assert_eq!(row.best.map(|best| best.severity), Some(Severity::Low));
}

#[test]
fn what_was_not_executed_says_why() {
    let state = |change: fn(&mut Step)| {
        let mut step = step();
        change(&mut step);
        row(&step, Vec::new()).state
    };
    assert_eq!(state(|_| {}), State::Executed);
    assert_eq!(
        state(|step| step.played.outcome.exit = Some(3)),
        State::Failed("exit 3".to_owned())
    );
    assert_eq!(
        state(|step| step.played.outcome.missing = vec!["zzz".to_owned()]),
        State::ToolMissing("zzz".to_owned())
    );
    assert_eq!(
        state(|step| step.guest = Guest::Ended),
        State::MachineLost("it ended or started anew".to_owned())
    );
    let unmet = |step: &mut Step| {
        step.played.dependencies = vec![Met {
            description: "a file".to_owned(),
            ..Met::default()
        }];
    };
    assert_eq!(state(unmet), State::DependencyMissing("a file".to_owned()));
}

#[test]
fn a_test_that_its_limit_ended_was_executed_and_says_so() {
    let mut step = step();
    step.played.outcome = Outcome {
        signal: Some(9),
        timed_out: true,
        ..Outcome::default()
    };
    let row = row(&step, Vec::new());
    assert_eq!(row.state, State::Executed);
    assert_eq!(row.remarks, ["ended by its limit"]);
}

#[test]
fn a_renamed_program_shows_by_its_new_name() {
    let mut step = step();
    step.played.renamed = BTreeMap::from([("tee".to_owned(), "zumi".to_owned())]);
    let copy = event(Kind::Exec, CHILD, SHELL, "/usr/local/bin/zumi");
    assert_eq!(row(&step, vec![copy]).telemetry, ["exec zumi"]);
}

#[test]
fn nobody_played_it() {
    let test = cron_test();
    let row = super::test((1, &test), Variant::Plain, None, &Techniques::default());
    assert_eq!((row.state, row.level), (State::NotRun, Level::None));
}
