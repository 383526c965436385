//! The signing key at rest: as it is, or encrypted under a passphrase.
//!
//! # Invariants
//!
//! - An encrypted file opens only with its passphrase and only if no byte of it was changed.
//! - A file that asks for fewer rounds than [`ITERATIONS`] is refused: nobody can weaken it unseen.
//!
//! # On disk (docs/formats/operator-key.md)
//!
//! ```text
//! plain      PKCS#8 v2, DER
//! encrypted  "PICKETK1" | iterations u32 le | salt [u8; 16] | nonce [u8; 12] | sealed PKCS#8 | tag [u8; 16]
//! ```
//!
//! The key is PBKDF2-HMAC-SHA256 of passphrase and salt; the cipher is ChaCha20-Poly1305; everything
//! before the sealed bytes is authenticated with them.

use std::num::NonZeroU32;

use picket_seal::{SealError, SigningKey};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::pbkdf2::{PBKDF2_HMAC_SHA256, derive};

use crate::failure::{Exit, Failure};

/// A passphrase; overwritten when it is dropped.
pub(crate) struct Passphrase(Vec<u8>);

/// Why a file is not a signing key, or not for this passphrase.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// Cut, or of another kind.
    #[error("the signing key is not of a form that this version knows")]
    Form,
    /// A round count outside what this version takes.
    #[error(
        "the signing key asks for {0} rounds of PBKDF2, which is not between {ITERATIONS} and {MOST}"
    )]
    Rounds(u32),
    /// Encrypted, and there is no passphrase.
    #[error("the signing key is encrypted, and no passphrase was given")]
    PassphraseNeeded,
    /// One or the other: the cipher cannot tell.
    #[error("the passphrase is wrong, or the signing key was changed")]
    Refused,
    /// The kernel gave no random bytes, or the key inside is no key.
    #[error("the signing key cannot be used")]
    Key(#[from] SealError),
}

/// The bytes to store: encrypted if there is a passphrase.
pub(crate) fn store(
    key: &SigningKey,
    passphrase: Option<&Passphrase>,
) -> Result<Vec<u8>, KeyFileError> {
    let Some(passphrase) = passphrase else {
        return Ok(key.to_pkcs8().to_vec());
    };
    let salt: [u8; SALT] = picket_seal::random()?;
    let nonce: [u8; NONCE] = picket_seal::random()?;
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&ITERATIONS.to_le_bytes());
    file.extend_from_slice(&salt);
    file.extend_from_slice(&nonce);
    let cipher = cipher(passphrase, ITERATIONS, &salt)?;
    let mut sealed = key.to_pkcs8().to_vec();
    cipher
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&file),
            &mut sealed,
        )
        .map_err(|_too_long| KeyFileError::Form)?;
    file.extend_from_slice(&sealed);
    Ok(file)
}

/// Whether these bytes need a passphrase.
pub(crate) fn is_encrypted(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

/// The key of these bytes. `passphrase` is used only if they are encrypted.
pub(crate) fn load(
    file: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<SigningKey, KeyFileError> {
    if !is_encrypted(file) {
        return SigningKey::from_pkcs8(file).map_err(|_not_pkcs8| KeyFileError::Form);
    }
    let passphrase = passphrase.ok_or(KeyFileError::PassphraseNeeded)?;
    let (head, sealed) = file.split_at_checked(HEAD).ok_or(KeyFileError::Form)?;
    let Head {
        iterations,
        salt,
        nonce,
    } = Head::read(head).ok_or(KeyFileError::Form)?;
    let cipher = cipher(passphrase, iterations, &salt)?;
    let mut opened = sealed.to_vec();
    let key = cipher
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(head),
            &mut opened,
        )
        .map_err(|_tag| KeyFileError::Refused)?;
    let key = SigningKey::from_pkcs8(key);
    overwrite(&mut opened);
    Ok(key?)
}

struct Head {
    iterations: u32,
    salt: [u8; SALT],
    nonce: [u8; NONCE],
}

impl Head {
    fn read(head: &[u8]) -> Option<Self> {
        let rest = head.strip_prefix(MAGIC)?;
        let (iterations, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        Some(Self {
            iterations: u32::from_le_bytes(*iterations),
            salt: *salt,
            nonce: *rest.first_chunk()?,
        })
    }
}

fn cipher(
    passphrase: &Passphrase,
    iterations: u32,
    salt: &[u8; SALT],
) -> Result<LessSafeKey, KeyFileError> {
    if !(ITERATIONS..=MOST).contains(&iterations) {
        return Err(KeyFileError::Rounds(iterations));
    }
    let rounds = NonZeroU32::new(iterations).ok_or(KeyFileError::Rounds(0))?;
    let mut key = [0; 32];
    derive(PBKDF2_HMAC_SHA256, rounds, salt, &passphrase.0, &mut key);
    let unbound = UnboundKey::new(&CHACHA20_POLY1305, &key);
    overwrite(&mut key);
    let unbound = unbound.expect("a ChaCha20-Poly1305 key is 32 bytes long");
    Ok(LessSafeKey::new(unbound))
}

fn overwrite(secret: &mut [u8]) {
    secret.fill(0);
    // Makes the zeros look used, so that the optimiser keeps writing them.
    std::hint::black_box(secret);
}

impl Passphrase {
    /// Takes the bytes as they are; `None` if there are none.
    pub(crate) fn new(bytes: Vec<u8>) -> Option<Self> {
        (!bytes.is_empty()).then_some(Self(bytes))
    }
}

impl Drop for Passphrase {
    fn drop(&mut self) {
        overwrite(&mut self.0);
    }
}

/// Says nothing of its content.
impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase")
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        match error {
            KeyFileError::PassphraseNeeded => Self::new(Exit::Usage, error)
                .hint("give --passphrase-file FILE, or run picketctl on a terminal"),
            KeyFileError::Refused | KeyFileError::Rounds(_) => Self::new(Exit::Unverified, error),
            _ => Self::new(Exit::Failed, error),
        }
    }
}

const MAGIC: &[u8] = b"PICKETK1";
const SALT: usize = 16;
const NONCE: usize = 12;
const HEAD: usize = 8 + 4 + SALT + NONCE;
/// Rounds of PBKDF2 in new files, and the fewest that are taken.
const ITERATIONS: u32 = 600_000;
/// The most that are taken, so that a changed file cannot keep picketctl busy for hours.
const MOST: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.into()).unwrap()
    }

    #[test]
    fn a_key_is_read_as_it_was_stored() {
        let key = SigningKey::generate().unwrap();
        let plain = store(&key, None).unwrap();
        assert_eq!(load(&plain, None).unwrap().public_key(), key.public_key());
        let correct = passphrase("correct horse");
        let sealed = store(&key, Some(&correct)).unwrap();
        assert!(is_encrypted(&sealed) && !is_encrypted(&plain));
        let read = load(&sealed, Some(&correct)).unwrap();
        assert_eq!(read.public_key(), key.public_key());
        let seed = &key.to_pkcs8()[16..48];
        assert!(!sealed.windows(32).any(|window| window == seed));
    }

    #[test]
    fn a_wrong_or_absent_passphrase_opens_nothing() {
        let key = SigningKey::generate().unwrap();
        let sealed = store(&key, Some(&passphrase("correct"))).unwrap();
        let wrong = load(&sealed, Some(&passphrase("incorrect"))).unwrap_err();
        assert!(matches!(wrong, KeyFileError::Refused));
        let absent = load(&sealed, None).unwrap_err();
        assert!(matches!(absent, KeyFileError::PassphraseNeeded));
    }

    #[test]
    fn a_flipped_byte_anywhere_opens_nothing() {
        let key = SigningKey::generate().unwrap();
        let correct = passphrase("correct");
        let sealed = store(&key, Some(&correct)).unwrap();
        for place in [0, 8, 11, 12, 28, HEAD, sealed.len() - 1] {
            let mut flipped = sealed.clone();
            flipped[place] ^= 1;
            assert!(load(&flipped, Some(&correct)).is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_cut_file_is_no_key() {
        let key = SigningKey::generate().unwrap();
        let correct = passphrase("correct");
        let sealed = store(&key, Some(&correct)).unwrap();
        for length in [0, 4, 8, 20, HEAD - 1] {
            let cut = load(&sealed[..length], Some(&correct)).unwrap_err();
            assert!(matches!(cut, KeyFileError::Form), "{length} bytes");
        }
        assert!(matches!(
            load(&sealed[..HEAD + 10], Some(&correct)),
            Err(KeyFileError::Refused)
        ));
    }

    #[test]
    fn fewer_rounds_than_usual_are_refused() {
        let key = SigningKey::generate().unwrap();
        let correct = passphrase("correct");
        let mut sealed = store(&key, Some(&correct)).unwrap();
        sealed[8..12].copy_from_slice(&1_u32.to_le_bytes());
        let weak = load(&sealed, Some(&correct)).unwrap_err();
        assert!(matches!(weak, KeyFileError::Rounds(1)));
    }
}
