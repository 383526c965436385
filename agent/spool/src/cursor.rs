//! The cursor: how far each stream and class is acknowledged, as one small file.
//!
//! It is replaced as a whole (write new, fsync, rename), so it is either the old or the new one.
//! Losing it causes resending, never loss.
//!
//! # On disk
//!
//! ```text
//! cursor                                               integers are little endian
//!   magic "PKTCURSR" | version u16 | zero u16 | n u32
//!   | n times: stream [u8; 16] | class u8 | durable_seq u64
//!   | crc32c u32 of everything before
//! ```

use crate::record::Class;

/// Everything below `durable_seq` of this stream and class is acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark {
    pub(crate) stream: [u8; 16],
    pub(crate) class: Class,
    pub(crate) durable_seq: u64,
}

/// The bytes of a cursor file.
pub(crate) fn encode(marks: &[Mark]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&u32::try_from(marks.len()).unwrap_or(u32::MAX).to_le_bytes());
    for mark in marks {
        bytes.extend_from_slice(&mark.stream);
        bytes.push(mark.class.code());
        bytes.extend_from_slice(&mark.durable_seq.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The marks of a cursor file; `None` when anything about it is wrong.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Mark>> {
    let (signed, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(signed) != u32::from_le_bytes(*crc) {
        return None;
    }
    let rest = signed
        .strip_prefix(MAGIC)?
        .strip_prefix(&VERSION.to_le_bytes())?;
    let (_, rest) = rest.split_first_chunk::<2>()?;
    let (n, marks) = rest.split_first_chunk::<4>()?;
    let marks: Vec<Mark> = marks.chunks(MARK_LEN).map(mark).collect::<Option<_>>()?;
    (u32::try_from(marks.len()).ok()? == u32::from_le_bytes(*n)).then_some(marks)
}

fn mark(bytes: &[u8]) -> Option<Mark> {
    let (stream, rest) = bytes.split_first_chunk::<16>()?;
    let (class, rest) = rest.split_first()?;
    let durable_seq = u64::from_le_bytes(rest.try_into().ok()?);
    Some(Mark {
        stream: *stream,
        class: Class::from_code(*class)?,
        durable_seq,
    })
}

/// Its name.
pub(crate) const NAME: &str = "cursor";
/// The largest one that is read: far more streams than a spool can hold.
pub(crate) const MAX_BYTES: u64 = 16 << 20;
const MAGIC: &[u8; 8] = b"PKTCURSR";
const VERSION: u16 = 1;
const MARK_LEN: usize = 16 + 1 + 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> Vec<Mark> {
        let mark = |n: u8, class| Mark {
            stream: [n; 16],
            class,
            durable_seq: u64::from(n) << 40,
        };
        vec![
            mark(1, Class::Alert),
            mark(1, Class::Bulk),
            mark(2, Class::Security),
        ]
    }

    #[test]
    fn marks_survive_their_own_bytes() {
        assert_eq!(decode(&encode(&marks())), Some(marks()));
        assert_eq!(decode(&encode(&[])), Some(vec![]));
    }

    #[test]
    fn a_flipped_or_cut_cursor_is_no_cursor() {
        let mut bytes = encode(&marks());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_cursor_that_can_be_written_again_or_none(
            mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
            count in 0_u8..5,
            honest: bool,
        ) {
            if honest {
                // The form and the checksum are right, whatever stands between.
                let head = [&b"PKTCURSR\x01\0\0\0"[..], &[count, 0, 0, 0]].concat();
                bytes.splice(0..0, head);
                let crc = crc32c::crc32c(&bytes);
                bytes.extend(crc.to_le_bytes());
            }
            if let Some(marks) = decode(&bytes) {
                proptest::prop_assert_eq!(decode(&encode(&marks)), Some(marks));
            }
        }
    }
}
