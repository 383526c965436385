//! What the program answers when it is asked wrongly: one line, a hint, the exit code of the contract.

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use picket_event::request::OperatorRequest;
use rcgen::{CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair, SanType};

fn picketctl(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picketctl"));
    command.env_remove("PICKET_OPERATOR").args(args);
    command.output().expect("the program can be started")
}

/// Exit code and stderr; nothing may be on stdout.
fn refusal(args: &[&str]) -> (i32, String) {
    let output = picketctl(args);
    assert!(output.stdout.is_empty(), "{args:?} wrote to stdout");
    let stderr = String::from_utf8(output.stderr).expect("messages are text");
    (
        output.status.code().expect("the program ended by itself"),
        stderr,
    )
}

fn made(base: &Path) -> PathBuf {
    let dir = base.join("alice");
    let text = dir.to_str().expect("a path of this test");
    let output = picketctl(&["operator", "init", "--name", "alice", "--out", text]);
    assert!(output.status.success(), "{output:?}");
    dir
}

fn finish(dir: &Path, address: &str) -> (i32, String) {
    let dir = dir.to_str().expect("a path of this test");
    let fingerprint = format!("sha256:{}", "00".repeat(32));
    let args = [
        "operator",
        "finish",
        dir,
        "--collector",
        address,
        "--fingerprint",
        &fingerprint,
    ];
    refusal(&args)
}

#[test]
fn wrong_flags_are_one_line_and_exit_2() {
    for args in [
        &["events", "--since", "yesterday"][..],
        &["events", "--kind", "exec,nonsense"],
        &["events", "--ocsf"],
        &["verify", "--bundle", "x"],
        &["contain", "isolate", "1", "--host", "h"],
        &["contain", "kill", "1", "--host", "h", "--ttl", "25h"],
        &["token", "create", "--uses", "0"],
        &["hosts"],
        &["nonsense"],
        &[],
    ] {
        let (exit, text) = refusal(args);
        assert_eq!(exit, 2, "{args:?}: {text}");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("picketctl: "), "{text}");
        assert!(lines.len() == 2 && lines[1].starts_with("hint: "), "{text}");
    }
}

#[test]
fn help_and_version_are_answers() {
    for args in [&["--help"][..], &["contain", "--help"], &["--version"]] {
        let output = picketctl(args);
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{args:?}"
        );
    }
}

#[test]
fn keys_are_not_overwritten() {
    let base = tempfile::tempdir().unwrap();
    let dir = made(base.path());
    let before = fs::read(dir.join("signing.key")).unwrap();
    let args = [
        "operator",
        "init",
        "--name",
        "bob",
        "--out",
        dir.to_str().unwrap(),
    ];
    let (exit, text) = refusal(&args);
    assert_eq!(exit, 1, "{text}");
    assert_eq!(fs::read(dir.join("signing.key")).unwrap(), before);
}

#[test]
fn an_unencrypted_key_is_said_to_be_so() {
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("alice");
    let output = picketctl(&[
        "operator",
        "init",
        "--name",
        "alice",
        "--out",
        dir.to_str().unwrap(),
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.contains("the signing key is stored unencrypted"),
        "{stderr}"
    );
    for (name, mode) in [("", 0o700), ("signing.key", 0o600), ("tls.key", 0o600)] {
        let meta = fs::metadata(dir.join(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, mode, "{name}");
    }
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let dir = made(base.path());
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let (exit, text) = refusal(&["hosts", "--operator", dir.to_str().unwrap()]);
    assert_eq!(exit, 3, "{text}");
    assert!(
        text.contains("can be written by others") && text.contains("hint: chmod"),
        "{text}"
    );
}

#[test]
fn an_operator_without_a_certificate_is_told_what_to_do() {
    let base = tempfile::tempdir().unwrap();
    let dir = made(base.path());
    let (exit, text) = refusal(&["hosts", "--operator", dir.to_str().unwrap()]);
    assert_eq!(exit, 1, "{text}");
    assert!(
        text.contains("certificate.pem") && text.contains("hint: give "),
        "{text}"
    );
    assert_eq!(finish(&dir, "127.0.0.1:1").0, 1);
}

/// As a collector's owner would, but by a CA that nobody pinned.
fn certify(dir: &Path, name: &str, last_year: i32) -> Result<(), Box<dyn Error>> {
    let request = OperatorRequest::from_pem(&fs::read_to_string(dir.join("request.pem"))?)?;
    let params = CertificateParams::default();
    let issuer = Issuer::from_params(&params, KeyPair::generate()?);
    let mut csr = CertificateSigningRequestParams::from_der(&request.csr_der.into())?;
    let uri = format!("picket://operator/{name}").try_into()?;
    csr.params.subject_alt_names = vec![SanType::URI(uri)];
    csr.params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
    fs::write(dir.join("certificate.pem"), csr.signed_by(&issuer)?.pem())?;
    Ok(())
}

#[test]
fn an_expired_or_foreign_certificate_is_a_failed_verification() {
    let base = tempfile::tempdir().unwrap();
    let dir = made(base.path());
    certify(&dir, "alice", 2021).unwrap();
    let (exit, text) = finish(&dir, "127.0.0.1:1");
    assert_eq!(exit, 5, "{text}");
    assert!(text.contains("expired at 2021-01-01"), "{text}");
    certify(&dir, "bob", 2120).unwrap();
    let (exit, text) = finish(&dir, "127.0.0.1:1");
    assert_eq!(exit, 5, "{text}");
    assert!(
        text.contains("is for bob, not for operator alice"),
        "{text}"
    );
}

#[test]
fn a_collector_that_is_not_there_is_exit_4() {
    let base = tempfile::tempdir().unwrap();
    let dir = made(base.path());
    certify(&dir, "alice", 2120).unwrap();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (exit, text) = finish(&dir, &free.to_string());
    assert_eq!(exit, 4, "{text}");
    assert!(
        text.contains("connection refused") && text.contains("hint: "),
        "{text}"
    );
    let (exit, text) = finish(&dir, "not-an-address");
    assert_eq!(exit, 2, "{text}");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let dir = made(base.path());
    certify(&dir, "alice", 2120).unwrap();
    fs::set_permissions(dir.join("tls.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (exit, text) = finish(&dir, "127.0.0.1:1");
    assert_eq!(exit, 3, "{text}");
    assert!(text.contains("can be read by others"), "{text}");
}
