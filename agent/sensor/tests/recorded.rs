//! Recordings of others: real ones are read field by field as another reader reads them, and no bytes make it panic.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod random;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use picket_event::{Event, Kind, UnixNanos};
use picket_sensor::login::LineClock;
use picket_sensor::recorded::{Address, AuditRecord, Form, Recording, Told, address, syscalls};
use serde_json::Value;

use random::Random;

/// Inputs of one run; set `PICKET_MUTATIONS` for more.
const INPUTS: u32 = 20_000;

#[test]
fn every_record_has_the_fields_that_go_libaudit_reads() {
    let Some(root) = recordings() else { return };
    let folder = root.join("go-libaudit-testdata/auparse/testdata");
    let (mut records, mut fields) = (0, 0);
    for path in files(&folder)
        .iter()
        .filter(|path| has_ending(path, "golden"))
    {
        let golden: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let log = fs::read(path.with_extension("")).unwrap();
        let lines = log
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        for (line, golden) in lines.zip(&golden) {
            let place = format!("{}: {}", path.display(), String::from_utf8_lossy(line));
            let Some(record) = AuditRecord::parse(line) else {
                assert!(golden.is_null(), "{place}");
                continue;
            };
            assert_eq!(record.kind.to_lowercase(), golden["record_type"], "{place}");
            assert_eq!(record.stamp.serial, golden["sequence"], "{place}");
            let time = UnixNanos::parse(golden["@timestamp"].as_str().unwrap()).unwrap();
            assert_eq!(record.time(), time, "{place}");
            let keys: Vec<Value> = record.keys().iter().map(|key| key.lossy().into()).collect();
            assert_eq!(
                Value::from(keys),
                golden
                    .get("keys")
                    .cloned()
                    .unwrap_or_else(|| Value::from(Vec::<Value>::new())),
                "{place}"
            );
            let data = data(&record);
            let golden = golden["data"].as_object().unwrap();
            let golden: BTreeMap<String, String> = golden
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                .collect();
            assert_eq!(data, golden, "{place}");
            records += 1;
            fields += data.len();
        }
    }
    eprintln!("{records} records, {fields} fields");
    assert!(records > 40, "{records}");
}

#[test]
fn records_of_one_event_say_what_go_libaudit_puts_together() {
    let Some(root) = recordings() else { return };
    let folder = root.join("go-libaudit-testdata/aucoalesce/testdata");
    let mut compared = 0;
    for path in files(&folder)
        .iter()
        .filter(|path| has_ending(path, "golden"))
    {
        let golden: Vec<Value> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let yaml = path.with_extension("").with_extension("yaml");
        let groups = groups(&fs::read_to_string(yaml).unwrap());
        for golden in &golden {
            let name = golden["test_name"].as_str().unwrap();
            let records = &groups[name];
            let golden = &golden["event"];
            let place = format!("{}: {name}", path.display());
            assert_eq!(records[0].stamp.serial, golden["sequence"], "{place}");
            compared += process_of(records, golden, &place);
            compared += paths_of(records, golden, &place);
        }
    }
    eprintln!("{compared} facts compared");
    assert!(compared > 100, "{compared}");
}

/// Pid, parent, executable, name, folder, title, arguments, users.
fn process_of(records: &[AuditRecord], golden: &Value, place: &str) -> usize {
    let mut compared = 0;
    let mut same = |ours: Option<String>, golden: &Value, what: &str| {
        if let Some(golden) = golden.as_str() {
            assert_eq!(ours.as_deref(), Some(golden), "{place}: {what}");
            compared += 1;
        }
    };
    let field = |name: &str| {
        let value = records.iter().find_map(|record| record.get(name))?;
        Some(value.lossy().into_owned())
    };
    let process = &golden["process"];
    for (name, ours) in [
        ("pid", "pid"),
        ("ppid", "ppid"),
        ("exe", "exe"),
        ("cwd", "cwd"),
        ("title", "proctitle"),
    ] {
        same(field(ours), &process[name], name);
    }
    for (name, ours) in golden["user"]["ids"].as_object().into_iter().flatten() {
        let unset = |value: String| {
            if value == "4294967295" {
                "unset".to_owned()
            } else {
                value
            }
        };
        same(field(name).map(unset), ours, name);
    }
    let exec = records.iter().find(|record| record.kind == "EXECVE");
    for (index, argument) in process["args"].as_array().into_iter().flatten().enumerate() {
        let ours = exec.and_then(|record| record.get(&format!("a{index}")));
        same(
            ours.map(|value| value.lossy().into_owned()),
            argument,
            "argument",
        );
    }
    let call = records.iter().find_map(AuditRecord::syscall);
    same(call, &golden["data"]["syscall"], "syscall");
    compared
}

fn paths_of(records: &[AuditRecord], golden: &Value, place: &str) -> usize {
    let paths: Vec<BTreeMap<String, String>> = records
        .iter()
        .filter(|record| record.kind == "PATH")
        .map(data)
        .collect();
    let Some(golden) = golden["paths"].as_array() else {
        return 0;
    };
    assert_eq!(paths.len(), golden.len(), "{place}");
    let mut compared = 0;
    for (ours, golden) in paths.iter().zip(golden) {
        for (name, value) in golden.as_object().unwrap() {
            assert_eq!(
                ours.get(name).map(String::as_str),
                value.as_str(),
                "{place}: {name}"
            );
            compared += 1;
        }
    }
    compared
}

/// `  NAME: |` with indented records below.
fn groups(yaml: &str) -> BTreeMap<String, Vec<AuditRecord>> {
    let mut groups: BTreeMap<String, Vec<AuditRecord>> = BTreeMap::new();
    let mut name = String::new();
    for line in yaml.lines() {
        if let Some(record) = AuditRecord::parse(line.as_bytes()) {
            groups.entry(name.clone()).or_default().push(record);
        } else if let Some(of_test) = line.trim().strip_suffix(": |") {
            of_test.trim_matches(['"', '\'']).clone_into(&mut name);
        }
    }
    groups
}

/// The fields by the names that go-libaudit gives them; the values are ours.
fn data(record: &AuditRecord) -> BTreeMap<String, String> {
    let mut data = BTreeMap::new();
    let arch = record.text("arch").lossy().into_owned();
    for (name, value) in &record.fields {
        let value = value.lossy().into_owned();
        match name.as_str() {
            "key" => {}
            "arch" => {
                let known = syscalls::architecture(arch.as_bytes());
                data.insert(
                    name.clone(),
                    known.map_or_else(|| arch.clone(), str::to_owned),
                );
            }
            "syscall" => drop(data.insert(name.clone(), record.syscall().unwrap_or(value))),
            "success" | "res" | "result" => {
                let word = if record.success() == Some(true) {
                    "success"
                } else {
                    "fail"
                };
                data.insert("result".to_owned(), word.to_owned());
            }
            "subj" | "obj" => context(&mut data, name, &value),
            "saddr" => socket(&mut data, &value),
            "exit" => drop(data.insert(name.clone(), errno(&value))),
            "auid" | "ses" | "old-auid" if value == "4294967295" => {
                data.insert(name.clone(), "unset".to_owned());
            }
            _ => drop(data.entry(name.clone()).or_insert(value)),
        }
    }
    data
}

/// `user:role:domain:level:category`
fn context(data: &mut BTreeMap<String, String>, name: &str, value: &str) {
    let parts = ["user", "role", "domain", "level", "category"];
    for (part, value) in parts.iter().zip(value.splitn(5, ':')) {
        data.insert(format!("{name}_{part}"), value.to_owned());
    }
}

fn socket(data: &mut BTreeMap<String, String>, saddr: &str) {
    let mut put = |name: &str, value: String| drop(data.insert(name.to_owned(), value));
    match address(saddr.as_bytes()).unwrap() {
        Address::Internet(ip, port) => {
            put(
                "family",
                if ip.is_ipv4() { "ipv4" } else { "ipv6" }.to_owned(),
            );
            put("addr", ip.to_string());
            put("port", port.to_string());
        }
        Address::Unix(path) => {
            put("family", "unix".to_owned());
            put("path", path.lossy().into_owned());
        }
        Address::Other(family) => {
            put(
                "family",
                if family == 16 {
                    "netlink".to_owned()
                } else {
                    family.to_string()
                },
            );
            put("saddr", saddr.to_owned());
        }
    }
}

fn errno(value: &str) -> String {
    let names = [
        ("-115", "EINPROGRESS"),
        ("-13", "EACCES"),
        ("-2", "ENOENT"),
        ("-1", "EPERM"),
    ];
    let known = names.iter().find(|(number, _)| *number == value);
    known.map_or(value, |(_, name)| name).to_owned()
}

#[test]
fn the_openssh_sample_has_its_refused_logins_by_source() {
    let Some(root) = recordings() else { return };
    let events = events(&fs::read(root.join("loghub/OpenSSH_2k.log")).unwrap());
    let of_kind = |kind: Kind| events.iter().filter(|event| event.kind == kind).count();
    assert_eq!((of_kind(Kind::Login), of_kind(Kind::Logoff)), (1, 1));
    let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event.kind == Kind::LoginFailed)
    {
        *sources
            .entry(&event.login().unwrap().source_ip)
            .or_default() += 1;
    }
    // 286 lines say so; of one attempt the sample ends before sshd says it, and PAM has said it.
    assert_eq!(sources["183.62.140.253"], 287, "{sources:?}");
    assert!(!sources.contains_key(""), "{sources:?}");
}

/// A recorded exec, an open for writing, a removal, a connection, a login, an account.
const AUDIT: &str = include_str!("data/audit.log");
/// What a host told its system log.
const SYSLOG: &str = include_str!("data/auth.log");
/// Each event of Sysmon for Linux.
const SYSMON: &str = include_str!("data/sysmon.xml");

#[test]
fn what_audit_records_becomes_events_of_their_kinds() {
    let events = events(AUDIT.as_bytes());
    let told: Vec<String> = events.iter().map(in_short).collect();
    let expected = [
        "exec 4242 /usr/bin/dash [sh ./x.sh a b] in /home/ada as ada script /home/ada/x.sh",
        "file_create 4243 /etc/cron.d/job",
        "file_delete 4243 /home/ada/old",
        "file_rename 4243 /home/ada/a -> /home/ada/b",
        "file_attr 4243 /home/ada/b mode 100755",
        "net_connect 4244 192.0.2.7 port 443",
        "exec_failed 4245 /nowhere",
        "account_change 4246 created user eve",
        "exec 0  [ls -l]",
        "account_switch 4248 ada ls",
        "login_failed 4247 root from 198.51.100.9",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_system_log_tells_logins_accounts_and_sessions() {
    let told = told(SYSLOG.as_bytes());
    let plain = told.iter().filter(|told| !told.only_if_judged);
    let plain: Vec<String> = plain.map(|told| in_short(&told.event)).collect();
    let expected = [
        "account_change - created user eve",
        "account_change - changed group sudo",
        "session - ada",
        "login_failed 71 root from 198.51.100.9",
        "login 72 ada from 192.0.2.7",
        "account_switch 73 ada /bin/ls",
    ];
    let mut sorted = plain.clone();
    sorted.sort();
    let mut wanted = expected.map(str::to_owned).to_vec();
    wanted.sort();
    assert_eq!(sorted, wanted);
    let lines = told.iter().filter(|told| told.only_if_judged).count();
    assert_eq!(
        lines,
        SYSLOG.lines().count(),
        "each line can be looked at by rules"
    );
}

#[test]
fn sysmon_tells_processes_files_and_connections() {
    let told: Vec<String> = events(SYSMON.as_bytes()).iter().map(in_short).collect();
    let expected = [
        "exec 7 /usr/bin/find [find . -name *.key] in /home/ada as ada",
        "net_connect 7 192.0.2.7 port 443",
        "net_accept 7 198.51.100.9 port 5555",
        "exit 7",
        "file_open 8 /dev/sda",
        "file_create 7 /tmp/a&b",
        "file_delete 7 /tmp/a&b",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_line_within_another_format_is_read() {
    let record = "type=EXECVE msg=audit(1.002:3): argc=1 a0=\"ls\"";
    for line in [
        record.to_owned(),
        format!("    {record}"),
        format!("{{\"message\": {}}}", Value::from(record)),
        format!("Dec 10 06:55:46 h audispd: {record}"),
        format!("<14>1 2026-01-05T10:00:00Z h audisp - - - {record}"),
    ] {
        let events = events(line.as_bytes());
        assert_eq!(events.len(), 1, "{line}");
        assert_eq!(events[0].kind, Kind::Exec, "{line}");
    }
}

#[test]
fn an_entry_of_the_journal_is_a_line_of_a_log() {
    let entry = serde_json::json!({
        "__REALTIME_TIMESTAMP": "1767607200000001", "_HOSTNAME": "web1", "SYSLOG_IDENTIFIER": "sshd", "_PID": "71",
        "MESSAGE": "Failed password for root from 198.51.100.9 port 4022 ssh2"
    });
    let events = events(entry.to_string().as_bytes());
    assert_eq!(
        events.iter().map(in_short).collect::<Vec<_>>(),
        ["login_failed 71 root from 198.51.100.9"]
    );
    assert_eq!(events[0].time, UnixNanos(1_767_607_200_000_001_000));
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_goes_on() {
    let mut recording = Recording::new(None, clock());
    for wrong in [
        "nonsense",
        "{\"kind\":1}",
        "type=EXECVE msg=x",
        "Dec 10 nothing",
        "<Event><System/></Event>",
    ] {
        assert!(recording.line(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(recording.line(b"").is_ok());
    let mut forced = Recording::new(Some(Form::Auditd), clock());
    assert!(
        forced
            .line(SYSLOG.lines().next().unwrap().as_bytes())
            .is_err()
    );
    recording.line(b"<Event>").unwrap();
    assert!(recording.end().is_err(), "an event that does not end");
}

#[test]
fn mutated_recordings_never_panic() {
    let mut random = Random(4_711);
    let seeds: Vec<Vec<u8>> = [AUDIT, SYSLOG, SYSMON]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    let (mut read, mut unread) = (0_u64, 0_u64);
    let mut recording = Recording::new(None, clock());
    for round in 0..inputs() {
        let seed = &seeds[random.below(seeds.len())];
        let lines: Vec<&[u8]> = seed.split(|byte| *byte == b'\n').collect();
        let mut line = lines[random.below(lines.len())].to_vec();
        for _ in 0..random.below(4) {
            mutate(&mut line, &mut random);
        }
        match recording.line(&line) {
            Ok(()) => read += 1,
            Err(_reason) => unread += 1,
        }
        if round % 500 == 499 {
            let _unfinished = recording.end();
            for told in recording.take() {
                assert!(told.event.time.0 != i64::MIN);
            }
            let form = Form::ALL.get(random.below(5)).copied();
            recording = Recording::new(form, clock());
        }
    }
    eprintln!("{read} lines read, {unread} unread");
    assert!(
        read > 1_000 && unread > 1_000,
        "{read} read, {unread} unread"
    );
}

/// What means something to one of the parsers.
const MARKS: &[u8] = b"=\"'<>[](){} \x1d\0&;:";

fn mutate(line: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(line.len().max(1));
    match random.below(6) {
        0 if !line.is_empty() => line[at] = random.byte(),
        1 => line.insert(at.min(line.len()), MARKS[random.below(MARKS.len())]),
        2 => line.truncate(at),
        3 if !line.is_empty() => drop(line.remove(at)),
        4 => {
            let end = at.saturating_add(random.below(40)).min(line.len());
            let piece = line[at.min(end)..end].to_vec();
            line.extend_from_slice(&piece);
        }
        _ => {
            let digits = b"18446744073709551616";
            line.splice(
                at.min(line.len())..at.min(line.len()),
                digits.iter().copied(),
            );
        }
    }
}

fn inputs() -> u32 {
    let asked = std::env::var("PICKET_MUTATIONS").ok();
    asked.map_or(INPUTS, |asked| asked.parse().unwrap())
}

#[test]
fn every_recording_is_read_without_a_panic_and_its_format_is_known() {
    let Some(root) = recordings() else { return };
    let index: Vec<Value> =
        serde_json::from_slice(&fs::read(root.join("INDEX.json")).unwrap()).unwrap();
    let mut read = 0;
    for entry in &index {
        let path = root.join(entry["file"].as_str().unwrap());
        let bytes = fs::read(&path).unwrap();
        let mut recording = Recording::new(None, clock());
        let lines = bytes.split(|byte| *byte == b'\n');
        let unread = lines.filter(|line| recording.line(line).is_err()).count();
        let _unfinished = recording.end();
        let told = recording.take();
        let format = entry["format"].as_str().unwrap();
        if format != "golden-json" && format != "auditd-raw-in-yaml" {
            // One line of the fixtures is `type=UNKNOWN[1329] msg=?`.
            assert!(unread <= 1, "{}: {unread} lines unread", path.display());
            assert!(!told.is_empty(), "{}", path.display());
        }
        read += 1;
    }
    eprintln!("{read} recordings read");
    assert!(read > 20, "{read}");
}

fn in_short(event: &Event) -> String {
    let process = event.process.as_ref();
    let pid = process.map_or_else(|| "-".to_owned(), |process| process.pid.to_string());
    let mut text = format!("{} {pid}", event.kind);
    let mut push = |part: &str| {
        text.push(' ');
        text.push_str(part);
    };
    if let (Kind::Exec, Some(process)) = (event.kind, process) {
        push(&process.exe.lossy());
        push(&format!(
            "[{}]",
            String::from_utf8_lossy(&process.command_line())
        ));
        if !process.cwd.is_empty() {
            push(&format!("in {}", process.cwd.lossy()));
        }
        if let Some(user) = &process.user {
            push(&format!("as {}", user.name.lossy()));
        }
        if !process.script.is_empty() {
            push(&format!("script {}", process.script.lossy()));
        }
    }
    if let Some(file) = event.file() {
        push(&file.path.lossy());
        if !file.new_path.is_empty() {
            push(&format!("-> {}", file.new_path.lossy()));
        }
        if let Some(mode) = file.mode.filter(|_| event.kind == Kind::FileAttr) {
            push(&format!("{} {mode:o}", file.change));
        }
    }
    if let Some(network) = event.network() {
        push(&format!(
            "{} port {}",
            network.remote_ip.unwrap(),
            network.remote_port
        ));
    }
    if let Some(login) = event.login() {
        push(&login.user.lossy());
        if !login.source_ip.is_empty() {
            push(&format!("from {}", login.source_ip));
        }
        if !login.command.is_empty() {
            push(&login.command.lossy());
        }
    }
    match &event.detail {
        Some(picket_event::Detail::ExecFailed(failed)) => push(&failed.path.lossy()),
        Some(picket_event::Detail::AccountChange(change)) => {
            push(&format!(
                "{} {} {}",
                change.action,
                change.object,
                change.account.lossy()
            ));
        }
        _ => {}
    }
    text
}

fn told(bytes: &[u8]) -> Vec<Told> {
    let mut recording = Recording::new(None, clock());
    for line in bytes.split(|byte| *byte == b'\n') {
        let read = recording.line(line);
        assert!(read.is_ok(), "{read:?}: {}", String::from_utf8_lossy(line));
    }
    recording.end().unwrap();
    recording.take()
}

fn events(bytes: &[u8]) -> Vec<Event> {
    let told = told(bytes).into_iter().filter(|told| !told.only_if_judged);
    told.map(|told| told.event).collect()
}

fn clock() -> LineClock {
    LineClock::utc(UnixNanos::parse("2026-01-05T10:00:00Z").unwrap())
}

fn recordings() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/recordings");
    if !root.is_dir() {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("SKIPPED: no recordings beside the project");
        }
        return None;
    }
    Some(root)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension == ending)
}
