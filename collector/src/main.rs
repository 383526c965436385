//! `picket-collector`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use picket_collector::cli::{Cli, answer_query};
use picket_collector::failure::{Exit, Failure};
use picket_collector::usage;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let done = usage::parse(std::env::args_os()).and_then(|cli| cli.map_or(Ok(()), run));
    let Err(failure) = done else {
        return ExitCode::SUCCESS;
    };
    drop(writeln!(std::io::stderr().lock(), "{failure}"));
    ExitCode::from(failure.exit() as u8)
}

fn run(cli: Cli) -> Result<(), Failure> {
    if cli.is_worker() {
        return answer_query();
    }
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build();
    let runtime = runtime.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let done = runtime.block_on(cli.run());
    // A walk over the store that nobody waits for any more does not keep the program.
    runtime.shutdown_background();
    done
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("info"));
    let plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(!plain)
        .with_writer(std::io::stderr)
        .init();
}

/// Threads for the disk, the database, and large batches.
const BLOCKING_THREADS: usize = 32;
