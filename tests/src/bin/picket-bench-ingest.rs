//! `make bench-ingest`: what the collector takes in, at which cost, from simulated agents.

use std::process::ExitCode;

use clap::Parser;
use picket_tests::bench::ingest::{self, Options};

/// Measures the collector's ingest on this host, and proves that what was acknowledged is stored once.
#[derive(Debug, Parser)]
#[command(name = "picket-bench-ingest", version)]
struct Cli {
    /// Less of everything, in under 45 seconds
    #[arg(long)]
    short: bool,
    /// One JSON object per figure
    #[arg(long)]
    json: bool,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_name = "PART,...")]
    only: Vec<String>,
    /// How many agents stand connected at once, one row for each
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    agents: Vec<usize>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let options = Options {
        short: cli.short,
        only: cli.only,
        agents: cli.agents,
    };
    picket_tests::report("picket-bench-ingest", ingest::run(options, cli.json))
}
