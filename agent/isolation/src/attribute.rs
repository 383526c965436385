//! Attributes of netlink: kind, length, value; a value may hold attributes.
//!
//! ```text
//! length u16 | kind u16 (0x8000: holds attributes) | value | zeros up to a multiple of four
//! ```

/// One attribute, as it is to be sent or is expected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Attribute {
    pub(crate) kind: u16,
    pub(crate) value: Value,
}

/// What it holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    Bytes(Vec<u8>),
    Nest(Vec<Attribute>),
}

impl Attribute {
    pub(crate) fn bytes(kind: u16, bytes: &[u8]) -> Self {
        Self {
            kind,
            value: Value::Bytes(bytes.to_vec()),
        }
    }

    /// A number in the order of the network, as nftables has most of them.
    pub(crate) fn number(kind: u16, number: u32) -> Self {
        Self::bytes(kind, &number.to_be_bytes())
    }

    /// A long number.
    pub(crate) fn long(kind: u16, number: u64) -> Self {
        Self::bytes(kind, &number.to_be_bytes())
    }

    /// A name, with the zero that ends it.
    pub(crate) fn text(kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        Self {
            kind,
            value: Value::Bytes(bytes),
        }
    }

    pub(crate) const fn nest(kind: u16, inner: Vec<Self>) -> Self {
        Self {
            kind,
            value: Value::Nest(inner),
        }
    }
}

/// Writes attributes one after the other.
pub(crate) fn encode(attributes: &[Attribute], out: &mut Vec<u8>) {
    for attribute in attributes {
        let at = out.len();
        out.extend_from_slice(&[0; HEADER]);
        let kind = match &attribute.value {
            Value::Bytes(bytes) => {
                out.extend_from_slice(bytes);
                attribute.kind
            }
            Value::Nest(inner) => {
                encode(inner, out);
                attribute.kind | NESTED
            }
        };
        let length = u16::try_from(out.len().saturating_sub(at)).unwrap_or(u16::MAX);
        let header = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        if let Some(place) = out.get_mut(at..at.saturating_add(HEADER)) {
            place.copy_from_slice(&header);
        }
        out.resize(aligned(out.len()), 0);
    }
}

/// The attributes in these bytes; what cannot be one ends the walk.
pub(crate) fn decode(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & !(NESTED | NETWORK_ORDER);
        let value = rest.get(HEADER..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first of a kind.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    decode(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A name without the zero that ends it.
pub(crate) fn name(bytes: &[u8], kind: u16) -> &[u8] {
    let value = find(bytes, kind).unwrap_or_default();
    value.strip_suffix(&[0]).unwrap_or(value)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

pub(crate) const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

const HEADER: usize = 4;
const NESTED: u16 = 0x8000;
const NETWORK_ORDER: u16 = 0x4000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        let inner = vec![Attribute::text(2, "abc"), Attribute::number(3, 7)];
        encode(
            &[Attribute::nest(1, inner), Attribute::bytes(9, b"x")],
            &mut out,
        );
        assert_eq!(out.len() % 4, 0);
        let found: Vec<_> = decode(&out).map(|(kind, _)| kind).collect();
        assert_eq!(found, [1, 9]);
        let nest = find(&out, 1).unwrap();
        assert_eq!(name(nest, 2), b"abc");
        assert_eq!(find(nest, 3), Some(&7_u32.to_be_bytes()[..]));
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_walk() {
        for length in [0_u16, 3, 9, u16::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[1, 0, 5, 5]);
            assert_eq!(decode(&bytes).count(), 0, "{length}");
        }
        assert_eq!(decode(b"abc").count(), 0);
    }
}
