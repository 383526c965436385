//! `make bench-store`: how large the store is and how fast it answers.

use std::process::ExitCode;

use clap::Parser;
use picket_tests::bench::store;

/// Fills a store, seals it, and measures; proves that the sealed files answer as the log alone does.
#[derive(Debug, Parser)]
#[command(name = "picket-bench-store", version)]
struct Cli {
    /// A tenth of it, in under a minute
    #[arg(long)]
    short: bool,
    /// One JSON object per figure
    #[arg(long)]
    json: bool,
    /// What each column of the sealed files takes, too
    #[arg(long)]
    columns: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let how = store::Measuring {
        short: cli.short,
        json: cli.json,
        columns: cli.columns,
    };
    picket_tests::report("picket-bench-store", store::run(how))
}
