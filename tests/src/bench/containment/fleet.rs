//! How long a command takes to reach a fleet: from its last approval to each host's signed receipt.
//!
//! The hosts are simulated (`tests/src/sim.rs` tells what of them is real): each checks the signatures with the agent's own code,
//! does nothing, and answers by a signed event. Collector, operators and connections are real.

use super::{Figure, failed};
use crate::failure::Failure;
use crate::sim::command::MOST_HOSTS;
use crate::sim::{Answers, Options, Play};

/// A command to one host of so many that are connected, then to all, then in rings.
pub(super) fn measure(agents: usize, build: &str) -> Result<Vec<Figure>, Failure> {
    let play = Play::begin(&Options {
        agents,
        rate: None,
        batch: 8,
        time: std::time::Duration::ZERO,
        storm: false,
        window: 1,
        seed: 1,
        given: None,
        approver: true,
    })?;
    let mut figures = vec![one_of_many(&play, (agents, build))?];
    let all = play.command(0..agents)?;
    must_be_whole(&all, agents)?;
    figures.extend(fan_out(&all, build));
    let some = agents.min(MOST_HOSTS);
    let (took, rings) = play.campaign(0..some)?;
    figures.push(Figure {
        name: "campaign_in_rings_s".to_owned(),
        value: format!("{:.2}", took.as_secs_f64()),
        unit: "s",
        goal: "-",
        reached: true,
        anchor: "",
        conditions: format!("{some} simulated hosts, {rings} rings, each judged by all receipts before the next; {build} build"),
    });
    play.end()?.must_hold()?;
    Ok(figures)
}

/// One person's command to one host, some times over.
fn one_of_many(play: &Play, (agents, build): (usize, &str)) -> Result<Figure, Failure> {
    let mut times = Vec::new();
    for trial in 0..TRIALS {
        let host = trial * agents.saturating_sub(1) / TRIALS;
        let answer = play.command_one(host)?;
        must_be_whole(&answer, 1)?;
        times.push(answer.whole);
    }
    let conditions =
        format!("times, {agents} connected simulated hosts, one is asked; {build} build");
    let figure = super::time(
        "approved_to_executed_p99_ms",
        times,
        ("<= 200", 200.0),
        "",
        TRIALS,
    );
    Ok(Figure {
        conditions: format!("{}; {conditions}", figure.conditions),
        ..figure
    })
}

fn must_be_whole(answers: &Answers, hosts: usize) -> Result<(), Failure> {
    if answers.executed == hosts as u64 {
        return Ok(());
    }
    let text = format!(
        "{} of {hosts} simulated hosts did what they were told",
        answers.executed
    );
    Err(failed(&text))
}

fn fan_out(all: &Answers, build: &str) -> Vec<Figure> {
    let seconds = all.whole.as_secs_f64();
    let commands = all.hosts.div_ceil(MOST_HOSTS as u64);
    let conditions = format!(
        "{} simulated hosts by {commands} commands, first approval to last receipt, picketctl's own starts between them included; from each command's approval half within {:.0}, p99 {:.0}, last {:.0} ms; {build} build",
        all.hosts, all.spread.p50_ms, all.spread.p99_ms, all.spread.max_ms
    );
    vec![Figure {
        name: "fan_out_s".to_owned(),
        value: format!("{seconds:.2}"),
        unit: "s",
        goal: "<= 5",
        reached: seconds <= 5.0,
        anchor: "",
        conditions,
    }]
}

/// Fewer than one person may ask for in an hour.
const TRIALS: usize = 25;
