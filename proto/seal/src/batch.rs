//! Sealing one batch: a signature over the exact header bytes, which hold the hash of the payload.
//!
//! A payload may be gone while its header still proves the chain; somebody has to say so, an absent payload
//! is never taken for a dropped one.

use crate::{Digest, Domain, PublicKey, SealError, Signature, SigningKey};

/// What came with a header.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// The exact payload bytes, as sent (compressed).
    Present(&'a [u8]),
    /// The sender gave the payload up and the header's gaps cover all its numbers. That they do is checked
    /// by whoever decodes the header, before saying this.
    Dropped,
}

/// The hash that the class's next header names as `prev_hash`.
pub fn header_hash(header: &[u8]) -> Digest {
    Digest::of_domain(Domain::BatchHeader, header)
}

/// Signs the exact header bytes.
pub fn seal_header(key: &SigningKey, header: &[u8]) -> Signature {
    key.sign(Domain::BatchHeader, header)
}

/// Checks the signature over the exact header bytes, and the payload against the hash that was decoded from
/// that header. Returns the header's hash.
///
/// Whether the key is the one of the header's epoch, and the chain's next, is for
/// [`SuccessionChain`](crate::SuccessionChain) and [`Chain`](crate::Chain) to say.
///
/// Fails with [`SealError::SignatureDiffers`], [`SealError::PayloadDiffers`] or [`SealError::PayloadMissing`].
pub fn verify_header(
    public: &PublicKey,
    header: &[u8],
    signature: &Signature,
    payload: Payload<'_>,
    payload_hash: &Digest,
) -> Result<Digest, SealError> {
    public.verify(Domain::BatchHeader, header, signature)?;
    check_payload(payload, payload_hash)?;
    Ok(header_hash(header))
}

fn check_payload(payload: Payload<'_>, expected: &Digest) -> Result<(), SealError> {
    let Payload::Present(bytes) = payload else {
        return Ok(());
    };
    if bytes.is_empty() {
        return Err(SealError::PayloadMissing);
    }
    let got = Digest::of(bytes);
    if got != *expected {
        return Err(SealError::PayloadDiffers {
            expected: *expected,
            got,
        });
    }
    Ok(())
}
