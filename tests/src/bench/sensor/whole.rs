//! The longest storm: every exec and every exit of it must be at the collector, once.

use std::collections::{HashMap, HashSet};

use picket_event::{Clock, Kind, KindCounts, ProcessUid, SystemClock};

use super::subject::{Bench, Ledger, Standing};
use super::{Measured, memory};
use crate::failure::Failure;

/// Runs the storm under the whole path.
pub(super) fn measure(bench: &Bench, standing: &mut Standing<'_>) -> Result<Measured, Failure> {
    let prefix = format!("whole{}", std::process::id());
    let running = standing.agent()?;
    let began = SystemClock.now();
    let before = running.ledger()?;
    let (load, time) = (&bench.load, bench.pick(2, 60));
    let (most, cost) = memory::peak(running, || load.exec(0, time, &prefix))?;
    running.wait_until_stored()?;
    let after = running.ledger()?;
    let mut seen = Seen::default();
    bench.stored("exec", began, |event| {
        let process = event.process.as_ref();
        let mark = process.and_then(|process| {
            let argument = process.argv.get(1)?.as_str()?;
            let mark = argument.strip_prefix("--mark=")?.strip_prefix(&prefix)?;
            Some((mark.to_owned(), process.uid))
        });
        if let Some((mark, uid)) = mark {
            seen.exec(mark, uid);
        }
    })?;
    bench.stored("exit", began, |event| {
        if let Some(process) = &event.process {
            seen.exit(process.uid);
        }
    })?;
    let conditions = format!(
        "{} execs by two workers in {:.0} s, {}/s; of all processes meanwhile {}",
        cost.done,
        seconds(cost.wall_us),
        cost.rate(),
        changes(&before, &after)
    );
    let mut measured = judge(cost.done, &seen, &after, &conditions);
    let memory = memory::in_storm("agent PSS, in the exec storm", most, &cost);
    measured.figures.push(memory);
    Ok(measured)
}

/// What the collector has of the storm.
#[derive(Debug, Default)]
struct Seen {
    marks: HashMap<String, ProcessUid>,
    doubled: u64,
    exits: HashSet<ProcessUid>,
}

impl Seen {
    fn exec(&mut self, mark: String, uid: ProcessUid) {
        if self.marks.insert(mark, uid).is_some() {
            self.doubled += 1;
        }
    }

    fn exit(&mut self, uid: ProcessUid) {
        self.exits.insert(uid);
    }
}

fn judge(done: u64, seen: &Seen, after: &Ledger, conditions: &str) -> Measured {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let execs = count(seen.marks.len());
    let uids: HashSet<&ProcessUid> = seen.marks.values().collect();
    let exits = count(uids.iter().filter(|uid| seen.exits.contains(**uid)).count());
    let unbalanced = after.values().filter(|line| !line.balances());
    let mut measured = Measured::default();
    let missed = done.saturating_sub(execs);
    measured.none("exec storm, execs missed", missed, "execs", conditions);
    let missed = done.saturating_sub(exits);
    measured.none("exec storm, exits missed", missed, "exits", conditions);
    measured.none(
        "exec storm, execs doubled",
        seen.doubled,
        "execs",
        conditions,
    );
    let unbalanced = count(unbalanced.count());
    measured.none(
        "kinds whose ledger is wrong",
        unbalanced,
        "kinds",
        conditions,
    );
    measured
}

/// What the ledger says of execs and exits between two looks.
fn changes(before: &Ledger, after: &Ledger) -> String {
    let line = |kind: Kind| {
        let of = |ledger: &Ledger| {
            let line = ledger.get(&kind).copied();
            line.unwrap_or_else(|| KindCounts::zero(kind))
        };
        let (before, after) = (of(before), of(after));
        format!(
            "{} generated {} lost {}",
            kind.name(),
            after.generated.saturating_sub(before.generated),
            after.lost.saturating_sub(before.lost)
        )
    };
    format!("{}, {}", line(Kind::Exec), line(Kind::Exit))
}

fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}
