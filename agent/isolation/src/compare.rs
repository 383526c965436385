//! Whether what the kernel has is what was sent.

use crate::attribute::{Attribute, Value, decode, find, name};
use crate::expression::{COUNTER, DATA, ELEMENT, NAME};

/// Whether the bytes hold everything that is expected, of each kind as many as expected, in its order.
///
/// The kernel adds what it knows itself, such as handles.
pub(crate) fn holds(found: &[u8], expected: &[Attribute]) -> bool {
    expected.iter().all(|one| {
        let place = |attribute: &&Attribute| attribute.kind == one.kind;
        let wanted: Vec<&Attribute> = expected.iter().filter(place).collect();
        let values: Vec<&[u8]> = decode(found)
            .filter(|(kind, _)| *kind == one.kind)
            .map(|(_, value)| value)
            .collect();
        wanted.len() == values.len()
            && wanted
                .iter()
                .zip(values)
                .all(|(wanted, value)| match &wanted.value {
                    Value::Bytes(bytes) => bytes == value,
                    Value::Nest(inner) => holds(value, inner),
                })
    })
}

/// How many packets the rule's counter saw; `None`: it has none.
pub(crate) fn counted(expressions: &[u8]) -> Option<u64> {
    let mut elements = decode(expressions).filter(|(kind, _)| *kind == ELEMENT);
    let counter = elements.find(|(_, value)| name(value, NAME) == COUNTER.as_bytes());
    let packets = find(find(counter?.1, DATA)?, COUNTER_PACKETS)?;
    Some(u64::from_be_bytes(*packets.first_chunk()?))
}

const COUNTER_PACKETS: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::encode;

    fn bytes(attributes: &[Attribute]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(attributes, &mut out);
        out
    }

    #[test]
    fn what_is_missing_other_or_more_is_seen() {
        let element = |number| Attribute::nest(1, vec![Attribute::number(1, number)]);
        let list = |numbers: &[u32]| {
            vec![Attribute::nest(
                4,
                numbers.iter().map(|one| element(*one)).collect(),
            )]
        };
        let expected = list(&[1, 2]);
        assert!(holds(&bytes(&list(&[1, 2])), &expected));
        for wrong in [&[1][..], &[2, 1], &[1, 2, 3], &[]] {
            assert!(!holds(&bytes(&list(wrong)), &expected), "{wrong:?}");
        }
        assert!(!holds(b"", &expected));
        let mut more = list(&[1, 2]);
        more.push(Attribute::number(3, 9));
        assert!(holds(&bytes(&more), &expected), "a handle says nothing");
    }
}
