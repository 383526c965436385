//! What the spool promises, filed by what threatens it.

#![expect(
    clippy::unwrap_used,
    reason = "a failing call is a failing test, in helpers too"
)]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod bad_disk;
mod corruption;
mod fake;
mod order;
mod power_cut;
mod privileged;
mod quota;
mod real_disk;
