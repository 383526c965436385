//! Lines and records of any kind: real logs are counted right, and no bytes make a parser panic.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod random;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use picket_event::{Event, Kind, KindCounts, UnixNanos};
use picket_sensor::login::{
    AuditLogin, AuthLine, LASTLOG_LEN, LastLogin, LineClock, LoginFollower, LoginSettings, PamCall,
    RECORD_LEN, parse_auth_line, parse_utmp,
};
use picket_sensor::{Sensor, identity};

use random::Random;

/// Inputs of one run for each parser; set `PICKET_MUTATIONS` for more.
const INPUTS: u32 = 50_000;

/// Every form of line that is known, in both heads.
const LINES: &[&str] = &[
    "sshd[42]: Accepted publickey for alice from 192.0.2.7 port 50022 ssh2: RSA SHA256:2Hr+Gm/0b",
    "sshd[42]: Accepted password for alice from 2001:db8::7 port 50022 ssh2",
    "sshd[42]: Failed password for invalid user x y from 192.0.2.7 port 1 ssh2",
    "sshd[42]: Failed none for invalid user  from 192.0.2.7 port 1 ssh2",
    "sshd[42]: Invalid user admin from 192.0.2.7 port 1",
    "sshd[42]: Disconnected from user alice 192.0.2.7 port 50022",
    "sshd[42]: Connection closed by invalid user alice 192.0.2.7 port 50022 [preauth]",
    "sshd[42]: message repeated 5 times: [ Failed password for root from 192.0.2.7 port 1 ssh2]",
    "sshd[42]: error: maximum authentication attempts exceeded for root from 192.0.2.7 port 1 ssh2",
    "sshd[42]: pam_unix(sshd:session): session opened for user alice(uid=1000) by (uid=0)",
    "sshd[42]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= \
     rhost=192.0.2.7  user=root",
    "CRON[42]: pam_unix(cron:session): session closed for user root",
    "sudo:    al : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh -c 'a ; b'",
    "sudo[42]:    al : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/x",
    "su[42]: (to root) al on pts/0",
    "su[42]: FAILED SU (to root) al on pts/0",
    "login[42]: FAILED LOGIN (1) on '/dev/tty1' FOR 'al', Authentication failure",
    "login[42]: LOGIN ON tty1 BY al FROM host",
    "pkexec[42]: al: Executing command [USER=root] [TTY=/dev/pts/0] [CWD=/] [COMMAND=/bin/id]",
];

fn clock() -> LineClock {
    LineClock::utc(UnixNanos::parse("2026-01-05T12:00:00Z").unwrap())
}

fn parse(line: &str) -> Option<AuthLine> {
    parse_auth_line(line.as_bytes(), &clock())
}

#[test]
fn every_known_line_is_read_under_both_heads() {
    for line in LINES {
        let traditional = parse(&format!("Jan  5 10:00:00 host {line}")).expect(line);
        let modern = parse(&format!("2026-01-05T10:00:00.000000+00:00 host {line}")).expect(line);
        assert_eq!(traditional, modern, "{line}");
    }
}

#[test]
fn mutated_lines_make_no_parser_panic_and_no_success_out_of_a_failure() {
    let mut random = Random(4_711);
    for round in 0..inputs() {
        let text = LINES[random.below(LINES.len())];
        let mut line = format!("Jan  5 10:00:00 host {text}").into_bytes();
        for _ in 0..=random.below(4) {
            mutate(&mut line, &mut random);
        }
        let parsed = parse_auth_line(&line, &clock());
        let is_login = parsed.is_some_and(|line| line.fact.kind == Some(Kind::Login));
        let was_login = text.contains("Accepted") || text.contains("opened") || text.contains("ON");
        assert!(
            !is_login || was_login,
            "{round}: {:?}",
            String::from_utf8_lossy(&line)
        );
    }
}

#[test]
fn any_bytes_make_no_parser_panic() {
    let mut random = Random(42);
    for _ in 0..inputs() {
        let length = random.below(300);
        let line: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        let _any = parse_auth_line(&line, &clock());
        let record: Vec<u8> = (0..RECORD_LEN).map(|_| random.byte()).collect();
        let _any = parse_utmp(&record);
        let _any = parse_utmp(&line);
        let _any = LastLogin::parse(&record[..LASTLOG_LEN]);
        let _any = AuditLogin::parse(AUDIT[random.below(AUDIT.len())].0, &line);
        let call: Vec<u8> = (0..PAM_CALL_LEN).map(|_| random.byte()).collect();
        let _any = PamCall::parse(&call).and_then(|call| call.fact());
    }
}

/// Records of audit that tell of refusals, by their numbers in linux/audit.h.
const AUDIT: &[(u16, &str)] = &[
    (
        1100,
        "audit(1604994496.155:92733): pid=7 uid=0 auid=4294967295 ses=4294967295 msg='op=PAM:authentication \
         grantors=? acct=\"ada\" exe=\"/usr/sbin/sshd\" hostname=192.0.2.7 addr=192.0.2.7 terminal=ssh res=failed'",
    ),
    (
        1101,
        "audit(1604994496.155:92734): pid=7 uid=0 auid=1000 ses=5 subj=unconfined msg='op=PAM:accounting \
         acct=\"ada\" exe=\"/usr/bin/sudo\" hostname=? addr=? terminal=/dev/pts/0 res=failed'",
    ),
    (
        1105,
        "audit(1604994496.155:92735): pid=7 uid=0 auid=1000 ses=5 msg='op=PAM:session_open acct=\"ada\" \
         exe=\"/usr/bin/login\" hostname=h addr=? terminal=/dev/tty1 res=failed'",
    ),
    (
        1112,
        "audit(1604994496.155:92736): pid=7 uid=0 auid=1000 ses=5 msg='op=login acct=28756E6B6E6F776E29 \
         exe=\"/usr/sbin/sshd\" hostname=? addr=192.0.2.7 terminal=sshd res=failed'",
    ),
];
/// Length of a record of `agent/ebpf/pam.bpf.c` in bytes.
const PAM_CALL_LEN: usize = 1_056;

#[test]
fn mutated_audit_records_make_no_parser_panic_and_no_success_out_of_a_refusal() {
    let mut random = Random(815);
    let mut read = 0_u32;
    for round in 0..inputs() {
        let (kind, text) = AUDIT[random.below(AUDIT.len())];
        let mut record = text.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            mutate(&mut record, &mut random);
        }
        let Some(fact) = AuditLogin::parse(kind, &record).and_then(|record| record.fact()) else {
            continue;
        };
        read += 1;
        let told = fact.kind.is_some() && fact.login.outcome == "success";
        assert!(!told, "{round}: {}", String::from_utf8_lossy(&record));
    }
    assert!(read > inputs() / 10, "most are still read: {read}");
}

/// How many inputs each parser gets.
fn inputs() -> u32 {
    let asked = std::env::var("PICKET_MUTATIONS").ok();
    asked.map_or(INPUTS, |asked| asked.parse().unwrap())
}

#[test]
fn two_days_of_a_real_internet_host_have_their_failures_and_no_login() {
    let Some(log) = shared("authlog/internet-sshd.log.gz") else {
        return;
    };
    let expected = lines_with(&log, b": Invalid user ");
    assert!(expected > 1_000, "the log is the one that is meant");
    let (events, ledger) = replay(&log);
    let counts = by_kind(&events);
    assert_eq!(counts.get(&Kind::LoginFailed), Some(&expected));
    assert_eq!(counts.get(&Kind::Login), None);
    assert_eq!(
        counts.get(&Kind::Session),
        Some(&lines_with(&log, b"session opened for user"))
    );
    assert_eq!(
        counts.get(&Kind::Logoff),
        Some(&lines_with(&log, b"session closed for user"))
    );
    assert!(ledger.iter().all(KindCounts::balances));
}

#[test]
fn a_real_log_of_failures_has_each_once_and_its_one_login() {
    let Some(log) = shared("recordings/loghub/OpenSSH_2k.log") else {
        return;
    };
    // Two lines say `message repeated 5 times`: each stands for five more failures. The log breaks
    // off after PAM's word about one more, before sshd's.
    let refused = lines_with(&log, b": Failed ") + 2 * 5 + 1;
    let (events, ledger) = replay(&log);
    let counts = by_kind(&events);
    assert_eq!(counts.get(&Kind::LoginFailed), Some(&refused));
    assert_eq!(counts.get(&Kind::Login), Some(&1));
    assert_eq!(counts.get(&Kind::Logoff), Some(&1));
    assert!(ledger.iter().all(KindCounts::balances));
}

/// Reads a log from its beginning, all at once.
fn replay(log: &[u8]) -> (Vec<Event>, Vec<KindCounts>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.log");
    fs::write(&path, log).unwrap();
    let settings = LoginSettings::files(
        identity::boot_id().unwrap(),
        folder.path().join("wtmp"),
        folder.path().join("btmp"),
        vec![path],
    );
    let mut follower = LoginFollower::open_at_start(&settings);
    let mut events = Vec::new();
    follower.stop(&mut events).unwrap();
    (events, follower.ledger())
}

fn by_kind(events: &[Event]) -> BTreeMap<Kind, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(event.kind).or_default() += 1;
    }
    counts
}

fn lines_with(log: &[u8], text: &[u8]) -> usize {
    let has = |line: &&[u8]| line.windows(text.len()).any(|window| window == text);
    log.split(|byte| *byte == b'\n').filter(has).count()
}

/// Test data that is not part of the project.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn shared(name: &str) -> Option<Vec<u8>> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(name);
    if !path.exists() {
        eprintln!("skipped: `{name}` is not beside the workspace");
        return None;
    }
    if path.extension().is_some_and(|ending| ending == "gz") {
        return Some(
            Command::new("gzip")
                .arg("-dc")
                .arg(&path)
                .output()
                .unwrap()
                .stdout,
        );
    }
    Some(fs::read(&path).unwrap())
}

fn mutate(line: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(line.len().max(1));
    match random.below(5) {
        0 => line.truncate(at),
        1 => line.insert(at.min(line.len()), random.byte()),
        2 if !line.is_empty() => {
            line.remove(at);
        }
        3 => {
            let other = LINES[random.below(LINES.len())].as_bytes();
            let from = random.below(other.len());
            if !other.starts_with(b"sshd[42]: Accepted") && from > 0 {
                let piece = other[from..]
                    .iter()
                    .filter(|byte| byte.is_ascii_punctuation());
                line.extend(piece);
            }
        }
        _ => {
            if let Some(byte) = line.get_mut(at) {
                *byte = random.byte();
            }
        }
    }
}
