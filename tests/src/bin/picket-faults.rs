//! `make test-faults`: faults at random between real agents and collectors, and nothing acknowledged is lost.

use std::process::ExitCode;

use clap::Parser;
use picket_tests::faults::{self, Options};

/// Plays seeded random faults and checks after each round that nothing acknowledged is lost or doubled.
#[derive(Debug, Parser)]
#[command(
    name = "picket-faults",
    version,
    after_help = "Example:\n  picket-faults --seed 7 --rounds 20 --keep"
)]
struct Cli {
    /// The first world's seed
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How many rounds
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    rounds: u64,
    /// How many worlds at a time
    #[arg(long, default_value_t = 4, value_name = "N")]
    at_once: usize,
    /// Keep the files of a world that fails
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let options = Options {
        seed: cli.seed,
        rounds: cli.rounds,
        at_once: cli.at_once,
        keep: cli.keep,
    };
    let done = faults::enter_grounds().and_then(|inside| match inside {
        Some(code) => Ok(code),
        None => faults::run(options).map(|()| 0),
    });
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => picket_tests::report("picket-faults", Err(failure)),
    }
}
