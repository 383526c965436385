//! What is remembered of commands, across restarts and damage.

use picket_event::command::{Action, Mode, Target};
use picket_event::{HostId, ProcessUid, ReceiptState};

use super::*;

fn command(number: u8, expires: i64) -> Command {
    let target = Target {
        process: ProcessUid::new([1; 16]),
        pid: 0,
    };
    Command {
        id: CommandId::new([number; 16]),
        hosts: vec![HostId::new([0; 32])],
        host_epoch: 0,
        not_before: UnixNanos(i64::from(number)),
        expires: UnixNanos(expires),
        mode: Mode::Enforce,
        auto_release: None,
        exe_sha256: None,
        action: Action::Kill(target),
        reason: String::new(),
        incident: String::new(),
        dry_run_digest: None,
        break_glass: None,
        rings: Vec::new(),
        host_set: None,
    }
}

fn receipt(command: &Command) -> Containment {
    Containment {
        command_id: command.id,
        action: "kill".to_owned(),
        state: ReceiptState::Executed,
        reason: String::new(),
        effect: "dead".to_owned(),
        affected: Vec::new(),
        verified: true,
        redelivered: false,
        undo_token: String::new(),
        signers: vec!["alice".to_owned()],
        stated_reason: String::new(),
        cause: None,
    }
}

#[test]
fn what_was_seen_and_answered_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let (first, second) = (command(1, 100), command(2, 100));
    let mut log = CommandLog::open(&state, UnixNanos(0)).unwrap();
    log.intend(&first, &first.encode()).unwrap();
    log.answer(&receipt(&first)).unwrap();
    log.intend(&second, &second.encode()).unwrap();
    drop(log);
    let mut log = CommandLog::open(&state, UnixNanos(0)).unwrap();
    assert_eq!(log.newest_not_before(), UnixNanos(2));
    assert_eq!(log.unanswered().unwrap(), std::slice::from_ref(&second));
    let Known::Answered(known) = log.known(first.id, &first.encode()).unwrap() else {
        panic!("the answer is gone")
    };
    assert_eq!(*known, receipt(&first));
    assert!(matches!(
        log.known(first.id, b"other").unwrap(),
        Known::Other
    ));
    assert!(matches!(
        log.known(second.id, &second.encode()).unwrap(),
        Known::Other
    ));
    assert!(matches!(
        log.known(CommandId::new([9; 16]), b"").unwrap(),
        Known::New
    ));
}

#[test]
fn a_line_written_in_part_never_counted() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let mut log = CommandLog::open(&state, UnixNanos(0)).unwrap();
    let first = command(1, 100);
    log.intend(&first, &first.encode()).unwrap();
    let mut bytes = state.read(NAME).unwrap().unwrap();
    bytes.extend_from_slice(b"{\"done\":\"01");
    std::fs::write(state.path(NAME), bytes).unwrap();
    let mut log = CommandLog::open(&state, UnixNanos(0)).unwrap();
    assert_eq!(log.unanswered().unwrap().len(), 1);
}

#[test]
fn damage_in_the_middle_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    std::fs::write(state.path(NAME), "{\"seen\":3}\n").unwrap();
    let error = CommandLog::open(&state, UnixNanos(0)).unwrap_err();
    assert!(matches!(error, StateError::Damaged { .. }));
}

#[test]
fn ids_are_kept_a_month_beyond_the_end_and_a_full_table_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let mut log = CommandLog::open(&state, UnixNanos(0)).unwrap();
    let first = command(1, 100);
    log.intend(&first, &first.encode()).unwrap();
    let before = UnixNanos(100).plus(KEEP);
    let mut log = CommandLog::open(&state, before).unwrap();
    assert!(matches!(
        log.known(first.id, &first.encode()).unwrap(),
        Known::Other
    ));
    let mut log = CommandLog::open(&state, before.plus(Duration::from_secs(1))).unwrap();
    assert!(matches!(
        log.known(first.id, &first.encode()).unwrap(),
        Known::New
    ));
    let seen = Seen {
        body: Digest::ZERO,
        intent: Place {
            offset: 0,
            length: 0,
        },
        receipt: None,
    };
    let id = |number: u32| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        CommandId::new(bytes)
    };
    log.seen
        .extend((0_u32..).take(MAX_SEEN).map(|number| (id(number), seen)));
    assert!(matches!(
        log.known(CommandId::new([7; 16]), b"").unwrap(),
        Known::Full
    ));
}
