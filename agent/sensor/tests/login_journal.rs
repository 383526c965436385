//! Journal files that are written to, rotated, copied from memory to disk and damaged, and readers that restart: every login is
//! one event. The files are written here by the form's description; `make test-logins` follows those of a real journald.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod random;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use picket_event::{Clock, Event, HookState, Kind, KindCounts, SystemClock};
use picket_sensor::login::{LoginFollower, LoginSettings, Position};
use picket_sensor::{Sensor, identity};

use random::Random;

/// Inputs of one run; set `PICKET_MUTATIONS` for more.
const MUTATIONS: usize = 10_000;

/// A host with a journal in memory and one on disk.
struct Host {
    folder: tempfile::TempDir,
    /// Microseconds since boot.
    clock: u64,
}

impl Host {
    fn new() -> Self {
        let host = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: 1_000_000,
        };
        fs::create_dir_all(host.path("memory")).unwrap();
        fs::create_dir_all(host.path("disk")).unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> LoginSettings {
        let nowhere = || self.path("nothing");
        let boot = identity::boot_id().unwrap();
        LoginSettings {
            journal: vec![self.path("memory"), self.path("disk")],
            ..LoginSettings::files(boot, nowhere(), nowhere(), Vec::new())
        }
    }

    fn follow(&self) -> LoginFollower {
        LoginFollower::open(&self.settings())
    }

    fn resume(&self, positions: &[Position]) -> LoginFollower {
        LoginFollower::resume(&self.settings(), positions)
    }

    /// Refused logins from ports of their own, by which they are recognised.
    fn refuse(&mut self, journal: &mut Writer, ports: std::ops::RangeInclusive<u32>) {
        for port in ports {
            let entry = self.refusal(port);
            journal.entry(&entry);
        }
    }

    fn refusal(&mut self, port: u32) -> Sent {
        self.clock += 1_000;
        let message = format!("Failed password for al from 192.0.2.7 port {port} ssh2");
        Sent {
            monotonic: self.clock,
            fields: vec![
                format!("MESSAGE={message}"),
                format!("_PID={port}"),
                "_UID=0".to_owned(),
                "_EXE=/usr/sbin/sshd".to_owned(),
                "PRIORITY=6".to_owned(),
                "SYSLOG_IDENTIFIER=sshd".to_owned(),
            ],
        }
    }
}

/// What journald received.
#[derive(Clone)]
struct Sent {
    monotonic: u64,
    fields: Vec<String>,
}

impl Sent {
    fn with(mut self, name: &str, value: &str) -> Self {
        let begin = format!("{name}=");
        self.fields.retain(|field| !field.starts_with(&begin));
        self.fields.push(format!("{begin}{value}"));
        self
    }
}

/// Writes a journal file: header, then objects, each entry linked before it is counted.
struct Writer {
    file: File,
    compact: bool,
    end: u64,
    entries: u64,
    /// Where the last list of entries is, how many it holds, and how many it can.
    list: Option<(u64, u64, u64)>,
}

impl Writer {
    fn new(path: &Path, compact: bool) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .unwrap();
        let mut header = vec![0; HEADER];
        header[..8].copy_from_slice(b"LPKSHHRH");
        header[12] = if compact { 8 | 16 } else { 8 };
        header[16] = ONLINE;
        header[56..72].copy_from_slice(&BOOT);
        header[88..96].copy_from_slice(&length(HEADER).to_le_bytes());
        file.write_all_at(&header, 0).unwrap();
        Self {
            file,
            compact,
            end: length(HEADER),
            entries: 0,
            list: None,
        }
    }

    fn put(&self, at: u64, number: u64) {
        self.file.write_all_at(&number.to_le_bytes(), at).unwrap();
    }

    fn object(&mut self, kind: u8, flags: u8, body: &[u8]) -> u64 {
        let at = self.end;
        let size = length(body.len() + 16);
        let mut bytes = vec![kind, flags, 0, 0, 0, 0, 0, 0];
        bytes.extend(size.to_le_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        self.file.write_all_at(&bytes, at).unwrap();
        self.end += length(bytes.len());
        at
    }

    fn data(&mut self, field: &[u8], flags: u8) -> u64 {
        let fixed = if self.compact { 56 } else { 48 };
        let mut body = vec![0; fixed];
        body.extend(field);
        self.object(1, flags, &body)
    }

    fn entry(&mut self, sent: &Sent) {
        let fields: Vec<Vec<u8>> = sent
            .fields
            .iter()
            .map(|field| field.clone().into_bytes())
            .collect();
        self.entry_of(sent.monotonic, &fields, 0);
    }

    fn entry_of(&mut self, monotonic: u64, fields: &[Vec<u8>], flags: u8) {
        let items: Vec<u64> = fields.iter().map(|field| self.data(field, flags)).collect();
        let realtime = wall() + monotonic;
        let mut body = Vec::new();
        for number in [self.entries + 1, realtime, monotonic] {
            body.extend(number.to_le_bytes());
        }
        body.extend(BOOT);
        body.extend(monotonic.rotate_left(7).to_le_bytes());
        for item in items {
            if self.compact {
                body.extend(u32::try_from(item).unwrap().to_le_bytes());
            } else {
                body.extend(item.to_le_bytes());
                body.extend([0; 8]);
            }
        }
        let at = self.object(3, 0, &body);
        self.link(at);
        self.entries += 1;
        self.put(192, realtime);
        self.put(200, monotonic);
        self.put(152, self.entries);
    }

    fn link(&mut self, entry: u64) {
        let width = if self.compact { 4 } else { 8 };
        let (list, used, capacity) = match self.list {
            Some((list, used, capacity)) if used < capacity => (list, used, capacity),
            before => {
                let capacity = before.map_or(4, |(_, _, capacity)| capacity * 2);
                let body = vec![0; usize::try_from(8 + capacity * width).unwrap()];
                let list = self.object(6, 0, &body);
                self.put(before.map_or(176, |(former, ..)| former + 16), list);
                (list, 0, capacity)
            }
        };
        let bytes = entry.to_le_bytes();
        let bytes = &bytes[..usize::try_from(width).unwrap()];
        self.file
            .write_all_at(bytes, list + 24 + used * width)
            .unwrap();
        self.list = Some((list, used + 1, capacity));
    }

    fn close(&self) {
        self.file.write_all_at(&[ARCHIVED], 16).unwrap();
    }
}

/// When this machine booted, by the clocks of these tests; in microseconds since 1970.
fn wall() -> u64 {
    static BOOTED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *BOOTED.get_or_init(|| u64::try_from(SystemClock.now().0 / 1_000).unwrap() - 3_600_000_000)
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap()
}

/// All that is known to the follower, without waiting for further words.
fn flush(follower: &mut LoginFollower) -> Vec<u32> {
    let mut out = Vec::new();
    follower.stop(&mut out).unwrap();
    assert!(follower.ledger().iter().all(KindCounts::balances));
    ports(&out)
}

fn ports(events: &[Event]) -> Vec<u32> {
    let port = |event: &Event| event.login()?.source_port;
    let mut ports: Vec<u32> = events.iter().filter_map(port).collect();
    ports.sort_unstable();
    ports
}

fn range(ports: std::ops::RangeInclusive<u32>) -> Vec<u32> {
    ports.collect()
}

fn lost(follower: &LoginFollower) -> u64 {
    let kinds = follower.ledger();
    kinds.iter().map(|counts| counts.lost).sum()
}

#[test]
fn entries_of_both_forms_are_told_as_they_come() {
    for compact in [false, true] {
        let mut host = Host::new();
        let mut journal = Writer::new(&host.path("disk/system.journal"), compact);
        host.refuse(&mut journal, 1..=20);
        let mut follower = host.follow();
        host.refuse(&mut journal, 21..=60);
        assert_eq!(flush(&mut follower), range(21..=60));
        let hooks = follower.hooks();
        let hook = hooks.iter().find(|hook| hook.name.contains("journal"));
        assert_eq!(hook.unwrap().state, HookState::Proved);
    }
}

#[test]
fn a_user_with_a_journal_of_his_own_is_told() {
    let mut host = Host::new();
    let mut system = Writer::new(&host.path("disk/system.journal"), true);
    let mut follower = host.follow();
    host.refuse(&mut system, 1..=3);
    let mut user = Writer::new(&host.path("disk/user-1000.journal"), true);
    host.refuse(&mut user, 4..=6);
    host.refuse(&mut system, 7..=7);
    assert_eq!(flush(&mut follower), range(1..=7));
}

#[test]
fn a_file_that_is_renamed_is_read_to_its_end() {
    let mut host = Host::new();
    let path = host.path("disk/system.journal");
    let mut journal = Writer::new(&path, false);
    let mut follower = host.follow();
    host.refuse(&mut journal, 1..=1_500);
    fs::rename(&path, host.path("disk/system@1.journal")).unwrap();
    journal.close();
    let mut journal = Writer::new(&path, false);
    host.refuse(&mut journal, 1_501..=1_600);
    let told = flush(&mut follower);
    assert_eq!(told.len(), 1_600);
    assert_eq!(told, range(1..=1_600));
}

#[test]
fn what_is_copied_from_memory_to_disk_is_told_once() {
    let mut host = Host::new();
    let memory = host.path("memory/system.journal");
    let mut journal = Writer::new(&memory, true);
    let sent: Vec<Sent> = (1..=30).map(|port| host.refusal(port)).collect();
    for sent in &sent[..10] {
        journal.entry(sent);
    }
    let mut follower = host.follow();
    for sent in &sent[10..20] {
        journal.entry(sent);
    }
    let mut out = Vec::new();
    follower
        .poll(std::time::Duration::from_millis(700), &mut out)
        .unwrap();
    for sent in &sent[20..] {
        journal.entry(sent);
    }
    let mut disk = Writer::new(&host.path("disk/system.journal"), true);
    for sent in &sent {
        disk.entry(sent);
    }
    fs::remove_file(&memory).unwrap();
    host.refuse(&mut disk, 31..=33);
    let mut told = ports(&out);
    told.extend(flush(&mut follower));
    told.sort_unstable();
    assert_eq!(told, range(11..=33));
}

/// A host whose follower stopped after it had told so many refusals.
fn stopped_after(count: u32) -> (Host, Writer, Vec<Position>) {
    let mut host = Host::new();
    let mut journal = Writer::new(&host.path("disk/system.journal"), true);
    let mut follower = host.follow();
    host.refuse(&mut journal, 1..=count);
    assert_eq!(flush(&mut follower), range(1..=count));
    let positions = follower.positions();
    (host, journal, positions)
}

#[test]
fn a_reader_that_restarts_goes_on_where_it_stood() {
    let (mut host, mut journal, positions) = stopped_after(10);
    let path = host.path("disk/system.journal");
    let positions: Vec<Position> =
        serde_json::from_slice(&serde_json::to_vec(&positions).unwrap()).unwrap();
    host.refuse(&mut journal, 11..=15);
    // Two rotations, a user's first journal, and one that a crash left behind.
    fs::rename(&path, host.path("disk/system@1.journal")).unwrap();
    let mut journal = Writer::new(&path, true);
    host.refuse(&mut journal, 16..=20);
    fs::rename(&path, host.path("disk/system@2.journal~")).unwrap();
    let mut user = Writer::new(&host.path("disk/user-1000.journal"), true);
    host.refuse(&mut user, 21..=22);
    let mut journal = Writer::new(&path, true);
    host.refuse(&mut journal, 23..=24);
    let mut follower = host.resume(&positions);
    assert_eq!(flush(&mut follower), range(11..=24));
    assert_eq!(lost(&follower), 0);
}

#[test]
fn a_file_that_is_gone_after_a_restart_is_counted_as_lost() {
    let (host, _journal, positions) = stopped_after(2);
    let path = host.path("disk/system.journal");
    fs::remove_file(&path).unwrap();
    let mut follower = host.resume(&positions);
    assert_eq!(flush(&mut follower), Vec::<u32>::new());
    assert_eq!(lost(&follower), 1);
}

#[test]
fn a_file_that_has_the_place_of_another_after_a_restart_is_read_from_its_beginning() {
    let (mut host, journal, positions) = stopped_after(2);
    // The same inode, with another file in it.
    let other = Writer::new(&host.path("other"), true);
    let mut other = Writer {
        file: journal.file,
        ..other
    };
    other.file.set_len(0).unwrap();
    other
        .file
        .write_all_at(&fs::read(host.path("other")).unwrap(), 0)
        .unwrap();
    other.file.write_all_at(&[9; 16], 24).unwrap();
    host.refuse(&mut other, 3..=5);
    let mut follower = host.resume(&positions);
    assert_eq!(flush(&mut follower), range(3..=5));
    assert_eq!(lost(&follower), 1);
}

#[test]
fn a_line_of_a_user_is_believed_only_of_a_program_that_runs_as_root() {
    let mut host = Host::new();
    let mut journal = Writer::new(&host.path("disk/system.journal"), true);
    let mut follower = host.follow();
    for (port, exe) in [(1, "/usr/bin/logger"), (2, "/usr/bin/su"), (3, "/no/more")] {
        let sent = host.refusal(port).with("_UID", "1000").with("_EXE", exe);
        journal.entry(&sent);
    }
    // Gone before journald looked: believed as a line of the authentication log is.
    let mut sent = host.refusal(4).with("_UID", "1000");
    sent.fields.retain(|field| !field.starts_with("_EXE"));
    journal.entry(&sent);
    assert_eq!(flush(&mut follower), [2, 4]);
}

#[test]
fn a_long_line_is_read_however_it_is_compressed() {
    let host = Host::new();
    let mut journal = Writer::new(&host.path("disk/system.journal"), false);
    let mut follower = host.follow();
    let command = "x".repeat(3_000);
    let text =
        format!("MESSAGE=     al : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/echo {command}");
    let zstd = zstd::bulk::compress(text.as_bytes(), 3).unwrap();
    let mut lz4 = length(text.len()).to_le_bytes().to_vec();
    lz4.extend(lz4_flex::block::compress(text.as_bytes()));
    for (at, (flags, message)) in [(4, zstd), (2, lz4)].into_iter().enumerate() {
        let plain = [b"SYSLOG_IDENTIFIER=sudo".to_vec(), b"_UID=0".to_vec()];
        let fields: Vec<Vec<u8>> = plain.into_iter().collect();
        let items = [fields, vec![message]].concat();
        // Only the message is compressed.
        let from = journal.end;
        journal.entry_of(2_000_000 + length(at) * 60_000_000, &items, 0);
        let message_at = from + object_len(22) + object_len(6);
        journal.file.write_all_at(&[flags], message_at + 1).unwrap();
    }
    let mut out = Vec::new();
    follower.stop(&mut out).unwrap();
    let commands: Vec<usize> = out
        .iter()
        .filter(|event| event.kind == Kind::AccountSwitch)
        .map(|event| event.login().unwrap().command.as_bytes().len())
        .collect();
    assert_eq!(commands, [3_010, 3_010]);
}

fn object_len(field: usize) -> u64 {
    length((64 + field).next_multiple_of(8))
}

#[test]
fn mutated_files_end_the_reading_and_nothing_else() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let runs = std::env::var("PICKET_MUTATIONS").ok();
    let runs = runs.and_then(|runs| runs.parse().ok()).unwrap_or(MUTATIONS);
    let mut host = Host::new();
    let mut writer = Writer::new(&host.path("whole"), true);
    host.refuse(&mut writer, 1..=9);
    let whole = fs::read(host.path("whole")).unwrap();
    let path = host.path("disk/system.journal");
    for _ in 0..runs {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = random.byte(),
                2 => bytes[at] ^= 1 << random.below(8),
                _ => {
                    // Numbers of 64 bits lie at multiples of eight.
                    let at = at / 8 * 8;
                    let number = (random.next() >> random.below(64)).to_le_bytes();
                    if let Some(field) = bytes.get_mut(at..at + 8) {
                        field.copy_from_slice(&number);
                    }
                }
            }
        }
        fs::write(&path, &bytes).unwrap();
        let mut follower = LoginFollower::open_at_start(&host.settings());
        assert!(flush(&mut follower).len() <= 9 + 8);
    }
}

const HEADER: usize = 272;
const ONLINE: u8 = 1;
const ARCHIVED: u8 = 2;
const BOOT: [u8; 16] = [7; 16];
