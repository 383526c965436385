//! The forms that a value takes through transforming modifiers: dashes, UTF-16, Base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::modifier::Transform;
use crate::pattern::{DASHES, Piece, pieces};

/// Most dashes of one text that are tried one by one, as must be where the text is encoded.
const MOST_DASHES: usize = 3;

/// Every form of `text` after `transforms`, as pieces of a pattern.
pub(crate) fn forms(text: &str, transforms: &[Transform]) -> Result<Vec<Vec<Piece>>, &'static str> {
    let mut form = pieces(text);
    let (dashes, encodings): (Vec<Transform>, Vec<Transform>) = transforms
        .iter()
        .partition(|transform| **transform == Transform::Windash);
    if !dashes.is_empty() {
        form = with_dashes(form);
    }
    if encodings.is_empty() {
        return Ok(vec![form]);
    }
    let mut forms = dashes_apart(form)?;
    for encoding in encodings {
        let encoded: Result<Vec<_>, _> = forms
            .into_iter()
            .map(|form| encode(form, encoding))
            .collect();
        forms = encoded?.concat();
    }
    Ok(forms)
}

/// Every dash that begins a word becomes one that may be another.
fn with_dashes(form: Vec<Piece>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for piece in form {
        match piece {
            Piece::Literal(text) => split_at_dashes(&text, &mut pieces),
            other => pieces.push(other),
        }
    }
    pieces
}

fn split_at_dashes(text: &[u8], pieces: &mut Vec<Piece>) {
    let text = String::from_utf8_lossy(text);
    let (mut before_is_word, mut literal) = (false, String::new());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let is_dash = DASHES.iter().any(|dash| dash.starts_with(c));
        let begins =
            is_dash && !before_is_word && characters.peek().is_some_and(|next| is_word(*next));
        before_is_word = is_word(c);
        if !begins {
            literal.push(c);
            continue;
        }
        pieces.extend(as_literal(std::mem::take(&mut literal).into_bytes()));
        pieces.push(Piece::Dash);
    }
    pieces.extend(as_literal(literal.into_bytes()));
}

/// A form for every way to write the dashes of `form`.
fn dashes_apart(form: Vec<Piece>) -> Result<Vec<Vec<Piece>>, &'static str> {
    let dashes = form.iter().filter(|piece| **piece == Piece::Dash).count();
    if dashes > MOST_DASHES {
        return Err("more than three dashes cannot be encoded in every way");
    }
    let mut forms = vec![Vec::new()];
    for piece in form {
        let ways: Vec<Piece> = match piece {
            Piece::Dash => DASHES.map(|dash| Piece::Literal(dash.into())).to_vec(),
            other => vec![other],
        };
        let longer = |form: &Vec<Piece>| {
            let form = form.clone();
            let ways = ways.iter();
            ways.map(move |way| joined(form.clone(), way.clone()))
                .collect::<Vec<_>>()
        };
        forms = forms.iter().flat_map(longer).collect();
    }
    Ok(forms)
}

/// `form` with one more piece; literals grow together.
fn joined(mut form: Vec<Piece>, piece: Piece) -> Vec<Piece> {
    match (form.last_mut(), piece) {
        (Some(Piece::Literal(before)), Piece::Literal(text)) => before.extend(text),
        (_, piece) => form.push(piece),
    }
    form
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

/// UTF-16 keeps wildcards: what they stand for may be of any length.
fn encode(form: Vec<Piece>, encoding: Transform) -> Result<Vec<Vec<Piece>>, &'static str> {
    let each = |bytes: fn(u16) -> [u8; 2]| {
        let wide = form.iter().map(|piece| match piece {
            Piece::Literal(text) => Piece::Literal(utf16(text, bytes)),
            other => other.clone(),
        });
        wide.collect::<Vec<Piece>>()
    };
    Ok(match encoding {
        Transform::Utf16Le => vec![each(u16::to_le_bytes)],
        Transform::Utf16Be => vec![each(u16::to_be_bytes)],
        Transform::Utf16 => {
            let mut marked = as_literal(vec![0xff, 0xfe]);
            for piece in each(u16::to_le_bytes) {
                marked = joined(marked, piece);
            }
            vec![marked]
        }
        Transform::Base64 => vec![as_literal(STANDARD.encode(literal(&form)?).into_bytes())],
        Transform::Base64Offset => {
            let text = literal(&form)?;
            (0..3)
                .map(|offset| as_literal(at_offset(text, offset)))
                .collect()
        }
        Transform::Windash => vec![form],
    })
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
    fn every_dash_of_a_text_may_be_another() {
        let tried = [Transform::Windash];
        let forms = forms("-enc a-b *-x", &tried).unwrap();
        let literal = |text: &str| Piece::Literal(text.into());
        let expected = [
            Piece::Dash,
            literal("enc a-b "),
            Piece::Any,
            Piece::Dash,
            literal("x"),
        ];
        assert_eq!(forms, [expected]);
        let encoded = texts("-a /b", &[Transform::Windash, Transform::Base64]);
        assert_eq!(encoded.len(), 25);
        assert!(encoded.contains(&STANDARD.encode("/a \u{2013}b")));
        let many = [Transform::Windash, Transform::Base64];
        assert!(super::forms("-a -b -c -d", &many).is_err());
    }

    #[test]
    fn wide_puts_a_zero_after_each_letter() {
        assert_eq!(texts("ab", &[Transform::Utf16Le]), ["a\0b\0"]);
        let wild = forms("a*b", &[Transform::Utf16Le]).unwrap();
        let literal = |text: &str| Piece::Literal(text.into());
        assert_eq!(wild, [[literal("a\0"), Piece::Any, literal("b\0")]]);
    }

    #[test]
    fn a_wildcard_cannot_be_encoded() {
        assert!(forms("a*", &[Transform::Base64]).is_err());
    }
}
