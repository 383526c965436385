//! Judges the scorer's models by labelled files; `make eval` runs it on the development data.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use picket_tests::eval::hosts::{self, Hosts};
use picket_tests::eval::stream::{self, Stream};
use picket_tests::eval::{self, EvalError, Subject, development, noise};

/// Judges the scorer's models by labelled files.
#[derive(Debug, Parser)]
#[command(name = "picket-eval", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Sequences of system calls: label, tab, name, tab, numbers
    Sequence(Files),
    /// Logins in the order of time: CSV with a header
    Login(Files),
    /// Command lines: label, tab, command
    Command(Files),
    /// The scorer and its budget on recorded events: one JSON object for each host
    Stream {
        /// Recorded events, as `picket-agent watch --json` prints them
        #[arg(long)]
        events: PathBuf,
        /// Events of attacks, tried after the stream: found, repeated
        #[arg(long)]
        attacks: Option<PathBuf>,
        /// Notifications in 24 hours, at most
        #[arg(long, default_value_t = 12)]
        budget: u32,
    },
    /// Recorded hosts, and attacks that come to them: the share found above one benign incident in a day and in a week
    Hosts(Recorded),
    /// Alerts in a day of a host, from events that `picket-agent replay --json` prints to standard input
    Noise,
    /// All three on the development data, beside goals and baselines
    Development {
        /// The folder of the data [default: `../shared/data` beside the project]
        #[arg(long)]
        data: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
struct Recorded {
    /// What `make recordings` left
    #[arg(long)]
    recordings: PathBuf,
    /// What `make coverage` left
    #[arg(long, requires = "list")]
    attacks: Option<PathBuf>,
    /// The list of these attacks
    #[arg(long)]
    list: Option<PathBuf>,
    /// Notifications in 24 hours, at most
    #[arg(long, default_value_t = 12)]
    budget: u32,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Files {
    /// Normal samples to learn from, gzip or not
    #[arg(long)]
    train: PathBuf,
    /// Labelled samples to judge by, gzip or not
    #[arg(long)]
    test: PathBuf,
    /// As the agent sees it: as events, by the whole scorer
    #[arg(long)]
    agent: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    picket_tests::report("picket-eval", run(Cli::parse().what))
}

fn recorded(files: &Recorded) -> Result<(), EvalError> {
    let report = hosts::run(Hosts {
        recordings: &files.recordings,
        attacks: files.attacks.as_deref().zip(files.list.as_deref()),
        budget: files.budget,
    })?;
    tell(&report, files.json);
    Ok(())
}

fn tell(report: &hosts::Report, json: bool) {
    let lines = if json {
        vec![report.to_json().to_string()]
    } else {
        report.lines()
    };
    for line in lines {
        // Whoever closed the pipe has seen enough.
        drop(writeln!(std::io::stdout(), "{line}"));
    }
}

fn run(what: What) -> Result<(), EvalError> {
    let (subject, files) = match what {
        What::Sequence(files) => (Subject::Sequence, files),
        What::Login(files) => (Subject::Login, files),
        What::Command(files) => (Subject::Command, files),
        What::Development { data } => return all(data),
        What::Noise => return noise(),
        What::Hosts(files) => return recorded(&files),
        What::Stream {
            events,
            attacks,
            budget,
        } => return replay(&events, attacks.as_deref(), budget),
    };
    let outcome = eval::run(subject, &files.train, &files.test, files.agent)?;
    eval::print(&outcome, files.json);
    Ok(())
}

fn noise() -> Result<(), EvalError> {
    for line in noise::count(std::io::stdin().lock())?.lines() {
        // Whoever closed the pipe has seen enough.
        drop(writeln!(std::io::stdout(), "{line}"));
    }
    Ok(())
}

fn replay(events: &Path, attacks: Option<&Path>, budget: u32) -> Result<(), EvalError> {
    let told = stream::run(Stream {
        events,
        attacks,
        budget,
    })?;
    let hosts = told.as_array().into_iter().flatten();
    for host in hosts {
        // Whoever closed the pipe has seen enough.
        drop(writeln!(std::io::stdout(), "{host}"));
    }
    Ok(())
}

fn all(data: Option<PathBuf>) -> Result<(), EvalError> {
    if let Some(folder) = data.or_else(development::folder) {
        return development::table(&folder);
    }
    let line = "SKIPPED: the development data are not beside the project (../shared/data)";
    // Nobody is left to tell when standard error is closed.
    drop(writeln!(std::io::stderr(), "{line}"));
    Ok(())
}
