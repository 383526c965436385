//! Whoever removes or changes the table finds it again as it was.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use picket_isolation::{Guard, Repair, Table, Wanted};

use super::ground::{Ground, PEER, has, only, pass, speaks, speaks_soon};

const SOON: Duration = Duration::from_secs(2);

fn guarded(ground: &Ground, wanted: &Wanted) -> (Guard, Receiver<Repair>) {
    let (told, repairs) = channel();
    let tell = move |repair| drop(told.send(repair));
    let begin = || Guard::begin(wanted.clone(), tell).unwrap();
    (ground.host.inside(begin), repairs)
}

#[test]
fn whatever_others_do_to_the_firewall_it_is_in_force_again() {
    if !has("nft") {
        return;
    }
    let ground = Ground::new();
    let collector = ground.peer.echo(PEER, 7443);
    let elsewhere = ground.peer.echo(PEER, 9000);
    let session = ground.host.connect(collector).unwrap();
    let (guard, repairs) = guarded(&ground, &only(collector));
    let table = "inet picket_isolation";
    let restart = "flush ruleset; table inet filter { chain input { type filter hook input priority 0; policy accept; }; }";
    let opened = format!("insert rule {table} output accept");
    let emptied = format!("flush chain {table} output");
    let lenient = format!("chain {table} output {{ policy accept; }}");
    let ended = format!("flush set {table} in_force");
    let other = format!("add chain {table} other {{ type filter hook output priority -200; }}");
    let asleep = format!("add table {table} {{ flags dormant; }}");
    let deleted = format!("delete table {table}");
    let bridge = "delete table bridge picket_isolation".to_owned();
    let attacks = [
        "flush ruleset".to_owned(),
        restart.to_owned(),
        opened,
        emptied,
        lenient,
        ended,
        other,
        asleep,
        deleted,
        bridge,
    ];
    for attack in attacks {
        ground.host.run("nft", &[&attack]);
        let repair = repairs.recv_timeout(SOON);
        let repair = repair.unwrap_or_else(|_| panic!("not repaired: {attack}"));
        assert_eq!(repair.failed, None, "{attack}: {}", repair.found);
        assert_eq!(guard.difference().unwrap(), None, "{attack}");
        assert!(ground.host.connect(elsewhere).is_err(), "{attack}");
        assert!(speaks_soon(&session), "{attack}");
    }
    guard.end().unwrap();
    assert!(speaks(&ground.host.connect(elsewhere).unwrap()));
}

#[test]
fn the_rules_of_others_are_left_alone_and_wake_nobody() {
    if !has("nft") {
        return;
    }
    let ground = Ground::new();
    let (guard, repairs) = guarded(&ground, &only(([10, 77, 0, 1], 7443).into()));
    let mine =
        "table inet mine { chain input { type filter hook input priority 0; policy accept; }; }";
    ground.host.run("nft", &[mine]);
    assert!(repairs.recv_timeout(Duration::from_millis(500)).is_err());
    guard.end().unwrap();
    let listed = ground
        .host
        .command("nft", &["list", "ruleset"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("table inet mine") && !listed.contains("picket"),
        "{listed}"
    );
}

#[test]
fn nothing_is_repaired_once_it_is_ended_or_over() {
    let ground = Ground::new();
    let wanted = only(([10, 77, 0, 1], 7443).into());
    let (guard, repairs) = guarded(&ground, &wanted);
    let began = Instant::now();
    guard.end().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(repairs.recv_timeout(Duration::from_secs(2)).ok(), None);
    let exists = || {
        ground
            .host
            .inside(|| Table::open().unwrap().exists().unwrap())
    };
    assert!(!exists());
    let over = Wanted {
        until: Some(picket_isolation::Deadline::after(Duration::from_millis(
            500,
        ))),
        ..wanted
    };
    let (guard, repairs) = guarded(&ground, &over);
    pass(Duration::from_millis(600));
    ground
        .host
        .inside(|| Table::open().unwrap().remove().unwrap());
    assert_eq!(repairs.recv_timeout(Duration::from_secs(2)).ok(), None);
    drop(guard);
    assert!(!exists());
}

#[test]
fn a_change_takes_the_place_of_what_was() {
    let ground = Ground::new();
    let (first, second) = (ground.peer.echo(PEER, 7443), ground.peer.echo(PEER, 7444));
    let (guard, repairs) = guarded(&ground, &only(first));
    assert!(ground.host.connect(second).is_err());
    let both = Wanted {
        collectors: vec![first, second],
        ..only(first)
    };
    guard.change(both).unwrap();
    for to in [first, second] {
        assert!(speaks_soon(&ground.host.connect(to).unwrap()));
    }
    assert!(
        repairs.recv_timeout(Duration::from_millis(500)).is_err(),
        "it is not taken for an attack"
    );
    guard.end().unwrap();
}
