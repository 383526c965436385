//! Files that are appended to, rotated, truncated, deleted and made anew, and readers that restart:
//! every login is one event.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

use picket_event::{Clock, Detail, Event, HookState, Kind, KindCounts, SystemClock};
use picket_sensor::login::{LoginFollower, LoginSettings, Position, RECORD_LEN};
use picket_sensor::{Sensor, identity};

/// A folder of logs.
struct Host {
    folder: tempfile::TempDir,
    next_port: u32,
}

impl Host {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            next_port: 1_000,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("auth.log")
    }

    fn settings(&self) -> LoginSettings {
        LoginSettings::files(
            identity::boot_id().unwrap(),
            self.path("wtmp"),
            self.path("btmp"),
            vec![self.log()],
        )
    }

    fn follow(&self) -> LoginFollower {
        LoginFollower::open(&self.settings())
    }

    fn resume(&self, positions: &[Position]) -> LoginFollower {
        LoginFollower::resume(&self.settings(), positions)
    }

    /// A refused login with a port of its own, by which it is recognised.
    fn refused(&mut self) -> String {
        self.next_port += 1;
        let port = self.next_port;
        format!(
            "{} h sshd[{port}]: Failed password for al from 192.0.2.7 port {port} ssh2\n",
            now()
        )
    }

    fn append(&mut self, count: usize) {
        for _ in 0..count {
            let line = self.refused();
            append(&self.log(), line.as_bytes());
        }
    }

    fn written(&self) -> u32 {
        self.next_port - 1_000
    }
}

fn now() -> String {
    SystemClock.now().to_string()
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(bytes).unwrap();
}

/// All that is known to the follower, without waiting for further words.
fn flush(follower: &mut LoginFollower) -> Vec<Event> {
    let mut out = Vec::new();
    follower.stop(&mut out).unwrap();
    assert!(follower.ledger().iter().all(KindCounts::balances));
    out
}

fn ports(events: &[Event]) -> Vec<u32> {
    events
        .iter()
        .filter_map(|event| event.login()?.source_port)
        .collect()
}

/// That exactly the lines numbered so were seen, each once.
fn assert_once(events: &[Event], expected: std::ops::RangeInclusive<u32>) {
    let mut seen = ports(events);
    seen.sort_unstable();
    let expected: Vec<u32> = expected.map(|number| number + 1_000).collect();
    assert_eq!(seen, expected);
}

#[test]
fn what_was_there_before_the_start_is_no_event() {
    let mut host = Host::new();
    host.append(3);
    let mut follower = host.follow();
    assert!(flush(&mut follower).is_empty());
    host.append(2);
    assert_once(&flush(&mut follower), 4..=5);
}

#[test]
fn each_line_is_given_to_whoever_asks_for_lines_and_to_nobody_else() {
    let host = Host::new();
    append(&host.log(), b"");
    let mut follower = host.follow();
    let said = |word: &str| format!("{} h kernel: {word}\n", now());
    append(&host.log(), said("before").as_bytes());
    assert!(flush(&mut follower).is_empty());
    follower.lines().set(true);
    append(&host.log(), said("wanted").as_bytes());
    let events = flush(&mut follower);
    let [event] = events.as_slice() else {
        panic!("one line: {events:?}");
    };
    let Some(Detail::Log(line)) = &event.detail else {
        panic!("a line: {event:?}");
    };
    assert_eq!(
        (event.kind, line.program.as_str()),
        (Kind::Finding, Some("kernel"))
    );
    assert!(line.text.as_str().unwrap().ends_with("h kernel: wanted"));
    follower.lines().set(false);
    append(&host.log(), said("after").as_bytes());
    assert!(flush(&mut follower).is_empty());
}

#[test]
fn an_event_comes_about_a_second_after_its_line() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    host.append(1);
    let begin = Instant::now();
    let mut out = Vec::new();
    follower.poll(Duration::from_secs(5), &mut out).unwrap();
    assert_once(&out, 2..=2);
    assert!(
        begin.elapsed() < Duration::from_millis(1_500),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_line_written_in_two_halves_is_one() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    let line = host.refused();
    let (first, second) = line.split_at(line.len() / 2);
    append(&host.log(), first.as_bytes());
    assert!(flush(&mut follower).is_empty());
    append(&host.log(), second.as_bytes());
    assert_once(&flush(&mut follower), 2..=2);
}

#[test]
fn a_renamed_file_is_read_to_its_end_and_the_new_one_from_its_beginning() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    host.append(1);
    fs::rename(host.log(), host.path("auth.log.1")).unwrap();
    let late = host.refused();
    append(&host.path("auth.log.1"), late.as_bytes());
    host.append(1);
    let mut events = flush(&mut follower);
    let later = host.refused();
    append(&host.path("auth.log.1"), later.as_bytes());
    events.extend(flush(&mut follower));
    assert_once(&events, 2..=5);
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let mut host = Host::new();
    host.append(3);
    let mut follower = host.follow();
    host.append(1);
    let mut events = flush(&mut follower);
    fs::write(host.log(), b"").unwrap();
    host.append(1);
    events.extend(flush(&mut follower));
    assert_once(&events, 4..=5);
}

#[test]
fn a_file_rewritten_to_more_than_its_old_length_is_noticed() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    assert!(flush(&mut follower).is_empty());
    fs::write(host.log(), b"").unwrap();
    host.append(5);
    assert_once(&flush(&mut follower), 2..=6);
}

#[test]
fn what_only_the_copy_of_a_copytruncate_holds_is_read_there() {
    let mut host = Host::new();
    host.append(2);
    let mut follower = host.follow();
    host.append(1);
    let mut events = flush(&mut follower);
    host.append(2);
    fs::copy(host.log(), host.path("auth.log.1")).unwrap();
    fs::write(host.log(), b"").unwrap();
    host.append(1);
    events.extend(flush(&mut follower));
    events.extend(flush(&mut follower));
    assert_once(&events, 3..=6);
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_its_successor_from_its_beginning() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    host.append(1);
    fs::remove_file(host.log()).unwrap();
    let mut events = flush(&mut follower);
    host.append(2);
    events.extend(flush(&mut follower));
    assert_once(&events, 2..=4);
}

#[test]
fn a_missing_file_is_unavailable_until_it_appears() {
    let mut host = Host::new();
    let mut follower = host.follow();
    assert!(flush(&mut follower).is_empty());
    let state = |follower: &LoginFollower| follower.hooks()[0].clone();
    assert_eq!(state(&follower).state, HookState::Unavailable);
    assert!(
        state(&follower).detail.contains("No such file"),
        "{:?}",
        state(&follower)
    );
    host.append(1);
    assert_once(&flush(&mut follower), 1..=1);
    assert_eq!(state(&follower).state, HookState::Proved);
}

#[test]
fn a_file_moved_away_and_back_is_not_read_twice() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    host.append(1);
    let mut events = flush(&mut follower);
    fs::rename(host.log(), host.path("aside")).unwrap();
    events.extend(flush(&mut follower));
    fs::rename(host.path("aside"), host.log()).unwrap();
    host.append(1);
    events.extend(flush(&mut follower));
    assert_once(&events, 2..=3);
}

#[test]
fn a_restart_neither_loses_nor_repeats() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    host.append(2);
    let mut events = flush(&mut follower);
    let positions = follower.positions();
    drop(follower);
    host.append(2);
    events.extend(flush(&mut host.resume(&positions)));
    assert_once(&events, 2..=5);
}

#[test]
fn an_event_that_was_held_at_the_crash_is_given_after_it() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    host.append(1);
    let mut events = Vec::new();
    follower.poll(Duration::ZERO, &mut events).unwrap();
    assert!(events.is_empty(), "it is held");
    let positions = follower.positions();
    drop(follower);
    events.extend(flush(&mut host.resume(&positions)));
    assert_once(&events, 2..=2);
}

#[test]
fn an_event_given_before_a_held_one_is_not_repeated() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    let pam = format!(
        "{} h sshd[77]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 \
         tty=ssh ruser= rhost=192.0.2.7  user=bob\n",
        now()
    );
    append(&host.log(), pam.as_bytes());
    host.append(1);
    let mut events = Vec::new();
    follower.poll(Duration::from_secs(2), &mut events).unwrap();
    assert_once(&events, 2..=2);
    let positions = follower.positions();
    assert_eq!(positions[0].done.len(), 1, "{positions:?}");
    drop(follower);
    let again = flush(&mut host.resume(&positions));
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].login().unwrap().user, "bob".into());
}

#[test]
fn a_rotation_while_nobody_read_loses_nothing() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    host.append(1);
    let mut events = flush(&mut follower);
    let positions = follower.positions();
    drop(follower);
    host.append(1);
    fs::rename(host.log(), host.path("auth.log.2")).unwrap();
    host.append(1);
    fs::rename(host.log(), host.path("auth.log.1")).unwrap();
    host.append(1);
    events.extend(flush(&mut host.resume(&positions)));
    assert_once(&events, 2..=5);
}

#[test]
fn a_file_out_of_reach_after_a_restart_is_counted_as_lost() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    let positions = follower.positions();
    drop(flush(&mut follower));
    fs::remove_file(host.log()).unwrap();
    host.append(1);
    let mut follower = host.resume(&positions);
    let events = flush(&mut follower);
    assert_once(&events, 2..=2);
    let lost: u64 = follower.ledger().iter().map(|line| line.lost).sum();
    assert_eq!(lost, 1);
    assert!(events.iter().any(|event| event.kind == Kind::Loss));
}

#[test]
fn positions_survive_being_stored() {
    let mut host = Host::new();
    host.append(1);
    let positions = host.follow().positions();
    let stored = serde_json::to_string(&positions).unwrap();
    assert_eq!(
        serde_json::from_str::<Vec<Position>>(&stored).unwrap(),
        positions
    );
}

#[test]
fn a_line_without_end_is_read_to_a_bound_and_the_next_is_found() {
    let mut host = Host::new();
    host.append(1);
    let mut follower = host.follow();
    let head = host.refused();
    append(&host.log(), head.trim_end().as_bytes());
    append(&host.log(), &vec![b'x'; 1_000_000]);
    append(&host.log(), b"\n");
    host.append(1);
    let mut events = Vec::new();
    for _ in 0..8 {
        events.extend(flush(&mut follower));
    }
    assert_once(&events, 3..=3);
}

#[test]
fn whatever_happens_to_the_file_each_line_is_one_event() {
    for seed in 1..=40 {
        torture(seed);
    }
}

/// Does anything that happens to logs, in an order of the seed's choice.
fn torture(seed: u64) {
    let mut host = Host::new();
    let mut random = Random(seed);
    append(&host.log(), b"");
    let mut follower = host.follow();
    let mut events = Vec::new();
    let mut rotations = 0;
    for _ in 0..150 {
        match random.below(10) {
            0..=4 => host.append(random.below(4)),
            5 => {
                rotations += 1;
                let former = host.path(&format!("auth.log-{rotations}"));
                fs::rename(host.log(), &former).unwrap();
                set_age(&former, rotations);
                host.append(1);
            }
            6 => {
                host.append(1);
                events.extend(flush(&mut follower));
                host.append(1);
                rotations += 1;
                let copy = host.path(&format!("auth.log-{rotations}"));
                fs::copy(host.log(), &copy).unwrap();
                set_age(&copy, rotations);
                fs::write(host.log(), b"").unwrap();
                events.extend(flush(&mut follower));
            }
            7 => {
                events.extend(flush(&mut follower));
                fs::remove_file(host.log()).unwrap();
                host.append(1);
                events.extend(flush(&mut follower));
            }
            8 => {
                let mut out = Vec::new();
                follower.poll(Duration::ZERO, &mut out).unwrap();
                events.extend(out);
                let positions = follower.positions();
                follower = host.resume(&positions);
            }
            _ => events.extend(flush(&mut follower)),
        }
    }
    for _ in 0..4 {
        events.extend(flush(&mut follower));
    }
    let mut times: BTreeMap<u32, u32> = BTreeMap::new();
    for port in ports(&events) {
        *times.entry(port).or_default() += 1;
    }
    let wrong: Vec<(u32, u32)> = (1_001..=1_000 + host.written())
        .map(|port| (port, times.get(&port).copied().unwrap_or(0)))
        .filter(|(_, count)| *count != 1)
        .collect();
    assert!(
        wrong.is_empty(),
        "seed {seed}: port and how often: {wrong:?}"
    );
}

/// Rotations are further apart than the clock of the file system ticks.
fn set_age(path: &Path, rotation: u64) {
    let changed = UNIX_EPOCH + Duration::from_secs(1_767_607_200 + rotation);
    OpenOptions::new()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(changed)
        .unwrap();
}

/// A record as login programs write it.
fn record(kind: i16, pid: u32, line: &str, user: &str) -> Vec<u8> {
    let mut record = vec![0; RECORD_LEN];
    let since = SystemClock.now().0;
    let seconds = u32::try_from(since / 1_000_000_000).unwrap();
    let micros = i32::try_from(since % 1_000_000_000 / 1_000).unwrap();
    record[..2].copy_from_slice(&kind.to_le_bytes());
    record[4..8].copy_from_slice(&pid.to_le_bytes());
    record[8..8 + line.len()].copy_from_slice(line.as_bytes());
    record[44..44 + user.len()].copy_from_slice(user.as_bytes());
    record[76..85].copy_from_slice(b"192.0.2.7");
    record[340..344].copy_from_slice(&seconds.to_le_bytes());
    record[344..348].copy_from_slice(&micros.to_le_bytes());
    record[348..352].copy_from_slice(&[192, 0, 2, 7]);
    record
}

#[test]
fn a_session_in_wtmp_alone_begins_and_ends() {
    let host = Host::new();
    append(&host.path("wtmp"), &record(2, 0, "~", "reboot"));
    let mut follower = host.follow();
    append(&host.path("wtmp"), &record(7, 41, "pts/5", "alice"));
    let begun = flush(&mut follower);
    append(&host.path("wtmp"), &record(8, 41, "pts/5", ""));
    let ended = flush(&mut follower);
    assert_eq!((begun[0].kind, ended[0].kind), (Kind::Login, Kind::Logoff));
    let login = ended[0].login().unwrap();
    assert_eq!(
        (&login.user, login.source_ip.as_str()),
        (&"alice".into(), "192.0.2.7")
    );
    assert_eq!(login.seen_by, ["wtmp"]);
}

#[test]
fn a_session_that_began_before_the_start_ends_with_its_user() {
    let host = Host::new();
    append(&host.path("wtmp"), &record(7, 41, "pts/5", "alice"));
    let mut follower = host.follow();
    append(&host.path("wtmp"), &record(8, 41, "pts/5", ""));
    let events = flush(&mut follower);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].login().unwrap().user, "alice".into());
}

#[test]
fn log_wtmp_and_btmp_of_the_same_logins_are_one_event_each() {
    let host = Host::new();
    append(&host.log(), b"");
    let mut follower = host.follow();
    let time = now();
    let lines = format!(
        "{time} h sshd[900]: Failed password for alice from 192.0.2.7 port 50022 ssh2\n\
         {time} h sshd[901]: Accepted password for alice from 192.0.2.7 port 50023 ssh2\n\
         {time} h sshd[901]: pam_unix(sshd:session): session opened for user alice by (uid=0)\n"
    );
    append(&host.path("btmp"), &record(6, 900, "ssh:notty", "alice"));
    append(&host.log(), lines.as_bytes());
    append(&host.path("wtmp"), &record(7, 950, "pts/5", "alice"));
    let mut events = flush(&mut follower);
    events.sort_by_key(|event| event.kind);
    assert_eq!(events.len(), 2, "{events:#?}");
    assert_eq!(events[0].login().unwrap().seen_by, ["auth_log", "wtmp"]);
    assert_eq!(events[1].login().unwrap().seen_by, ["auth_log", "btmp"]);
}

#[test]
fn a_damaged_record_is_counted_as_lost_and_the_next_is_read() {
    let host = Host::new();
    append(&host.path("btmp"), b"");
    let mut follower = host.follow();
    append(&host.path("btmp"), &[0xff; RECORD_LEN]);
    append(&host.path("btmp"), &record(6, 900, "ssh:notty", "alice"));
    let events = flush(&mut follower);
    assert_eq!(
        events
            .iter()
            .filter(|event| event.kind == Kind::LoginFailed)
            .count(),
        1
    );
    let line = follower
        .ledger()
        .into_iter()
        .find(|line| line.kind == Kind::LoginFailed)
        .unwrap();
    assert_eq!((line.lost, line.submitted), (1, 1));
}

#[test]
fn a_line_is_joined_to_its_process_only_if_that_can_have_written_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a_line_is_joined_to_its_process...: needs root to run as root");
        return;
    }
    let host = Host::new();
    append(&host.log(), b"");
    let program = host.path("sshd");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut child = Command::new(&program).arg("20").spawn().unwrap();
    let mut follower = host.follow();
    for pid in [child.id(), std::process::id()] {
        let line = format!(
            "{} h sshd[{pid}]: Accepted password for alice from 192.0.2.7 port {} ssh2\n",
            now(),
            pid % 60_000
        );
        append(&host.log(), line.as_bytes());
    }
    let events = flush(&mut follower);
    child.kill().unwrap();
    child.wait().unwrap();
    let joined: Vec<Option<u32>> = events
        .iter()
        .map(|event| event.process.as_ref().map(|process| process.pid))
        .collect();
    assert_eq!(joined, [Some(child.id()), None]);
}

/// A small generator with a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % bound).unwrap()
    }
}

#[test]
fn an_open_session_is_listed_from_utmp_and_one_that_a_crash_left_is_not() {
    let host = Host::new();
    let mut open = Command::new("sleep").arg("60").spawn().unwrap();
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    append(&host.path("utmp"), &record(7, open.id(), "pts/5", "alice"));
    append(&host.path("utmp"), &record(7, gone.id(), "pts/6", "bob"));
    let settings = LoginSettings {
        utmp: Some(host.path("utmp")),
        ..host.settings()
    };
    let mut follower = LoginFollower::open(&settings);
    let mut events: Vec<Event> = Vec::new();
    follower
        .poll(Duration::from_millis(50), &mut events)
        .unwrap();
    open.kill().unwrap();
    open.wait().unwrap();
    let of = |user: &str| {
        let is_of = |event: &&Event| event.login().is_some_and(|login| login.user == user.into());
        events.iter().filter(is_of).collect::<Vec<_>>()
    };
    let [session] = of("alice")[..] else {
        panic!("{events:#?}")
    };
    let login = session.login().unwrap();
    assert_eq!(
        (
            session.kind,
            login.outcome.as_str(),
            login.source_ip.as_str()
        ),
        (Kind::Session, "open", "192.0.2.7")
    );
    let process = session.process.as_ref().unwrap();
    // Where the tests themselves run in an audit session that session is listed, with the record's words.
    if process.session.is_none() {
        assert_eq!(process.pid, open.id());
        assert_eq!(login.seen_by, ["utmp"]);
    }
    assert!(of("bob").is_empty());
}
