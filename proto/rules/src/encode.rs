//! The forms that a value takes through transforming modifiers: dashes, UTF-16, Base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::modifier::Transform;
use crate::pattern::{Piece, pieces};

/// The dashes that Windows programs take for the beginning of an option.
const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];

/// Every form of `text` after `transforms`, as pieces of a pattern.
pub(crate) fn forms(text: &str, transforms: &[Transform]) -> Result<Vec<Vec<Piece>>, &'static str> {
    let dashes = transforms.contains(&Transform::Windash);
    let texts = if dashes {
        with_other_dashes(text)
    } else {
        vec![text.to_owned()]
    };
    let mut forms: Vec<Vec<Piece>> = texts.iter().map(|text| pieces(text)).collect();
    for transform in transforms
        .iter()
        .filter(|transform| **transform != Transform::Windash)
    {
        let mut encoded = Vec::new();
        for form in &forms {
            let literal = literal(form)?;
            encoded.extend(encode(literal, *transform).into_iter().map(as_literal));
        }
        forms = encoded;
    }
    Ok(forms)
}

fn literal(form: &[Piece]) -> Result<&[u8], &'static str> {
    match form {
        [] => Ok(&[]),
        [Piece::Literal(text)] => Ok(text),
        _ => Err("a wildcard cannot be encoded"),
    }
}

fn as_literal(text: Vec<u8>) -> Vec<Piece> {
    if text.is_empty() {
        Vec::new()
    } else {
        vec![Piece::Literal(text)]
    }
}

fn encode(text: &[u8], transform: Transform) -> Vec<Vec<u8>> {
    match transform {
        Transform::Utf16Le => vec![utf16(text, u16::to_le_bytes)],
        Transform::Utf16Be => vec![utf16(text, u16::to_be_bytes)],
        Transform::Utf16 => {
            let mut marked = vec![0xff, 0xfe];
            marked.extend(utf16(text, u16::to_le_bytes));
            vec![marked]
        }
        Transform::Base64 => vec![STANDARD.encode(text).into_bytes()],
        Transform::Base64Offset => (0..3).map(|offset| at_offset(text, offset)).collect(),
        Transform::Windash => vec![text.to_vec()],
    }
}

fn utf16(text: &[u8], bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    String::from_utf8_lossy(text)
        .encode_utf16()
        .flat_map(bytes)
        .collect()
}

/// Base64 of `text` as it looks when `offset` bytes stand before it, without the characters that
/// depend on what stands before and after.
fn at_offset(text: &[u8], offset: usize) -> Vec<u8> {
    let mut padded = vec![b' '; offset];
    padded.extend_from_slice(text);
    let encoded = STANDARD.encode(&padded).into_bytes();
    let first = [0, 2, 3].get(offset).copied().unwrap_or_default();
    let tail = [0, 3, 2].get(padded.len() % 3).copied().unwrap_or_default();
    let end = encoded.len().saturating_sub(tail);
    encoded.get(first..end).unwrap_or_default().to_vec()
}

/// `text` once for each dash, with every dash that begins a word replaced by it.
fn with_other_dashes(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned()];
    for dash in DASHES {
        let form = replace_leading_dashes(text, dash);
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

fn replace_leading_dashes(text: &str, dash: char) -> String {
    let mut before_is_word = false;
    let mut characters = text.chars().peekable();
    let mut form = String::with_capacity(text.len());
    while let Some(c) = characters.next() {
        let begins = matches!(c, '-' | '/')
            && !before_is_word
            && characters.peek().is_some_and(|next| is_word(*next));
        form.push(if begins { dash } else { c });
        before_is_word = is_word(c);
    }
    form
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, transforms: &[Transform]) -> Vec<String> {
        let forms = forms(text, transforms).unwrap();
        let text = |form: &Vec<Piece>| String::from_utf8(literal(form).unwrap().to_vec()).unwrap();
        forms.iter().map(text).collect()
    }

    #[test]
    fn base64_at_an_offset_is_found_wherever_the_text_stands() {
        let forms = texts("/bin/bash", &[Transform::Base64Offset]);
        for before in ["", "x", "xy", "xyz"] {
            for after in ["", "1", "12"] {
                let whole = STANDARD.encode(format!("{before}/bin/bash{after}"));
                assert!(
                    forms.iter().any(|form| whole.contains(form)),
                    "{before} {after}"
                );
            }
        }
    }

    #[test]
    fn every_dash_is_tried() {
        let forms = texts("-enc a-b", &[Transform::Windash]);
        assert_eq!(forms.len(), 5);
        assert!(forms.contains(&"/enc a-b".to_owned()));
    }

    #[test]
    fn wide_puts_a_zero_after_each_letter() {
        assert_eq!(texts("ab", &[Transform::Utf16Le]), ["a\0b\0"]);
    }

    #[test]
    fn a_wildcard_cannot_be_encoded() {
        assert!(forms("a*", &[Transform::Base64]).is_err());
    }
}
