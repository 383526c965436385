//! Why bytes were refused. No error carries a secret or text that a peer chose.

use crate::{Digest, Domain, KeyId};

/// Why a key, a digest, a signature or a payload was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SealError {
    /// A fixed-size value came with another size, in bytes.
    #[error("{what} is {got} bytes long, not {expected}")]
    WrongLength {
        /// The value that was read.
        what: &'static str,
        /// Its only right length.
        expected: usize,
        /// The length that came.
        got: usize,
    },
    /// Text that should be hex digits of a fixed number is not.
    #[error("{what} is not written in the right number of hex digits")]
    NotHex {
        /// The value that was read.
        what: &'static str,
        /// What the decoder objected to.
        source: hex::FromHexError,
    },
    /// A fingerprint does not begin with `sha256:`.
    #[error("fingerprint does not begin with `sha256:`")]
    FingerprintScheme,
    /// The private key is not an Ed25519 PKCS#8 v2 document, or its two halves do not fit.
    #[error("private key was refused as {reason}")]
    PrivateKey {
        /// What the decoder objected to; nothing of the key.
        reason: String,
    },
    /// The public key is one of the few for which anybody can sign.
    #[error("public key has a small order, anybody could sign for it")]
    WeakPublicKey,
    /// The kernel gave no random bytes.
    #[error("failed to get random bytes from the kernel")]
    NoRandomness,
    /// The signature is not by this key over these bytes in this domain.
    #[error("signature in domain `{domain}` is not by key {key}")]
    SignatureDiffers {
        /// What the signature should have been for.
        domain: Domain,
        /// The key that should have made it.
        key: KeyId,
    },
    /// The payload is not the one that the header was signed for.
    #[error("payload hash is {got}, the header says {expected}")]
    PayloadDiffers {
        /// The hash in the header.
        expected: Digest,
        /// The hash of the payload that came.
        got: Digest,
    },
    /// There is no payload, and nobody said that it was dropped.
    #[error("payload is empty and not declared as dropped")]
    PayloadMissing,
}

/// Takes `bytes` if they have the length of the array.
pub(crate) fn exact<const N: usize>(
    what: &'static str,
    bytes: &[u8],
) -> Result<[u8; N], SealError> {
    let wrong = SealError::WrongLength {
        what,
        expected: N,
        got: bytes.len(),
    };
    <[u8; N]>::try_from(bytes).or(Err(wrong))
}
