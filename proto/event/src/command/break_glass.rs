//! The code that ends an isolation on the host itself, when no word of the collector reaches it any more.
//!
//! What stays true: a code has 125 random bits, and only its hash is in a command; letters that look like figures are
//! read as them.

use std::fmt;

use picket_seal::{Digest, Domain, SealError};

/// A code, as it is hashed: 25 letters and figures.
#[derive(Clone, Eq, PartialEq)]
pub struct BreakGlass(String);

/// Why typed text is no code.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a code has {LETTERS} letters and figures, in groups of {GROUP}")]
pub struct NoCode;

impl BreakGlass {
    /// A fresh one.
    pub fn generate() -> Result<Self, SealError> {
        let random: [u8; LETTERS] = picket_seal::random()?;
        // 256 is a multiple of 32: every letter is as likely as any other.
        let letters = random
            .iter()
            .map(|byte| ALPHABET.get(usize::from(byte % 32)));
        Ok(Self(
            letters
                .flatten()
                .map(|letter| char::from(*letter))
                .collect(),
        ))
    }

    /// From what somebody typed: hyphens and spaces do not count, nor does case.
    pub fn parse(typed: &str) -> Result<Self, NoCode> {
        let mut code = String::new();
        for typed in typed.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let letter = match typed.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                letter => letter,
            };
            let known = u8::try_from(letter).is_ok_and(|letter| ALPHABET.contains(&letter));
            if !known || code.len() == LETTERS {
                return Err(NoCode);
            }
            code.push(letter);
        }
        if code.len() == LETTERS {
            Ok(Self(code))
        } else {
            Err(NoCode)
        }
    }

    /// What a command carries of it.
    pub fn digest(&self) -> Digest {
        Digest::of_domain(Domain::BreakGlass, self.0.as_bytes())
    }
}

/// In groups, for people.
impl fmt::Display for BreakGlass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, letter) in self.0.chars().enumerate() {
            if at > 0 && at.is_multiple_of(GROUP) {
                f.write_str("-")?;
            }
            write!(f, "{letter}")?;
        }
        Ok(())
    }
}

/// Never in a log.
impl fmt::Debug for BreakGlass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BreakGlass(..)")
    }
}

const LETTERS: usize = 25;
const GROUP: usize = 5;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_what_is_typed() {
        let code = BreakGlass::generate().unwrap();
        let shown = code.to_string();
        assert_eq!(shown.len(), LETTERS + 4);
        assert_eq!(BreakGlass::parse(&shown), Ok(code.clone()));
        assert_eq!(
            BreakGlass::parse(&shown.to_lowercase().replace('-', " ")),
            Ok(code.clone())
        );
        assert_ne!(BreakGlass::generate().unwrap(), code);
        assert!(!format!("{code:?}").contains(shown.get(..5).unwrap()));
    }

    #[test]
    fn letters_that_look_like_figures_are_figures() {
        let typed = "olio0-00000-00000-00000-00000";
        let code = BreakGlass::parse(typed).unwrap();
        assert_eq!(code.to_string(), "01100-00000-00000-00000-00000");
        for wrong in ["", "0", "U0000-00000-00000-00000-00000", &"0".repeat(26)] {
            assert_eq!(BreakGlass::parse(wrong), Err(NoCode), "{wrong}");
        }
    }
}
