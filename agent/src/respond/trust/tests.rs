//! Another trust root: from the persons of the one before, from the host's own root, and from nobody else.

use std::time::Duration;

use picket_event::UnixNanos;
use picket_event::command::Action;
use picket_event::trust::{MAX_TRUST_AGE, Person, Role, to_pem};
use picket_seal::{Domain, SigningKey};

use super::*;
use crate::respond::tests::{Ask, Bench, NOW, command};

/// The version after this one, with these persons, signed by `key`.
fn next(root: &TrustRoot, persons: Vec<Person>, key: &SigningKey) -> v1::SignedTrustRoot {
    let next = TrustRoot {
        version: root.version + 1,
        created: NOW,
        expires: NOW.plus(MAX_TRUST_AGE),
        persons,
        ..root.clone()
    };
    signed(&next, key)
}

fn signed(root: &TrustRoot, key: &SigningKey) -> v1::SignedTrustRoot {
    let body = root.encode();
    v1::SignedTrustRoot {
        signatures: vec![v1::Signature {
            key_id: key.public_key().key_id().0.to_vec(),
            signature: key.sign(Domain::TrustRoot, &body).0.to_vec(),
        }],
        body,
    }
}

fn person(name: &str, key: &SigningKey) -> Person {
    Person {
        name: name.to_owned(),
        keys: vec![key.public_key()],
        roles: vec![Role::Requester, Role::Approver],
    }
}

/// A command that needs nothing on this host: it is refused as not in force once it is believed.
fn release(number: u8, now: UnixNanos, by: &SigningKey) -> v1::SignedCommand {
    let mut release = command(number, Action::Release);
    (release.not_before, release.expires) = (now, now.plus(Duration::from_mins(5)));
    sign(&release.encode(), by)
}

fn kill(number: u8, now: UnixNanos, by: &SigningKey) -> v1::SignedCommand {
    let mut kill = command(number, Action::LockUser("nobody-of-this-name".to_owned()));
    (kill.not_before, kill.expires) = (now, now.plus(Duration::from_mins(5)));
    sign(&kill.encode(), by)
}

fn sign(body: &[u8], by: &SigningKey) -> v1::SignedCommand {
    v1::SignedCommand {
        body: body.to_vec(),
        signatures: vec![v1::Signature {
            key_id: by.public_key().key_id().0.to_vec(),
            signature: by.sign(Domain::Command, body).0.to_vec(),
        }],
        ..v1::SignedCommand::default()
    }
}

#[test]
fn whoever_was_removed_commands_nothing_any_more_and_no_older_version_comes_back() {
    let bench = Bench::new();
    let carol = SigningKey::generate().unwrap();
    let mut responder = bench.responder();
    let told = responder.trust();
    let first = responder.believer.trust.clone();
    assert_ne!(
        responder
            .ask(&release(1, NOW, &bench.operator))
            .unwrap()
            .reason,
        "unknown_key"
    );
    let second = next(&first, vec![person("carol", &carol)], &bench.operator);
    let taken = responder.take_trust(&second);
    assert_eq!(
        (taken[0].state, taken[0].reason.as_str()),
        (ReceiptState::Executed, "rotated")
    );
    assert_eq!(taken[0].signers, ["alice"]);
    assert_eq!(told.borrow().version, 2);
    assert_eq!(
        responder
            .ask(&kill(2, NOW, &bench.operator))
            .unwrap()
            .reason,
        "unknown_key"
    );
    assert_ne!(
        responder.ask(&kill(3, NOW, &carol)).unwrap().reason,
        "unknown_key"
    );
    // The first one again, the second one again, and one that the removed person signed.
    let back = next(&first, first.persons.clone(), &bench.operator);
    let by_removed = next(
        &responder.believer.trust,
        first.persons.clone(),
        &bench.operator,
    );
    assert!(
        responder.take_trust(&second).is_empty(),
        "known, and nothing to tell"
    );
    for refused in [&signed(&first, &bench.operator), &by_removed] {
        let answer = responder.take_trust(refused);
        assert_eq!(answer[0].state, ReceiptState::Refused, "{answer:?}");
    }
    assert!(responder.take_trust(&back).is_empty());
    assert_eq!(responder.believer.trust.version, 2);
}

#[test]
fn a_rotation_that_is_withheld_ends_by_expiry_and_effects_can_still_be_ended() {
    let bench = Bench::new();
    let mut responder = bench.responder();
    let late = responder
        .believer
        .trust
        .expires
        .plus(Duration::from_secs(1));
    bench.at(late);
    assert_eq!(
        responder
            .ask(&kill(1, late, &bench.operator))
            .unwrap()
            .reason,
        "trust_expired"
    );
    let ended = responder.ask(&release(2, late, &bench.operator)).unwrap();
    assert_eq!(ended.reason, "not_in_force", "it is believed: {ended:?}");
    // A clock that is put back does not bring it to life again: a command has shown what time it is.
    bench.at(NOW);
    assert_eq!(
        responder
            .ask(&kill(3, NOW, &bench.operator))
            .unwrap()
            .reason,
        "trust_expired"
    );
}

#[test]
fn a_stolen_collector_has_no_trust_root_of_its_own() {
    let bench = Bench::new();
    let thief = SigningKey::generate().unwrap();
    let mut responder = bench.responder();
    let first = responder.believer.trust.clone();
    let own = next(&first, vec![person("alice", &thief)], &thief);
    // What the operator signed was another body.
    let alice = person("alice", &bench.operator);
    let mut mixed = next(&first, vec![alice], &bench.operator);
    mixed.body = own.body.clone();
    let garbage = v1::SignedTrustRoot {
        body: vec![0xff; 40],
        signatures: Vec::new(),
    };
    for forged in [own, mixed, garbage] {
        let answer = responder.take_trust(&forged);
        assert_eq!(
            (answer[0].state, answer[0].reason.as_str()),
            (ReceiptState::Refused, "trust_root")
        );
    }
    assert!(!responder.trust().borrow().refused.is_empty());
    assert_eq!(responder.believer.trust, first);
}

#[test]
fn root_on_the_host_replaces_it_and_that_is_told() {
    let bench = Bench::new();
    let carol = SigningKey::generate().unwrap();
    let mut responder = bench.responder();
    assert!(responder.take_replacement().is_empty());
    let other = TrustRoot::first(vec![person("carol", &carol)], NOW);
    let file = to_pem(&v1::SignedTrustRoot {
        body: other.encode(),
        signatures: Vec::new(),
    });
    let path = responder.state.path(REPLACEMENT);
    std::fs::write(&path, file).unwrap();
    let told = responder.take_replacement();
    assert_eq!(
        (told[0].state, told[0].reason.as_str()),
        (ReceiptState::Executed, "replaced_locally")
    );
    assert!(!path.exists());
    assert_ne!(
        responder.ask(&kill(1, NOW, &carol)).unwrap().reason,
        "unknown_key"
    );
    std::fs::write(&path, "nonsense").unwrap();
    assert_eq!(responder.take_replacement()[0].state, ReceiptState::Refused);
    assert!(!path.exists());
    assert_eq!(responder.believer.trust, other);
}

#[test]
fn what_was_taken_is_believed_after_a_restart() {
    let bench = Bench::new();
    let carol = SigningKey::generate().unwrap();
    let mut responder = bench.responder();
    let second = next(
        &responder.believer.trust,
        vec![person("carol", &carol)],
        &bench.operator,
    );
    responder.take_trust(&second);
    let kept = responder.state.read("trust-root").unwrap().unwrap();
    assert_eq!(kept, second.body, "exact bytes, as they were signed");
}
