//! What the kernel sensor sees and what it costs: `make bench-sensor`. `docs/benchmarks.md` tells how each figure is taken.
//!
//! A goal that is missed is printed as missed. The program fails when something could not be measured, and
//! when something was lost, doubled, wrong or cut in silence, because that is never a matter of speed.

mod argv;
mod build;
mod cost;
mod execs;
mod files;
mod load;
mod memory;
mod others;
mod paired;
mod reuse;
mod shares;
mod stall;
mod subject;
mod whole;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use super::figure::{self, Figure};
use crate::failure::Failure;
use crate::wait;
use subject::{Bench, Standing};

/// What to measure.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Less of everything.
    pub short: bool,
    /// Another build of the agent.
    pub agent: Option<PathBuf>,
    /// Only these parts; all if empty.
    pub only: Vec<String>,
}

/// A part of the benchmark: its figures, and whether all that must hold did.
type Part = fn(&Bench, &mut Standing<'_>) -> Result<Measured, Failure>;

/// What a part measured.
#[derive(Debug, Default)]
struct Measured {
    figures: Vec<Figure>,
    /// What must never be and was.
    broken: Vec<String>,
}

/// Measures everything, and prints each part's figures when it is done.
pub fn run(options: Options, json: bool) -> Result<(), Failure> {
    wait::for_interrupts();
    check(&options.only)?;
    let bench = Bench::prepare(options.short, options.agent)?;
    let mut standing = Standing::new(&bench);
    let mut broken = Vec::new();
    let named = |name| options.only.iter().any(|only| only == name);
    let wanted = PARTS
        .iter()
        .filter(|(name, _)| options.only.is_empty() || named(name));
    for (name, part) in wanted.chain(ON_REQUEST.iter().filter(|(name, _)| named(name))) {
        let began = Instant::now();
        let measured = part(&bench, &mut standing)?;
        figure::print(&measured.figures, json);
        say(&format!(
            "part {name} took {:.0} s",
            began.elapsed().as_secs_f64()
        ));
        broken.extend(measured.broken);
    }
    standing.stop()?;
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failure::Unexpected {
        what: "the sensor".to_owned(),
        text: broken.join("; "),
    })
}

fn check(only: &[String]) -> Result<(), Failure> {
    let known = |name: &&String| {
        PARTS
            .iter()
            .chain(ON_REQUEST)
            .any(|(part, _)| part == *name)
    };
    match only.iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(Failure::Unexpected {
            what: "--only".to_owned(),
            text: format!("there is no part `{name}`"),
        }),
    }
}

impl Measured {
    /// A count that must be zero.
    fn none(&mut self, name: &str, count: u64, unit: &'static str, conditions: &str) {
        if count > 0 {
            self.broken
                .push(format!("{name}: {count} {unit} ({conditions})"));
        }
        self.figures.push(Figure {
            name: name.to_owned(),
            value: count.to_string(),
            unit,
            goal: "0",
            reached: count == 0,
            anchor: "",
            conditions: conditions.to_owned(),
        });
    }
}

/// What is not a figure goes to the side.
fn say(line: &str) {
    // Nobody is left to tell when standard error is closed.
    drop(writeln!(io::stderr(), "{line}"));
}

/// The parts, in order: what is complete and right, with one agent; then what it costs.
const PARTS: &[(&str, Part)] = &[
    ("idle", memory::idle),
    ("memory", memory::million),
    ("whole", whole::measure),
    ("stall", stall::measure),
    ("reuse", reuse::measure),
    ("argv", argv::measure),
    ("shares", shares::measure),
    ("files", files::measure),
    ("execs", execs::measure),
    ("build", build::measure),
];

/// What runs only if it is named, after the rest: it takes the host's audit system into use.
const ON_REQUEST: &[(&str, Part)] = &[("others", others::measure)];
