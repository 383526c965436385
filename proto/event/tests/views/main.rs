//! What an event looks like on the wire, in JSON and by its fields.

mod arbitrary;
mod ocsf;
mod ocsf_schema;
mod round_trip;

use std::sync::Arc;

use picket_event::{
    Affected, Ancestor, BackoffLevel, BootId, CommandId, Containment, Detail, EnvVar, Event, Exit,
    Fidelity, File, Fork, Gap, GapReason, HashStatus, Hook, HookState, HostId, Kind, KindCounts,
    Login, Loss, Memfd, Namespaces, Network, Origin, Process, ProcessUid, Reason, ReceiptState,
    RuleVerdict, ScorerVerdict, SensorState, Severity, Source, Text, UnixNanos, User, Verdict,
    field, json,
};
use picket_proto::v1;
use picket_seal::Digest;
use proptest::prelude::*;

#[test]
fn every_detail_goes_to_the_wire_and_back() {
    for event in events() {
        let wire = v1::Event::from(event.clone());
        assert_eq!(Event::try_from(wire), Ok(event));
    }
}

#[test]
fn every_detail_goes_to_json_and_back() {
    for event in events() {
        let line = json::to_string(&event, &origin());
        let read = json::from_str(&line).expect("what was written is read");
        assert_eq!(
            (read.event, read.host, read.boot),
            (event, origin().host, Some(origin().boot))
        );
    }
}

/// Scripts read these lines, so they stay as they are to the byte. New fields may come.
const GOLDEN: &str = include_str!("golden.jsonl");

#[test]
fn lines_stay_as_scripts_know_them() {
    let lines: Vec<String> = events()
        .iter()
        .map(|event| json::to_string(event, &origin()))
        .collect();
    assert_eq!(lines, GOLDEN.lines().collect::<Vec<_>>());
}

#[test]
fn a_name_that_comes_twice_stands_once_and_both_are_in_the_exact_twin() {
    let var = |value: &str| EnvVar {
        name: Text::from("A"),
        value: Text::from(value),
    };
    let mut event = exec();
    event.process.as_mut().expect("an exec has a process").env = vec![var("1"), var("2")];
    let line = json::to_string(&event, &origin());
    let expected = r#""env":{"A":"2"},"env_raw":[["QQ==","MQ=="],["QQ==","Mg=="]]"#;
    assert!(line.contains(expected), "{line}");
}

#[test]
fn an_exec_reads_as_the_contract_says() {
    let value = json::to_value(&exec(), &origin());
    assert_eq!(value["kind"], "exec");
    assert_eq!(value["time"], "2026-01-05T10:00:00.123456789Z");
    assert_eq!(
        value["process"]["argv"],
        serde_json::json!(["curl", "a\u{fffd}"])
    );
    assert_eq!(
        value["process"]["argv_raw"],
        serde_json::json!(["Y3VybA==", "Yf8="])
    );
    assert_eq!(
        value["process"]["user"],
        serde_json::json!({"uid": 0, "name": "root"})
    );
    assert_eq!(value["verdicts"][0]["by"], "rule");
    assert_eq!(value["verdicts"][1]["reasons"][0]["usual"], 0.1);
    assert!(
        value["process"].get("tty").is_none(),
        "what is not known is absent"
    );
}

#[test]
fn a_path_means_what_it_means_in_json() {
    let event = exec();
    assert_eq!(
        field::lookup(&event, "process.exe"),
        Some(field::Value::Text(b"/usr/bin/curl"))
    );
    assert_eq!(field::lookup(&event, "process.tty"), None);
    assert_eq!(field::lookup(&event, "no.such"), None);
}

#[test]
fn an_unknown_number_is_refused_by_name() {
    let mut wire = v1::Event::from(exec());
    wire.kind = 4711;
    let refused = Event::try_from(wire).expect_err("no such kind");
    assert_eq!(refused.to_string(), "kind has the unknown value 4711");
}

proptest! {
    #[test]
    fn any_bytes_survive_json(exe in prop::collection::vec(any::<u8>(), 1..64), arg in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut event = exec();
        let process = event.process.as_mut().expect("an exec has a process");
        process.exe = Text::from(exe);
        process.argv = vec![Text::from(arg)];
        let line = json::to_string(&event, &origin());
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(json::from_str(&line).expect("it is read").event, event);
    }

    #[test]
    fn no_line_makes_it_panic(line in ".{0,200}") {
        drop(json::from_str(&line));
    }
}

fn origin() -> Origin {
    Origin {
        host: Some(HostId::new([1; 32])),
        boot: BootId::new([2; 16]),
    }
}

fn exec() -> Event {
    let mut event = Event::new(
        Kind::Exec,
        UnixNanos(1_767_607_200_123_456_789),
        Source::Ebpf,
    );
    event.boot_ns = 77;
    event.verdicts = verdicts();
    event.by(process())
}

fn process() -> Process {
    let mut process = Process::new(ProcessUid::new([3; 16]), 4242);
    process.ppid = 4200;
    process.parent_uid = Some(ProcessUid::new([4; 16]));
    process.exe = Text::from("/usr/bin/curl");
    process.argv = vec![Text::from("curl"), Text::from(&b"a\xff"[..])];
    process.argc = 2;
    process.argv_bytes = 8;
    process.cwd = Text::from("/root");
    process.user = Some(User {
        uid: 0,
        name: Text::from("root"),
    });
    process.login_uid = Some(1000);
    process.session = Some(7);
    process.start_time = Some(UnixNanos(1_767_607_200_000_000_000));
    process.sha256 = Some(Digest::of(b"curl"));
    process.hash_status = Some(HashStatus::Ok);
    process.cgroup = Text::from("/user.slice");
    process.ns = Some(Namespaces {
        pid: 1,
        mnt: 2,
        net: 3,
        user: 4,
    });
    process.caps = Some(u64::MAX);
    process.env = vec![EnvVar {
        name: Text::from("LD_PRELOAD"),
        value: Text::from(&b"\xfe"[..]),
    }];
    let parent = ProcessUid::new([4; 16]);
    process.ancestry = Arc::new([Ancestor {
        uid: parent,
        pid: 4200,
        exe: Text::from("/bin/bash"),
    }]);
    process.fidelity = Some(Fidelity::Exact);
    process
}

fn verdicts() -> Vec<Verdict> {
    let rule = RuleVerdict {
        id: "0c1f9d9e-5c57-4bb5-9e3b-3f2d7b6e7a10".to_owned(),
        title: "A title".to_owned(),
        severity: Severity::High,
        attack: vec!["T1105".to_owned()],
        author: "Picket authors".to_owned(),
        license: "Apache-2.0".to_owned(),
        rests_on: Vec::new(),
    };
    let level = BackoffLevel {
        context: "host".into(),
        seen: 0,
        context_seen: 90_000,
        distinct: 400,
    };
    let reason = Reason {
        factor: "child of parent".into(),
        context: Text::from("nginx"),
        value: Text::from("sh"),
        bits: 17.3,
        usual: 0.1,
        seen: 0,
        context_seen: 81_204,
        days: 61,
        distinct: 4,
        backoff: vec![level],
    };
    let score = ScorerVerdict {
        bits: 17.3,
        p: 3e-6,
        reasons: vec![reason],
        alert: true,
    };
    vec![Verdict::Rule(rule), Verdict::Scorer(score)]
}

fn events() -> Vec<Event> {
    let time = UnixNanos(1_767_607_200_000_000_001);
    let with = |kind, detail| Event::new(kind, time, Source::Agent).with(detail);
    let mut events = file_and_process_events(with);
    events.extend(own_events(with));
    events.push(exec());
    events
}

fn file_and_process_events(with: impl Fn(Kind, Detail) -> Event) -> Vec<Event> {
    let file = File {
        path: Text::from("/etc/a"),
        new_path: Text::from(&b"/etc/\xff"[..]),
        inode: Some(u64::MAX),
        dev: Some(1 << 20),
        mode: Some(0o100_644),
        size: Some(0),
        sha256_after: Some(Digest::of(b"x")),
        hash_status: Some(HashStatus::Raced),
        sensitive: true,
        flags: Some(0),
        ..File::default()
    };
    let network = Network {
        proto: "tcp".to_owned(),
        direction: "outbound".to_owned(),
        local_ip: None,
        local_port: 0,
        remote_ip: Some("::1".parse().expect("an address")),
        remote_port: 443,
        bytes_in: Some(1),
        bytes_out: None,
        result: Some(-111),
    };
    let login = Login {
        user: Text::from("ann"),
        outcome: "success".to_owned(),
        service: "sshd".to_owned(),
        source_port: Some(22),
        seen_by: vec!["wtmp".to_owned(), "auth_log".to_owned()],
        ..Login::default()
    };
    let exit = Exit {
        code: None,
        signal: Some(9),
        duration_ns: Some(5),
    };
    let fork = Fork {
        child_uid: ProcessUid::new([9; 16]),
        child_pid: 5,
    };
    vec![
        with(Kind::FileRename, Detail::File(file)),
        with(Kind::NetConnect, Detail::Network(network)),
        with(Kind::Login, Detail::Login(login)),
        with(Kind::Exit, Detail::Exit(exit)),
        with(Kind::Fork, Detail::Fork(fork)),
        with(
            Kind::Memfd,
            Detail::Memfd(Memfd {
                name: Text::from("x"),
                flags: Some(1),
            }),
        ),
    ]
}

fn own_events(with: impl Fn(Kind, Detail) -> Event) -> Vec<Event> {
    let counts = KindCounts {
        generated: 4,
        submitted: 3,
        lost: 1,
        ..KindCounts::zero(Kind::Exec)
    };
    let hook = Hook {
        name: "sched_process_exec".to_owned(),
        state: HookState::Proved,
        detail: "canary".to_owned(),
        instead: String::new(),
    };
    let sensor = SensorState {
        backend: "ebpf".to_owned(),
        change: "started".to_owned(),
        hooks: vec![hook],
    };
    let gap = Gap {
        seq_first: 5,
        count: Some(2),
        reason: GapReason::KernelRing,
        kinds: vec![(Kind::Exec, 2)],
        stream: None,
    };
    vec![
        with(
            Kind::Loss,
            Detail::Loss(Loss {
                kinds: vec![counts],
                last: true,
            }),
        ),
        with(Kind::Sensor, Detail::Sensor(sensor)),
        with(Kind::Gap, Detail::Gap(gap)),
        with(Kind::Containment, Detail::Containment(containment())),
    ]
}

fn containment() -> Containment {
    let one = Affected {
        process_uid: Some(ProcessUid::new([8; 16])),
        pid: 99,
        exe: Text::from("/bin/sh"),
        object: Text::NONE,
        outcome: "dead".to_owned(),
    };
    Containment {
        command_id: CommandId::new([7; 16]),
        action: "kill".to_owned(),
        state: ReceiptState::Executed,
        reason: String::new(),
        effect: "1 process ended".to_owned(),
        affected: vec![one],
        verified: true,
        redelivered: false,
        undo_token: String::new(),
        signers: vec!["alice".to_owned()],
        stated_reason: "test".to_owned(),
        cause: None,
    }
}
