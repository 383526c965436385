//! What a storm of the least child costs, by paired runs: the whole path, then `watch` alone.

use super::Measured;
use super::cost::{Costs, Goal};
use super::subject::{Bench, Standing, Way};
use crate::failure::Failure;

/// Runs the pairs.
pub(super) fn measure(bench: &Bench, standing: &mut Standing<'_>) -> Result<Measured, Failure> {
    if bench.short {
        super::say("SKIPPED in the short form: CPU and slow-down of the exec storm by pairs");
        return Ok(Measured::default());
    }
    standing.stop()?;
    let mut figures = Vec::new();
    for way in [Way::Run, Way::Watch] {
        let costs = Costs::measure(bench, way, PAIRS, || bench.load.exec(EXECS, 0, "cost"))?;
        let conditions = costs.rates();
        figures.push(costs.total(CPU, way.suffix(), &conditions));
        figures.push(costs.slow_down(SLOW_DOWN, way.suffix(), &conditions));
    }
    Ok(Measured {
        figures,
        broken: Vec::new(),
    })
}

pub(super) const EXECS: u64 = 10_000;
const PAIRS: usize = 16;

pub(super) const CPU: Goal = Goal {
    name: "CPU per 10,000 exec+exit",
    words: "<= 0.30",
    limit: 0.30,
    anchor: "Falco 0.82, auditd 1.0, laurel 1.46, execsnoop 0.41, bpftrace 0.48 (same storm, another run)",
};

pub(super) const SLOW_DOWN: Goal = Goal {
    name: "slow-down of the exec storm",
    words: "<= 5",
    limit: 5.0,
    anchor: "Falco 24, auditd 21, execsnoop 16 (same storm, another run)",
};
