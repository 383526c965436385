//! What the store promises, by reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod duckdb;
mod engines;
mod faults;
mod host;
mod hostile;
mod once;
mod recovery;
mod rows;
mod sealing;
mod search;
mod tree;
