//! The Picket agent: wiring of sensor, detection, seal, spool, uplink and response on one host.
//!
//! # Invariants
//!
//! - `pipeline.rs` is the path: every event walks it in one direction, an outcome of a command too.
//! - Every queue has a bound, and its place says what happens when it is full.
//! - Nothing here is unsafe; what is dangerous (signals, keys) stands in a file of its own.

#![forbid(unsafe_code)]

mod books;
mod cli;
mod clock;
mod config;
mod content;
mod detect;
mod enrich;
mod enroll;
mod failure;
mod fleet;
mod health;
mod integrity;
pub mod judge;
mod outbox;
mod pipeline;
mod respond;
pub mod seal;
mod state;
mod store;
mod uplink;

pub use cli::main;
