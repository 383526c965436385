//! SHA-256 digests, plain and under a domain.

use std::fmt;

use ring::digest::{Context, SHA256};

use crate::{Domain, SealError, error::exact};

/// A SHA-256 digest. Printed as 64 lower-case hex digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// 32 zero bytes: stands where there is nothing to point to, as before the first header of a chain.
    pub const ZERO: Self = Self([0; 32]);

    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts(&[bytes])
    }

    /// SHA-256 of the domain's prefix, one zero byte, and `bytes`.
    pub fn of_domain(domain: Domain, bytes: &[u8]) -> Self {
        Self::of_parts(&[domain.prefix().as_bytes(), &[0], bytes])
    }

    /// SHA-256 of the parts, one behind the other. They are not separated: that is the caller's task.
    pub(crate) fn of_parts(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(part);
        }
        let bytes = context.finish().as_ref().try_into();
        Self(bytes.expect("SHA-256 is 32 bytes long"))
    }

    /// Takes exactly 32 bytes.
    ///
    /// Fails with [`SealError::WrongLength`] otherwise.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SealError> {
        exact("digest", bytes).map(Self)
    }

    /// Takes exactly 64 hex digits, of either case.
    ///
    /// Fails with [`SealError::NotHex`] otherwise.
    pub fn from_hex(text: &str) -> Result<Self, SealError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|source| SealError::NotHex {
            what: "digest",
            source,
        })?;
        Ok(Self(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}
