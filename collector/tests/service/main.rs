//! The whole service in this process, with real TLS, signatures and files, and hosts that are honest or not.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod checkpoints;
mod collector;
mod host;

mod approvals;
mod branches;
mod commands;
mod contents;
mod enrolment;
mod export;
mod export_http;
mod forgery;
mod host_sets;
mod identity;
mod ingest;
mod join;
mod life;
mod operators;
mod prior;
mod query;
mod renewal;
mod replacement;
mod restart;
mod rings;
mod sealing;
mod session;
mod sessions;
