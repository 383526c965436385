//! The wire messages of Picket, as generated from `schema/picket/v1/*.proto`.
//!
//! # Invariants
//!
//! - The schema files are the source. `gen/` is checked in, so that a build needs no generator;
//!   a test of `picket-rpc` generates it again and fails when it differs.
//! - Nothing here is checked: a decoded message says only what its sender wrote. Checked values
//!   are made by `picket-event`.

#![forbid(unsafe_code)]

/// Package `picket.v1`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::restriction,
    clippy::allow_attributes,
    reason = "generated from schema/picket/v1"
)]
pub mod v1 {
    include!("gen/picket.v1.rs");
}
