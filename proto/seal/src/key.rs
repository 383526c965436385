//! Ed25519 keys, their names, and signatures under a domain.
//!
//! # Invariants
//!
//! - A [`PublicKey`] is never one of the small-order keys, for which a signature proves nothing.
//! - A private key is never printed.

use std::{fmt, hint};

use ring::{
    error::Unspecified,
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};

use crate::{Digest, Domain, SealError, error::exact};

/// An Ed25519 public key.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes exactly 32 bytes that are not a small-order key.
    ///
    /// Fails with [`SealError::WrongLength`] or [`SealError::WeakPublicKey`]. Bytes that are no point of the
    /// curve are taken; nothing ever verifies against them.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SealError> {
        let bytes = exact("public key", bytes)?;
        if has_small_order(bytes) {
            return Err(SealError::WeakPublicKey);
        }
        Ok(Self(bytes))
    }

    /// The 32 bytes, as RFC 8032 encodes them.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The short name of the key, to find it by. It is not a proof of anything.
    pub fn key_id(&self) -> KeyId {
        let digest = Digest::of(&self.0);
        KeyId(
            *digest
                .as_bytes()
                .first_chunk()
                .expect("a digest is longer than 8 bytes"),
        )
    }

    /// The name of the host whose first event key this is: SHA-256 of the 32 bytes.
    pub fn host_id(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// Checks that `signature` is by this key over `bytes` in `domain`.
    ///
    /// Fails with [`SealError::SignatureDiffers`].
    pub fn verify(
        &self,
        domain: Domain,
        bytes: &[u8],
        signature: &Signature,
    ) -> Result<(), SealError> {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&domain.message(bytes), signature.as_bytes())
            .map_err(|Unspecified| SealError::SignatureDiffers {
                domain,
                key: self.key_id(),
            })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.0))
    }
}

/// The first 8 bytes of SHA-256 of a public key. Printed as 16 lower-case hex digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// Takes exactly 8 bytes.
    ///
    /// Fails with [`SealError::WrongLength`] otherwise.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SealError> {
        exact("key id", bytes).map(Self)
    }

    /// The 8 bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// An Ed25519 signature. It says nothing until [`PublicKey::verify`] has passed it.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// Takes exactly 64 bytes.
    ///
    /// Fails with [`SealError::WrongLength`] otherwise.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SealError> {
        exact("signature", bytes).map(Self)
    }

    /// The 64 bytes, as RFC 8032 encodes them.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(self.0))
    }
}

/// An Ed25519 key pair.
///
/// Its PKCS#8 bytes are overwritten when it is dropped. Without unsafe code that reaches no further: the
/// expanded key inside the signer, and copies that moves have left on the stack, are not overwritten.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
    pkcs8: Vec<u8>,
}

impl SigningKey {
    /// Makes a new key from the kernel's random bytes.
    ///
    /// Fails with [`SealError::NoRandomness`].
    pub fn generate() -> Result<Self, SealError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .or(Err(SealError::NoRandomness))?;
        Self::from_pkcs8(document.as_ref())
    }

    /// Takes an unencrypted PKCS#8 v2 document, which holds both halves of the key.
    ///
    /// Fails with [`SealError::PrivateKey`], also when the halves do not belong together.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SealError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|refused| SealError::PrivateKey {
            reason: refused.to_string(),
        })?;
        let public = PublicKey::from_slice(pair.public_key().as_ref())?;
        Ok(Self {
            pair,
            public,
            pkcs8: pkcs8.to_vec(),
        })
    }

    /// The document that [`from_pkcs8`](Self::from_pkcs8) takes. It is the secret itself.
    pub fn to_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half.
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs `bytes` in `domain`. The same key, domain and bytes always give the same signature.
    pub fn sign(&self, domain: Domain, bytes: &[u8]) -> Signature {
        let signature = self.pair.sign(&domain.message(bytes));
        Signature(
            signature
                .as_ref()
                .try_into()
                .expect("an Ed25519 signature is 64 bytes long"),
        )
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.pkcs8.fill(0);
        // Makes the zeros look used, so that the optimiser keeps writing them.
        hint::black_box(&self.pkcs8);
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.key_id())
    }
}

/// Whether the key is one of the points whose order divides 8, in any encoding.
fn has_small_order(mut key: [u8; 32]) -> bool {
    key[31] &= 0x7f; // the sign of x: both points of an y have the same order
    SMALL_ORDER.contains(&key)
}

/// The y of every point whose order divides 8, little-endian: orders 4, 1, 2, 8, 8, then the first two again
/// in their encodings beyond the field's size.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    first_byte(1),
    near_field_size(0xec),
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    near_field_size(0xed),
    near_field_size(0xee),
];

/// A small number, little-endian.
const fn first_byte(byte: u8) -> [u8; 32] {
    let mut y = [0; 32];
    y[0] = byte;
    y
}

/// A number close to 2^255, little-endian; the field's size is the one with 0xed.
const fn near_field_size(byte: u8) -> [u8; 32] {
    let mut y = [0xff; 32];
    y[0] = byte;
    y[31] = 0x7f;
    y
}
