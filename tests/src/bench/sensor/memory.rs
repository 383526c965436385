//! Memory and CPU of the agent: idle, in a storm of short-lived processes, and after it. First of all parts, so that the
//! agent is as it started.

use std::time::{Duration, Instant};

use super::Measured;
use super::load::Cost;
use super::subject::{Bench, Running, Standing};
use crate::bench::figure::Figure;
use crate::failure::Failure;
use crate::wait;

/// An agent that has just started, and then has nothing to do.
pub(super) fn idle(bench: &Bench, standing: &mut Standing<'_>) -> Result<Measured, Failure> {
    let running = standing.agent()?;
    running.settle()?;
    let pss = running.pss_kib()?;
    let mut figures = vec![size("agent PSS, idle", pss, "<= 40", 40, "just started")];
    if bench.short {
        super::say("SKIPPED in the short form: idle CPU");
    } else {
        running.wait_for_baseline()?;
        figures.push(idle_cpu(running)?);
    }
    Ok(Measured {
        figures,
        broken: Vec::new(),
    })
}

/// One agent in the storm, and at rest after it.
pub(super) fn million(bench: &Bench, standing: &mut Standing<'_>) -> Result<Measured, Failure> {
    if bench.short {
        super::say("SKIPPED in the short form: memory in a million processes, and after it");
        return Ok(Measured::default());
    }
    let running = standing.agent()?;
    let load = &bench.load;
    let (most, cost) = peak(running, || load.exec(PROCESSES, 0, "memory"))?;
    let storm = in_storm("agent PSS, in a million processes", most, &cost);
    rest(AFTER)?;
    let (pss, later) = (running.pss_kib()?, "ten minutes after these");
    let after = size("agent PSS, ten minutes later", pss, "<= 50", 50, later);
    Ok(Measured {
        figures: vec![storm, after],
        broken: Vec::new(),
    })
}

/// The most memory while a load runs, as a figure.
pub(super) fn in_storm(name: &str, most: u64, cost: &Cost) -> Figure {
    let (done, rate) = (cost.done, cost.rate());
    let conditions = format!("the most of a look each half second, {done} processes, {rate}/s");
    size(name, most, "<= 80", 80, &conditions)
}

fn idle_cpu(running: &Running<'_>) -> Result<Figure, Failure> {
    let events = |running: &Running<'_>| -> Result<u64, Failure> {
        Ok(running.ledger()?.values().map(|line| line.submitted).sum())
    };
    let seen = events(running)?;
    let before = running.cpu()?;
    rest(IDLE)?;
    let share = running.cpu()?.since(before).both() / IDLE.as_secs_f64() * 100.0;
    let seen = events(running)?.saturating_sub(seen);
    Ok(Figure {
        name: "agent CPU, idle".to_owned(),
        value: format!("{share:.2}"),
        unit: "% of a core",
        goal: "<= 0.2",
        reached: share <= 0.2,
        anchor: "",
        conditions: format!(
            "over {} s, in which the host made {seen} events",
            IDLE.as_secs()
        ),
    })
}

/// The most memory while a load runs, in KiB, and what the load did.
pub(super) fn peak(
    running: &Running<'_>,
    load: impl FnOnce() -> Result<Cost, Failure> + Send,
) -> Result<(u64, Cost), Failure> {
    std::thread::scope(|scope| {
        let load = scope.spawn(load);
        let mut most = running.pss_kib()?;
        while !load.is_finished() {
            wait::pause(Duration::from_millis(500));
            most = most.max(running.pss_kib()?);
        }
        let cost = load.join().map_err(|_panic| Failure::Unexpected {
            what: "the load".to_owned(),
            text: "its thread panicked".to_owned(),
        })??;
        Ok((most, cost))
    })
}

fn rest(time: Duration) -> Result<(), Failure> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if wait::interrupted() {
            return Err(Failure::TooLate("a time of rest".to_owned()));
        }
        wait::pause(Duration::from_millis(200));
    }
    Ok(())
}

fn size(name: &str, kib: u64, goal: &'static str, limit: u64, conditions: &str) -> Figure {
    Figure {
        name: name.to_owned(),
        value: kib.div_ceil(1024).to_string(),
        unit: "MB",
        goal,
        reached: kib <= limit * 1024,
        anchor: "",
        conditions: conditions.to_owned(),
    }
}

const IDLE: Duration = Duration::from_mins(2);
const PROCESSES: u64 = 1_000_000;
const AFTER: Duration = Duration::from_mins(10);
