//! How long a program lives that a signed rule and policy end by themselves, with the real agent and its kernel sensor.
//!
//! The time begins before the program is started and ends when it was reaped: seen, judged, decided, made durable,
//! killed, dead.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Figure, failed, time};
use crate::failure::Failure;
use crate::rig::{PATIENCE, Rig, write_file};
use crate::wait;

const RULE: &str = "title: The mark
id: 0c0b9a52-2d55-4c7e-8f0a-6f1c6a3d2b11
status: test
logsource: {product: linux, category: process_creation}
detection:
    selection: {CommandLine|contains: MARK}
    condition: selection
level: high
";
const POLICY: &str = "irreversible = true
[budgets]
kill_per_hour = 100000
[[entry]]
name = \"marked\"
mode = \"act\"
action = \"kill\"
rules = [\"0c0b9a52-2d55-4c7e-8f0a-6f1c6a3d2b11\"]
";

/// Starts so many programs, one after the other.
pub(super) fn measure(trials: usize) -> Result<Vec<Figure>, Failure> {
    let rig = Rig::start()?;
    let state = rig.enroll("host")?;
    let config = rig.path().join("agent.toml");
    write_file(&config, "source = \"ebpf\"\n")?;
    let _agent = rig.agent(&state, Some(&config))?;
    wait::until("the host is connected", PATIENCE, || {
        let hosts = rig.ctl_json(&["hosts"])?;
        Ok(hosts
            .iter()
            .any(|host| host["connected"] == true)
            .then_some(()))
    })?;
    let mark = format!("mark{}x", std::process::id());
    let files = [
        ("rules", "rules.yml", RULE.replace("MARK", &mark)),
        ("policy", "policy.toml", POLICY.to_owned()),
    ];
    for (kind, name, text) in files {
        let path = rig.path().join(name);
        write_file(&path, text)?;
        let path = path.display().to_string();
        rig.ctl_prints(&["content", "push", kind, &path, "--yes", "--settle", "0s"])?;
    }
    let mut times = Vec::new();
    for _ in 0..trials {
        times.push(lives(&mark)?);
    }
    let goal = ("<= 1000", 1_000.0);
    Ok(vec![time("policy_kill_p99_ms", times, goal, "", trials)])
}

/// How long one program lives.
fn lives(mark: &str) -> Result<Duration, Failure> {
    let broken = |error: std::io::Error| failed(&error.to_string());
    let began = Instant::now();
    let mut program = Command::new("/bin/sh")
        .args(["-c", &format!(": {mark}; read -r word")])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(broken)?;
    // It waits for a word that nobody says.
    let _held = program.stdin.take();
    let ended = program.wait().map_err(broken)?;
    if ended.success() {
        return Err(failed("a program that the policy names lived to its end"));
    }
    Ok(began.elapsed())
}
