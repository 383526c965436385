//! `make bench`: the published figures, measured through the real programs.

use std::process::ExitCode;

use clap::Parser;
use picket_tests::bench;

/// Measures the promises of SPECIFICATION.md on this host.
#[derive(Debug, Parser)]
#[command(name = "picket-bench", version)]
struct Cli {
    /// One run of each measurement
    #[arg(long)]
    short: bool,
    /// One JSON object per figure
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    picket_tests::report("picket-bench", bench::run(cli.short, cli.json))
}
