//! SQL over the store: SQLite, whose tables are the store's own search, in a process that can do nothing else.
//!
//! # Invariants
//!
//! - The process reads what its job names and writes to its standard output; it makes no file, no connection and no other process.
//! - Only `SELECT` runs. What it may use of memory and time is bounded before the first byte of SQL is read.
//! - Rows are read one by one; what SQLite has to hold (sorting, grouping) it holds in memory, and fails when that is full.
//! - A table shows of an event what `picketctl events --json` shows; a pushed-down condition only passes by what SQLite would not take.
//!
//! The tables are described in `docs/query.md`.
//!
//! ```text
//! standard input:   Job, protobuf, to the end
//! standard output:  length u32 le | picket.v1.QueryReply, protobuf; again and again; the last is `end` or `failure`
//! ```

mod cells;
mod columns;
mod confine;
mod doubt;
mod failure;
mod fleet;
mod job;
mod join;
mod moment;
mod near;
mod plan;
mod push;
mod run;
mod table;
mod vtab;
mod wire;

pub use confine::{ConfineError, confine};
pub use doubt::Doubt;
pub use job::{Bounds, Job};
pub use run::{WorkerError, work};
pub use wire::{FrameError, LARGEST_FRAME, length_of};
