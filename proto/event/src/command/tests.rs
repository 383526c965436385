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
        host_set: None,
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

/// A command for 100 hosts in rings, by its root, as it is signed and with its hosts beside it.
fn by_root() -> (Command, v1::SignedCommand) {
    let hosts = (0..100_u8).rev().map(|n| HostId::new([n; 32]));
    let command = Command {
        hosts: hosts.collect(),
        rings: vec![1, 10, 100],
        ..command(Action::Release)
    };
    let command = command.by_root().unwrap();
    let signed = v1::SignedCommand {
        body: command.encode(),
        host_ids: command.beside(),
        ..v1::SignedCommand::default()
    };
    (command, signed)
}

#[test]
fn a_command_by_its_root_is_read_with_all_its_hosts_in_their_rings() {
    let (command, signed) = by_root();
    assert!(signed.body.len() < 250, "{}", signed.body.len());
    assert_eq!(Command::read(&signed), Ok(command.clone()));
    assert_eq!(command.hosts_of_ring(1), &[HostId::new([99; 32])]);
    assert_eq!(command.ring_of(&HostId::new([99; 32])), Some(1));
    assert_eq!(command.ring_of(&HostId::new([95; 32])), Some(2));
    assert_eq!(command.ring_of(&HostId::new([0; 32])), Some(3));
    assert_eq!(command.ring_of(&HostId::new([100; 32])), None);
    let bare = Command::decode(&signed.body).unwrap();
    assert_eq!((bare.hosts.len(), bare.host_count()), (0, 100));
    assert!(bare.classes().any(|class| class == ActionClass::Fleet));
    let tree = bare.tree_of(&signed.host_ids).unwrap().unwrap();
    for host in tree.hosts() {
        let proof = tree.proof(host);
        assert_eq!(bare.ring_for(host, proof.as_ref()), command.ring_of(host));
        assert_eq!(bare.ring_for(host, None), None);
    }
}

#[test]
fn hosts_that_do_not_give_the_signed_root_are_not_those_of_the_command() {
    let (_, signed) = by_root();
    let refused = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut other = signed.clone();
        change(&mut other.host_ids);
        matches!(Command::read(&other), Err(CommandError::Hosts(_)))
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&Vec::clear));
    assert!(refused(&|hosts| drop(hosts.pop())));
    assert!(refused(&|hosts| hosts.push(vec![200; 32])));
    assert!(refused(&|hosts| hosts.swap(3, 4)));
    assert!(refused(&|hosts| hosts.swap(5, 50)));
    assert!(refused(&|hosts| hosts[7] = vec![200; 32]));
    assert!(refused(&|hosts| hosts[7] = hosts[8].clone()));
    assert!(refused(&|hosts| hosts[7].truncate(31)));
    assert!(refused(&|hosts| hosts.resize(MAX_HOST_SET + 1, vec![0; 32])));
}

#[test]
fn a_command_names_its_hosts_in_one_way_only() {
    let (_, signed) = by_root();
    let mut wire = v1::CommandBody::decode(signed.body.as_slice()).unwrap();
    let decoded = |wire: &v1::CommandBody| Command::decode(&wire.encode_to_vec());
    assert!(decoded(&wire).is_ok());
    wire.host_ids = vec![vec![1; 32]; 100];
    assert!(matches!(
        decoded(&wire),
        Err(CommandError::Hosts(HostSetError::Stray))
    ));
    (wire.host_ids, wire.ring_ends) = (Vec::new(), Vec::new());
    for (count, well) in [
        (0, false),
        (1, true),
        (20_000, true),
        (20_001, false),
        (u32::MAX, false),
    ] {
        wire.host_count = count;
        assert_eq!(decoded(&wire).is_ok(), well, "{count}");
    }
    wire.host_set_root.pop();
    assert!(matches!(decoded(&wire), Err(CommandError::Field(_))));
    let listed = v1::SignedCommand {
        body: command(Action::Release).encode(),
        host_ids: vec![vec![2; 32]],
        ..v1::SignedCommand::default()
    };
    let stray = CommandError::Hosts(HostSetError::Stray);
    assert_eq!(Command::read(&listed), Err(stray));
}
