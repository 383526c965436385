//! One session, told by several witnesses, is one event; what only one witness tells waits and goes.

use super::super::line::{LineClock, parse_auth_line};
use super::*;

/// A follower of lines without files.
struct Log {
    fusion: Fusion,
    now: Instant,
    offset: u64,
}

impl Log {
    fn new() -> Self {
        Self {
            fusion: Fusion::new(),
            now: Instant::now(),
            offset: 0,
        }
    }

    /// At this second of a minute, this program says this.
    fn line(&mut self, second: u64, tag: &str, message: &str) -> Fate {
        let line = format!("Jan  5 10:00:{second:02} host {tag}: {message}");
        let clock = LineClock::utc(UnixNanos::parse("2026-01-05T12:00:00Z").unwrap());
        let line = parse_auth_line(line.as_bytes(), &clock).expect(&line);
        self.hear(SeenBy::AuthLog, line.time, line.pid, line.fact)
    }

    fn record(&mut self, second: u64, witness: Witness, kind: Kind, login: Login) -> Fate {
        let seen_by = if kind == Kind::LoginFailed {
            SeenBy::Btmp
        } else {
            SeenBy::Wtmp
        };
        let time = UnixNanos::parse(&format!("2026-01-05T10:00:{second:02}.250Z")).unwrap();
        let outcome = if kind == Kind::LoginFailed {
            "failure"
        } else {
            "success"
        };
        let login = Login {
            outcome: outcome.to_owned(),
            ..login
        };
        self.hear(
            seen_by,
            time,
            Some(900),
            Fact {
                witness,
                kind: Some(kind),
                login,
            },
        )
    }

    fn hear(&mut self, seen_by: SeenBy, time: UnixNanos, pid: Option<u32>, fact: Fact) -> Fate {
        self.offset += 1;
        let origin = Origin {
            file: 0,
            offset: self.offset,
        };
        let word = Word {
            origin,
            seen_by,
            time,
            pid,
            ppid: None,
            fact,
            process: None,
            old: false,
        };
        self.fusion.hear(word, self.now)
    }

    fn wait(&mut self, duration: Duration) -> Vec<Event> {
        self.now += duration;
        let (mut out, mut settled) = (Vec::new(), Vec::new());
        self.fusion
            .give(self.now, |_| false, &mut out, &mut settled);
        assert!(self.fusion.ledger().iter().all(KindCounts::balances));
        out
    }

    fn all(&mut self) -> Vec<Event> {
        self.wait(PATIENCE)
    }
}

fn kinds(events: &[Event]) -> Vec<Kind> {
    events.iter().map(|event| event.kind).collect()
}

fn alice_on(tty: &str) -> Login {
    Login {
        user: "alice".into(),
        tty: tty.into(),
        source_ip: "192.0.2.7".to_owned(),
        ..Login::default()
    }
}

const ACCEPTED: &str = "Accepted publickey for alice from 192.0.2.7 port 50022 ssh2";
const OPENED: &str = "pam_unix(sshd:session): session opened for user alice(uid=1000) by (uid=0)";
const PAM_FAILED: &str = "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 \
                          tty=ssh ruser= rhost=192.0.2.7  user=alice";
const FAILED: &str = "Failed password for alice from 192.0.2.7 port 50022 ssh2";

#[test]
fn log_and_record_of_one_login_are_one_event_that_names_both() {
    let mut log = Log::new();
    log.line(0, "sshd[42]", ACCEPTED);
    log.line(0, "sshd[42]", OPENED);
    log.record(0, Witness::RecordLogin, Kind::Login, alice_on("pts/3"));
    let events = log.all();
    assert_eq!(kinds(&events), [Kind::Login]);
    let login = events[0].login().unwrap();
    assert_eq!(login.seen_by, ["auth_log", "wtmp"]);
    assert_eq!(
        (&login.tty, login.source_port),
        (&"pts/3".into(), Some(50022))
    );
    assert_eq!(events[0].time.to_string(), "2026-01-05T10:00:00.250000000Z");
}

#[test]
fn an_event_is_held_for_less_than_a_second() {
    let mut log = Log::new();
    log.line(0, "sshd[42]", ACCEPTED);
    assert!(log.wait(HOLD / 2).is_empty());
    assert_eq!(log.wait(HOLD / 2).len(), 1);
}

#[test]
fn a_record_that_comes_late_makes_no_second_event() {
    let mut log = Log::new();
    log.line(0, "sshd[42]", ACCEPTED);
    assert_eq!(log.wait(HOLD).len(), 1);
    log.record(3, Witness::RecordLogin, Kind::Login, alice_on("pts/3"));
    assert!(log.all().is_empty());
}

#[test]
fn two_logins_that_look_alike_stay_two() {
    let mut log = Log::new();
    log.line(0, "sshd[42]", ACCEPTED);
    log.line(0, "sshd[43]", &ACCEPTED.replace("50022", "50023"));
    log.record(0, Witness::RecordLogin, Kind::Login, alice_on("pts/3"));
    log.record(0, Witness::RecordLogin, Kind::Login, alice_on("pts/4"));
    let events = log.all();
    assert_eq!(events.len(), 2);
    for event in events {
        assert_eq!(event.login().unwrap().seen_by, ["auth_log", "wtmp"]);
    }
}

#[test]
fn pam_and_sshd_speak_of_one_failure_each_time() {
    let mut log = Log::new();
    log.line(0, "sshd[42]", PAM_FAILED);
    log.now += Duration::from_secs(2);
    log.line(2, "sshd[42]", FAILED);
    log.now += Duration::from_secs(4);
    log.line(6, "sshd[42]", FAILED);
    let events = log.all();
    assert_eq!(kinds(&events), [Kind::LoginFailed; 2]);
    assert_eq!(events[0].login().unwrap().source_port, Some(50022));
}

#[test]
fn pam_alone_is_believed_after_a_while() {
    let mut log = Log::new();
    log.line(0, "sshd[42]", PAM_FAILED);
    assert!(log.wait(HOLD).is_empty());
    assert_eq!(kinds(&log.all()), [Kind::LoginFailed]);
}

#[test]
fn a_failure_that_another_module_takes_back_is_none() {
    let mut log = Log::new();
    log.line(0, "sshd[42]", PAM_FAILED);
    log.line(
        0,
        "sshd[42]",
        "pam_sss(sshd:auth): authentication success; logname= uid=0",
    );
    log.line(1, "sshd[42]", ACCEPTED);
    assert_eq!(kinds(&log.all()), [Kind::Login]);
}

#[test]
fn an_invalid_user_counts_once_with_the_first_failure_however_late_it_comes() {
    let mut log = Log::new();
    log.line(0, "sshd[42]", "Invalid user bob from 192.0.2.7 port 1");
    assert_eq!(log.all().len(), 1);
    log.now += Duration::from_secs(30);
    log.line(
        35,
        "sshd[42]",
        "Failed password for invalid user bob from 192.0.2.7 port 1 ssh2",
    );
    assert!(log.all().is_empty());
    log.line(
        40,
        "sshd[42]",
        "Failed password for invalid user bob from 192.0.2.7 port 1 ssh2",
    );
    assert_eq!(log.all().len(), 1);
}

#[test]
fn an_invalid_user_who_goes_away_is_told_at_once() {
    let mut log = Log::new();
    log.line(0, "sshd[42]", "Invalid user bob from 192.0.2.7 port 1");
    log.line(
        0,
        "sshd[42]",
        "Connection closed by invalid user bob 192.0.2.7 port 1 [preauth]",
    );
    assert_eq!(log.wait(HOLD).len(), 1);
}

#[test]
fn a_summary_counts_only_where_nothing_was_told_before() {
    let summary = "error: maximum authentication attempts exceeded for alice from 192.0.2.7 port \
                   50022 ssh2 [preauth]";
    let mut log = Log::new();
    log.line(0, "sshd[42]", FAILED);
    log.line(1, "sshd[42]", summary);
    assert_eq!(log.all().len(), 1);
    log.line(2, "sshd[77]", summary);
    assert_eq!(log.all().len(), 1);
}

#[test]
fn a_logoff_knows_where_its_login_came_from() {
    let mut log = Log::new();
    log.line(0, "sshd[42]", ACCEPTED);
    log.record(0, Witness::RecordLogin, Kind::Login, alice_on("pts/3"));
    log.all();
    log.line(
        9,
        "sshd[50]",
        "Disconnected from user alice 192.0.2.7 port 50022",
    );
    log.line(
        9,
        "sshd[42]",
        "pam_unix(sshd:session): session closed for user alice",
    );
    let tty = Login {
        tty: "pts/3".into(),
        ..Login::default()
    };
    log.record(9, Witness::RecordLogoff, Kind::Logoff, tty);
    let events = log.all();
    assert_eq!(kinds(&events), [Kind::Logoff]);
    let login = events[0].login().unwrap();
    assert_eq!((login.source_port, login.seen_by.len()), (Some(50022), 2));
    assert_eq!(
        (&login.tty, login.method.as_str()),
        (&"pts/3".into(), "publickey")
    );
}

#[test]
fn a_terminal_that_has_a_new_user_before_the_end_of_the_last_is_recorded_keeps_him() {
    let mut log = Log::new();
    let mut record = |second: u64, pid: u32, witness, kind, user: &str| {
        let time = UnixNanos::parse(&format!("2026-01-05T10:00:{second:02}Z")).unwrap();
        let login = Login {
            user: user.into(),
            tty: "pts/0".into(),
            ..Login::default()
        };
        log.hear(
            SeenBy::Wtmp,
            time,
            Some(pid),
            Fact::success(witness, kind, login),
        );
    };
    record(0, 42, Witness::RecordLogin, Kind::Login, "ada");
    record(1, 43, Witness::RecordLogin, Kind::Login, "bob");
    record(2, 42, Witness::RecordLogoff, Kind::Logoff, "");
    let events = log.all();
    assert_eq!(kinds(&events), [Kind::Login, Kind::Login, Kind::Logoff]);
    assert_eq!(events[2].login().unwrap().user, "ada".into());
}

#[test]
fn the_end_of_a_prompt_is_no_logoff() {
    let mut log = Log::new();
    let tty = Login {
        tty: "tty1".into(),
        ..Login::default()
    };
    assert_eq!(
        log.record(0, Witness::RecordLogoff, Kind::Logoff, tty),
        Fate::Done
    );
    assert!(log.all().is_empty());
}

#[test]
fn a_switch_by_sudo_is_one_event_with_its_command() {
    let mut log = Log::new();
    log.line(
        0,
        "sudo",
        "   al : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
    );
    log.line(
        0,
        "sudo",
        "pam_unix(sudo:session): session opened for user root by al(uid=1000)",
    );
    let events = log.all();
    assert_eq!(kinds(&events), [Kind::AccountSwitch]);
    assert_eq!(events[0].login().unwrap().command, "/bin/ls".into());
}

#[test]
fn a_switch_by_su_is_one_event_though_its_session_names_nobody() {
    let mut log = Log::new();
    log.line(0, "su[42]", "(to root) al on pts/0");
    log.line(
        0,
        "su[42]",
        "pam_unix(su:session): session opened for user root(uid=0) by (uid=1000)",
    );
    let events = log.all();
    assert_eq!(kinds(&events), [Kind::AccountSwitch]);
    assert_eq!(events[0].login().unwrap().user, "al".into());
}

#[test]
fn record_and_log_of_a_failure_are_one() {
    let mut log = Log::new();
    log.line(0, "sshd[900]", FAILED);
    log.record(0, Witness::RecordFailure, Kind::LoginFailed, alice_on(""));
    let events = log.all();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].login().unwrap().seen_by, ["auth_log", "btmp"]);
}

#[test]
fn a_flood_is_remembered_up_to_a_bound_and_nothing_is_lost() {
    let mut log = Log::new();
    let attempts = MAX_ENTRIES + 100;
    for attempt in 0..attempts {
        log.line(0, &format!("sshd[{}]", attempt + 1), FAILED);
    }
    assert!(log.fusion.entries.len() <= MAX_ENTRIES);
    assert_eq!(log.all().len(), attempts);
}

#[test]
fn a_refusal_by_sudo_is_one_event_however_late_it_is_summed_up() {
    let failed = "pam_unix(sudo:auth): authentication failure; logname=al uid=1000 euid=0 \
                  tty=/dev/pts/0 ruser=al rhost=  user=al";
    let refused = "   al : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; \
                   COMMAND=/bin/ls";
    for tag in ["sudo[42]", "sudo"] {
        let mut log = Log::new();
        log.line(0, tag, failed);
        assert_eq!(kinds(&log.all()), [Kind::AccountSwitch], "{tag}");
        log.line(12, tag, refused);
        assert_eq!(kinds(&log.all()), [], "{tag}: told already");
        log.line(20, "sudo[44]", refused);
        assert_eq!(log.all().len(), 1, "{tag}: another run");
    }
    let mut log = Log::new();
    log.line(20, "sudo[43]", failed);
    log.line(21, "sudo[43]", refused);
    let events = log.all();
    assert_eq!(kinds(&events), [Kind::AccountSwitch]);
    assert_eq!(events[0].login().unwrap().command, "/bin/ls".into());
}

#[test]
fn whom_pam_let_through_and_sudo_refuses_has_the_process_that_asked() {
    let mut log = Log::new();
    let login = Login {
        user: "al".into(),
        service: "sudo".to_owned(),
        ..Login::default()
    };
    let process = Process::new(picket_event::ProcessUid::new([7; 16]), 42);
    log.fusion.hear(
        Word {
            origin: Origin::LIVE,
            seen_by: SeenBy::Pam,
            time: UnixNanos::parse("2026-01-05T10:00:00.500Z").unwrap(),
            pid: Some(42),
            ppid: Some(41),
            fact: Fact::passed(login),
            process: Some(process),
            old: false,
        },
        log.now,
    );
    let refused = "   al : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls";
    log.line(1, "sudo", refused);
    log.line(2, "sudo", refused);
    let events = log.all();
    let pids: Vec<Option<u32>> = events
        .iter()
        .map(|event| event.process.as_ref().map(|process| process.pid))
        .collect();
    assert_eq!(pids, [Some(42), None], "each answer of PAM stands for one");
}

#[test]
fn sshds_record_of_an_unknown_user_and_of_his_first_attempt_are_one_failure() {
    let mut log = Log::new();
    for second in 0..3 {
        log.record(
            second,
            Witness::Announced,
            Kind::LoginFailed,
            alice_on("ssh:notty"),
        );
    }
    assert_eq!(log.all().len(), 2, "announced, and refused twice");
}

#[test]
fn sus_record_of_a_refusal_is_no_second_one() {
    let mut log = Log::new();
    log.line(3, "su[900]", "FAILED SU (to root) al on pts/0");
    let record = Login {
        user: "root".into(),
        tty: "pts/0".into(),
        ..Login::default()
    };
    log.record(3, Witness::RecordFailure, Kind::LoginFailed, record);
    let events = log.all();
    assert_eq!(kinds(&events), [Kind::AccountSwitch]);
    let login = events[0].login().unwrap();
    assert_eq!(login.seen_by, ["auth_log", "btmp"]);
    assert_eq!(login.user, "al".into());
}

#[test]
fn the_end_of_a_run_of_sudo_without_a_number_is_the_only_ones_that_is_open() {
    let of = |name| {
        format!("pam_unix(sudo:session): session opened for user root(uid=0) by {name}(uid=1000)")
    };
    let closed = "pam_unix(sudo:session): session closed for user root";
    let mut log = Log::new();
    log.line(0, "sudo", &of("al"));
    log.all();
    log.line(1, "sudo", closed);
    assert_eq!(log.all()[0].login().unwrap().user, "al".into());
    log.line(2, "sudo", &of("al"));
    log.line(2, "sudo", &of("bo"));
    log.all();
    log.line(3, "sudo", closed);
    log.line(4, "sudo", closed);
    let users: Vec<Text> = log
        .all()
        .iter()
        .map(|event| event.login().unwrap().user.clone())
        .collect();
    assert_eq!(users, [Text::NONE, Text::NONE], "of two nobody knows which");
}

#[test]
fn a_failure_is_told_for_when_it_was_refused() {
    let mut log = Log::new();
    log.line(0, "sshd[42]", PAM_FAILED);
    log.line(2, "sshd[42]", FAILED);
    assert_eq!(
        log.all()[0].time.to_string(),
        "2026-01-05T10:00:02.000000000Z"
    );
}

#[test]
fn a_failed_su_is_one_event() {
    let mut log = Log::new();
    let failed = "pam_unix(su:auth): authentication failure; logname=al uid=1000 euid=0 \
                  tty=/dev/pts/0 ruser=al rhost=  user=root";
    log.line(0, "su[42]", failed);
    log.now += Duration::from_secs(3);
    log.line(3, "su[42]", "FAILED SU (to root) al on pts/0");
    let events = log.all();
    assert_eq!(kinds(&events), [Kind::AccountSwitch]);
    assert_eq!(events[0].login().unwrap().outcome, "failure");
}

#[test]
fn the_ends_of_two_sessions_with_nothing_in_common_stay_two() {
    let mut log = Log::new();
    let on_terminal = |user: &str| Login {
        user: user.into(),
        tty: "pts/0".into(),
        ..Login::default()
    };
    log.record(0, Witness::RecordLogin, Kind::Login, on_terminal("ada"));
    let closed = "pam_unix(su:session): session closed for user bob";
    log.line(1, "su[41]", closed);
    log.record(1, Witness::RecordLogoff, Kind::Logoff, on_terminal(""));
    let ends = log
        .all()
        .into_iter()
        .filter(|event| event.kind == Kind::Logoff);
    let whose: Vec<(Text, Text)> = ends
        .filter_map(|event| event.login().cloned())
        .map(|login| (login.user, login.target_user))
        .collect();
    assert_eq!(
        whose,
        [(Text::NONE, "bob".into()), ("ada".into(), Text::NONE)]
    );
}
