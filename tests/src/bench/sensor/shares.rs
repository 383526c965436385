//! Where the CPU goes in the storms: to which programs in the kernel, and to which threads of the agent.
//!
//! Not a goal but an explanation. The kernel measures its programs here, which costs itself, so that nothing else is measured meanwhile.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::Measured;
use super::files::{CYCLES, watched_folder};
use super::load::Cost;
use super::subject::{Bench, Running, Standing};
use crate::bench::figure::Figure;
use crate::failure::Failure;

/// A storm of execs, and one of files.
pub(super) fn measure(bench: &Bench, standing: &mut Standing<'_>) -> Result<Measured, Failure> {
    let count = bench.pick(4_000, 40_000);
    let running = standing.agent()?;
    let mut kernel = Vec::new();
    let execs = shares(running, || {
        let (cost, programs) = bench
            .load
            .exec_with_programs(running.service.pid(), count)?;
        kernel = programs;
        Ok(cost)
    })?;
    // Two of them may have one name: what follows libpam sees execs too.
    let mut programs = BTreeMap::new();
    for (name, nanos) in kernel.iter().filter_map(program) {
        *programs.entry(name).or_default() += nanos;
    }
    let folder = watched_folder()?;
    let files = shares(running, || {
        let cycles = bench.pick(2_000, CYCLES);
        bench.load.files(cycles, folder.path(), "shares", false)
    })?;
    let (exec, cycle) = ("exec+exit", "file cycle");
    Ok(Measured {
        figures: vec![
            figure("programs in the kernel", exec, &programs, execs.1),
            figure("threads of the agent", exec, &execs.0, execs.1),
            figure("threads of the agent", cycle, &files.0, files.1),
        ],
        broken: Vec::new(),
    })
}

/// What the agent's threads used for a load, and how much of it was done.
fn shares(
    running: &Running<'_>,
    load: impl FnOnce() -> Result<Cost, Failure>,
) -> Result<(BTreeMap<String, u64>, u64), Failure> {
    running.settle()?;
    let before = threads(running)?;
    let cost = load()?;
    running.settle()?;
    let mut threads = threads(running)?;
    for (name, before) in before {
        if let Some(now) = threads.get_mut(&name) {
            *now = now.saturating_sub(before);
        }
    }
    Ok((threads, cost.done))
}

/// The sum for each, and the largest shares in it.
fn figure(name: &str, each: &str, shares: &BTreeMap<String, u64>, count: u64) -> Figure {
    let micros = |nanos: u64| format!("{:.2}", super::cost::ratio(nanos, count) / 1_000.0);
    let mut ordered: Vec<(&String, &u64)> = shares.iter().collect();
    ordered.sort_by(|a, b| b.1.cmp(a.1));
    let told: Vec<String> = ordered
        .into_iter()
        .take(MOST)
        .map(|(name, nanos)| format!("{name} {}", micros(*nanos)))
        .collect();
    Figure {
        name: format!("{name}, per {each}"),
        value: micros(shares.values().sum()),
        unit: "us",
        goal: "-",
        reached: true,
        anchor: "",
        conditions: format!("{count} of them: {}", told.join(", ")),
    }
}

fn program(line: &Value) -> Option<(String, u64)> {
    let name = line.get("program")?.as_str()?;
    Some((name.to_owned(), line.get("ns")?.as_u64()?))
}

/// CPU time of the agent's threads by their names, in nanoseconds.
fn threads(running: &Running<'_>) -> Result<BTreeMap<String, u64>, Failure> {
    let folder = format!("/proc/{}/task", running.service.pid());
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(Failure::file(&folder))? {
        let thread = entry.map_err(Failure::file(&folder))?.path();
        let read = |name: &str| fs::read_to_string(thread.join(name));
        // A thread that is gone meanwhile was idle.
        let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else {
            continue;
        };
        let nanos = times
            .split_whitespace()
            .next()
            .and_then(|time| time.parse::<u64>().ok());
        *threads.entry(name.trim().to_owned()).or_insert(0) += nanos.unwrap_or_default();
    }
    Ok(threads)
}

/// So many shares are named.
const MOST: usize = 8;
