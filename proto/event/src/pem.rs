//! Blocks of text that carry bytes: a label, base64, the label again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Why a text holds no such block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PemError {
    /// No block of this label.
    Missing,
    /// What is in it is no base64.
    Damaged,
}

/// The bytes as a block.
pub(crate) fn write(label: &str, bytes: &[u8]) -> String {
    let body = STANDARD.encode(bytes);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

/// The bytes of the first block of this label.
pub(crate) fn read(label: &str, text: &str) -> Result<Vec<u8>, PemError> {
    let (_, rest) = text
        .split_once(&format!("-----BEGIN {label}-----"))
        .ok_or(PemError::Missing)?;
    let (body, _) = rest
        .split_once(&format!("-----END {label}-----"))
        .ok_or(PemError::Missing)?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).map_err(|_base64| PemError::Damaged)
}
