//! A reader that stands still: what it reports as lost must be what is truly missing.
//!
//! A second sensor, `watch`, runs beside the agent and is not stopped. It says what there truly was, of the whole host, and
//! is believed only when it lost nothing itself and has every exec of the storm.

use std::collections::HashMap;
use std::time::Duration;

use picket_event::{Clock, Event, Kind, ProcessUid, SystemClock};
use rustix::process::Signal;

use super::Measured;
use super::subject::{Bench, Ledger, Running, Standing};
use crate::failure::Failure;
use crate::wait;

/// How often each process did a thing.
type Times = HashMap<ProcessUid, u64>;

/// Stops the agent, and that alone, in the middle of a storm.
pub(super) fn measure(bench: &Bench, standing: &mut Standing<'_>) -> Result<Measured, Failure> {
    let agent = standing.agent()?;
    let mut reason = String::new();
    for attempt in 0..ATTEMPTS {
        match storm(bench, agent, attempt)? {
            Ok(measured) => return Ok(measured),
            Err(why) => reason = why,
        }
        super::say(&format!(
            "stall: attempt {attempt} proves nothing: {reason}"
        ));
    }
    Err(Failure::Unexpected {
        what: "the stalled reader".to_owned(),
        text: reason,
    })
}

/// One storm. An inner error says why it proves nothing.
fn storm(
    bench: &Bench,
    agent: &Running<'_>,
    attempt: usize,
) -> Result<Result<Measured, String>, Failure> {
    let prefix = format!("stall{}.{attempt}", std::process::id());
    let since = SystemClock.now();
    let witness = bench.start_watch("exec,exit", "witness")?;
    let before = agent.ledger()?;
    let done = stalled(bench, agent, &prefix)?;
    // What happens later is not yet at the collector when it is asked, the asking included.
    let until = SystemClock.now();
    agent.wait_until_stored()?;
    let after = agent.ledger()?;
    let mut told = Told::default();
    for kind in ["exec", "exit"] {
        bench.stored(kind, since, |event| told.take(event, &prefix))?;
    }
    let mut truth = Told::default();
    let witnessed = witness.finish(|event| {
        if event.time < until {
            truth.take(event, &prefix);
        }
    })?;
    if lost(&witnessed, Kind::Exec) + lost(&witnessed, Kind::Exit) > 0 || truth.marks != done {
        let marks = truth.marks;
        return Ok(Err(format!("the witness has {marks} of {done} execs")));
    }
    let reported = [Kind::Exec, Kind::Exit].map(|kind| lost(&after, kind) - lost(&before, kind));
    if reported.contains(&0) {
        return Ok(Err("nothing was lost".to_owned()));
    }
    Ok(Ok(judge(&truth, &told, reported, done, still(bench))))
}

/// What a sensor told.
#[derive(Debug, Default)]
struct Told {
    execs: Times,
    exits: Times,
    /// Execs of the storm.
    marks: u64,
}

impl Told {
    fn take(&mut self, event: Event, prefix: &str) {
        let Some(process) = event.process else { return };
        if event.kind == Kind::Exit {
            *self.exits.entry(process.uid).or_default() += 1;
            return;
        }
        let mark = process.argv.get(1).and_then(|argument| argument.as_str());
        let mark = mark.and_then(|mark| mark.strip_prefix("--mark=")?.strip_prefix(prefix));
        self.marks += u64::from(mark.is_some());
        *self.execs.entry(process.uid).or_default() += 1;
    }
}

/// The storm, with the agent stopped for a while. Gives how many execs there were.
fn stalled(bench: &Bench, agent: &Running<'_>, prefix: &str) -> Result<u64, Failure> {
    std::thread::scope(|scope| {
        let seconds = bench.pick(3, 4);
        let load = &bench.load;
        let load = scope.spawn(move || load.exec(0, seconds, prefix));
        wait::pause(Duration::from_millis(500));
        agent.service.send(Signal::STOP);
        wait::pause(still(bench));
        agent.service.send(Signal::CONT);
        let cost = load.join().map_err(|_panic| Failure::Unexpected {
            what: "the load".to_owned(),
            text: "its thread panicked".to_owned(),
        })??;
        Ok(cost.done)
    })
}

/// How long the reader stands still.
fn still(bench: &Bench) -> Duration {
    bench.pick(Duration::from_secs(2), Duration::from_secs(3))
}

fn judge(truth: &Told, told: &Told, reported: [u64; 2], done: u64, still: Duration) -> Measured {
    let mut measured = Measured::default();
    let missing = [
        missing(&truth.execs, &told.execs),
        missing(&truth.exits, &told.exits),
    ];
    for ((name, reported), missing) in ["execs", "exits"].into_iter().zip(reported).zip(missing) {
        let conditions = format!(
            "reported {reported}, truly missing {missing}; reader stopped for {:.1} s in a storm of {done} execs",
            still.as_secs_f64()
        );
        let title = format!("stalled reader, {name} lost unreported");
        measured.none(&title, reported.abs_diff(missing), name, &conditions);
    }
    measured
}

/// What is in the truth and was not told.
fn missing(truth: &Times, told: &Times) -> u64 {
    let of = |uid: &ProcessUid| told.get(uid).copied().unwrap_or(0);
    truth
        .iter()
        .map(|(uid, times)| times.saturating_sub(of(uid)))
        .sum()
}

fn lost(ledger: &Ledger, kind: Kind) -> u64 {
    ledger.get(&kind).map_or(0, |line| line.lost)
}

const ATTEMPTS: usize = 3;
