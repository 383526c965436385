//! `make bench-sensor`: what the kernel sensor sees, and what it costs, against no sensor.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use picket_tests::bench::sensor::{self, Options};

/// Measures the kernel sensor on this host: completeness, exactness and cost.
#[derive(Debug, Parser)]
#[command(name = "picket-bench-sensor", version)]
struct Cli {
    /// Less of everything, in under 40 seconds
    #[arg(long)]
    short: bool,
    /// One JSON object per figure
    #[arg(long)]
    json: bool,
    /// The agent to measure, in place of the one beside this program
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_name = "PART,...")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let options = Options {
        short: cli.short,
        agent: cli.agent,
        only: cli.only,
    };
    let done = sensor::run(options, cli.json);
    picket_tests::report("picket-bench-sensor", done)
}
