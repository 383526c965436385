//! Processes that a test makes to be contained, and the count of them that `/proc` gives. They end with the test.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use picket_event::{BootId, ProcessUid};
use picket_tests::wait;
use rustix::process::{Pid, Signal, kill_process};

/// A process of the test, with whatever it starts.
pub(crate) struct Prey {
    mark: String,
    child: Child,
}

impl Prey {
    /// One process that only waits.
    pub(crate) fn waiting(name: &str) -> Self {
        Self::running(name, Command::new("/bin/sleep").arg("300"))
    }

    /// One process that waits and has these words in its command line.
    pub(crate) fn saying(name: &str, words: &str) -> Self {
        let script = format!(": {words}; while :; do sleep 0.1; done");
        Self::running(name, Command::new("/bin/sh").args(["-c", &script]))
    }

    /// Whether one that says words is stopped or frozen: it gets no processor any more.
    pub(crate) fn stands_still(&self) -> bool {
        let turns = || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
            let status = status.unwrap_or_default();
            let turns = status.lines().filter(|line| line.contains("ctxt_switches"));
            turns.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = turns();
        wait::pause(Duration::from_millis(400));
        !before.is_empty() && before == turns()
    }

    /// A tree that grows again: three loops, each with children of its own; one loop has left its parents.
    pub(crate) fn respawning(name: &str) -> Self {
        let forever = "while :; do (sleep 0.2; sleep 0.2) & sleep 0.05; done";
        let script = format!("({forever}) & (({forever}) & sleep 300) & {forever}");
        Self::running(name, Command::new("/bin/sh").args(["-c", &script]))
    }

    fn running(name: &str, command: &mut Command) -> Self {
        let mark = format!("{name}-{}", std::process::id());
        command
            .env(VARIABLE, &mark)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0);
        let child = command.spawn().expect("a process can be started");
        Self { mark, child }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Its name that no other process ever has.
    pub(crate) fn uid(&self) -> ProcessUid {
        uid_of(self.child.id())
    }

    /// How many of its processes run; those that only wait to be reaped do not count.
    pub(crate) fn running_processes(&self) -> usize {
        self.pids().len()
    }

    /// By the variable that every descendant inherits; a process that is dead has none any more.
    fn pids(&self) -> Vec<i32> {
        let entry = format!("{VARIABLE}={}", self.mark).into_bytes();
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            variables
                .split(|byte| *byte == 0)
                .any(|variable| variable == entry)
        })
        .collect()
    }
}

impl Drop for Prey {
    fn drop(&mut self) {
        for _ in 0..100 {
            let pids = self.pids();
            if pids.is_empty() {
                break;
            }
            for pid in pids.into_iter().filter_map(Pid::from_raw) {
                // It may have ended by itself meanwhile.
                kill_process(pid, Signal::KILL).unwrap_or_default();
            }
        }
        drop(self.child.wait());
    }
}

/// The name of a process that was not reaped yet.
pub(crate) fn uid_of(pid: u32) -> ProcessUid {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let behind_name = stat.rsplit(") ").next().unwrap_or_default();
    let start = behind_name.split_whitespace().nth(19);
    let start = start.and_then(|ticks| ticks.parse().ok());
    ProcessUid::from_ticks(&boot(), pid, start.expect("field 22 is a number"))
}

fn boot() -> BootId {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux has a boot id");
    BootId::parse(text.trim()).expect("the kernel writes a boot id")
}

const VARIABLE: &str = "PICKET_TEST_PREY";
