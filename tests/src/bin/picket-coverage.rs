//! `make coverage`: tests of a list in a throw-away machine, and how much of them the agent saw and judged.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use picket_tests::coverage::attack::Techniques;
use picket_tests::coverage::drive::{self, Options};
use picket_tests::coverage::guest;
use picket_tests::coverage::launch::Launch;
use picket_tests::coverage::report::Report;
use picket_tests::failure::Failure;
use picket_tests::wait;

/// Plays tests of a list in a throw-away machine and judges what the agent told of them.
#[derive(Debug, Parser)]
#[command(name = "picket-coverage", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// On this host: boots the machine and hands it the tests
    Run(Box<Run>),
    /// On this host: judges what a run left
    Judge(Judge),
    /// In the machine: serves the host. Only there: tests may destroy what they run on
    Guest,
    /// In the machine: becomes the shell of a test
    #[command(hide = true)]
    Launch {
        executor: String,
        user: u32,
        home: PathBuf,
        cgroup: PathBuf,
        folder: PathBuf,
    },
}

#[derive(Args, Debug)]
struct Run {
    /// The tests
    #[arg(long)]
    list: PathBuf,
    /// Where the log of the run goes
    #[arg(long)]
    out: PathBuf,
    /// What tests/coverage/disk.sh prints
    #[arg(long)]
    debian: PathBuf,
    /// A tar archive that is unpacked over the machine's disk
    #[arg(long)]
    payload: PathBuf,
    /// Keeps the booted machine here for the next run with the same programs
    #[arg(long)]
    frozen: Option<PathBuf>,
    /// Only techniques that begin so
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// At most so many tests
    #[arg(long)]
    limit: Option<usize>,
    /// No test begins after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Machines at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// How many times longer than on an ordinary machine a test may take
    #[arg(long, default_value_t = 5.0)]
    patience: f64,
    /// How long the machine is left alone first, in seconds
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Not with renamed programs
    #[arg(long)]
    no_renamed: bool,
    /// Keeps all events of a test, however many
    #[arg(long)]
    all_events: bool,
    /// NAME=VALUE, told among the conditions
    #[arg(long, value_parser = condition)]
    condition: Vec<(String, String)>,
}

#[derive(Args, Debug)]
struct Judge {
    /// The tests
    #[arg(long)]
    list: PathBuf,
    /// What `run` left
    #[arg(long)]
    run: PathBuf,
    /// Techniques with their tactics, as the development data has them
    #[arg(long)]
    techniques: Option<PathBuf>,
    /// Where the report goes as one JSON object
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    picket_tests::report("picket-coverage", done(Cli::parse().what))
}

fn done(what: What) -> Result<(), Failure> {
    match what {
        What::Run(run) => {
            wait::for_interrupts();
            drive::run(&options(*run), &say)
        }
        What::Judge(judge) => judged(&judge),
        What::Guest => guest::serve(),
        What::Launch {
            executor,
            user,
            home,
            cgroup,
            folder,
        } => Err(Launch {
            executor,
            user,
            home,
            cgroup,
            folder,
        }
        .exec()),
    }
}

fn options(run: Run) -> Options {
    Options {
        list: run.list,
        out: run.out,
        debian: run.debian,
        payload: run.payload,
        frozen: run.frozen,
        only: run.only,
        limit: run.limit,
        minutes: run.minutes,
        jobs: run.jobs,
        patience: run.patience,
        idle: run.idle,
        renamed: !run.no_renamed,
        all_events: run.all_events,
        conditions: run.condition,
    }
}

fn judged(judge: &Judge) -> Result<(), Failure> {
    let known = judge
        .techniques
        .as_deref()
        .map(Techniques::read)
        .transpose()?;
    let report = Report::of(&judge.list, &judge.run, known.unwrap_or_default())?;
    if let Some(path) = &judge.json {
        std::fs::write(path, format!("{:#}\n", report.to_json())).map_err(Failure::file(path))?;
    }
    for line in report.lines() {
        say(&line);
    }
    Ok(())
}

fn say(line: &str) {
    // Whoever closed the pipe has seen enough.
    drop(writeln!(std::io::stdout(), "{line}"));
}

fn condition(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has no `=`")?;
    Ok((name.to_owned(), value.to_owned()))
}
