//! How quickly a host is isolated, whether it ever loses its collector, how quickly it acts by itself, and how quickly a fleet
//! does what it is told: `make bench-containment`.
//!
//! Isolation happens in network namespaces that are made for it. The program fails when the collector was lost even
//! once, because that is never a matter of speed.

mod fleet;
mod policy;

use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use picket_isolation::{Deadline, Guard, IsolationError, Own, Table, Wanted};

use super::figure::{self, Figure};
use crate::failure::Failure;
use crate::ground::{Ground, PEER, speaks};

/// What to measure.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A tenth of the trials.
    pub short: bool,
    /// Only these parts; all if empty.
    pub only: Vec<String>,
    /// How many simulated hosts a command goes to.
    pub agents: Option<usize>,
}

/// The collector may take so long for a word.
const PATIENCE: Duration = Duration::from_secs(5);
const PARTS: [&str; 3] = ["isolate", "policy", "fleet"];
/// Which build of the programs this one finds.
const BUILD: &str = if cfg!(debug_assertions) {
    "everyday"
} else {
    "release"
};

/// Measures, and prints the figures.
pub fn run(options: &Options, json: bool) -> Result<(), Failure> {
    if let Some(unknown) = options
        .only
        .iter()
        .find(|only| !PARTS.contains(&only.as_str()))
    {
        return Err(failed(&format!(
            "no part `{unknown}`; there is {}",
            PARTS.join(", ")
        )));
    }
    let wants = |part: &str| options.only.is_empty() || options.only.iter().any(|one| one == part);
    if wants("isolate") {
        isolate(options, json)?;
    }
    if wants("policy") {
        let trials = if options.short { 20 } else { 200 };
        figure::print(&policy::measure(trials)?, json);
    }
    if wants("fleet") {
        let agents = options
            .agents
            .unwrap_or(if options.short { 200 } else { 10_000 });
        figure::print(&fleet::measure(agents, BUILD)?, json);
    }
    Ok(())
}

fn isolate(options: &Options, json: bool) -> Result<(), Failure> {
    let ground = Ground::new()?;
    let trials = if options.short { 100 } else { 1_000 };
    let collector = ground.peer.echo(PEER, 7443)?;
    let session = ground.host.connect(collector)?;
    let session = session.ok_or_else(|| failed("the collector's stand-in was not reached"))?;
    let wanted = Wanted {
        collectors: vec![collector],
        own: Some(Own::find()),
        until: Some(Deadline::after(Duration::from_hours(1))),
        ..Wanted::default()
    };
    let tried = ground
        .host
        .inside(|| trials_of(trials, &wanted, &session))?;
    let repaired = ground.host.inside(|| repairs_of(trials / 10, &wanted))?;
    let lost = tried.lost;
    figure::print(&figures(trials, tried, repaired), json);
    if lost > 0 {
        return Err(failed(&format!("the collector was lost in {lost} trials")));
    }
    Ok(())
}

struct Tried {
    applied: Vec<Duration>,
    released: Vec<Duration>,
    lost: usize,
}

/// Isolates and releases; the session, and a new one now and then, must live through it.
fn trials_of(trials: usize, wanted: &Wanted, session: &TcpStream) -> Result<Tried, Failure> {
    let mut table = Table::open().map_err(isolation)?;
    let mut tried = Tried {
        applied: Vec::new(),
        released: Vec::new(),
        lost: 0,
    };
    for trial in 0..trials {
        let began = Instant::now();
        table.apply(wanted).map_err(isolation)?;
        tried.applied.push(began.elapsed());
        let anew = trial % 10 == 0;
        let alive = speaks(session, PATIENCE) && (!anew || is_reached(wanted));
        tried.lost += usize::from(!alive);
        let began = Instant::now();
        table.remove().map_err(isolation)?;
        tried.released.push(began.elapsed());
    }
    Ok(tried)
}

fn is_reached(wanted: &Wanted) -> bool {
    let mut all = wanted.collectors.iter();
    all.all(|at| TcpStream::connect_timeout(at, PATIENCE).is_ok())
}

/// Removes the table under a guard; from then until it is back and read back.
fn repairs_of(trials: usize, wanted: &Wanted) -> Result<Vec<Duration>, Failure> {
    let (told, repairs) = channel();
    let tell = move |repair| drop(told.send((Instant::now(), repair)));
    let guard = Guard::begin(wanted.clone(), tell).map_err(isolation)?;
    let mut attacker = Table::open().map_err(isolation)?;
    let mut times = Vec::new();
    for _ in 0..trials {
        let began = Instant::now();
        // The guard may be quicker than the look whether the table is gone.
        drop(attacker.remove());
        let (at, repair) = repairs
            .recv_timeout(PATIENCE)
            .map_err(|_elapsed| failed("a removed table was not repaired"))?;
        if let Some(why) = repair.failed {
            return Err(failed(&why));
        }
        times.push(at.saturating_duration_since(began));
        while repairs.recv_timeout(Duration::from_millis(5)).is_ok() {}
    }
    guard.end().map_err(isolation)?;
    Ok(times)
}

fn figures(trials: usize, tried: Tried, repaired: Vec<Duration>) -> Vec<Figure> {
    let count = repaired.len();
    let by_hand = "6 to 14 ms by hand";
    vec![
        time(
            "isolate_apply_p99_ms",
            tried.applied,
            ("<= 25", 25.0),
            by_hand,
            trials,
        ),
        time(
            "isolate_release_p99_ms",
            tried.released,
            ("<= 2000", 2_000.0),
            "",
            trials,
        ),
        time(
            "isolate_repair_p99_ms",
            repaired,
            ("<= 250", 250.0),
            "",
            count,
        ),
        Figure {
            name: "isolate_self_lockouts".to_owned(),
            value: tried.lost.to_string(),
            unit: "trials",
            goal: "0",
            reached: tried.lost == 0,
            anchor: "",
            conditions: format!("{trials} isolations under a live session"),
        },
    ]
}

fn time(
    name: &str,
    mut times: Vec<Duration>,
    (goal, most): (&'static str, f64),
    anchor: &'static str,
    count: usize,
) -> Figure {
    times.sort_unstable();
    let at = |hundredths: usize| {
        let place = (times.len() * hundredths).div_ceil(100).saturating_sub(1);
        times
            .get(place)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    Figure {
        name: name.to_owned(),
        value: format!("{:.1}", at(99)),
        unit: "ms",
        goal,
        reached: at(99) <= most,
        anchor,
        conditions: format!("{count} times, half within {:.1} ms", at(50)),
    }
}

fn isolation(error: IsolationError) -> Failure {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(&error) {
        text = format!("{text}: {source}");
    }
    failed(&text)
}

fn failed(text: &str) -> Failure {
    Failure::Unexpected {
        what: "the benchmark of containment".to_owned(),
        text: text.to_owned(),
    }
}
