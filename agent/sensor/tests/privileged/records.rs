//! With a rule for execs, audit records complete the source `audit`.
//!
//! These tests change the rules and the state of audit, so they run only on a machine that is there for nothing else: the
//! guests of `make test-vm` set `PICKET_TEST_MAY_CHANGE_AUDIT`.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, Hook, HookState, Kind, Text};
use picket_sensor::{Sensor, Settings, identity, open_audit};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

use super::rig::{assert_balanced, has_exit, patience, run, shell};

/// Audit with a rule that records every exec; off again and without the rule when dropped.
struct Recording(Control);

/// A socket that tells audit what to do.
struct Control(OwnedFd);

impl Control {
    fn open() -> Option<Self> {
        if std::env::var_os("PICKET_TEST_MAY_CHANGE_AUDIT").is_none() {
            eprintln!(
                "SKIPPED: PICKET_TEST_MAY_CHANGE_AUDIT is not set: this host's audit is left alone"
            );
            return None;
        }
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(netlink::AUDIT));
        let socket = socket.unwrap();
        bind(&socket, &SocketAddrNetlink::new(0, 0)).unwrap();
        Some(Self(socket))
    }

    /// Asks, waits for the kernel's word, and gives the answer if there is one.
    fn ask(&self, kind: u16, numbers: &[u32]) -> Vec<u32> {
        let length = u32::try_from(16 + 4 * numbers.len()).unwrap();
        let head = [length, u32::from(kind) | (REQUEST_AND_WORD << 16), 1, 0];
        let bytes = head
            .iter()
            .chain(numbers)
            .flat_map(|number| number.to_ne_bytes());
        let bytes: Vec<u8> = bytes.collect();
        send(&self.0, &bytes, SendFlags::empty()).unwrap();
        let mut said = Vec::new();
        loop {
            let mut buffer = vec![0; 16 * 1024];
            let (length, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty()).unwrap();
            let (words, _) = buffer[..length].as_chunks::<4>();
            let words: Vec<u32> = words.iter().map(|word| u32::from_ne_bytes(*word)).collect();
            match words[1] & 0xffff {
                ERROR => assert_eq!(words[4], 0, "audit refused {kind}"),
                came if came == u32::from(kind) => said = words[4..].to_vec(),
                _ => continue,
            }
            if kind != GET || !said.is_empty() {
                return said;
            }
        }
    }

    /// `struct audit_status`: which field is set, and to what.
    fn set(&self, field: u32, place: usize, value: u32) {
        let mut status = [0; 10];
        status[0] = field;
        status[place] = value;
        self.ask(SET, &status);
    }

    fn owner(&self) -> u32 {
        self.ask(GET, &[])[3]
    }
}

impl Recording {
    fn begin() -> Option<Self> {
        let control = Control::open()?;
        control.set(BACKLOG_LIMIT, 5, 8_192);
        control.set(ENABLED, 1, 1);
        control.ask(ADD_RULE, &rule());
        Some(Self(control))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.0.ask(DELETE_RULE, &rule());
        self.0.set(ENABLED, 1, 0);
    }
}

/// `struct audit_rule_data`: always, at the end of execve and execveat, on x86-64.
fn rule() -> Vec<u32> {
    let mut rule = vec![FILTER_EXIT, ALWAYS, 1];
    let mut mask = [0_u32; 64];
    for call in [EXECVE, EXECVEAT] {
        mask[call / 32] |= 1 << (call % 32);
    }
    rule.extend(mask);
    for first in [FIELD_ARCH, ARCH_X86_64, EQUAL] {
        let mut field = [0_u32; 64];
        field[0] = first;
        rule.extend(field);
    }
    rule.push(0);
    rule
}

fn sensor() -> Box<dyn Sensor> {
    let mut settings = Settings::new(identity::boot_id().unwrap());
    settings.watch = Vec::new();
    settings.prove_every = Duration::from_millis(600);
    open_audit(settings).unwrap()
}

fn collect(sensor: &mut dyn Sensor, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    let begun = Instant::now();
    while !enough(&events) && begun.elapsed() < patience(10) {
        let poll = sensor.poll(Duration::from_millis(100), &mut events);
        poll.unwrap();
    }
    events
}

fn hook(sensor: &dyn Sensor) -> Hook {
    let mut hooks = sensor.hooks().into_iter();
    hooks.find(|hook| hook.name == "audit_multicast").unwrap()
}

fn has_change(events: &[Event], wanted: &str) -> bool {
    events
        .iter()
        .any(|event| matches!(&event.detail, Some(Detail::Sensor(state)) if state.change == wanted))
}

#[test]
fn programs_that_are_over_at_once_have_their_arguments_byte_for_byte() {
    let Some(_recording) = Recording::begin() else {
        return;
    };
    let mut sensor = sensor();
    let proved = hook(sensor.as_ref());
    assert_eq!(proved.state, HookState::Proved, "{proved:?}");
    let script = "i=0; while [ $i -lt 200 ]; do /bin/true \"number $i\" '' \"$(printf 'a\\nb\\377')\"; i=$((i+1)); done";
    let mut child = shell(script, std::path::Path::new("/"));
    let parent = child.id();
    let mut events = collect(sensor.as_mut(), |events| has_exit(events, parent));
    child.wait().unwrap();
    sensor.stop(&mut events).unwrap();
    let execs = events.iter().filter(|event| event.kind == Kind::Exec);
    let execs = execs.filter_map(|event| event.process.as_ref());
    let execs: Vec<_> = execs
        .filter(|process| process.ppid == parent && process.argc == 4)
        .collect();
    assert_eq!(execs.len(), 200);
    for (number, process) in execs.iter().enumerate() {
        let argv: Vec<&[u8]> = process.argv.iter().map(Text::as_bytes).collect();
        let name = format!("number {number}");
        let expected: [&[u8]; 4] = [b"/bin/true", name.as_bytes(), b"", b"a\nb\xff"];
        assert_eq!(argv, expected);
        assert!(
            process.exe.as_bytes().ends_with(b"/true")
                || process.exe.as_bytes().ends_with(b"/busybox")
        );
        assert_eq!(process.cwd.as_bytes(), b"/");
        assert_eq!(process.user.as_ref().map(|user| user.uid), Some(0));
    }
    eprintln!("{}", hook(sensor.as_ref()).detail);
    assert_balanced(&sensor.ledger());
}

/// An argument that audit records in parts.
#[test]
fn a_long_argument_is_whole() {
    let Some(_recording) = Recording::begin() else {
        return;
    };
    let mut sensor = sensor();
    let script = "a=$(printf '%040000d' 7); exec /bin/true \"$a\" 'b c'";
    let pid = run(script, std::path::Path::new("/"));
    let events = collect(sensor.as_mut(), |events| has_exit(events, pid));
    let execs = super::rig::execs_of(&events, pid);
    let process = execs.last().unwrap().process.as_ref().unwrap();
    let lengths: Vec<usize> = process
        .argv
        .iter()
        .map(|text| text.as_bytes().len())
        .collect();
    assert_eq!(lengths, [9, 40_000, 3]);
    assert!(!process.argv_truncated && process.argv_bytes == 40_000 + 9 + 3 + 3);
}

#[test]
fn records_that_stop_coming_are_an_event_and_so_is_their_return() {
    let Some(recording) = Recording::begin() else {
        return;
    };
    let mut sensor = sensor();
    recording.0.ask(DELETE_RULE, &rule());
    let events = collect(sensor.as_mut(), |events| has_change(events, "hook_lost"));
    assert!(has_change(&events, "hook_lost"));
    let lost = hook(sensor.as_ref());
    assert_eq!(lost.state, HookState::Attached, "{lost:?}");
    recording.0.ask(ADD_RULE, &rule());
    let events = collect(sensor.as_mut(), |events| has_change(events, "hook_back"));
    assert!(has_change(&events, "hook_back"));
    assert_eq!(hook(sensor.as_ref()).state, HookState::Proved);
}

#[test]
fn the_owner_of_the_log_stays_its_owner() {
    let Some(control) = Control::open() else {
        return;
    };
    let own = std::process::id();
    control.set(OWNER, 3, own);
    let sensor = sensor();
    let owner = control.owner();
    let told = hook(sensor.as_ref()).detail;
    drop(sensor);
    let left = control.owner();
    control.set(OWNER, 3, 0);
    assert_eq!((owner, left), (own, own));
    assert!(
        told.contains(&format!("process {own} owns the log")),
        "{told}"
    );
}

/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST_AND_WORD: u32 = 5;
const ERROR: u32 = 2;
// linux/audit.h
const GET: u16 = 1000;
const SET: u16 = 1001;
const ADD_RULE: u16 = 1011;
const DELETE_RULE: u16 = 1012;
const ENABLED: u32 = 0x1;
const OWNER: u32 = 0x4;
const BACKLOG_LIMIT: u32 = 0x10;
const FILTER_EXIT: u32 = 4;
const ALWAYS: u32 = 2;
const FIELD_ARCH: u32 = 11;
const ARCH_X86_64: u32 = 0xc000_003e;
const EQUAL: u32 = 0x4000_0000;
const EXECVE: usize = 59;
const EXECVEAT: usize = 322;
