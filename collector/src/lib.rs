//! The Picket collector.
//!
//! ```text
//! listen -> peer -> enroll
//!                -> session <-> command <- operator
//!                -> ingest -> verify -> writer -> store -> ack, only once durable
//!                                                   |
//!                                       operator <--+--> receipts -> command
//!                                                   +--> seal -> columns
//! ```
//!
//! # Invariants
//!
//! - Who speaks is what the certificate says, and nothing else; see [`peer`].
//! - What is acknowledged is on disk; see [`writer`].
//! - A hostile host costs a bounded amount of everything, and each thing that it is refused is counted.
//! - No key that a host would obey is ever here.

#![forbid(unsafe_code)]

pub mod agent;
pub mod alarm;
pub mod authority;
pub mod branch;
pub mod budget;
pub mod calls;
pub mod checkpoint;
pub mod cli;
pub mod collected;
pub mod command;
pub mod config;
pub mod content;
pub mod data;
pub mod database;
pub mod enroll;
pub mod export;
pub mod failure;
pub mod health;
pub mod ingest;
pub mod init;
pub mod listen;
pub mod metrics;
pub mod operator;
pub mod peer;
pub mod prior;
pub mod receipts;
pub mod refusal;
pub mod registry;
pub mod seal;
pub mod serve;
pub mod session;
pub mod trust;
pub mod usage;
pub mod verify;
pub mod writer;
