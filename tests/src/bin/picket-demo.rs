//! `make demo`: the main job of Picket on this host, from nothing, and nothing left behind.
//!
//! The same program, under the names of its roles, also plays the attacked service and the intruder's
//! second stage, so that the demo needs nothing but what was built.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use picket_tests::demo;

/// Shows Picket at work on this host: a harmless intrusion is seen, judged, signed and contained.
#[derive(Debug, Parser)]
#[command(name = "picket-demo", version)]
struct Cli {
    /// Leave everything running at the end, and print the commands to explore it
    #[arg(long)]
    keep: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The parts that the program plays for the demo.
#[derive(Debug, Subcommand)]
enum Role {
    /// The attacked web service: runs the payload that a request names
    #[command(hide = true)]
    WebService {
        /// Where to write the port it listens on
        port_file: PathBuf,
    },
    /// The intruder's second stage: replaces itself by a program that exists in memory only
    #[command(hide = true)]
    FromMemory {
        /// The program to copy into memory
        program: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.role {
        None => demo::run(cli.keep),
        Some(Role::WebService { port_file }) => demo::intruder::web_service(&port_file),
        Some(Role::FromMemory { program }) => demo::intruder::from_memory(&program),
    };
    picket_tests::report("picket-demo", done)
}
