//! What expressions mean, and how wrong ones are refused.

use crate::{
    Detail, Event, Kind, Login, Process, ProcessUid, RuleVerdict, Severity, Source, Text,
    UnixNanos, Verdict,
};

use super::{Filter, Need, Test};

fn exec() -> Event {
    let mut process = Process::new(ProcessUid::new([1; 16]), 4242);
    process.exe = Text::from("/usr/bin/curl");
    process.argv = vec![Text::from("curl"), Text::from("http://127.0.0.1/it's")];
    let time = UnixNanos::parse("2026-01-05T10:00:00.5Z").unwrap();
    let mut event = Event::new(Kind::Exec, time, Source::Ebpf).by(process);
    event.verdicts.push(Verdict::Rule(RuleVerdict {
        id: "r1".to_owned(),
        title: "t".to_owned(),
        severity: Severity::High,
        attack: vec!["T1105".to_owned()],
        author: String::new(),
        license: String::new(),
        rests_on: Vec::new(),
    }));
    event
}

fn login() -> Event {
    let login = Login {
        user: Text::from("root"),
        ..Login::default()
    };
    Event::new(Kind::Login, UnixNanos(0), Source::AuthLog).with(Detail::Login(login))
}

fn matches(text: &str, event: &Event) -> bool {
    Filter::parse(text)
        .unwrap_or_else(|refused| panic!("{text}: {refused}"))
        .matches(event)
}

#[test]
fn what_was_done_in_a_session_is_found_by_its_login() {
    let within = |text: &str, event: &Event| {
        let filter = Filter::parse(text).unwrap();
        filter.matches_within(event, Some(&login()))
    };
    assert!(within("login.user = 'root' and kind = exec", &exec()));
    assert!(!within("login.user != 'root'", &exec()));
    assert!(!within("login.key_fingerprint ~ 'SHA'", &exec()));
    let mut own = login();
    own.detail = Some(Detail::Login(Login {
        user: Text::from("ada"),
        ..Login::default()
    }));
    assert!(within("login.user = 'ada'", &own));
    let filter = Filter::parse("not (kind = exec or login.user = 'x')").unwrap();
    assert!(filter.mentions("login.") && !filter.mentions("process."));
}

#[test]
fn expressions_that_hold_for_an_exec() {
    for text in [
        "process.exe = '/usr/bin/curl'",
        "process.exe = /usr/bin/curl",
        "process.exe ^= '/usr/' and process.exe $= 'curl' and process.exe ~ 'bin'",
        "process.exe != '/bin/sh'",
        "kind in (fork, exec)",
        "process.argv = 'curl'",
        r"process.argv ~ 'it\'s'",
        r#"process.argv ~ "it's" "#,
        "process.pid = 4242 and process.pid < 5000 and process.pid >= 4242",
        "process.pid = '4242'",
        "process.pid > 4241.5",
        "not process.exe = 'x' and (kind = fork or kind = exec)",
        "NOT (kind = fork OR kind = exit)",
        "kind = fork or kind = fork or kind = exec and process.pid = 4242",
        "severity >= medium and severity = high and severity != low",
        "verdicts.attack = T1105",
        "time > '2026-01-05T10:00:00Z' and time < '2026-01-05T11:00:00+00:00'",
        "process.memfd = false",
        r"process.exe ~ '\x2fusr'",
    ] {
        assert!(matches(text, &exec()), "{text}");
    }
}

#[test]
fn expressions_that_do_not_hold_for_an_exec() {
    for text in [
        "process.exe = '/usr/bin/CURL'",
        "process.exe ~ 'wget'",
        "kind = fork or kind = exit",
        "kind = exec and process.pid = 1",
        "process.argv != 'curl'",
        "severity > high",
        "process.pid < 42",
    ] {
        assert!(!matches(text, &exec()), "{text}");
    }
}

#[test]
fn a_field_that_the_event_lacks_satisfies_no_comparison() {
    assert!(!matches("login.user = 'root'", &exec()));
    assert!(!matches("login.user != 'root'", &exec()));
    assert!(matches("not login.user ~ 'ro'", &exec()));
    assert!(!matches("not login.user ~ 'ro'", &login()));
}

#[test]
fn an_unknown_field_is_refused_with_its_place_and_near_ones() {
    let refused = Filter::parse("kind = exec and proces.exe = 'x'").unwrap_err();
    assert_eq!(refused.position, 17);
    assert_eq!(
        refused.to_string(),
        "there is no field `proces.exe` (near: `process.exe`) at character 17"
    );
    assert!(
        Filter::parse("exe = 'x'")
            .unwrap_err()
            .problem
            .contains("`process.exe`")
    );
}

#[test]
fn wrong_expressions_are_refused_where_they_go_wrong() {
    for (text, position) in [
        ("", 1),
        ("kind", 5),
        ("kind =", 7),
        ("kind = 'exec", 8),
        ("kind = exec exit", 13),
        ("(kind = exec", 13),
        ("kind in exec", 9),
        ("kind in (exec", 14),
        ("kind = exec and", 16),
        ("kind % exec", 6),
        (r"kind = 'a\q'", 10),
        ("severity = bad", 12),
        ("time < yesterday", 8),
        ("'kind' = exec", 1),
    ] {
        let refused = Filter::parse(text).expect_err(text);
        assert_eq!(refused.position, position, "{text}: {refused}");
    }
}

#[test]
fn endless_nesting_is_refused() {
    let text = "(".repeat(2000);
    assert!(Filter::parse(&text).unwrap_err().problem.contains("levels"));
    let text = "not ".repeat(1000);
    assert!(Filter::parse(&text).unwrap_err().problem.contains("levels"));
    let text = format!("kind = '{}'", "x".repeat(5000));
    assert!(Filter::parse(&text).unwrap_err().problem.contains("longer"));
}

#[test]
fn what_every_match_must_have_is_said_and_nothing_more() {
    let needs = |text: &str| Filter::parse(text).unwrap().needs();
    let both = needs("process.exe = '/a' and (file.path ~ 'b' and not kind = exec)");
    let expected = [
        ("process.exe", Test::OneOf(vec![b"/a".to_vec()])),
        ("file.path", Test::Contains(b"b".to_vec())),
    ];
    let expected = expected.map(|(path, test)| Need { path, test });
    assert_eq!(both, expected);
    assert!(needs("process.exe = '/a' or process.exe = '/b'").is_empty());
    assert!(needs("process.exe != '/a' and exit.code > 3").is_empty());
    let one_of = needs("kind in (exec, fork)");
    assert_eq!(
        one_of[0].test,
        Test::OneOf(vec![b"exec".to_vec(), b"fork".to_vec()])
    );
}
