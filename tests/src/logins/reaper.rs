//! The parent of all that runs in the ground: what loses its own parent becomes a child of this one and is reaped, as a system's
//! first process does. When the play is over the rest is killed, by number, and nothing but children.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};

use crate::failure::Failure;

/// Runs this program again as the play, and reaps until it has ended and nothing is left. Whether it ended well.
pub(super) fn run() -> Result<bool, Failure> {
    let run = |source: std::io::Error| Failure::Run {
        what: "the play".to_owned(),
        source,
    };
    set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| run(error.into()))?;
    let mut play = Command::new(std::env::current_exe().map_err(run)?);
    play.args(std::env::args_os().skip(1)).env(super::PLAY, "1");
    let play = Pid::from_child(&play.spawn().map_err(run)?);
    let mut well = false;
    while let Ok(Some((pid, status))) = wait(WaitOptions::empty()) {
        if pid == play {
            well = status.exit_status() == Some(0);
            children().into_iter().for_each(end);
        } else if !is_child(play) {
            children().into_iter().for_each(end);
        }
    }
    Ok(well)
}

/// It may have ended by itself.
pub(super) fn end(pid: Pid) {
    let _gone = kill_process(pid, Signal::KILL);
}

fn is_child(pid: Pid) -> bool {
    children().contains(&pid)
}

fn children() -> Vec<Pid> {
    children_of("self")
}

/// The children of a process, by its number.
pub(super) fn children_of(process: &str) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let of_thread = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
    let text: String = threads.flatten().filter_map(of_thread).collect();
    text.split_whitespace()
        .filter_map(|number| Pid::from_raw(number.parse().ok()?))
        .collect()
}
