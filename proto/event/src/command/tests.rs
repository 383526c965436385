//! Commands to bytes and back, and what no command may say.

use super::*;
use crate::{ProcessUid, Text};

fn command(action: Action) -> Command {
    Command {
        id: CommandId::new([1; 16]),
        hosts: vec![HostId::new([2; 32])],
        host_epoch: 3,
        not_before: UnixNanos(5),
        expires: UnixNanos(7),
        mode: Mode::Enforce,
        auto_release: Some(Duration::from_secs(9)),
        exe_sha256: None,
        action,
        reason: "why".to_owned(),
        incident: String::new(),
        dry_run_digest: Some(Digest::of(b"seen")),
        break_glass: Some(Digest::of(b"code")),
        rings: Vec::new(),
    }
}

fn every_action() -> Vec<Action> {
    let target = Target {
        process: ProcessUid::new([4; 16]),
        pid: 42,
    };
    let allow = ["10.0.0.1".to_owned(), "fe80::/10".to_owned()];
    vec![
        Action::Kill(target),
        Action::KillTree(target),
        Action::Suspend(target),
        Action::Resume(target),
        Action::Quarantine(FileTarget {
            path: Text::from(b"/tmp/\xff".to_vec()),
            sha256: Some(Digest::of(b"x")),
            inode: Some((8, 9)),
        }),
        Action::Restore(CommandId::new([6; 16])),
        Action::Isolate(Isolation::parse(&allow).unwrap()),
        Action::Release,
        Action::BlockHash(Digest::of(b"y")),
        Action::UnblockHash(Digest::of(b"y")),
        Action::LockUser("ada".to_owned()),
        Action::UnlockUser("ada".to_owned()),
        Action::Collect(Collection::at(b"/etc/passwd", 1 << 20).unwrap()),
        Action::AllowRemoval,
        Action::ForbidRemoval,
        Action::Triage(1 << 20),
    ]
}

#[test]
fn every_action_is_what_it_was_after_its_bytes() {
    for action in every_action() {
        let command = command(action);
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }
}

#[test]
fn a_triage_without_bounds_is_no_command() {
    for bytes in [0, (64 << 10) - 1, (8 << 20) + 1, u64::MAX] {
        let body = command(Action::Triage(bytes)).encode();
        let refused = CommandError::Action(ActionError::Triage(bytes));
        assert_eq!(Command::decode(&body), Err(refused));
    }
}

#[test]
fn what_has_no_near_end_is_judged_as_what_cannot_be_undone() {
    let mut isolate = command(Action::Isolate(Isolation::default()));
    assert_eq!(isolate.class(), ActionClass::Reversible);
    isolate.auto_release = Some(MAX_REVERSIBLE.saturating_add(Duration::from_millis(1)));
    assert_eq!(isolate.class(), ActionClass::Destructive);
    isolate.auto_release = None;
    assert_eq!(isolate.class(), ActionClass::Destructive);
    assert_eq!(command(Action::Release).class(), ActionClass::Reversible);
}

#[test]
fn more_hosts_than_ten_are_a_fleet() {
    let mut command = command(Action::Release);
    command.hosts = vec![HostId::new([2; 32]); FLEET];
    assert!(!command.classes().any(|class| class == ActionClass::Fleet));
    command.hosts.push(HostId::new([3; 32]));
    assert!(command.classes().any(|class| class == ActionClass::Fleet));
}

#[test]
fn nothing_malformed_is_an_action() {
    for path in [&b""[..], b"etc/passwd", b"/a\0b", &[b'/'; 4096]] {
        assert_eq!(FileTarget::at(path), Err(ActionError::Path));
    }
    for name in ["", "-r", "a b", "a:b", "../x", "a\n", &"x".repeat(257)] {
        assert!(user(name.to_owned()).is_err(), "{name}");
    }
    for network in [
        "",
        "10.0.0.0/33",
        "::/129",
        "example.org",
        "10.0.0.0/",
        "1.2.3",
    ] {
        assert!(
            Isolation::parse(&[network.to_owned()]).is_err(),
            "{network}"
        );
    }
    let many = vec!["10.0.0.1".to_owned(); 65];
    assert_eq!(Isolation::parse(&many), Err(ActionError::TooManyNetworks));
    let mut long = command(Action::Release);
    long.auto_release = Some(MAX_AUTO_RELEASE.saturating_add(Duration::from_millis(1)));
    assert_eq!(
        Command::decode(&long.encode()),
        Err(CommandError::AutoRelease)
    );
}

#[test]
fn rings_hold_each_host_once_in_their_order() {
    let hosts: Vec<HostId> = (0..7).map(|n| HostId::new([n; 32])).collect();
    let ringed = |rings: &[u32]| Command {
        hosts: hosts.clone(),
        rings: rings.to_vec(),
        ..command(Action::Release)
    };
    let good = ringed(&[1, 3, 7]);
    assert_eq!(Command::decode(&good.encode()), Ok(good.clone()));
    let of: Vec<Option<u32>> = hosts.iter().map(|host| good.ring_of(host)).collect();
    let expected = [1, 2, 2, 3, 3, 3, 3].map(Some);
    assert_eq!(of, expected);
    assert_eq!(good.ring_of(&HostId::new([9; 32])), None);
    let counts = [0, 1, 2, 3, 4].map(|ring| good.hosts_of_ring(ring).len());
    assert_eq!(counts, [0, 1, 2, 4, 0]);
    assert_eq!(good.hosts_of_ring(2), &hosts[1..3]);
    assert_eq!(ringed(&[]).ring_of(&hosts[0]), None);
    let many: Vec<u32> = (0..17).chain([7]).collect();
    for bad in [
        &[1, 3][..],
        &[3, 3, 7],
        &[7, 3],
        &[0, 7],
        &[8],
        &[1, 8],
        &many,
    ] {
        let refused = Command::decode(&ringed(bad).encode());
        assert_eq!(refused, Err(CommandError::Rings), "{bad:?}");
    }
}
