//! The agent that watches one folder with the kernel sensor and prints what it sees.

use std::path::Path;
use std::process::Command;

use crate::failure::Failure;
use crate::programs::{Programs, finish};
use crate::rig::{PATIENCE, write_file};
use crate::service::Service;
use crate::wait;

/// Starts `watch --json` on this folder with these further settings, and waits until it sees. `Err` in the result: why
/// there is no kernel sensor on this host.
pub fn folder(folder: &Path, settings: &str) -> Result<Result<Service, String>, Failure> {
    folders(folder, &[folder], settings)
}

/// As [`folder`], with what is watched apart from where settings and log are.
pub fn folders(
    home: &Path,
    watched: &[&Path],
    settings: &str,
) -> Result<Result<Service, String>, Failure> {
    let agent = Command::new(Programs::find()?.path("picket-agent")?);
    start(home, watched, settings, agent)
}

/// As [`folders`], in a mount namespace of its own where this script was run before.
pub fn folders_of_its_own(
    home: &Path,
    watched: &[&Path],
    script: &str,
) -> Result<Result<Service, String>, Failure> {
    let mut agent = Command::new("unshare");
    let script = format!("set -e; {script}; exec \"$0\" \"$@\"");
    agent.args(["--mount", "sh", "-c", &script]);
    agent.arg(Programs::find()?.path("picket-agent")?);
    start(home, watched, "", agent)
}

fn start(
    home: &Path,
    watched: &[&Path],
    settings: &str,
    mut command: Command,
) -> Result<Result<Service, String>, Failure> {
    let file = home.join("agent.toml");
    let quoted = watched.iter().map(|path| format!("\"{}\"", path.display()));
    let watched = quoted.collect::<Vec<_>>().join(", ");
    write_file(&file, format!("watch_paths = [{watched}]\n{settings}"))?;
    command.args(["watch", "--json", "--source", "ebpf", "--config"]);
    command.arg(&file);
    let mut watch = Service::start("picket-agent watch", command, &home.join("log"))?;
    let sees = wait::until("the first event", PATIENCE, || {
        shell(home, ":")?;
        let sees = !watch.lines().is_empty();
        Ok((sees || watch.still_runs().is_err()).then_some(sees))
    })?;
    Ok(if sees { Ok(watch) } else { Err(watch.said()) })
}

/// A shell does this in the folder, and must succeed.
pub fn shell(folder: &Path, script: &str) -> Result<(), Failure> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).current_dir(folder);
    finish("sh", command)?.success(script).map(drop)
}
