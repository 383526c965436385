//! What a storm of files costs, below watched paths and elsewhere, and whether each event names the worker that did it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use picket_event::{Clock, Event, SystemClock};

use super::Measured;
use super::cost::{Costs, Goal};
use super::subject::{Bench, Running, Standing, Way};
use crate::failure::Failure;

/// Whether all is right, then the cost on a tmpfs below a watched path and on one elsewhere that only the load sees.
pub(super) fn measure(bench: &Bench, standing: &mut Standing<'_>) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    attribution(bench, standing.agent()?, &mut measured)?;
    if bench.short {
        super::say("SKIPPED in the short form: CPU of the file storm");
        return Ok(measured);
    }
    standing.stop()?;
    let watched = || {
        let folder = watched_folder()?;
        bench.load.files(CYCLES, folder.path(), "cost", false)
    };
    let outside = bench.load.path("outside");
    fs::create_dir_all(&outside).map_err(Failure::file(&outside))?;
    let elsewhere = || bench.load.files(CYCLES, &outside, "cost", true);
    let costs = Costs::measure(bench, Way::Run, PAIRS, watched)?;
    let conditions = |costs: &Costs| format!("tmpfs; {}", costs.rates());
    let figure = costs.total(WATCHED, "", &conditions(&costs));
    measured.figures.push(figure);
    let costs = Costs::measure(bench, Way::Run, PAIRS, elsewhere)?;
    let figure = costs.total(ELSEWHERE, "", &conditions(&costs));
    measured.figures.push(figure);
    Ok(measured)
}

/// Every cycle must be four events at the collector, by the worker whose number is in the file's name.
fn attribution(
    bench: &Bench,
    running: &Running<'_>,
    measured: &mut Measured,
) -> Result<(), Failure> {
    let cycles = bench.pick(2_000, CYCLES);
    let prefix = format!("file{}", std::process::id());
    let folder = watched_folder()?;
    let began = SystemClock.now();
    let cost = bench.load.files(cycles, folder.path(), &prefix, false)?;
    running.wait_until_stored()?;
    let mut seen = Seen::default();
    for kind in KINDS {
        bench.stored(kind, began, |event| seen.take(&event, &prefix))?;
    }
    let missed: u64 = KINDS
        .iter()
        .map(|kind| cycles.saturating_sub(seen.counts.get(*kind).copied().unwrap_or(0)))
        .sum();
    let conditions = format!(
        "{cycles} cycles of create, write, rename, delete by two workers, {}/s; {} events, {} of them with the hash",
        cost.rate(),
        seen.counts.values().sum::<u64>(),
        seen.hashed
    );
    measured.none("file storm, events missed", missed, "events", &conditions);
    measured.none(
        "file storm, events of another process",
        seen.wrong,
        "events",
        &conditions,
    );
    Ok(())
}

/// What the collector has of the storm.
#[derive(Debug, Default)]
struct Seen {
    counts: HashMap<&'static str, u64>,
    wrong: u64,
    hashed: u64,
}

impl Seen {
    fn take(&mut self, event: &Event, prefix: &str) {
        let Some(file) = event.file() else { return };
        let name = file
            .path
            .as_str()
            .and_then(|path| Path::new(path).file_name()?.to_str());
        let worker = name.and_then(|name| {
            name.strip_prefix(prefix)?
                .strip_prefix('-')?
                .split('-')
                .next()
        });
        let Some(worker) = worker else { return };
        let process = event.process.as_ref();
        let is_right = process.is_some_and(|process| worker.parse() == Ok(process.pid));
        self.wrong += u64::from(!is_right);
        self.hashed += u64::from(file.sha256_after.is_some());
        *self.counts.entry(event.kind.name()).or_default() += 1;
    }
}

/// On a tmpfs, below a path that is watched by default.
pub(super) fn watched_folder() -> Result<tempfile::TempDir, Failure> {
    let folder = tempfile::Builder::new()
        .prefix("picket-load-")
        .tempdir_in("/dev/shm");
    folder.map_err(Failure::file("/dev/shm"))
}

const KINDS: [&str; 4] = ["file_create", "file_modify", "file_rename", "file_delete"];
pub(super) const CYCLES: u64 = 20_000;
const PAIRS: usize = 10;
pub(super) const WATCHED: Goal = Goal {
    name: "CPU per 20,000 file cycles, watched",
    words: "<= 0.4",
    limit: 0.4,
    anchor: "Falco 1.3, auditd 4.5, laurel 5.6, inotifywait 0.7 without who (same storm, another run)",
};
const ELSEWHERE: Goal = Goal {
    name: "CPU per 20,000 file cycles, elsewhere",
    words: "<= 0.05",
    limit: 0.05,
    anchor: "",
};
