//! Tokens and fingerprints that do not fit: the host stays out, nothing of it is left, and a good token stays good.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use picket_event::token::EnrolmentToken;
use picket_proto::v1::FinishRequest;
use picket_seal::Digest;
use picket_tests::programs::Ended;
use picket_tests::rig::{PATIENCE, Rig};
use picket_tests::wait;
use tonic::Status;

use crate::rogue::Stranger;

#[test]
fn a_used_token_is_refused() {
    let rig = Rig::start().unwrap();
    let token = rig.token().unwrap();
    assert_eq!(
        enroll(&rig, &token, &rig.fingerprint, "first").code,
        Some(0)
    );
    assert_refused(&rig, &token, "token_used");
}

#[test]
fn an_expired_token_is_refused() {
    let rig = Rig::start().unwrap();
    let token = rig.ctl_prints(&["token", "create", "--ttl", "1s"]).unwrap();
    let expired = wait::until("the end of the token", PATIENCE, || {
        let listed = rig.ctl_prints(&["token", "list"])?;
        Ok(listed.contains("expired").then_some(()))
    });
    expired.unwrap();
    assert_refused(&rig, token.trim(), "token_expired");
}

#[test]
fn a_revoked_token_is_refused() {
    let rig = Rig::start().unwrap();
    let token = rig.token().unwrap();
    let id = EnrolmentToken::parse(&token).unwrap().id;
    rig.ctl_prints(&["token", "revoke", &id]).unwrap();
    assert_refused(&rig, &token, "token_revoked");
}

#[test]
fn a_token_that_nobody_made_and_one_with_a_guessed_secret_are_refused() {
    let rig = Rig::start().unwrap();
    let real = EnrolmentToken::parse(&rig.token().unwrap()).unwrap();
    let invented = EnrolmentToken::generate(real.fingerprint).unwrap();
    assert_refused(&rig, &invented.to_string(), "unknown_token");
    let guessed = EnrolmentToken {
        secret: invented.secret,
        ..real.clone()
    };
    assert_refused(&rig, &guessed.to_string(), "wrong_secret");
    let ended = enroll(&rig, &real.to_string(), &rig.fingerprint, "host");
    assert_eq!(
        ended.code,
        Some(0),
        "a wrong guess costs no use: {}",
        ended.stderr
    );
}

#[test]
fn a_wrong_fingerprint_is_refused_before_the_token_is_shown() {
    let rig = Rig::start().unwrap();
    let token = rig.token().unwrap();
    let wrong = format!("sha256:{}", "ab".repeat(32));
    let ended = enroll(&rig, &token, &wrong, "host");
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert_one_line(&ended, "fingerprint");
    assert_nothing_left(&rig.path().join("host"));
    let ended = enroll(&rig, &token, &rig.fingerprint, "host");
    assert_eq!(
        ended.code,
        Some(0),
        "the token is still good: {}",
        ended.stderr
    );
}

#[test]
fn a_token_made_for_another_collector_is_not_shown_to_this_one() {
    let rig = Rig::start().unwrap();
    let token = EnrolmentToken::parse(&rig.token().unwrap()).unwrap();
    let moved = EnrolmentToken {
        fingerprint: Digest::of(b"another collector"),
        ..token.clone()
    };
    let ended = enroll(&rig, &moved.to_string(), &rig.fingerprint, "host");
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert_nothing_left(&rig.path().join("host"));
    assert_eq!(
        enroll(&rig, &token.to_string(), &rig.fingerprint, "host").code,
        Some(0)
    );
}

#[test]
fn an_enrolled_state_is_not_overwritten() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let before = std::fs::read(state.join("host.json")).unwrap();
    let token = rig.token().unwrap();
    let ended = enroll(&rig, &token, &rig.fingerprint, "host");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_one_line(&ended, "enrolment");
    assert_eq!(std::fs::read(state.join("host.json")).unwrap(), before);
    assert_eq!(
        enroll(&rig, &token, &rig.fingerprint, "second").code,
        Some(0)
    );
}

#[test]
fn a_machine_that_enrolled_anew_is_said_to_be_the_old_one_by_a_signature() {
    let rig = Rig::start().unwrap();
    let id = |name: &str| {
        let state = rig.enroll(name).unwrap();
        let host = std::fs::read(state.join("host.json")).unwrap();
        let host: serde_json::Value = serde_json::from_slice(&host).unwrap();
        host["host_id"].as_str().unwrap().to_owned()
    };
    let (old, new) = (id("old"), id("new"));
    let args = [
        "host", "replace", &old, "--by", &new, "--reason", "new disk",
    ];
    rig.ctl_prints(&args).unwrap();
    let shown = |id: &str| -> serde_json::Value {
        let shown = rig.ctl_prints(&["host", "show", id, "--json"]).unwrap();
        serde_json::from_str(&shown).unwrap()
    };
    assert_eq!(shown(&new)["predecessor"], old.as_str());
    assert_eq!(shown(&old)["successor"], new.as_str());
    assert_eq!(shown(&old)["revoked"], true);
    let audit = rig.ctl_prints(&["audit"]).unwrap();
    assert!(audit.contains("host.replace"), "{audit}");
    rig.ctl_prints(&["verify", "--host", &new]).unwrap();
}

#[test]
fn a_file_enrols_a_host_once_and_goes() {
    let rig = Rig::start().unwrap();
    let file = write_file(&rig, &rig.token().unwrap());
    let ended = enroll_by(&rig, &file, "host");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!file.exists());
    let first = std::fs::read(rig.path().join("host/host.json")).unwrap();
    let again = write_file(&rig, &rig.token().unwrap());
    let ended = enroll_by(&rig, &again, "host");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("enrolled already"),
        "{}",
        ended.stderr
    );
    assert!(!again.exists());
    assert_eq!(
        std::fs::read(rig.path().join("host/host.json")).unwrap(),
        first
    );
}

#[test]
fn a_file_whose_token_was_used_is_set_aside_and_leaves_no_state() {
    let rig = Rig::start().unwrap();
    let token = rig.token().unwrap();
    let used = enroll(&rig, &token, &rig.fingerprint, "first");
    assert_eq!(used.code, Some(0), "{}", used.stderr);
    let file = write_file(&rig, &token);
    let ended = enroll_by(&rig, &file, "second");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(!file.exists() && rig.path().join("enroll.toml.refused").exists());
    assert!(!rig.path().join("second").exists());
}

#[test]
fn who_does_not_hold_the_keys_it_names_is_refused() {
    let rig = Rig::start().unwrap();
    let token = EnrolmentToken::parse(&rig.token().unwrap()).unwrap();
    let (host, thief) = (Stranger::at(&rig), Stranger::at(&rig));
    for steal in [
        |own: &mut FinishRequest, other: FinishRequest| own.tls_signature = other.tls_signature,
        |own: &mut FinishRequest, other: FinishRequest| own.event_signature = other.event_signature,
        |own: &mut FinishRequest, _| own.event_signature.clear(),
    ] {
        let challenge = host.begin(host.beginning(&token)).unwrap();
        let mut proofs = host.proofs(&challenge, &token);
        steal(&mut proofs, thief.proofs(&challenge, &token));
        assert_reason(host.finish(proofs), "bad_proof");
    }
    assert_eq!(calls_refused(&rig, "bad_proof"), 3);
    host.enroll(&token.to_string()).unwrap();
}

#[test]
fn a_challenge_is_answered_once_and_a_host_comes_in_once() {
    let rig = Rig::start().unwrap();
    let tokens = [(); 2].map(|()| EnrolmentToken::parse(&rig.token().unwrap()).unwrap());
    let host = Stranger::at(&rig);
    let challenges =
        [&tokens[0], &tokens[1]].map(|token| host.begin(host.beginning(token)).unwrap());
    let proofs = host.proofs(&challenges[0], &tokens[0]);
    host.finish(proofs.clone()).unwrap();
    assert_reason(host.finish(proofs), "unknown_challenge");
    // The same key again, by a challenge that was open before and by a new one.
    assert_reason(
        host.finish(host.proofs(&challenges[1], &tokens[1])),
        "host_exists",
    );
    assert_reason(host.begin(host.beginning(&tokens[1])), "host_exists");
    Stranger::at(&rig).enroll(&tokens[1].to_string()).unwrap();
    assert_eq!(rig.hosts().unwrap().len(), 2);
}

#[test]
fn requests_and_keys_that_are_none_are_refused() {
    let rig = Rig::start().unwrap();
    let token = EnrolmentToken::parse(&rig.token().unwrap()).unwrap();
    let host = Stranger::at(&rig);
    let mut cut = host.beginning(&token);
    cut.csr.truncate(cut.csr.len() / 2);
    assert_reason(host.begin(cut), "bad_csr");
    let mut altered = host.beginning(&token);
    *altered.csr.last_mut().unwrap() ^= 1;
    assert_reason(host.begin(altered), "bad_csr");
    let mut weak = host.beginning(&token);
    weak.event_public_key = vec![0; 32];
    assert_reason(host.begin(weak), "bad_event_key");
    let mut large = host.beginning(&token);
    large.facts.get_or_insert_default().hostname = "x".repeat(16 << 10);
    assert_reason(host.begin(large), "too_large");
    host.enroll(&token.to_string()).unwrap();
}

/// The file that a fleet tool would leave.
fn write_file(rig: &Rig, token: &str) -> PathBuf {
    let file = rig.path().join("enroll.toml");
    let collector = &rig.addresses.agents;
    let text = format!("collector = \"{collector}\"\ntoken = \"{token}\"\n");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    file
}

fn enroll_by(rig: &Rig, file: &Path, state: &str) -> Ended {
    let (file, state) = (file.display().to_string(), rig.path().join(state));
    let state = state.display().to_string();
    let arguments = ["enroll", "--file", &file, "--state", &state];
    rig.programs.run("picket-agent", &arguments).unwrap()
}

fn assert_reason<T>(answer: Result<T, Status>, reason: &str) {
    let status = answer.err().unwrap();
    assert!(
        status.message().starts_with(&format!("{reason}: ")),
        "{status}"
    );
}

fn calls_refused(rig: &Rig, reason: &str) -> u64 {
    let name = format!("picket_calls_refused_total{{reason=\"{reason}\"}}");
    rig.figure(&name).unwrap()
}

/// Exit code 3, the reason, its counter, and nothing left behind.
fn assert_refused(rig: &Rig, token: &str, reason: &str) {
    let before = calls_refused(rig, reason);
    let hosts = rig.hosts().unwrap().len();
    let ended = enroll(rig, token, &rig.fingerprint, "refused");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_one_line(&ended, "token");
    assert_eq!(calls_refused(rig, reason), before + 1, "{}", ended.stderr);
    assert_eq!(rig.hosts().unwrap().len(), hosts);
    assert_nothing_left(&rig.path().join("refused"));
}

fn assert_one_line(ended: &Ended, about: &str) {
    let mut lines = ended.stderr.lines();
    let first = lines.next().unwrap_or_default();
    assert!(
        first.starts_with("picket-agent: ") && first.contains(about),
        "{}",
        ended.stderr
    );
    assert!(
        lines.all(|line| line.starts_with("hint: ")),
        "{}",
        ended.stderr
    );
}

fn assert_nothing_left(state: &Path) {
    let left = walk(state);
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn walk(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn enroll(rig: &Rig, token: &str, fingerprint: &str, state: &str) -> Ended {
    let state = rig.path().join(state).display().to_string();
    let collector = rig.addresses.agents.as_str();
    let args = [
        "enroll",
        "--collector",
        collector,
        "--token",
        token,
        "--fingerprint",
        fingerprint,
        "--state",
        &state,
    ];
    rig.programs.run("picket-agent", &args).unwrap()
}
