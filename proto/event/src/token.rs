//! Enrolment tokens: one line that an operator makes and a new host is given.
//!
//! # Invariants
//!
//! - The collector knows the hash of the secret only, until the host shows the secret itself.
//! - The token carries the fingerprint that its maker saw, so that a host which was given only the
//!   token still knows whom to believe.

use std::fmt;

use picket_seal::{Digest, Domain, SealError};

const PREFIX: &str = "pt1";
const ID_DIGITS: usize = 12;
const SECRET_DIGITS: usize = 32;
/// Crockford's base 32 in lower case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A token as its maker and its user know it.
#[derive(Clone, Eq, PartialEq)]
pub struct EnrolmentToken {
    /// Its public name.
    pub id: String,
    /// What makes its bearer a new host.
    pub secret: String,
    /// Over the CA certificate and the operators' trust root.
    pub fingerprint: Digest,
}

/// Why a text is not a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// Not of the form.
    #[error("the token is not of the form `{PREFIX}-ID-SECRET-FINGERPRINT`")]
    Form,
}

impl EnrolmentToken {
    /// A fresh token under this fingerprint.
    pub fn generate(fingerprint: Digest) -> Result<Self, SealError> {
        Ok(Self {
            id: digits(&picket_seal::random::<ID_DIGITS>()?),
            secret: digits(&picket_seal::random::<SECRET_DIGITS>()?),
            fingerprint,
        })
    }

    /// From its text.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('-').collect();
        let [PREFIX, id, secret, fingerprint] = parts.as_slice() else {
            return Err(TokenError::Form);
        };
        if !are_digits(id, ID_DIGITS) || !are_digits(secret, SECRET_DIGITS) {
            return Err(TokenError::Form);
        }
        let fingerprint = Digest::from_hex(fingerprint).map_err(|_malformed| TokenError::Form)?;
        Ok(Self {
            id: (*id).to_owned(),
            secret: (*secret).to_owned(),
            fingerprint,
        })
    }

    /// What the collector keeps.
    pub fn secret_hash(&self) -> Digest {
        secret_hash(self.secret.as_bytes())
    }
}

/// The hash of a secret as the collector keeps it.
pub fn secret_hash(secret: &[u8]) -> Digest {
    Digest::of_domain(Domain::Token, secret)
}

fn digits(random: &[u8]) -> String {
    let digit = |byte: &u8| {
        ALPHABET
            .get(usize::from(byte % 32))
            .copied()
            .unwrap_or(b'0')
    };
    random.iter().map(|byte| char::from(digit(byte))).collect()
}

fn are_digits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// The whole token, its secret included.
impl fmt::Display for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = hex::encode(self.fingerprint.as_bytes());
        write!(f, "{PREFIX}-{}-{}-{fingerprint}", self.id, self.secret)
    }
}

/// Without the secret.
impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolmentToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = EnrolmentToken::generate(Digest::of(b"anchors")).unwrap();
        assert_eq!(EnrolmentToken::parse(&token.to_string()), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&token.secret));
    }

    #[test]
    fn a_cut_or_altered_form_is_refused() {
        let text = EnrolmentToken::generate(Digest::ZERO).unwrap().to_string();
        let cut = text.strip_suffix('0').unwrap();
        for bad in [
            cut,
            "",
            "pt1",
            &text.replace('-', ""),
            &text.replace("pt1", "pt2"),
        ] {
            assert_eq!(EnrolmentToken::parse(bad), Err(TokenError::Form), "{bad}");
        }
    }
}
