//! What a person carries to a new host by hand: one hash over the CA certificate and the trust root.
//!
//! ```text
//! SHA-256( "picket/anchors/v1" | 0x00 | len u64 le | CA certificate, DER | len u64 le | trust root )
//! ```

use crate::{Digest, Domain, SealError};

/// The enrolment fingerprint over the exact bytes of the CA certificate (DER) and trust root version 1.
pub fn enrolment_fingerprint(ca_der: &[u8], trust_root: &[u8]) -> Digest {
    Digest::of_parts(&[
        Domain::Anchors.prefix().as_bytes(),
        &[0],
        &length(ca_der),
        ca_der,
        &length(trust_root),
        trust_root,
    ])
}

/// Reads `sha256:` followed by 64 hex digits, of either case.
///
/// Fails with [`SealError::FingerprintScheme`] or [`SealError::NotHex`].
pub fn parse_fingerprint(text: &str) -> Result<Digest, SealError> {
    let digits = text
        .strip_prefix(SCHEME)
        .ok_or(SealError::FingerprintScheme)?;
    Digest::from_hex(digits)
}

/// Writes `sha256:` followed by 64 lower-case hex digits.
pub fn format_fingerprint(fingerprint: &Digest) -> String {
    format!("{SCHEME}{fingerprint}")
}

fn length(bytes: &[u8]) -> [u8; 8] {
    (bytes.len() as u64).to_le_bytes()
}

const SCHEME: &str = "sha256:";
