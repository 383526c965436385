//! The record: one sealed batch as opaque bytes with a small index, and its bytes on disk.
//!
//! Decoding trusts nothing: whatever the bytes are, it gives a whole record or none.
//!
//! # On disk
//!
//! ```text
//! len u32 | crc32c(body) u32 | body [u8; len]        integers are little endian
//! body:  flags u8 (bit 0: payload dropped) | class u8 | stream [u8; 16] | seq_first u64
//!        | count u64 | signature [u8; 64] | header_len u32 | extra_len u32
//!        | header | extra | payload
//! ```

/// The priority of a batch. Codes are those of the wire and of the disk.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Class {
    /// Verdicts and outcomes: first to be sent, last to be dropped.
    Alert = 1,
    /// What detection needs.
    Security = 2,
    /// Everything else: first to be dropped.
    Bulk = 3,
}

impl Class {
    /// All classes, most important first.
    pub const ALL: [Self; 3] = [Self::Alert, Self::Security, Self::Bulk];

    /// The stable code.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The class of a code, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.code() == code)
    }
}

/// One sealed batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The run of the agent that sealed it.
    pub stream: [u8; 16],
    /// Its class; each class of a stream has its own numbers.
    pub class: Class,
    /// First number that it covers.
    pub seq_first: u64,
    /// How many numbers it covers; at least 1.
    pub count: u64,
    /// The exact signed header bytes.
    pub header: Vec<u8>,
    /// The exact payload bytes; empty when `payload_dropped`.
    pub payload: Vec<u8>,
    /// The signature over the header.
    pub signature: [u8; 64],
    /// Opaque companion of the header, such as successions; never dropped.
    pub extra: Vec<u8>,
    /// The quota took the payload; set by the spool, `false` in what is appended.
    pub payload_dropped: bool,
}

impl Record {
    /// The number after the last one that it covers; `None` when it covers no proper range.
    pub(crate) fn seq_end(&self) -> Option<u64> {
        range_end(self.seq_first, self.count)
    }

    /// Its size on disk.
    pub(crate) fn encoded_len(&self) -> usize {
        let body = FIXED
            .saturating_add(self.header.len())
            .saturating_add(self.extra.len());
        PREFIX
            .saturating_add(body)
            .saturating_add(self.payload.len())
    }

    /// Appends its bytes to `out`. The caller has made sure that it is not over [`MAX_RECORD`].
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(self.encoded_len());
        body.push(if self.payload_dropped {
            PAYLOAD_DROPPED
        } else {
            0
        });
        body.push(self.class.code());
        body.extend_from_slice(&self.stream);
        body.extend_from_slice(&self.seq_first.to_le_bytes());
        body.extend_from_slice(&self.count.to_le_bytes());
        body.extend_from_slice(&self.signature);
        body.extend_from_slice(&len_u32(&self.header).to_le_bytes());
        body.extend_from_slice(&len_u32(&self.extra).to_le_bytes());
        body.extend_from_slice(&self.header);
        body.extend_from_slice(&self.extra);
        body.extend_from_slice(&self.payload);
        out.extend_from_slice(&len_u32(&body).to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        out.extend_from_slice(&body);
    }

    /// Reads the record at the front of `bytes`, checksum included.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, usize), Flaw> {
        let body = checked_body(bytes)?;
        let record = Self::from_body(body).ok_or(Flaw::Damaged)?;
        Ok((record, PREFIX.saturating_add(body.len())))
    }

    fn from_body(body: &[u8]) -> Option<Self> {
        let (flags, rest) = body.split_first()?;
        let (class, rest) = rest.split_first()?;
        let (stream, rest) = rest.split_first_chunk::<16>()?;
        let (seq_first, rest) = rest.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<8>()?;
        let (signature, rest) = rest.split_first_chunk::<64>()?;
        let (header_len, rest) = rest.split_first_chunk::<4>()?;
        let (extra_len, rest) = rest.split_first_chunk::<4>()?;
        let (header, rest) = rest.split_at_checked(as_len(*header_len)?)?;
        let (extra, payload) = rest.split_at_checked(as_len(*extra_len)?)?;
        let record = Self {
            stream: *stream,
            class: Class::from_code(*class)?,
            seq_first: u64::from_le_bytes(*seq_first),
            count: u64::from_le_bytes(*count),
            header: header.to_vec(),
            payload: payload.to_vec(),
            signature: *signature,
            extra: extra.to_vec(),
            payload_dropped: *flags == PAYLOAD_DROPPED,
        };
        (*flags <= PAYLOAD_DROPPED && record.seq_end().is_some()).then_some(record)
    }
}

/// Why no record stands at the front of some bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flaw {
    /// The bytes end before the record does: an interrupted write, or a damaged length.
    Short,
    /// The bytes are there and wrong.
    Damaged,
}

fn checked_body(bytes: &[u8]) -> Result<&[u8], Flaw> {
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or(Flaw::Short)?;
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or(Flaw::Short)?;
    let len = as_len(*len).ok_or(Flaw::Damaged)?;
    if !(FIXED..=MAX_RECORD.saturating_sub(PREFIX)).contains(&len) {
        return Err(Flaw::Damaged);
    }
    let body = rest.get(..len).ok_or(Flaw::Short)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(Flaw::Damaged);
    }
    Ok(body)
}

/// The end of a range of numbers; `None` when it is empty or runs past `u64`.
pub(crate) fn range_end(seq_first: u64, count: u64) -> Option<u64> {
    if count == 0 {
        None
    } else {
        seq_first.checked_add(count)
    }
}

fn as_len(bytes: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

fn len_u32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("no part of a record is over MAX_RECORD")
}

/// The largest record on disk. The wire takes messages of 4 MiB.
pub(crate) const MAX_RECORD: usize = 8 << 20;
/// Length and checksum before a body.
pub(crate) const PREFIX: usize = 8;
/// Where the class stands in a record; the stream follows it.
pub(crate) const CLASS_AT: usize = PREFIX + 1;
const FIXED: usize = 1 + 1 + 16 + 8 + 8 + 64 + 4 + 4;
const PAYLOAD_DROPPED: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(payload: Vec<u8>) -> Record {
        Record {
            stream: [7; 16],
            class: Class::Security,
            seq_first: 5,
            count: 3,
            header: b"header".to_vec(),
            payload,
            signature: [9; 64],
            extra: b"extra".to_vec(),
            payload_dropped: false,
        }
    }

    #[test]
    fn the_bytes_of_a_record_are_as_written_in_the_format() {
        let mut bytes = Vec::new();
        sample(b"pp".to_vec()).encode(&mut bytes);
        let body = &bytes[8..];
        assert_eq!(bytes[..4], 119u32.to_le_bytes());
        assert_eq!(bytes[4..8], crc32c::crc32c(body).to_le_bytes());
        assert_eq!(body[..2], [0, 2]);
        assert_eq!(body[2..18], [7; 16]);
        assert_eq!(
            body[18..34],
            [5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(body[34..98], [9; 64]);
        assert_eq!(body[98..106], [6, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(&body[106..], b"headerextrapp");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        sample(vec![1, 2, 3]).encode(&mut bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(Record::decode(&[0; 4096]), Err(Flaw::Damaged));
    }

    proptest! {
        #[test]
        fn a_record_survives_its_own_bytes(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let record = sample(payload);
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), record.encoded_len());
            let used = bytes.len();
            bytes.push(0xff);
            prop_assert_eq!(Record::decode(&bytes), Ok((record, used)));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            prop_assert!(Record::decode(&bytes).is_err());
        }

        #[test]
        fn hostile_bodies_with_a_right_checksum_do_no_harm(
            mut body in prop::collection::vec(any::<u8>(), 106..400),
        ) {
            body[0] &= 1;
            body[1] = 1;
            let mut bytes = len_u32(&body).to_le_bytes().to_vec();
            bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
            bytes.extend_from_slice(&body);
            if let Ok((record, used)) = Record::decode(&bytes) {
                let mut again = Vec::new();
                record.encode(&mut again);
                prop_assert_eq!(&bytes[..used], &again[..]);
            }
        }
    }
}
