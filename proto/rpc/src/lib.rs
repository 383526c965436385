//! The tonic services of Picket, and the one place where TLS is set up.
//!
//! # Invariants
//!
//! - [`tls::provider`] alone names the cryptographic provider (ring); TLS 1.3 is the only version.
//! - A client configuration verifies the server against one given CA, except the one that
//!   [`tls::unverified_client_config`] makes, whose name says so.

#![forbid(unsafe_code)]

pub mod channel;
pub mod codec;
pub mod tls;

/// Clients and servers of package `picket.v1`.
#[allow(
    missing_docs,
    missing_debug_implementations,
    unused_qualifications,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::restriction,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated from schema/picket/v1"
)]
pub mod v1 {
    include!("gen/picket.v1.rs");
}
