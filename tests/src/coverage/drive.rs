//! On this host: boots a machine, freezes it when the agent is ready, and gives each test a machine that goes on from there.
//!
//! # Invariants
//!
//! - Whatever a test does to its machine, the next one begins as if it had not been.
//! - Each step has an end: the test's own limits and a minute more for the machine. A machine that is silent then is thrown away.
//! - What was not run has no step; the report counts it as not run.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::guest::{Hello, MOST_EVENTS, Order, Play};
use super::list::{List, Test};
use super::machine::{self, Machine, Parts, Word};
use super::record::{Guest, Played, Step, Variant, events_file};
use crate::failure::Failure;
use crate::wait;

/// What is to be run, and with what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The list.
    pub list: PathBuf,
    /// Where the log of the run goes; is made.
    pub out: PathBuf,
    /// A folder with `disk.raw`, `vmlinuz` and `initrd`.
    pub debian: PathBuf,
    /// What is unpacked over it: a tar archive with the agent and this program.
    pub payload: PathBuf,
    /// Where a frozen machine of the same parts is kept from run to run, or will be.
    pub frozen: Option<PathBuf>,
    /// Only tests of techniques that begin so.
    pub only: Vec<String>,
    /// At most so many tests.
    pub limit: Option<usize>,
    /// No test begins after so many minutes.
    pub minutes: Option<u64>,
    /// How many machines at a time.
    pub jobs: usize,
    /// How many times longer than on an ordinary machine a test may take.
    pub patience: f64,
    /// How long the machine is left alone, in seconds.
    pub idle: u64,
    /// Whether tests are run with renamed programs too.
    pub renamed: bool,
    /// Whether all events are kept, however many.
    pub all_events: bool,
    /// Told in the conditions as they are.
    pub conditions: Vec<(String, String)>,
}

/// Runs the tests.
pub fn run(options: &Options, say: &(dyn Fn(&str) + Sync)) -> Result<(), Failure> {
    let list = List::read(&options.list)?;
    std::fs::create_dir_all(options.out.join("events")).map_err(Failure::file(&options.out))?;
    let parts = Parts {
        debian: options.debian.clone(),
        payload: options.payload.clone(),
        memory: MEMORY,
    };
    let work = tempfile::tempdir_in(&options.out).map_err(Failure::file(&options.out))?;
    let first = work.path().join("0");
    std::fs::create_dir_all(&first).map_err(Failure::file(&first))?;
    let begun = Instant::now();
    say("booting a machine");
    let hello = ready(&parts, &first, options.frozen.as_deref())?;
    say(&format!(
        "the agent is ready after {} s",
        begun.elapsed().as_secs()
    ));
    write_conditions(options, &list, &hello)?;
    let queue = Queue {
        options,
        parts: &parts,
        waiting: Mutex::new(chosen(options, &list)),
        steps: Mutex::new(create(&options.out.join("steps.jsonl"))?),
        begun: Instant::now(),
        say,
    };
    let folders = (0..options.jobs.max(1)).map(|job| work.path().join(job.to_string()));
    let folders: Vec<PathBuf> = folders.collect();
    for folder in folders.iter().skip(1) {
        machine::copy(&first, folder)?;
    }
    let queue = &queue;
    std::thread::scope(|scope| {
        let start = |folder| scope.spawn(move || queue.work(folder));
        let folders = folders.iter().map(PathBuf::as_path);
        let threads: Vec<_> = folders.map(start).collect();
        threads.into_iter().try_for_each(|thread| {
            let done = thread.join();
            done.unwrap_or_else(|_| {
                Err(Failure::Unexpected {
                    what: "a worker".to_owned(),
                    text: "it panicked".to_owned(),
                })
            })
        })
    })
}

/// One step that waits.
#[derive(Debug)]
struct Waiting {
    number: usize,
    variant: Variant,
    test: Test,
}

/// What the workers share.
struct Queue<'a> {
    options: &'a Options,
    parts: &'a Parts,
    waiting: Mutex<Vec<Waiting>>,
    steps: Mutex<File>,
    begun: Instant,
    say: &'a (dyn Fn(&str) + Sync),
}

impl Queue<'_> {
    fn work(&self, folder: &Path) -> Result<(), Failure> {
        while let Some(waiting) = self.take() {
            let step = self.play(folder, &waiting)?;
            (self.say)(&line(&step, &waiting.test));
            let mut file = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
            let text = serde_json::to_string(&step).unwrap_or_default();
            writeln!(file, "{text}").map_err(Failure::file("steps.jsonl"))?;
        }
        Ok(())
    }

    /// The next one, if there is time.
    fn take(&self) -> Option<Waiting> {
        let limit = self
            .options
            .minutes
            .map(|minutes| Duration::from_secs(60 * minutes));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if wait::interrupted() || limit.is_some_and(|limit| self.begun.elapsed() > limit) {
            if !waiting.is_empty() {
                (self.say)(&format!(
                    "not run, because the time is over: {} steps",
                    waiting.len()
                ));
            }
            waiting.clear();
        }
        waiting.pop()
    }

    fn play(&self, folder: &Path, waiting: &Waiting) -> Result<Step, Failure> {
        let began = Instant::now();
        let path = events_file(&self.options.out, waiting.number, waiting.variant);
        let mut events = create(&path)?;
        let mut machine = self.parts.thaw(folder)?;
        let order = self.order(waiting);
        machine.order(&order)?;
        let (played, guest) = listen(&machine, began + self.longest(waiting), &mut events)?;
        Ok(Step {
            guid: waiting.test.guid.clone(),
            number: waiting.number,
            variant: waiting.variant,
            guest,
            played,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn order(&self, waiting: &Waiting) -> Order {
        match waiting.variant {
            Variant::Idle => Order::Idle {
                seconds: self.options.idle,
            },
            Variant::Plain | Variant::Renamed => Order::Play(Box::new(Play {
                test: waiting.test.clone(),
                variant: waiting.variant,
                patience: self.options.patience,
                seed: u64::try_from(waiting.number).unwrap_or_default(),
                most_events: if self.options.all_events {
                    u64::MAX
                } else {
                    MOST_EVENTS
                },
            })),
        }
    }

    /// All that the guest may wait for, and what an emulated machine needs beside.
    fn longest(&self, waiting: &Waiting) -> Duration {
        let asides = u64::try_from(waiting.test.dependencies.len()).unwrap_or(1) * 60 + 60;
        let scripts = match waiting.variant {
            Variant::Idle => self.options.idle,
            Variant::Plain | Variant::Renamed => waiting.test.limit() + asides,
        };
        Duration::from_secs(scripts).mul_f64(self.options.patience) + Duration::from_mins(5)
    }
}

/// A machine whose agent is ready, frozen: the one that was kept, or a new one.
fn ready(parts: &Parts, folder: &Path, kept: Option<&Path>) -> Result<Hello, Failure> {
    let Some(kept) = kept else {
        return freeze(parts, folder);
    };
    let told = kept.join("hello.json");
    if let Ok(text) = std::fs::read_to_string(&told) {
        machine::copy(kept, folder)?;
        return parsed(&text);
    }
    let hello = freeze(parts, folder)?;
    machine::copy(folder, kept)?;
    let text = serde_json::to_string(&hello).unwrap_or_default();
    std::fs::write(&told, text).map_err(Failure::file(told))?;
    Ok(hello)
}

fn parsed(hello: &str) -> Result<Hello, Failure> {
    serde_json::from_str(hello).map_err(|error| Failure::Unexpected {
        what: "the machine".to_owned(),
        text: error.to_string(),
    })
}

fn freeze(parts: &Parts, folder: &Path) -> Result<Hello, Failure> {
    let machine = parts.boot(folder)?;
    let until = Instant::now() + Duration::from_mins(15);
    loop {
        match machine.next(until) {
            Word::Line(line) => {
                let Some(text) = line.strip_prefix("hello ") else {
                    continue;
                };
                let hello = parsed(text)?;
                machine.freeze(Duration::from_mins(5))?;
                return Ok(hello);
            }
            Word::Ended | Word::Silence => {
                return Err(Failure::Ended {
                    what: "the machine".to_owned(),
                    code: "no agent".to_owned(),
                    stderr: machine.console(),
                });
            }
        }
    }
}

/// Until the result, or until there will be none.
fn listen(
    machine: &Machine,
    until: Instant,
    events: &mut File,
) -> Result<(Played, Guest), Failure> {
    let mut played = Played::default();
    loop {
        let line = match machine.next(until) {
            Word::Line(line) => line,
            Word::Ended => return Ok((played, Guest::Ended)),
            Word::Silence => return Ok((played, Guest::Silent)),
        };
        match line.split_once(' ') {
            Some(("event", rest)) => writeln!(events, "{rest}").map_err(Failure::file("events"))?,
            Some(("began", rest)) => played = serde_json::from_str(rest).unwrap_or(played),
            Some(("result", rest)) => {
                played = serde_json::from_str(rest).unwrap_or(played);
                return Ok((played, Guest::Alive));
            }
            _ => {}
        }
    }
}

/// What is to be run, the first at the end: idle time, all tests as they are, then with other names.
fn chosen(options: &Options, list: &List) -> Vec<Waiting> {
    let wanted = |test: &Test| {
        options.only.is_empty()
            || options
                .only
                .iter()
                .any(|one| test.technique.starts_with(one))
    };
    let tests = (1..).zip(&list.tests).filter(|(_, test)| wanted(test));
    let tests: Vec<_> = tests.take(options.limit.unwrap_or(usize::MAX)).collect();
    let mut steps = vec![Waiting {
        number: 0,
        variant: Variant::Idle,
        test: Test::default(),
    }];
    let variants = if options.renamed {
        &[Variant::Plain, Variant::Renamed][..]
    } else {
        &[Variant::Plain]
    };
    for variant in variants {
        for (number, test) in &tests {
            steps.push(Waiting {
                number: *number,
                variant: *variant,
                test: (*test).clone(),
            });
        }
    }
    steps.reverse();
    steps
}

fn write_conditions(options: &Options, list: &List, hello: &Hello) -> Result<(), Failure> {
    let mut told = json!({
        "list": options.list.file_name().map(|name| name.to_string_lossy()),
        "list_source": list.source,
        "tests": list.tests.len(),
        "kernel": hello.kernel,
        "agent": hello.agent,
        "agent_said": hello.said,
        "agent_source": hello.source,
        "machine": "QEMU, emulated (TCG), 2 processors, no network",
        "patience": options.patience,
        "only": options.only,
        "limit": options.limit,
        "minutes": options.minutes,
        "renamed": options.renamed,
        "idle_seconds": options.idle,
    });
    for (name, value) in &options.conditions {
        told[name.as_str()] = Value::from(value.as_str());
    }
    let path = options.out.join("run.json");
    std::fs::write(&path, told.to_string()).map_err(Failure::file(path))
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(Failure::file(path))
}

/// One line for people about a step.
fn line(step: &Step, test: &Test) -> String {
    let outcome = &step.played.outcome;
    let how = match (&step.guest, step.played.began) {
        (Guest::Ended, _) => "the machine ended".to_owned(),
        (Guest::Silent, _) => "the machine fell silent".to_owned(),
        (Guest::Alive, _) if step.variant == Variant::Idle => "left alone".to_owned(),
        (Guest::Alive, 0) => "not begun".to_owned(),
        (Guest::Alive, _) if outcome.timed_out => "ended by its limit".to_owned(),
        (Guest::Alive, _) => outcome
            .exit
            .map_or_else(|| "killed".to_owned(), |code| format!("exit {code}")),
    };
    let (number, variant) = (step.number, step.variant.name());
    let (technique, name) = (&test.technique, &test.name);
    let seconds = step.took_ms / 1000;
    format!("{number:>3} {variant:<7} {technique:<10} {seconds:>4} s  {how}  {name}")
}

/// Memory of a machine in MiB.
const MEMORY: u32 = 2048;
