//! What people get wrong: each mistake is one clear line, a hint where there is a next step, the exit code of the
//! contract, and nothing left half-made.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use picket_tests::programs::{Ended, Programs, finish};
use picket_tests::rig::{Rig, portable_agent};
use rustix::process::geteuid;

#[test]
fn wrong_flags_and_missing_commands_are_usage_errors() {
    let programs = Programs::find().unwrap();
    for (program, arguments) in [
        ("picket-agent", &[][..]),
        ("picket-agent", &["watch", "--jsn"]),
        ("picket-agent", &["watch", "--for", "soon"]),
        ("picket-agent", &["watch", "--source", "crystal-ball"]),
        ("picket-agent", &["enroll"]),
        ("picket-agent", &["dance"]),
        ("picket-collector", &[]),
        ("picket-collector", &["serve"]),
        (
            "picket-collector",
            &["serve", "--data", "x", "--agents", "nowhere"],
        ),
        ("picket-collector", &["init", "--data", "x"]),
        ("picket-collector", &["dance"]),
        ("picketctl", &[]),
        ("picketctl", &["events", "--limit", "none"]),
        ("picketctl", &["events", "--kind", "magic"]),
        ("picketctl", &["events", "--since", "yore"]),
        ("picketctl", &["contain", "kill"]),
        ("picketctl", &["contain", "hug", "1", "--host", "h"]),
        ("picketctl", &["dance"]),
    ] {
        let ended = programs.run(program, arguments).unwrap();
        Expected {
            program,
            code: 2,
            says: "",
            hint: false,
        }
        .check(arguments, &ended);
    }
}

#[test]
fn help_and_version_are_answers_with_an_example() {
    let programs = Programs::find().unwrap();
    for (program, arguments) in [
        ("picket-agent", &["--help"][..]),
        ("picket-agent", &["enroll", "--help"]),
        ("picket-agent", &["watch", "--help"]),
        ("picket-collector", &["--help"]),
        ("picket-collector", &["init", "--help"]),
        ("picket-collector", &["serve", "--help"]),
        ("picketctl", &["--help"]),
        ("picketctl", &["events", "--help"]),
        ("picketctl", &["contain", "--help"]),
    ] {
        let ended = programs.run(program, arguments).unwrap();
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{program} {arguments:?}"
        );
        assert!(ended.stdout.contains("Example"), "{program} {arguments:?}");
        assert!(ended.stdout.contains(program), "{program} {arguments:?}");
    }
    for program in ["picket-agent", "picket-collector", "picketctl"] {
        let ended = programs.run(program, &["--version"]).unwrap();
        assert!(ended.stdout.starts_with(program), "{}", ended.stdout);
        assert_eq!(ended.code, Some(0));
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing").display().to_string();
    let new = dir.path().join("new").display().to_string();
    let says = missing.as_str();
    check(
        "picket-agent",
        &["run", "--config", says, "--state", says],
        1,
        says,
        false,
    );
    check("picket-agent", &["run", "--state", says], 1, says, true);
    check("picket-agent", &["status", "--state", says], 4, says, true);
    check("picket-agent", &["replay", says], 1, says, false);
    check("picket-agent", &["rules", "check", says], 1, says, false);
    check(
        "picket-collector",
        &["serve", "--data", says],
        1,
        says,
        true,
    );
    check(
        "picket-collector",
        &["serve", "--data", says, "--config", says],
        1,
        says,
        true,
    );
    check("picket-collector", &["check-config", says], 1, says, false);
    let init = [
        "init",
        "--data",
        &new,
        "--name",
        "localhost",
        "--operator",
        says,
    ];
    check("picket-collector", &init, 1, says, true);
    check("picketctl", &["--operator", says, "hosts"], 1, says, true);
    let finish = [
        "operator",
        "finish",
        says,
        "--collector",
        "127.0.0.1:1",
        "--fingerprint",
        ZEROS,
    ];
    check("picketctl", &finish, 1, says, true);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn without_an_operators_directory_picketctl_says_how_to_name_one() {
    let programs = Programs::find().unwrap();
    let mut command = Command::new(programs.path("picketctl").unwrap());
    command
        .arg("hosts")
        .env_remove("PICKET_OPERATOR")
        .stdin(Stdio::null());
    let ended = finish("picketctl hosts", command).unwrap();
    Expected {
        program: "picketctl",
        code: 2,
        says: "operator",
        hint: true,
    }
    .check(&["hosts"], &ended);
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.toml");
    let path = file.display().to_string();
    for (text, says) in [("agnets = 1\n", "agnets"), ("= 7\n", "line 1")] {
        fs::write(&file, text).unwrap();
        check("picket-collector", &["check-config", &path], 1, says, false);
        check(
            "picket-agent",
            &["doctor", "--config", &path],
            1,
            says,
            false,
        );
    }
}

#[test]
fn tokens_and_fingerprints_of_the_wrong_form_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state").display().to_string();
    let token = format!(
        "pt1-{}-{}-{}",
        "0".repeat(12),
        "0".repeat(32),
        "0".repeat(64)
    );
    for (token, fingerprint) in [("pt1-short", ZEROS), (token.as_str(), "md5:00")] {
        let enroll = [
            "enroll",
            "--collector",
            "127.0.0.1:1",
            "--token",
            token,
            "--fingerprint",
            fingerprint,
            "--state",
            &state,
        ];
        check("picket-agent", &enroll, 2, "", false);
        assert!(!Path::new(&state).exists());
    }
}

#[test]
fn a_collector_that_is_not_there_is_not_reachable() {
    let mut rig = Rig::start().unwrap();
    let token = rig.token().unwrap();
    rig.crash_collector();
    let operators = rig.addresses.operators.clone();
    for arguments in [&["hosts"][..], &["events"], &["verify"], &["token", "list"]] {
        let ended = rig.ctl(arguments).unwrap();
        let expected = Expected {
            program: "picketctl",
            code: 4,
            says: &operators,
            hint: true,
        };
        expected.check(arguments, &ended);
    }
    let state = rig.path().join("state");
    let state_text = state.display().to_string();
    let agents = rig.addresses.agents.as_str();
    let fingerprint = rig.fingerprint.as_str();
    let enroll = [
        "enroll",
        "--collector",
        agents,
        "--token",
        &token,
        "--fingerprint",
        fingerprint,
        "--state",
        &state_text,
    ];
    check("picket-agent", &enroll, 4, agents, true);
    assert!(!state.exists(), "nothing half-made");
    for address in ["nowhere", "127.0.0.1:port", "no.such.host.invalid:7443"] {
        let mut enroll = enroll;
        enroll[2] = address;
        let code = if address.ends_with("7443") { 4 } else { 2 };
        check("picket-agent", &enroll, code, address, false);
    }
}

#[test]
fn a_search_that_makes_no_sense_is_a_usage_error_with_its_place() {
    let rig = Rig::start().unwrap();
    for filter in ["process.exe =", "colour = 'red'", "(kind = 'exec'"] {
        let arguments = ["events", "--where", filter];
        let ended = rig.ctl(&arguments).unwrap();
        Expected {
            program: "picketctl",
            code: 2,
            says: "",
            hint: false,
        }
        .check(&arguments, &ended);
    }
    for (arguments, code) in [
        (&["host", "show", "nobody"][..], 1),
        (&["host", "revoke", "nobody"], 1),
        (&["tree", "nobody", "00000000000000000000000000000000"], 1),
        (&["contain", "kill", "4242", "--host", "nobody"], 1),
        (&["command", "show", "ab"], 1),
        (&["token", "revoke", "nothing"], 1),
    ] {
        let ended = rig.ctl(arguments).unwrap();
        let expected = Expected {
            program: "picketctl",
            code,
            says: "",
            hint: false,
        };
        expected.check(arguments, &ended);
    }
}

#[test]
fn a_port_in_use_is_named() {
    let mut rig = Rig::start().unwrap();
    rig.crash_collector();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = rig.data().display().to_string();
    for port in ["--agents", "--operators", "--metrics"] {
        let mut serve = vec!["serve", "--data", &data];
        for other in ["--agents", "--operators", "--metrics"] {
            let at = if other == port {
                address.as_str()
            } else {
                "127.0.0.1:0"
            };
            serve.extend([other, at]);
        }
        check("picket-collector", &serve, 1, &address, true);
    }
}

#[test]
fn an_existing_collector_is_not_overwritten() {
    let rig = Rig::start().unwrap();
    let before = fingerprints(&rig.data());
    let request = rig.operator().join("request.pem").display().to_string();
    let data = rig.data().display().to_string();
    let init = [
        "init",
        "--data",
        &data,
        "--name",
        "localhost",
        "--operator",
        &request,
    ];
    check("picket-collector", &init, 1, "", false);
    fs::remove_file(rig.operator().join("certificate.pem")).unwrap();
    check("picket-collector", &init, 1, &data, true);
    assert_eq!(fingerprints(&rig.data()), before);
    assert!(
        !rig.operator().join("certificate.pem").exists(),
        "nothing half-made"
    );
    let operator = rig.operator().display().to_string();
    let again = ["operator", "init", "--name", "alice", "--out", &operator];
    check("picketctl", &again, 1, &operator, true);
}

#[test]
fn a_request_that_is_none_makes_no_collector() {
    let dir = tempfile::tempdir().unwrap();
    let request = dir.path().join("request.pem");
    fs::write(&request, "-----BEGIN PICKET OPERATOR REQUEST-----\nAAAA\n").unwrap();
    let request = request.display().to_string();
    let data = dir.path().join("data");
    let data_text = data.display().to_string();
    let init = [
        "init",
        "--data",
        &data_text,
        "--name",
        "localhost",
        "--operator",
        &request,
    ];
    check("picket-collector", &init, 1, &request, false);
    assert!(!data.exists(), "nothing half-made");
}

#[test]
fn one_state_serves_one_agent_and_one_collector() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let mut agent = portable_agent(&rig, &state).unwrap();
    let state = state.display().to_string();
    check("picket-agent", &["run", "--state", &state], 1, &state, true);
    agent.still_runs().unwrap();
    let data = rig.data().display().to_string();
    let any = "127.0.0.1:0";
    let serve = [
        "serve",
        "--data",
        &data,
        "--agents",
        any,
        "--operators",
        any,
        "--metrics",
        any,
    ];
    check("picket-collector", &serve, 1, &data, false);
    rig.get("/healthz").unwrap();
}

#[test]
fn a_wrong_fingerprint_does_not_finish_an_operator() {
    let rig = Rig::start().unwrap();
    let folder = rig.operator();
    for pinned in ["ca.der", "trust-root.bin", "collector"] {
        fs::remove_file(folder.join(pinned)).unwrap();
    }
    let folder_text = folder.display().to_string();
    let collector = rig.addresses.operators.as_str();
    let finish = [
        "operator",
        "finish",
        &folder_text,
        "--collector",
        collector,
        "--fingerprint",
        ZEROS,
    ];
    check("picketctl", &finish, 5, "fingerprint", false);
    assert!(!folder.join("ca.der").exists(), "nothing half-made");
    let mut finish = finish;
    finish[6] = &rig.fingerprint;
    assert_eq!(
        rig.programs.run("picketctl", &finish).unwrap().code,
        Some(0)
    );
}

#[test]
fn a_directory_that_others_can_write_is_not_used() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    for folder in [&state, &rig.operator(), &rig.data()] {
        fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    }
    check_folders(&rig, &state, "0777");
}

#[test]
fn a_foreign_directory_is_not_used() {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can give a directory away");
        return;
    }
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    for folder in [&state, &rig.operator(), &rig.data()] {
        chown(folder, Some(NOBODY), None).unwrap();
    }
    check_folders(&rig, &state, "65534");
}

#[test]
fn a_directory_that_cannot_be_read_is_named() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let Some(nobody) = Nobody::find(&rig.programs) else {
        eprintln!("SKIPPED: only root can run a program as somebody else");
        return;
    };
    let (state, data) = (
        state.display().to_string(),
        rig.data().display().to_string(),
    );
    let operator = rig.operator().display().to_string();
    nobody.check("picket-agent", &["run", "--state", &state], 1, &state);
    nobody.check("picket-collector", &["serve", "--data", &data], 1, &data);
    nobody.check(
        "picketctl",
        &["--operator", &operator, "hosts"],
        1,
        &operator,
    );
}

#[test]
fn without_root_the_kernel_sensor_is_refused_and_the_portable_one_works() {
    let programs = Programs::find().unwrap();
    let Some(nobody) = Nobody::find(&programs) else {
        eprintln!("SKIPPED: only root can run a program as somebody else");
        return;
    };
    nobody.check(
        "picket-agent",
        &["watch", "--source", "ebpf", "--for", "1s"],
        1,
        "",
    );
    let ended = nobody.run("picket-agent", &["watch", "--json", "--for", "1s"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("\"kind\":\"loss\""),
        "the ledger is printed: {}",
        ended.stdout
    );
    assert!(
        ended.stderr.contains("portable"),
        "it says what it uses: {}",
        ended.stderr
    );
}

/// Agent, collector and picketctl on the rig's folders; the rig's own collector is stopped by its end.
fn check_folders(rig: &Rig, state: &Path, says: &str) {
    let (state, data) = (
        state.display().to_string(),
        rig.data().display().to_string(),
    );
    check("picket-agent", &["run", "--state", &state], 1, says, true);
    check(
        "picket-collector",
        &["serve", "--data", &data],
        1,
        says,
        true,
    );
    let operator = rig.operator().display().to_string();
    check(
        "picketctl",
        &["--operator", &operator, "hosts"],
        3,
        says,
        true,
    );
}

fn check(program: &str, arguments: &[&str], code: i32, says: &str, hint: bool) {
    let ended = Programs::find().unwrap().run(program, arguments).unwrap();
    Expected {
        program,
        code,
        says,
        hint,
    }
    .check(arguments, &ended);
}

/// How a program must end that was used wrongly.
struct Expected<'a> {
    program: &'a str,
    code: i32,
    says: &'a str,
    hint: bool,
}

impl Expected<'_> {
    fn check(&self, arguments: &[&str], ended: &Ended) {
        let Self {
            program,
            code,
            says,
            hint,
        } = self;
        let what = format!("{program} {}: {ended:?}", arguments.join(" "));
        assert_eq!(ended.code, Some(*code), "{what}");
        assert_eq!(ended.stdout, "", "{what}");
        let mut lines = ended.stderr.lines();
        let first = lines.next().unwrap_or_default();
        assert!(first.starts_with(&format!("{program}: ")), "{what}");
        assert!(
            ended.stderr.contains(says),
            "it should say `{says}`: {what}"
        );
        let hints: Vec<_> = lines.collect();
        assert!(
            hints.len() <= 1 && hints.iter().all(|line| line.starts_with("hint: ")),
            "{what}"
        );
        assert!(!hint || hints.len() == 1, "a hint is missing: {what}");
    }
}

/// The user who owns nothing, and copies of the programs that this user can reach.
struct Nobody {
    programs: tempfile::TempDir,
}

impl Nobody {
    fn find(programs: &Programs) -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["picket-agent", "picket-collector", "picketctl"] {
            let copy = folder.path().join(name);
            fs::copy(programs.path(name).unwrap(), &copy).unwrap();
        }
        Some(Self { programs: folder })
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Ended {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(self.programs.path().join(program));
        command
            .args(arguments)
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(Stdio::null());
        command.current_dir("/").env_remove("PICKET_OPERATOR");
        finish(program, command).unwrap()
    }

    fn check(&self, program: &str, arguments: &[&str], code: i32, says: &str) {
        let ended = self.run(program, arguments);
        Expected {
            program,
            code,
            says,
            hint: true,
        }
        .check(arguments, &ended);
    }
}

fn fingerprints(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let names = [
        "ca.pem",
        "ca.key",
        "server.pem",
        "server.key",
        "trust-root.bin",
    ];
    let files = names.iter().map(|name| folder.join(name));
    files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

const NOBODY: u32 = 65_534;
const ZEROS: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
