//! 10,000 execs as fast as two workers can spawn them, each with an argument of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::figure::Figure;
use super::start_true;
use crate::failure::Failure;
use crate::rig::Rig;
use crate::wait;

const EXECS: usize = 10_000;
const WORKERS: usize = 2;

/// What became of a storm.
#[derive(Debug)]
pub(super) struct Storm {
    seen: usize,
    doubled: usize,
    spawning: Duration,
    settled: Duration,
}

/// Runs the storm and waits until the collector has it all, or for a minute.
pub(super) fn run(rig: &Rig, round: usize) -> Result<Storm, Failure> {
    let marker = format!("storm-{}-{round}-", std::process::id());
    let began = Instant::now();
    spawn_all(&marker)?;
    let spawning = began.elapsed();
    let mut counts = BTreeMap::new();
    // The wait ends early when all are there; what is missing then is counted, not hidden.
    let all = wait::until("the storm at the collector", Duration::from_mins(1), || {
        counts = count(rig, &marker)?;
        wait::pause(Duration::from_millis(200));
        Ok((counts.len() >= EXECS).then_some(()))
    });
    if all.is_err() && wait::interrupted() {
        return Err(Failure::TooLate("the storm".to_owned()));
    }
    let doubled = counts.values().filter(|times| **times > 1).count();
    Ok(Storm {
        seen: counts.len(),
        doubled,
        spawning,
        settled: began.elapsed(),
    })
}

fn spawn_all(marker: &str) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn(move || {
                    (worker..EXECS)
                        .step_by(WORKERS)
                        .try_for_each(|n| start_true(&format!("{marker}{n}")))
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(done) => done,
                Err(_panic) => Err(Failure::TooLate("a worker's end".to_owned())),
            })
    })
}

/// How often each argument is found.
fn count(rig: &Rig, marker: &str) -> Result<BTreeMap<String, usize>, Failure> {
    let filter = format!("process.argv ~ '{marker}'");
    let args = [
        "events", "--kind", "exec", "--since", "10m", "--limit", "100000",
    ];
    let events = rig.ctl_json(&[&args[..], &["--where", &filter]].concat())?;
    let mut counts = BTreeMap::new();
    for event in events {
        let argument = event
            .pointer("/process/argv/1")
            .and_then(|text| text.as_str());
        // The search itself is a process whose arguments hold the marker.
        if let Some(argument) = argument.filter(|argument| argument.starts_with(marker)) {
            *counts.entry(argument.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(counts)
}

impl Storm {
    /// Fails if an exec is missing or stored twice.
    pub(super) fn whole(&self) -> Result<(), Failure> {
        if self.seen == EXECS && self.doubled == 0 {
            return Ok(());
        }
        let text = format!(
            "{} of {EXECS} execs seen, {} doubled",
            self.seen, self.doubled
        );
        Err(Failure::Unexpected {
            what: "the exec storm".to_owned(),
            text,
        })
    }

    /// Its figures.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let rate = EXECS * 1000
            / usize::try_from(self.spawning.as_millis())
                .unwrap_or(1)
                .max(1);
        let conditions = format!(
            "{WORKERS} workers, {rate} execs/s, all searchable {:.1} s after the start",
            self.settled.as_secs_f64()
        );
        let figure = |name: &str, value: usize, goal, reached| Figure {
            name: name.to_owned(),
            value: value.to_string(),
            unit: "execs",
            goal,
            reached,
            anchor: "",
            conditions: conditions.clone(),
        };
        let missing = EXECS.saturating_sub(self.seen);
        vec![
            figure("execs seen of 10,000", self.seen, "10000", missing == 0),
            figure("execs missing", missing, "0", missing == 0),
            figure("execs doubled", self.doubled, "0", self.doubled == 0),
        ]
    }
}
