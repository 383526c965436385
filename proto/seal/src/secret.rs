//! Random values, and comparing secrets without telling how much of them was right.

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use crate::SealError;

/// `N` random bytes from the kernel.
///
/// Fails with [`SealError::NoRandomness`].
pub fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .or(Err(SealError::NoRandomness))?;
    Ok(bytes)
}

/// Whether `a` and `b` are the same bytes, in a time that depends on their lengths only.
///
/// The two are hashed under one key and the hashes compared by the library's own constant-time comparison,
/// so that no optimiser can turn this into a loop that ends early.
pub fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"picket/equal");
    hmac::verify(&key, b, hmac::sign(&key, a).as_ref()).is_ok()
}
