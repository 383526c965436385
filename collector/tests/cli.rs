//! The program as people and scripts meet it: one line, a hint, the right exit code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use picket_event::request::OperatorRequest;
use picket_seal::SigningKey;
use rcgen::{CertificateParams, KeyPair};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_picket-collector"))
}

/// How it ended: exit code, stdout, stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = program().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn request(folder: &Path, name: &str) -> PathBuf {
    let folder = folder.join(name);
    fs::create_dir(&folder).unwrap();
    let csr = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap());
    let csr = csr.unwrap().der().to_vec();
    let request = OperatorRequest::prove(name, csr, &SigningKey::generate().unwrap()).unwrap();
    fs::write(folder.join("request.pem"), request.to_pem()).unwrap();
    folder.join("request.pem")
}

fn init(folder: &Path, request: &Path) -> (i32, String, String) {
    let data = folder.join("data");
    let (data, request) = (data.to_str().unwrap(), request.to_str().unwrap());
    run(&[
        "init",
        "--data",
        data,
        "--name",
        "localhost,127.0.0.1",
        "--operator",
        request,
    ])
}

/// A folder with a collector in `data`.
fn made() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let request = request(folder.path(), "alice");
    let (code, out, err) = init(folder.path(), &request);
    assert_eq!(code, 0, "{out}{err}");
    folder
}

/// A running service; killed when it is dropped.
struct Serving(Child, String);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

const PORTS: [&str; 6] = [
    "--agents",
    "127.0.0.1:0",
    "--operators",
    "127.0.0.1:0",
    "--metrics",
    "127.0.0.1:0",
];

fn serve(folder: &Path) -> Serving {
    let mut command = program();
    command
        .arg("serve")
        .arg("--data")
        .arg(folder.join("data"))
        .args(PORTS);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    Serving(child, line)
}

fn address<'a>(line: &'a str, what: &str) -> &'a str {
    let found = line
        .split_whitespace()
        .find_map(|part| part.strip_prefix(what)?.strip_prefix('='));
    found.unwrap()
}

#[test]
fn init_prints_the_fingerprint_and_writes_certificates_and_warns_of_one_operator() {
    let folder = tempfile::tempdir().unwrap();
    let request = request(folder.path(), "alice");
    let (code, out, _) = init(folder.path(), &request);
    assert_eq!(code, 0);
    let fingerprint = out
        .lines()
        .find_map(|line| line.strip_prefix("fingerprint: sha256:"));
    assert_eq!(fingerprint.unwrap().len(), 64);
    assert!(out.contains("NO SECOND APPROVER"), "{out}");
    let chain = fs::read_to_string(folder.path().join("alice/certificate.pem")).unwrap();
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    for secret in ["ca.key", "server.key", "collector.db"] {
        let mode = fs::metadata(folder.path().join("data").join(secret))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let mode = fs::metadata(folder.path().join("data"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn init_with_json_prints_one_object() {
    let folder = tempfile::tempdir().unwrap();
    let (alice, bob) = (
        request(folder.path(), "alice"),
        request(folder.path(), "bob"),
    );
    let data = folder.path().join("data");
    let operators = [
        "--operator",
        alice.to_str().unwrap(),
        "--operator",
        bob.to_str().unwrap(),
    ];
    let first = [
        "init",
        "--json",
        "--data",
        data.to_str().unwrap(),
        "--name",
        "x.example",
    ];
    let (code, out, _) = run(&[first.as_slice(), &operators].concat());
    assert_eq!((code, out.lines().count()), (0, 1));
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(
        object["fingerprint"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(object["second_approver"], true);
    assert_eq!(object["operators"][1]["name"], "bob");
}

#[test]
fn init_refuses_to_overwrite() {
    let folder = made();
    let before = fs::read(folder.path().join("data/ca.pem")).unwrap();
    let (code, _, err) = init(folder.path(), &folder.path().join("alice/request.pem"));
    assert_eq!(code, 1);
    assert!(err.contains("certificate.pem` exists already"), "{err}");
    let bob = request(folder.path(), "bob");
    let (code, _, err) = init(folder.path(), &bob);
    assert_eq!(code, 1);
    assert!(
        err.contains("already holds a collector") && err.contains("\nhint: "),
        "{err}"
    );
    assert_eq!(fs::read(folder.path().join("data/ca.pem")).unwrap(), before);
    assert!(!folder.path().join("bob/certificate.pem").exists());
}

#[test]
fn init_says_what_is_wrong_with_what_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let alice = request(folder.path(), "alice");
    let (alice, data) = (alice.to_str().unwrap(), folder.path().join("data"));
    let init = ["init", "--data", data.to_str().unwrap()];
    let cases: [(&[&str], i32, &str); 6] = [
        (&[], 2, "--name"),
        (&["--name", "x.example"], 2, "--operator"),
        (
            &["--name", "x.example", "--operator", "/nowhere/request.pem"],
            1,
            "no such file",
        ),
        (
            &["--name", "x.example", "--operator", "/etc/hostname"],
            1,
            "is not an operator's request",
        ),
        (
            &["--name", "not a name", "--operator", alice],
            2,
            "neither a DNS name nor an address",
        ),
        (
            &[
                "--name",
                "x.example",
                "--operator",
                alice,
                "--operator",
                alice,
            ],
            2,
            "two operators called",
        ),
    ];
    for (rest, expected, said) in cases {
        let (code, _, err) = run(&[init.as_slice(), rest].concat());
        assert_eq!(code, expected, "{err}");
        assert!(err.contains(said), "{err}");
        assert!(err.lines().count() <= 2, "{err}");
        assert!(!data.exists(), "{err}");
    }
}

#[test]
fn serve_says_what_is_wrong_with_a_data_directory() {
    let folder = made();
    let nothing = folder.path().join("nothing");
    let (code, _, err) = run(&["serve", "--data", nothing.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(
        err.contains("holds no collector\nhint: make one with"),
        "{err}"
    );

    let data = folder.path().join("data");
    let serve = [
        ["serve", "--data", data.to_str().unwrap()].as_slice(),
        &PORTS,
    ]
    .concat();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    let (code, _, err) = run(&serve);
    assert_eq!(code, 3);
    assert!(
        err.contains("can be written by others (mode 0777)\nhint: chmod go-w "),
        "{err}"
    );
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();

    fs::create_dir(data.join("alice")).unwrap();
    for key in [
        SigningKey::generate().unwrap().to_pkcs8().to_vec(),
        KeyPair::generate().unwrap().serialize_pem().into_bytes(),
        b"PICKETK1 and so on".to_vec(),
    ] {
        fs::write(data.join("alice/signing.key"), key).unwrap();
        let (code, _, err) = run(&serve);
        assert_eq!(code, 3);
        assert!(
            err.contains("alice/signing.key` is a private key that is not the collector's"),
            "{err}"
        );
    }
    fs::remove_dir_all(data.join("alice")).unwrap();
    fs::write(data.join("collector.db"), b"no database").unwrap();
    let (code, _, err) = run(&serve);
    assert_eq!(code, 1);
    assert!(err.contains("failed to open the database"), "{err}");
}

#[test]
fn a_second_serve_on_one_directory_and_a_port_in_use_are_refused() {
    let folder = made();
    let serving = serve(folder.path());
    assert!(
        serving.1.starts_with("listening agents=127.0.0.1:"),
        "{}",
        serving.1
    );
    let data = folder.path().join("data");
    let (code, _, err) = run(&[
        ["serve", "--data", data.to_str().unwrap()].as_slice(),
        &PORTS,
    ]
    .concat());
    assert_eq!(code, 1);
    assert!(
        err.contains("another picket-collector serves from"),
        "{err}"
    );

    let other = made();
    let data = other.path().join("data");
    let taken = address(&serving.1, "agents");
    let (code, _, err) = run(&["serve", "--data", data.to_str().unwrap(), "--agents", taken]);
    assert_eq!(code, 1);
    let line = format!("failed to listen on {taken} for agents: address already in use\nhint: ");
    assert!(err.contains(&line), "{err}");
}

#[test]
fn a_kill_leaves_no_lock_and_a_stop_ends_well() {
    let folder = made();
    drop(serve(folder.path()));
    let mut serving = serve(folder.path());
    let pid = serving.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(serving.0.wait().unwrap().code(), Some(0));
}

#[test]
fn check_config_says_where_a_file_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("collector.toml");
    fs::write(&file, "agents = '0.0.0.0:7443'\n").unwrap();
    let path = file.to_str().unwrap();
    assert_eq!(run(&["check-config", path]).0, 0);
    fs::write(&file, "agents = '0.0.0.0:7443'\nagentz = 1\n").unwrap();
    let (code, _, err) = run(&["check-config", path]);
    assert_eq!(code, 1);
    assert!(err.contains("line 2: unknown field `agentz`"), "{err}");
    let (code, _, err) = run(&["check-config", "/nowhere.toml"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("failed to read `/nowhere.toml`: no such file or directory"),
        "{err}"
    );
}
