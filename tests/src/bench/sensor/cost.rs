//! A load by turns without and with a sensor, and what both used of the processors.

use super::load::Cost;
use super::paired::{self, Estimate, Pair, Turns};
use super::subject::{Bench, Cpu, Running, Way};
use crate::bench::figure::Figure;
use crate::failure::Failure;

/// One run: what the load used, and the sensor's processes meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    pub(super) load: Cost,
    pub(super) agent: Cpu,
}

/// What some pairs of runs used.
#[derive(Debug)]
pub(super) struct Costs {
    pairs: Vec<Pair<Spent>>,
}

/// Names a figure and what it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    pub(super) name: &'static str,
    pub(super) words: &'static str,
    pub(super) limit: f64,
    pub(super) anchor: &'static str,
}

impl Costs {
    /// Runs `load` in `count` pairs.
    pub(super) fn measure(
        bench: &Bench,
        way: Way,
        count: usize,
        load: impl Fn() -> Result<Cost, Failure>,
    ) -> Result<Self, Failure> {
        let _paused = (way == Way::Run).then(|| bench.quieten()).transpose()?;
        let run = |sensor: Option<&Running<'_>>| {
            let (load, agent) = match sensor {
                None => (load()?, Cpu::default()),
                Some(sensor) => sensor.cost_of(&load)?,
            };
            Ok(Spent { load, agent })
        };
        let turns = Turns {
            start: || bench.start(way),
            run,
            stop: Running::stop,
        };
        Ok(Self::of(paired::pairs(count, turns)?))
    }

    /// What these pairs used.
    pub(super) fn of(pairs: Vec<Pair<Spent>>) -> Self {
        Self { pairs }
    }

    /// What the load used more, and what the sensor used. `who` goes behind the name.
    pub(super) fn total(&self, goal: Goal, who: &str, conditions: &str) -> Figure {
        let more = |pair: &Pair<Spent>| pair.on.load.cpu() - pair.off.load.cpu();
        let total = self.each(|pair| more(pair) + pair.on.agent.both());
        let increase = self.each(more).middle;
        let user = self.each(|pair| pair.on.agent.user).middle;
        let system = self.each(|pair| pair.on.agent.system).middle;
        Figure {
            name: format!("{}{who}", goal.name),
            value: format!("{:.3}", total.middle),
            unit: "CPU-s",
            goal: goal.words,
            reached: total.middle <= goal.limit,
            anchor: goal.anchor,
            conditions: format!(
                "{}; middles: increase of the load {increase:.3}, agent {user:.3} user, {system:.3} kernel; {conditions}",
                total.interval(3)
            ),
        }
    }

    /// By how much the load's tree used more.
    pub(super) fn slow_down(&self, goal: Goal, who: &str, conditions: &str) -> Figure {
        let load = |pair: &Pair<Spent>| Pair {
            off: pair.off.load.cpu(),
            on: pair.on.load.cpu(),
        };
        let increase = paired::increase(self.pairs.iter().map(load));
        let off = paired::estimate(self.pairs.iter().map(|pair| pair.off.load.cpu())).middle;
        Figure {
            name: format!("{}{who}", goal.name),
            value: format!("{:.2}", increase.middle),
            unit: "%",
            goal: goal.words,
            reached: increase.middle <= goal.limit,
            anchor: goal.anchor,
            conditions: format!(
                "CPU of the load's tree, {off:.3} CPU-s without; {}; {conditions}",
                increase.interval(2)
            ),
        }
    }

    /// The middle rates without and with.
    pub(super) fn rates(&self) -> String {
        let middle = |of: fn(&Pair<Spent>) -> Cost| {
            let mut rates: Vec<u64> = self.pairs.iter().map(|pair| of(pair).rate()).collect();
            rates.sort_unstable();
            rates.get(rates.len() / 2).copied().unwrap_or_default()
        };
        let (off, on) = (middle(|pair| pair.off.load), middle(|pair| pair.on.load));
        format!("two workers, {off}/s without and {on}/s with")
    }

    fn each(&self, value: impl Fn(&Pair<Spent>) -> f64) -> Estimate {
        paired::estimate(self.pairs.iter().map(value))
    }
}

/// One count over another.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(super) fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}
