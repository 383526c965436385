//! Starts the real programs on this host, in a directory that goes away, for tests, demo and benchmarks.
//!
//! # Invariants
//!
//! - Everything a [`rig::Rig`] starts ends with it, and its directory is removed.
//! - All traffic stays on loopback, or in network namespaces that are made for it.
//! - Nothing but processes that were started here is ever signalled.

#![forbid(unsafe_code)]

mod audit;
pub mod bench;
pub mod coverage;
pub mod demo;
pub mod eval;
pub mod failure;
pub mod faults;
pub mod ground;
pub mod logins;
pub mod programs;
pub mod rig;
pub mod service;
pub mod sim;
pub mod wait;
pub mod watch;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// The exit code of a program; a failure becomes one line with its causes.
pub fn report<E: Error>(program: &str, done: Result<(), E>) -> ExitCode {
    let Err(failure) = done else {
        return ExitCode::SUCCESS;
    };
    let mut line = format!("{program}: {failure}");
    let mut cause = failure.source();
    while let Some(source) = cause {
        line = format!("{line}: {source}");
        cause = source.source();
    }
    // Nobody is left to tell when standard error is closed.
    drop(writeln!(std::io::stderr(), "{line}"));
    ExitCode::FAILURE
}
