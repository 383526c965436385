//! What the store promises, by reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../../proto/event/tests/views/arbitrary.rs"]
mod arbitrary;
mod damage;
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
mod duckdb;
mod earlier;
mod engines;
mod faults;
mod host;
mod hostile;
mod once;
mod recovery;
mod rows;
mod sealing;
mod search;
mod thin;
mod tree;
mod whole;
