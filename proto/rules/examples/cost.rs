//! What one event costs: `cargo run -p picket-rules --example cost -- FOLDER...`
//!
//! Loads the rule files below each folder, then all of them together, judges recorded exec events
//! of ordinary work again and again, and prints load time, microseconds per event and memory of the
//! index. The figures depend on the build profile.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use picket_event::{Event, Kind};
use picket_rules::{Loaded, RuleSet, Scratch, Source};

const EVENTS: &str = include_str!("../tests/data/ordinary.jsonl");
/// Events are judged in rounds; the best and the median round are shown.
const ROUNDS: usize = 400;

fn main() -> io::Result<()> {
    let folders: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let mut all = Vec::new();
    println!(
        "{:>6} {:>9} {:>10} {:>10} {:>10} {:>9}  rules",
        "rules", "load ms", "best us", "median us", "p99 us", "KiB"
    );
    for folder in &folders {
        let mut sources = Vec::new();
        gather(folder, &mut sources)?;
        show(&folder.display().to_string(), &sources);
        all.append(&mut sources);
    }
    if folders.len() > 1 {
        show("all together", &all);
    }
    Ok(())
}

fn gather(folder: &Path, sources: &mut Vec<Source>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            let name = path.display().to_string();
            sources.push(Source {
                name,
                text: fs::read_to_string(&path)?,
            });
        }
    }
    Ok(())
}

fn show(name: &str, sources: &[Source]) {
    let begun = Instant::now();
    let Loaded { rules, .. } = RuleSet::compile(sources);
    let load = begun.elapsed();
    let events = events();
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(&rules, &events)).collect();
    rounds.sort_by(f64::total_cmp);
    let (mut single, mut scratch) = (Vec::new(), Scratch::default());
    for event in events.iter().cycle().take(20_000) {
        single.push(micros(once(&rules, event, &mut scratch)));
    }
    single.sort_by(f64::total_cmp);
    let figures = rules.figures();
    println!(
        "{:>6} {:>9.1} {:>10.2} {:>10.2} {:>10.2} {:>9}  {name}",
        figures.rules,
        load.as_secs_f64() * 1e3,
        rounds[0],
        rounds[ROUNDS / 2],
        single[single.len() * 99 / 100],
        figures.parts_bytes / 1024,
    );
}

/// Microseconds per event, over all events.
fn round(rules: &RuleSet, events: &[Event]) -> f64 {
    let (mut scratch, mut hits, mut found) = (Scratch::default(), Vec::new(), 0);
    let begun = Instant::now();
    for _ in 0..20 {
        for event in events {
            rules.evaluate(event, &mut scratch, &mut hits);
            found += hits.len();
        }
    }
    std::hint::black_box(found);
    let judged = u32::try_from(20 * events.len()).unwrap_or(u32::MAX);
    micros(begun.elapsed()) / f64::from(judged)
}

fn once(rules: &RuleSet, event: &Event, scratch: &mut Scratch) -> Duration {
    let mut hits = Vec::new();
    let begun = Instant::now();
    rules.evaluate(event, scratch, &mut hits);
    begun.elapsed()
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The exec events of ordinary work, with command lines of 200 bytes.
fn events() -> Vec<Event> {
    let lines = EVENTS.lines().map(|line| {
        let json = serde_json::from_str(line).expect("the file holds JSON lines");
        picket_event::json::from_value(&json)
            .expect("each line is an event")
            .event
    });
    let mut events: Vec<Event> = lines.filter(|event| event.kind == Kind::Exec).collect();
    for process in events.iter_mut().filter_map(|event| event.process.as_mut()) {
        let missing = 200_usize.saturating_sub(process.command_line().len());
        let argument: String = "--option=/usr/share/value "
            .chars()
            .cycle()
            .take(missing)
            .collect();
        process.argv.push(argument.into());
    }
    events
}
