//! `picket-collector`.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use picket_collector::cli::Cli;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(cli.run());
            // A walk over the store that nobody waits for any more does not keep the program.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(picket_collector::failure::Failure::of(
            picket_collector::failure::Exit::Failed,
            &error,
        )),
    };
    let Err(failure) = done else {
        return ExitCode::SUCCESS;
    };
    drop(writeln!(std::io::stderr().lock(), "{failure}"));
    ExitCode::from(failure.exit() as u8)
}

/// Threads for the disk, the database, and large batches.
const BLOCKING_THREADS: usize = 32;
