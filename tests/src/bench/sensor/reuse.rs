//! Process ids that are used again and again: every child must have the parent that started it.
//!
//! The load asks the kernel for ids of a pool of 300, so that each is used hundreds of times within seconds. Parents and
//! children carry the number of their family among their arguments, in words that no id can blur.

use std::collections::{HashMap, HashSet};

use picket_event::{Clock, Event, Kind, ProcessUid, SystemClock};

use super::Measured;
use super::subject::{Bench, Standing};
use crate::failure::Failure;

/// Runs the families, then looks at who is said to be whose child.
pub(super) fn measure(bench: &Bench, standing: &mut Standing<'_>) -> Result<Measured, Failure> {
    let count = bench.pick(4_000, 100_000);
    let prefix = format!("reuse{}", std::process::id());
    let running = standing.agent()?;
    let began = SystemClock.now();
    let cost = bench.load.reuse(count, &prefix)?;
    running.wait_until_stored()?;
    let mut seen = Seen::default();
    bench.stored("exec", began, |event| seen.take(&event, &prefix))?;
    let conditions = format!(
        "{count} processes, {}/s, in a pool of 300 process ids; {} different ids seen",
        cost.rate().saturating_mul(4),
        seen.pids.len()
    );
    let mut measured = Measured::default();
    let told = seen.parents.len() + seen.children.len();
    let missed = count.saturating_sub(u64::try_from(told).unwrap_or(u64::MAX));
    measured.none(
        "reused ids, processes missed",
        missed,
        "processes",
        &conditions,
    );
    measured.none(
        "reused ids, wrong parents",
        seen.wrong_parents(),
        "processes",
        &conditions,
    );
    Ok(measured)
}

/// What the collector has of it.
#[derive(Debug, Default)]
struct Seen {
    /// By family.
    parents: HashMap<String, ProcessUid>,
    /// Of each child its family, who is said to be its parent, and the first of its ancestors.
    children: Vec<(String, Option<ProcessUid>, Option<ProcessUid>)>,
    pids: HashSet<u32>,
}

impl Seen {
    fn take(&mut self, event: &Event, prefix: &str) {
        let Some(process) = event.process.as_ref().filter(|_| event.kind == Kind::Exec) else {
            return;
        };
        let mark = process.argv.last().and_then(|argument| argument.as_str());
        let rest = |word: &str| {
            mark?
                .strip_prefix(word)?
                .strip_prefix(prefix)?
                .strip_prefix('-')
        };
        if let Some(family) = rest("--parent=") {
            self.parents.insert(family.to_owned(), process.uid);
        } else if let Some((family, _)) = rest("--child=").and_then(|rest| rest.split_once('-')) {
            let ancestor = process.ancestry.first().map(|ancestor| ancestor.uid);
            self.children
                .push((family.to_owned(), process.parent_uid, ancestor));
        } else {
            return;
        }
        self.pids.insert(process.pid);
    }

    fn wrong_parents(&self) -> u64 {
        let is_wrong =
            |(family, parent, ancestor): &&(String, Option<ProcessUid>, Option<ProcessUid>)| {
                let right = self.parents.get(family).copied();
                right.is_none() || *parent != right || *ancestor != right
            };
        let wrong = self.children.iter().filter(is_wrong).count();
        u64::try_from(wrong).unwrap_or(u64::MAX)
    }
}
