//! Keys that were made, collectors that are not the ones that were meant.

use std::fs;
use std::path::Path;

use picket_event::UnixNanos;
use picket_event::trust::Person;

use super::*;

fn init_in(base: &Path) -> InitArgs {
    InitArgs {
        name: "alice".to_owned(),
        out: base.join("alice"),
        passphrase_file: None,
    }
}

#[test]
fn a_request_proves_the_keys_that_were_made() {
    let base = tempfile::tempdir().unwrap();
    let args = init_in(base.path());
    init(&args).unwrap();
    let folder = Folder::open(&args.out).unwrap();
    let request = read_request(&folder).unwrap();
    let key = keyfile::load(&folder.read_secret(SIGNING_KEY).unwrap(), None).unwrap();
    assert_eq!(
        (request.name.as_str(), request.signing_key),
        ("alice", key.public_key())
    );
    assert_eq!(init(&args).unwrap_err().exit(), Exit::Failed);
}

#[test]
fn a_passphrase_file_encrypts_the_signing_key() {
    let base = tempfile::tempdir().unwrap();
    let passphrase = base.path().join("passphrase");
    fs::write(&passphrase, "correct horse\n").unwrap();
    let args = InitArgs {
        passphrase_file: Some(passphrase),
        ..init_in(base.path())
    };
    init(&args).unwrap();
    let file = fs::read(args.out.join(SIGNING_KEY)).unwrap();
    assert!(keyfile::is_encrypted(&file));
}

#[test]
fn a_name_that_cannot_be_used_makes_nothing() {
    let base = tempfile::tempdir().unwrap();
    let args = InitArgs {
        name: "../Alice".to_owned(),
        ..init_in(base.path())
    };
    assert_eq!(init(&args).unwrap_err().exit(), Exit::Usage);
    assert!(!args.out.exists());
}

#[test]
fn an_operator_without_a_certificate_is_told_whom_to_ask() {
    let base = tempfile::tempdir().unwrap();
    let args = init_in(base.path());
    init(&args).unwrap();
    let failure = Operator::open(Some(&args.out)).unwrap_err();
    assert!(failure.to_string().contains("hint: give "), "{failure}");
    assert_eq!(Operator::open(None).unwrap_err().exit(), Exit::Usage);
}

#[test]
fn anchors_with_another_fingerprint_are_not_believed() {
    let anchors = v1::AnchorsResponse {
        ca_certificate: b"ca".to_vec(),
        trust_root: b"root".to_vec(),
    };
    let right = enrolment_fingerprint(b"ca", b"root");
    assert!(compare(right, &anchors, "a:1").is_ok());
    let failure = compare(Digest::of(b"x"), &anchors, "a:1").unwrap_err();
    assert_eq!(failure.exit(), Exit::Unverified);
    let text = failure.to_string();
    assert!(text.contains(&format_fingerprint(&right)), "{text}");
    assert!(
        text.contains(&format_fingerprint(&Digest::of(b"x"))),
        "{text}"
    );
}

#[test]
fn only_a_requester_of_the_trust_root_may_ask() {
    let key = SigningKey::generate().unwrap().public_key();
    let person = |roles| Person {
        name: "alice".to_owned(),
        keys: vec![key],
        roles,
    };
    let root = |roles| TrustRoot::first(vec![person(roles)], UnixNanos(0));
    assert!(is_requester(&root(vec![Role::Requester]), &key));
    assert!(!is_requester(&root(vec![Role::Recovery]), &key));
}

#[test]
fn a_directory_keeps_the_collector_that_it_was_pinned_to() {
    let base = tempfile::tempdir().unwrap();
    let pinned = |ca: &[u8]| Operator {
        folder: Folder::open(base.path()).unwrap(),
        collector: "a:1".to_owned(),
        ca: ca.to_vec(),
        trust_root: b"root".to_vec(),
    };
    pinned(b"first").refuse_other_pins().unwrap();
    pinned(b"first").pin().unwrap();
    pinned(b"first").refuse_other_pins().unwrap();
    let failure = pinned(b"second").refuse_other_pins().unwrap_err();
    assert_eq!(failure.exit(), Exit::Refused);
}
