//! The little XML that event logs are written in: elements found by name, text without its entities.
//!
//! What stays true: no bytes make it panic, and what is not closed is not there.

use memchr::memmem;

/// An element: its attributes as they are written, and what is in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Element<'a> {
    pub(super) attributes: &'a [u8],
    pub(super) content: &'a [u8],
}

/// Every element of this name in `text`, none of them within another of the same name.
pub(super) fn elements<'a>(text: &'a [u8], name: &str) -> impl Iterator<Item = Element<'a>> {
    let open = format!("<{name}").into_bytes();
    let close = format!("</{name}>").into_bytes();
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let at = memmem::find(rest, &open)?;
            let inside = rest.get(at.checked_add(open.len())?..)?;
            rest = inside;
            if !matches!(inside.first()?, b' ' | b'>' | b'/' | b'\t' | b'\n' | b'\r') {
                continue;
            }
            let end = end_of_tag(inside)?;
            let attributes = inside.get(..end)?;
            rest = inside.get(end.checked_add(1)?..)?;
            if let Some(attributes) = attributes.strip_suffix(b"/") {
                let content = &[];
                return Some(Element {
                    attributes,
                    content,
                });
            }
            let end = memmem::find(rest, &close)?;
            let content = rest.get(..end)?;
            rest = rest.get(end.checked_add(close.len())?..)?;
            return Some(Element {
                attributes,
                content,
            });
        }
    })
}

/// At the first `>` that is not between quotes.
fn end_of_tag(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    text.iter().position(|byte| {
        match (quote, *byte) {
            (Some(open), byte) if byte == open => quote = None,
            (None, b'"' | b'\'') => quote = Some(*byte),
            (None, b'>') => return true,
            _ => {}
        }
        false
    })
}

impl<'a> Element<'a> {
    /// The first element of this name within it.
    pub(super) fn child(&self, name: &str) -> Option<Self> {
        elements(self.content, name).next()
    }

    /// An attribute, without its quotes and entities.
    pub(super) fn attribute(&self, name: &str) -> Option<Vec<u8>> {
        let mut rest: &'a [u8] = self.attributes;
        loop {
            rest = rest.trim_ascii_start();
            let equals = rest.iter().position(|byte| *byte == b'=')?;
            let found = rest.get(..equals)?.trim_ascii() == name.as_bytes();
            let value = rest.get(equals.checked_add(1)?..)?.trim_ascii_start();
            let (quote, inner) = value.split_first()?;
            let end = inner.iter().position(|byte| byte == quote)?;
            if found {
                return Some(text_of(inner.get(..end)?));
            }
            rest = inner.get(end.checked_add(1)?..)?;
        }
    }

    /// Its text.
    pub(super) fn text(&self) -> Vec<u8> {
        text_of(self.content)
    }
}

/// The text that `written` stands for.
fn text_of(written: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(written.len());
    let mut rest = written;
    while let Some(at) = memchr::memchr(b'&', rest) {
        text.extend_from_slice(rest.get(..at).unwrap_or_default());
        rest = rest.get(at..).unwrap_or_default();
        let end = rest
            .iter()
            .take(LONGEST_ENTITY)
            .position(|byte| *byte == b';');
        let entity = end.and_then(|end| rest.get(1..end));
        if let Some(character) = entity.and_then(character) {
            let mut bytes = [0; 4];
            text.extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
            let after = end.and_then(|end| end.checked_add(1));
            rest = after
                .and_then(|after| rest.get(after..))
                .unwrap_or_default();
        } else {
            text.push(b'&');
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    text.extend_from_slice(rest);
    text
}

fn character(entity: &[u8]) -> Option<char> {
    match entity {
        b"quot" => Some('"'),
        b"amp" => Some('&'),
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"apos" => Some('\''),
        [b'#', b'x' | b'X', digits @ ..] => {
            char::from_u32(u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?)
        }
        [b'#', digits @ ..] => char::from_u32(std::str::from_utf8(digits).ok()?.parse().ok()?),
        _ => None,
    }
}

const LONGEST_ENTITY: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_their_whole_name_and_text_loses_its_entities() {
        let text = b"<Events><Event a='>'><D N=\"x &amp; y\">a &lt;&#65;&#x42;&bogus; &</D><D N='e'/></Event>";
        let event = elements(text, "Event").next().unwrap();
        assert_eq!(event.attribute("a").unwrap(), b">");
        let all: Vec<_> = elements(event.content, "D").collect();
        assert_eq!(all[0].attribute("N").unwrap(), b"x & y");
        assert_eq!(all[0].text(), b"a <AB&bogus; &");
        assert_eq!((all[1].text(), all[1].attribute("M")), (Vec::new(), None));
        assert!(elements(b"<Event><D>", "Event").next().is_none());
    }
}
