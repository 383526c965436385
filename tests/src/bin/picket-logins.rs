//! `make test-logins`: people log in by the programs that people use, and each is told of once.

use std::process::ExitCode;

use clap::Parser;
use picket_tests::logins::{self, Options};

/// Plays sessions of ssh, sudo, su, login and cron, and compares what the agent and each of its sources told.
#[derive(Debug, Parser)]
#[command(name = "picket-logins", version)]
struct Cli {
    /// How many sessions
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    /// How many at a time
    #[arg(long, default_value_t = 8)]
    at_once: usize,
    /// Run auditd meanwhile and judge audit alone too: the host's audit system is taken into use until the end
    #[arg(long)]
    audit: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let options = Options {
        sessions: cli.sessions,
        at_once: cli.at_once,
        audit: cli.audit,
    };
    picket_tests::report("picket-logins", logins::run(options))
}
