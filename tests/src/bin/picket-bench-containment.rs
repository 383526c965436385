//! `make bench-containment`: how quickly containment acts, and what it must never do.

use std::process::ExitCode;

use clap::Parser;
use picket_tests::bench::containment::{self, Options};

/// Measures containment, as root and in network namespaces of its own.
#[derive(Debug, Parser)]
#[command(name = "picket-bench-containment", version)]
struct Cli {
    /// Fewer trials
    #[arg(long)]
    short: bool,
    /// One JSON object per figure
    #[arg(long)]
    json: bool,
    /// Only these parts: isolate, policy, fleet
    #[arg(long, value_delimiter = ',', value_name = "PART,...")]
    only: Vec<String>,
    /// How many simulated hosts a command goes to
    #[arg(long, value_name = "N")]
    agents: Option<usize>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let options = Options {
        short: cli.short,
        only: cli.only,
        agents: cli.agents,
    };
    let done = containment::run(&options, cli.json);
    picket_tests::report("picket-bench-containment", done)
}
