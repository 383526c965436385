//! Signatures, chains and digests over exact bytes: what makes an event evidence.
//!
//! Bytes in, bytes out. Nothing here decodes a message, reads a clock or touches a disk, so that both
//! ends of the wire, and whoever verifies offline, run the same code.
//!
//! # Invariants
//!
//! - What is signed is what was sent: nothing is ever re-encoded to be verified.
//! - Every signature and every hash of a signed thing carries its [`Domain`], so that bytes signed
//!   for one purpose mean nothing for another.
//! - A refused link, key or signature leaves the state it was offered to as it was.
//!
//! The bytes are described, with test vectors, in `docs/formats/evidence.md`.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod batch;
mod chain;
mod digest;
mod domain;
mod error;
mod fingerprint;
mod key;
mod secret;
mod succession;
pub mod tree;

pub use batch::{Payload, header_hash, seal_header, verify_header};
pub use chain::{Chain, ChainError, Link, Position};
pub use digest::Digest;
pub use domain::Domain;
pub use error::SealError;
pub use fingerprint::{enrolment_fingerprint, format_fingerprint, parse_fingerprint};
pub use key::{KeyId, PublicKey, Signature, SigningKey};
pub use secret::{equal_in_constant_time, random};
pub use succession::{Accepted, SuccessionChain, SuccessionError};
