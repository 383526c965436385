//! What the spool promises, filed by what threatens it.

#![expect(
    clippy::unwrap_used,
    reason = "a failing call is a failing test, in helpers too"
)]

mod bad_disk;
mod corruption;
mod fake;
mod order;
mod power_cut;
mod quota;
mod real_disk;
