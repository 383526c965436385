//! What the collector takes in, and at which cost: `make bench-ingest`. `docs/benchmarks.md` tells how each figure is taken.
//!
//! A goal that is missed is printed as missed. The program fails when something could not be measured, and when an
//! acknowledged event is missing or stored twice, or books do not balance, because that is never a matter of speed.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::figure::{self, Figure};
use crate::failure::Failure;
use crate::sim::{self, End, Load, Pace, Play, Standing, Storm};
use crate::wait;

/// What to measure.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Less of everything.
    pub short: bool,
    /// Only these parts; all if empty.
    pub only: Vec<String>,
    /// How many agents stand connected at once, one row for each; as the design says if empty.
    pub agents: Vec<usize>,
}

/// How much of everything.
struct Scale {
    build: &'static str,
    senders: usize,
    warm: Duration,
    time: Duration,
    crowds: Vec<usize>,
}

/// A part of the benchmark.
type Part = fn(&Scale) -> Result<Measured, Failure>;

/// What a part measured.
#[derive(Default)]
struct Measured {
    figures: Vec<Figure>,
    /// What must hold and did not.
    broken: Vec<String>,
}

/// Measures everything, and prints each part's figures when it is done.
pub fn run(options: Options, json: bool) -> Result<(), Failure> {
    wait::for_interrupts();
    check(&options.only)?;
    let scale = Scale::of(&options);
    let mut broken = Vec::new();
    let wanted =
        |name: &&str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    for (name, part) in PARTS.iter().filter(|(name, _)| wanted(name)) {
        let began = Instant::now();
        let measured = part(&scale)?;
        figure::print(&measured.figures, json);
        let line = format!("part {name} took {:.0} s", began.elapsed().as_secs_f64());
        // Nobody is left to tell when standard error is closed.
        drop(writeln!(io::stderr(), "{line}"));
        broken.extend(measured.broken);
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failure::Unexpected {
        what: "the collector's store".to_owned(),
        text: broken.join("; "),
    })
}

fn check(only: &[String]) -> Result<(), Failure> {
    let known = |name: &&String| PARTS.iter().any(|(part, _)| part == *name);
    match only.iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(Failure::Unexpected {
            what: "--only".to_owned(),
            text: format!("there is no part `{name}`"),
        }),
    }
}

impl Scale {
    fn of(options: &Options) -> Self {
        let crowds = |default: &[usize]| match options.agents.as_slice() {
            [] => default.to_vec(),
            given => given.to_vec(),
        };
        if options.short {
            return Self {
                build: BUILD,
                senders: 20,
                warm: Duration::from_millis(500),
                time: Duration::from_secs(1),
                crowds: crowds(&[200]),
            };
        }
        Self {
            build: BUILD,
            senders: 200,
            warm: Duration::from_secs(3),
            time: Duration::from_secs(20),
            crowds: crowds(&[1_000, 5_000, 20_000]),
        }
    }

    fn play(&self, agents: usize, batch: usize) -> Result<Play, Failure> {
        Play::begin(&sim::Options {
            agents,
            rate: None,
            batch,
            time: self.time,
            storm: false,
            window: WINDOW,
            seed: 1,
            given: None,
            approver: false,
        })
    }

    fn flood(&self, play: &Play) -> Result<Load, Failure> {
        play.load(Pace::Window(WINDOW), self.warm, self.time)
    }

    fn conditions(&self, load: &Load) -> String {
        format!(
            "{} build, {} agents, as fast as taken: {:.0} events/s, {:.0} a batch, {:.0} bytes each on the wire; simulation {:.2} us",
            self.build,
            self.senders,
            load.events_per_s(),
            load.events_per_batch(),
            load.bytes_per_event(),
            load.sim_us(),
        )
    }
}

/// The collector's processor time for each event, at small and at large batches.
fn cost(scale: &Scale) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    for (batch, goal, limit) in [(64, "<= 2.5", 2.5), (512, "<= 1.5", 1.5)] {
        let play = scale.play(scale.senders, batch)?;
        let load = scale.flood(&play)?;
        let us = load.collector_us().unwrap_or(f64::INFINITY);
        measured.figures.push(Figure {
            name: format!("collector CPU per event, {batch} a batch"),
            value: format!("{us:.2}"),
            unit: "us",
            goal,
            reached: us <= limit,
            anchor: "",
            conditions: scale.conditions(&load),
        });
        measured.prove(&format!("{batch} a batch"), play.end()?);
    }
    Ok(measured)
}

/// How much is made durable with generator and collector on one machine, and how fast the acks are at half of it.
fn sustained(scale: &Scale) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    let play = scale.play(scale.senders, LARGE)?;
    let load = scale.flood(&play)?;
    let rate = load.events_per_s();
    measured.figures.push(Figure {
        name: "events made durable".to_owned(),
        value: format!("{rate:.0}"),
        unit: "events/s",
        goal: ">= 150000",
        reached: rate >= 150_000.0,
        anchor: "",
        conditions: scale.conditions(&load),
    });
    for (name, asked) in [("half of that", rate / 2.0), ("75,000 events/s", 75_000.0)] {
        if asked > rate {
            continue;
        }
        let pace = sim::share(asked, scale.senders);
        let half = play.load(pace, scale.warm, scale.time)?;
        let spread = half.spread;
        measured.figures.push(Figure {
            name: format!("ack, 99 of 100, at {name}"),
            value: format!("{:.1}", spread.p99_ms),
            unit: "ms",
            goal: "<= 100",
            reached: spread.p99_ms <= 100.0 && half.events_per_s() >= asked * 0.95,
            anchor: "",
            conditions: format!(
                "{} build, {:.0} of {asked:.0} events/s, half within {:.1} ms, slowest of {} batches {:.1} ms; collector {:.2} us an event",
                scale.build,
                half.events_per_s(),
                spread.p50_ms,
                spread.count,
                spread.max_ms,
                half.collector_us().unwrap_or(f64::INFINITY),
            ),
        });
    }
    measured.prove("sustained", play.end()?);
    Ok(measured)
}

/// Memory of connected agents that have little to say, and all of them coming back at once.
fn crowd(scale: &Scale) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    for agents in &scale.crowds {
        let mut play = scale.play(*agents, SMALL)?;
        let standing = play.standing();
        let rested = play.resident_after_rest(scale.warm.max(Duration::from_secs(1)))?;
        let storm = play.storm()?;
        let end = play.end()?;
        measured
            .figures
            .push(memory(scale, &standing, rested, &end));
        measured.figures.push(storm_figure(scale, *agents, &storm));
        measured.prove(&format!("{agents} agents"), end);
    }
    Ok(measured)
}

fn memory(scale: &Scale, standing: &Standing, rested: Option<u64>, end: &End) -> Figure {
    let kib = standing.kib_per_agent().unwrap_or(f64::INFINITY);
    let mib = |kib: Option<u64>| kib.unwrap_or_default() / 1024;
    Figure {
        name: format!("memory per agent, {} connected", standing.agents),
        value: format!("{kib:.1}"),
        unit: "KiB",
        goal: "<= 32",
        reached: kib <= 32.0,
        anchor: "",
        conditions: format!(
            "{} build, resident: {} MiB enrolled, {} connected, {} after a rest, {} after the storm; enrolled in {:.1} s, connected in {:.1} s ({:.0} a second)",
            scale.build,
            mib(standing.enrolled_kib),
            mib(standing.connected_kib),
            mib(rested),
            mib(end.resident_kib),
            standing.enrolment_s,
            standing.connecting_s,
            standing.handshakes_per_s(),
        ),
    }
}

fn storm_figure(scale: &Scale, agents: usize, storm: &Storm) -> Figure {
    let quiet = storm.complaints.unwrap_or_default() == 0;
    Figure {
        name: format!("reconnect storm of {agents}"),
        value: format!("{:.1}", storm.seconds),
        unit: "s",
        goal: "<= 60",
        reached: storm.seconds <= 60.0 && quiet,
        anchor: "",
        conditions: format!(
            "{} build, from the cut to a new ack of each; agents met {}; the collector: {} handshakes failed, {} warnings in its log",
            scale.build,
            sim::spoken(&storm.errors),
            storm.handshakes_failed.unwrap_or_default(),
            storm.complaints.unwrap_or_default(),
        ),
    }
}

impl Measured {
    /// What must hold at the end of each part.
    fn prove(&mut self, of: &str, end: End) {
        let proof = end.proof;
        if !proof.holds() {
            self.broken.push(format!("{of}: {proof:?}"));
        }
        let wrong = proof.missing + proof.doubled + proof.acked.abs_diff(proof.stored);
        self.figures.push(Figure {
            name: format!("acknowledged but not stored once, {of}"),
            value: wrong.to_string(),
            unit: "events",
            goal: "0",
            reached: proof.holds(),
            anchor: "",
            conditions: format!(
                "{} acknowledged, {} in the verified evidence of {} chains, {} read back from the log; {} of {} books balance; {} batches came again; agents met {}",
                proof.acked,
                proof.stored,
                proof.chains,
                proof.scanned.unwrap_or_default(),
                proof.balanced,
                proof.hosts,
                end.redelivered.unwrap_or_default(),
                sim::spoken(&end.errors),
            ),
        });
    }
}

/// The parts, in order.
const PARTS: &[(&str, Part)] = &[("cost", cost), ("sustained", sustained), ("crowd", crowd)];

/// What both programs were built as.
const BUILD: &str = if cfg!(debug_assertions) {
    "everyday"
} else {
    "release"
};

/// Batches that each agent has under way in a flood.
const WINDOW: usize = 4;

/// Events in small and large batches.
const SMALL: usize = 64;
const LARGE: usize = 512;
