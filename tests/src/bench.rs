//! Figures, measured from outside: processes are started, the collector is asked.
//!
//! A goal that is missed is printed as missed. The program fails only when something could not be measured or
//! when an event was lost or doubled, because that is never a matter of speed.

pub mod containment;
mod figure;
pub mod ingest;
pub mod sensor;
pub mod store;
mod storm;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::rig::Rig;
use crate::service::Service;
use crate::wait;
use figure::Figure;

/// Measures everything; `short` once each.
pub fn run(short: bool, json: bool) -> Result<(), Failure> {
    wait::for_interrupts();
    let rig = Rig::start()?;
    let state = rig.enroll("agent")?;
    let agent = rig.agent(&state, None)?;
    let rounds = if short { 1 } else { 5 };
    let mut figures = Vec::new();
    let mut whole = Ok(());
    for round in 0..rounds {
        let storm = storm::run(&rig, round)?;
        whole = whole.and_then(|()| storm.whole());
        figures.extend(storm.figures());
    }
    figures.push(latency(&rig, if short { 11 } else { 51 })?);
    figures.extend(memory(&agent));
    figure::print(&figures, json);
    whole
}

/// From before a program is started to the first search that finds its exec event, the search included.
fn latency(rig: &Rig, samples: usize) -> Result<Figure, Failure> {
    let mut millis = Vec::with_capacity(samples);
    for sample in 0..samples {
        let marker = format!("latency-{}-{sample}", std::process::id());
        let began = Instant::now();
        start_true(&marker)?;
        let filter = format!("process.argv = '{marker}'");
        let args = [
            "events", "--kind", "exec", "--since", "1m", "--where", &filter,
        ];
        wait::until("an event in a search", Duration::from_secs(20), || {
            Ok((!rig.ctl_json(&args)?.is_empty()).then_some(()))
        })?;
        millis.push(began.elapsed().as_millis());
    }
    millis.sort_unstable();
    let median = millis.get(samples / 2).copied().unwrap_or_default();
    let worst = millis.last().copied().unwrap_or_default();
    Ok(Figure {
        name: "event to searchable, median".to_owned(),
        value: median.to_string(),
        unit: "ms",
        goal: "< 500",
        reached: median < 500,
        anchor: "",
        conditions: format!("{samples} single execs, the search included, slowest {worst} ms"),
    })
}

fn memory(agent: &Service) -> Option<Figure> {
    let kib = agent.resident_kib()?;
    Some(Figure {
        name: "agent resident memory".to_owned(),
        value: (kib / 1024).to_string(),
        unit: "MB",
        goal: "< 60",
        reached: kib < 60 * 1024,
        anchor: "",
        conditions: "after the storm, everyday build".to_owned(),
    })
}

/// Runs `/bin/true` with one distinct argument to its end.
fn start_true(argument: &str) -> Result<(), Failure> {
    let run = |source| Failure::Run {
        what: "/bin/true".to_owned(),
        source,
    };
    let mut command = Command::new("/bin/true");
    command
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().map(drop).map_err(run)
}
