//! Directories that are in use, somebody else's, or open to others; and what a user without rights can do.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use picket_tests::programs::{Ended, Programs, finish};
use picket_tests::rig::{Rig, portable_agent};
use rustix::process::geteuid;

use super::{Mistake, fails};

#[test]
fn one_state_serves_one_agent_and_one_collector() {
    let rig = Rig::start().unwrap();
    let state = rig.enroll("host").unwrap();
    let mut agent = portable_agent(&rig, &state).unwrap();
    let state = state.display().to_string();
    let second = fails("picket-agent", 1).saying(&state).with_hint();
    second.on(&format!("run --state {state}"));
    agent.still_runs().unwrap();
    let data = rig.data().display().to_string();
    let second = fails("picket-collector", 1).saying(&data).with_hint();
    second.on(&format!("serve --data {data} {ANY_PORTS}"));
    let healthy = rig.get("/healthz").unwrap();
    assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
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
        return;
    };
    let (data, operator) = (rig.data(), rig.operator());
    for (program, code, verb, folder) in [
        ("picket-agent", 3, "run --state", &state),
        ("picket-agent", 3, "status --state", &state),
        ("picket-collector", 1, "serve --data", &data),
        ("picketctl", 3, "hosts --operator", &operator),
    ] {
        let folder = folder.display().to_string();
        let expected = fails(program, code).saying(&folder).with_hint();
        nobody.on(expected, &format!("{verb} {folder}"));
    }
}

#[test]
fn without_root_the_kernel_sensor_is_refused_and_the_portable_one_works() {
    let programs = Programs::find().unwrap();
    let Some(nobody) = Nobody::find(&programs) else {
        return;
    };
    let refused = fails("picket-agent", 1).saying("sensor").with_hint();
    nobody.on(refused, "watch --source ebpf --for 1s");
    let ended = nobody.run("picket-agent", "watch --json --for 1s");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("portable"),
        "it says what it uses: {}",
        ended.stderr
    );
    let last = ended.stdout.lines().last().unwrap_or_default();
    assert!(
        last.contains("\"kind\":\"loss\""),
        "the ledger comes last: {last}"
    );
}

/// Agent, collector and picketctl refuse the rig's folders.
fn check_folders(rig: &Rig, state: &Path, says: &str) {
    let (data, operator) = (rig.data(), rig.operator());
    for (program, code, verb, folder) in [
        ("picket-agent", 3, "run --state", state),
        ("picket-collector", 3, "serve --data", &data),
        ("picketctl", 3, "hosts --operator", &operator),
    ] {
        let expected = fails(program, code).saying(says).with_hint();
        expected.on(&format!("{verb} {}", folder.display()));
    }
}

/// The user who owns nothing, and copies of the programs that this user can reach.
struct Nobody {
    programs: tempfile::TempDir,
}

impl Nobody {
    fn find(programs: &Programs) -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root can run a program as somebody else");
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

    fn run(&self, program: &str, line: &str) -> Ended {
        let mut command = Command::new(self.programs.path().join(program));
        command.args(line.split_whitespace());
        command.uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
        command.current_dir("/").env_remove("PICKET_OPERATOR");
        finish(program, command).unwrap()
    }

    fn on(&self, mistake: Mistake<'_>, line: &str) {
        mistake.check(line, &self.run(mistake.program, line));
    }
}

const NOBODY: u32 = 65_534;
const ANY_PORTS: &str = "--agents 127.0.0.1:0 --operators 127.0.0.1:0 --metrics 127.0.0.1:0";
