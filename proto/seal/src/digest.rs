//! SHA-256 digests, plain and under a domain.

use std::fmt;

use ring::digest::{Context, SHA256};

use crate::{Domain, SealError, error::exact};

/// A SHA-256 digest. Printed as 64 lower-case hex digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(pub [u8; 32]);

/// So much is read at a time.
const READ_BYTES: usize = 64 << 10;

impl Digest {
    /// 32 zero bytes: stands where there is nothing to point to, as before the first header of a chain.
    pub const ZERO: Self = Self([0; 32]);

    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_parts(&[bytes])
    }

    /// Of everything that a reader gives, and how many bytes that were. Needs little memory.
    pub fn of_reader(reader: &mut impl std::io::Read) -> std::io::Result<(Self, u64)> {
        let mut context = Context::new(&SHA256);
        let (mut total, mut buffer) = (0_u64, vec![0; READ_BYTES]);
        loop {
            let read = reader.read(&mut buffer)?;
            let part = buffer.get(..read).unwrap_or_default();
            if part.is_empty() {
                break;
            }
            total = total.saturating_add(read as u64);
            context.update(part);
        }
        let digest = Self::from_slice(context.finish().as_ref());
        Ok((digest.map_err(std::io::Error::other)?, total))
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
