//! Text that a host wrote: any bytes, trusted by nobody.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A path, an argument, a name or a log text as the host has it. Empty means that it is not known. A clone shares the bytes.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Text(Option<Arc<[u8]>>);

impl Text {
    /// No text: not known.
    pub const NONE: Self = Self(None);

    /// The exact bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The bytes as a vector, for which they are copied.
    pub fn into_bytes(self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    /// Whether it is not known.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// As UTF-8, with U+FFFD for what is not.
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }

    /// As UTF-8, if it is.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }

    /// What follows the last slash, for paths.
    pub fn basename(&self) -> &[u8] {
        self.as_bytes()
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }

    /// For a terminal: control characters and bidirectional overrides are written as escapes.
    pub fn for_terminal(&self) -> String {
        escape_for_terminal(&self.lossy())
    }
}

/// Writes control characters and bidirectional overrides as escapes, so that host text can move
/// neither the cursor nor the reader's eye.
fn escape_for_terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_bidirectional(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.lossy())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.for_terminal())
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        // No bytes must be one thing only, or equal texts would differ.
        Self((!bytes.is_empty()).then(|| bytes.into()))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_never_sees_an_escape_sequence_of_the_host() {
        let text = Text::from("\u{1b}[2J\u{202e}evil\n");
        assert_eq!(text.for_terminal(), "\\u{1b}[2J\\u{202e}evil\\n");
    }

    #[test]
    fn no_bytes_are_no_text_whatever_they_come_from() {
        for text in [Text::from(Vec::new()), Text::from(""), Text::from(&b""[..])] {
            assert_eq!(text, Text::NONE);
            assert!(text.is_empty() && text.as_bytes().is_empty());
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let text = Text::from(&b"a\xff"[..]);
        assert_eq!((text.as_bytes(), text.as_str()), (&b"a\xff"[..], None));
    }
}
