//! Who is believed: thresholds, strangers, expiry, and what cannot be a trust root.

use picket_event::command::{Action, Command, Mode, Target};
use picket_event::trust::{ActionClass, Person, Role, Signed, TrustError, TrustRoot};
use picket_event::{CommandId, HostId, ProcessUid, UnixNanos};
use picket_proto::v1;
use picket_seal::{Domain, SigningKey};

const NOW: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

#[test]
fn one_operator_who_signs_is_enough_for_a_kill() {
    let (root, keys) = root_of(1);
    let body = command().encode();
    let approved = approve(&root, &body, &[sign(&keys[0], &body)]);
    assert_eq!(approved, Ok(vec!["operator-0".to_owned()]));
}

#[test]
fn one_person_never_counts_twice() {
    let (root, keys) = root_of(2);
    let body = command().encode();
    let twice = [sign(&keys[0], &body), sign(&keys[0], &body)];
    let signed = Signed {
        domain: Domain::Command,
        body: &body,
        signatures: &twice,
    };
    let refused = root.approve(ActionClass::Fleet, signed, NOW);
    assert!(
        matches!(
            refused,
            Err(TrustError::TooFew {
                got: 1,
                needed: 2,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[test]
fn a_stranger_an_altered_body_and_no_signature_are_refused() {
    let (root, keys) = root_of(1);
    let stranger = SigningKey::generate().expect("a key");
    let body = command().encode();
    let mut altered = body.clone();
    *altered.last_mut().expect("a body") ^= 1;
    let by_stranger = approve(&root, &body, &[sign(&stranger, &body)]);
    assert!(matches!(by_stranger, Err(TrustError::UnknownKey(_))));
    let by_other_body = approve(&root, &altered, &[sign(&keys[0], &body)]);
    assert!(matches!(by_other_body, Err(TrustError::BadSignature(_))));
    assert!(matches!(
        approve(&root, &body, &[]),
        Err(TrustError::TooFew { got: 0, .. })
    ));
}

#[test]
fn an_expired_trust_root_approves_nothing() {
    let (mut root, keys) = root_of(1);
    root.expires = UnixNanos(NOW.0 - 1);
    let body = command().encode();
    let refused = approve(&root, &body, &[sign(&keys[0], &body)]);
    assert_eq!(refused, Err(TrustError::Expired(root.expires)));
}

#[test]
fn thresholds_are_capped_by_the_number_of_persons() {
    assert_eq!(root_of(1).0.threshold(ActionClass::Fleet), 1);
    assert_eq!(root_of(3).0.threshold(ActionClass::Fleet), 2);
}

#[test]
fn a_trust_root_is_read_as_it_was_written_and_doubles_are_refused() {
    let (mut root, _) = root_of(2);
    assert_eq!(TrustRoot::decode(&root.encode()), Ok(root.clone()));
    root.persons[1].keys = root.persons[0].keys.clone();
    assert!(matches!(
        TrustRoot::decode(&root.encode()),
        Err(TrustError::SharedKey(_))
    ));
    root.persons[1].name = root.persons[0].name.clone();
    assert!(matches!(
        TrustRoot::decode(&root.encode()),
        Err(TrustError::Twice(_))
    ));
    assert_eq!(TrustRoot::decode(&[]), Err(TrustError::Empty));
}

#[test]
fn a_command_is_read_as_it_was_written() {
    let command = command();
    assert_eq!(Command::decode(&command.encode()), Ok(command));
}

fn approve(
    root: &TrustRoot,
    body: &[u8],
    signatures: &[v1::Signature],
) -> Result<Vec<String>, TrustError> {
    let class = command().class();
    let signed = Signed {
        domain: Domain::Command,
        body,
        signatures,
    };
    Ok(root.approve(class, signed, NOW)?.signers())
}

fn root_of(people: usize) -> (TrustRoot, Vec<SigningKey>) {
    let keys: Vec<_> = (0..people)
        .map(|_| SigningKey::generate().expect("a key"))
        .collect();
    let persons = keys.iter().enumerate().map(|(index, key)| Person {
        name: format!("operator-{index}"),
        keys: vec![key.public_key()],
        roles: vec![Role::Requester, Role::Approver],
    });
    (TrustRoot::first(persons.collect(), NOW), keys)
}

fn sign(key: &SigningKey, body: &[u8]) -> v1::Signature {
    v1::Signature {
        key_id: key.public_key().key_id().0.to_vec(),
        signature: key.sign(Domain::Command, body).0.to_vec(),
    }
}

fn command() -> Command {
    Command {
        id: CommandId::new([1; 16]),
        hosts: vec![HostId::new([2; 32])],
        host_epoch: 0,
        not_before: NOW,
        expires: UnixNanos(NOW.0 + 1),
        mode: Mode::Enforce,
        auto_release: None,
        exe_sha256: None,
        action: Action::Kill(Target {
            process: ProcessUid::new([3; 16]),
            pid: 7,
        }),
        reason: "test".to_owned(),
        incident: String::new(),
        dry_run_digest: None,
        break_glass: None,
        rings: Vec::new(),
        host_set: None,
    }
}
