//! One segment file as bytes: its header, and a scan that finds every whole record in it.
//!
//! Pure: bytes in, findings out. The scan never fails and never trusts a length or a checksum
//! alone; whatever it cannot read it counts as skipped bytes.
//!
//! # On disk
//!
//! ```text
//! segment-<id, 16 hex digits>.log                      integers are little endian
//!   magic "PKTSPOOL" | version u16 | class u8 | flags u8 (bit 0: folded) | stream [u8; 16]
//!   | seq_first u64 | crc32c u32 of the 36 bytes before
//!   record*                                            see record.rs
//! ```
//!
//! All records of a segment belong to its class and stream; none covers numbers below `seq_first`,
//! except copies of what an earlier segment holds already.

use crate::record::{CLASS_AT, Class, Flaw, PREFIX, Record};

/// The first bytes of a segment file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SegmentHeader {
    pub(crate) class: Class,
    pub(crate) stream: [u8; 16],
    pub(crate) seq_first: u64,
    /// Headers in the middle were given up for the quota.
    pub(crate) folded: bool,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.push(self.class.code());
        bytes.push(u8::from(self.folded));
        bytes.extend_from_slice(&self.stream);
        bytes.extend_from_slice(&self.seq_first.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> HeaderFound {
        match Self::checked(bytes) {
            Some((VERSION, rest)) => {
                Self::from_checked(rest).map_or(HeaderFound::Damaged, HeaderFound::Ours)
            }
            Some(_) => HeaderFound::Foreign,
            None => HeaderFound::Damaged,
        }
    }

    fn checked(bytes: &[u8]) -> Option<(u16, &[u8])> {
        let (head, _) = bytes.split_first_chunk::<HEADER_LEN>()?;
        let (signed, crc) = head.split_last_chunk::<4>()?;
        let rest = signed.strip_prefix(MAGIC)?;
        let (version, rest) = rest.split_first_chunk::<2>()?;
        let intact = crc32c::crc32c(signed) == u32::from_le_bytes(*crc);
        intact.then_some((u16::from_le_bytes(*version), rest))
    }

    fn from_checked(rest: &[u8]) -> Option<Self> {
        let ([class, flags], rest) = rest.split_first_chunk::<2>()?;
        let (stream, rest) = rest.split_first_chunk::<16>()?;
        let (seq_first, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            class: Class::from_code(*class)?,
            stream: *stream,
            seq_first: u64::from_le_bytes(*seq_first),
            folded: *flags & 1 == 1,
        })
    }
}

/// What stands where the header should.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HeaderFound {
    Ours(SegmentHeader),
    /// Intact, of a version that this program does not know.
    Foreign,
    Damaged,
}

/// Where one whole record stands, and what it covers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) offset: u64,
    pub(crate) len: usize,
    pub(crate) payload_len: u64,
    pub(crate) seq_first: u64,
    pub(crate) seq_end: u64,
    /// Damaged bytes were skipped right before it.
    pub(crate) after_damage: bool,
}

impl Entry {
    /// Describes a record that stands at `offset`; the record covers a proper range.
    pub(crate) fn of(record: &Record, offset: u64) -> Self {
        Self {
            offset,
            len: record.encoded_len(),
            payload_len: size(record.payload.len()),
            seq_first: record.seq_first,
            seq_end: record.seq_end().unwrap_or(record.seq_first),
            after_damage: false,
        }
    }
}

/// How a segment ends after its last whole record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tail {
    Clean,
    /// A write that was interrupted: the bytes stop early or are still zero.
    Torn,
    /// Bytes that are there and wrong.
    Damaged,
}

/// Everything that a segment's bytes say.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) header: HeaderFound,
    /// From the header, or from the first record where the header is damaged.
    pub(crate) owner: Option<([u8; 16], Class)>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) tail: Tail,
    /// Bytes after the last whole record when the tail is torn.
    pub(crate) torn_bytes: u64,
    /// Bytes skipped as damaged.
    pub(crate) damaged_bytes: u64,
}

/// Finds every whole record of a segment.
pub(crate) fn scan(bytes: &[u8]) -> Scan {
    let header = SegmentHeader::decode(bytes);
    let owner = match header {
        HeaderFound::Ours(header) => Some((header.stream, header.class)),
        HeaderFound::Foreign | HeaderFound::Damaged => None,
    };
    let mut scanner = Scanner {
        bytes,
        at: HEADER_LEN,
        owner,
        resyncs: 0,
    };
    let mut scan = Scan {
        header,
        owner,
        entries: Vec::new(),
        tail: Tail::Clean,
        torn_bytes: 0,
        damaged_bytes: 0,
    };
    if header != HeaderFound::Foreign {
        scanner.run(&mut scan);
    }
    scan.owner = scanner.owner;
    scan
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    owner: Option<([u8; 16], Class)>,
    resyncs: u32,
}

impl Scanner<'_> {
    fn run(&mut self, scan: &mut Scan) {
        if self.bytes.len() < HEADER_LEN {
            scan.tail = if self.bytes.is_empty() {
                Tail::Clean
            } else {
                Tail::Torn
            };
            scan.torn_bytes = size(self.bytes.len());
            return;
        }
        let mut after_damage = false;
        while self.at < self.bytes.len() {
            match self.record_at(self.at) {
                Ok((record, len)) => {
                    let entry = Entry {
                        after_damage,
                        ..Entry::of(&record, size(self.at))
                    };
                    scan.entries.push(entry);
                    after_damage = false;
                    self.at = self.at.saturating_add(len);
                }
                Err(flaw) => match self.next_boundary() {
                    Some(next) => {
                        scan.damaged_bytes = scan.damaged_bytes.saturating_add(self.distance(next));
                        after_damage = true;
                        self.at = next;
                    }
                    None => return self.end(scan, flaw),
                },
            }
        }
    }

    fn record_at(&mut self, at: usize) -> Result<(Record, usize), Flaw> {
        let (record, len) = Record::decode(self.bytes.get(at..).unwrap_or_default())?;
        match self.owner {
            Some(owner) if owner != (record.stream, record.class) => Err(Flaw::Damaged),
            _ => {
                self.owner = Some((record.stream, record.class));
                Ok((record, len))
            }
        }
    }

    /// Where the next whole record begins after a flaw at `self.at`: where the length says, or
    /// else wherever the class and stream of this segment stand again before a whole record.
    fn next_boundary(&mut self) -> Option<usize> {
        if let Some(next) = self.by_length()
            && self.record_at(next).is_ok()
        {
            return Some(next);
        }
        let (stream, class) = self.owner?;
        let mut needle = vec![class.code()];
        needle.extend_from_slice(&stream);
        let mut from = self.at.saturating_add(1);
        while self.resyncs < MAX_RESYNCS {
            self.resyncs = self.resyncs.saturating_add(1);
            let begin = from.saturating_add(find(self.bytes.get(from..)?, &needle)?);
            if self.record_at(begin).is_ok() {
                return Some(begin);
            }
            from = begin.saturating_add(1);
        }
        None
    }

    fn by_length(&self) -> Option<usize> {
        let len = self.bytes.get(self.at..)?.first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let next = self.at.checked_add(PREFIX)?.checked_add(len)?;
        (next < self.bytes.len()).then_some(next)
    }

    fn end(&self, scan: &mut Scan, flaw: Flaw) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let left = size(rest.len());
        if flaw == Flaw::Short || rest.iter().all(|byte| *byte == 0) {
            scan.tail = Tail::Torn;
            scan.torn_bytes = left;
        } else {
            scan.tail = Tail::Damaged;
            scan.damaged_bytes = scan.damaged_bytes.saturating_add(left);
        }
    }

    fn distance(&self, next: usize) -> u64 {
        size(next.saturating_sub(self.at))
    }
}

/// The distance to the first record whose class and stream are `needle`.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .get(CLASS_AT..)?
        .windows(needle.len())
        .position(|window| window == needle)
}

/// A length as the disk counts it.
pub(crate) fn size(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Bytes of a segment header.
pub(crate) const HEADER_LEN: usize = 8 + 2 + 1 + 1 + 16 + 8 + 4;
const MAGIC: &[u8; 8] = b"PKTSPOOL";
const VERSION: u16 = 1;
/// Bounds the work that a file made to look like many beginnings can cause.
const MAX_RESYNCS: u32 = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            class: Class::Bulk,
            stream: [3; 16],
            seq_first: 10,
            folded: false,
        }
    }

    fn record(seq: u64, len: usize) -> Record {
        Record {
            stream: [3; 16],
            class: Class::Bulk,
            seq_first: seq,
            count: 1,
            header: vec![1; 20],
            payload: vec![2; len],
            signature: [4; 64],
            extra: vec![],
            payload_dropped: false,
        }
    }

    fn file(records: usize) -> Vec<u8> {
        let mut bytes = header().encode();
        for seq in (10..).take(records) {
            record(seq, 50).encode(&mut bytes);
        }
        bytes
    }

    fn firsts(scan: &Scan) -> Vec<u64> {
        scan.entries.iter().map(|entry| entry.seq_first).collect()
    }

    #[test]
    fn the_header_is_as_written_in_the_format() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(&bytes[..12], b"PKTSPOOL\x01\x00\x03\x00");
        assert_eq!(bytes[12..28], [3; 16]);
        assert_eq!(bytes[28..36], [10, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[36..], crc32c::crc32c(&bytes[..36]).to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), HeaderFound::Ours(header()));
    }

    #[test]
    fn a_newer_version_is_left_alone() {
        let mut bytes = file(2);
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..36]).to_le_bytes();
        bytes[36..40].copy_from_slice(&crc);
        let scan = scan(&bytes);
        assert_eq!(scan.header, HeaderFound::Foreign);
        assert!(scan.entries.is_empty());
    }

    #[test]
    fn any_one_flipped_bit_costs_at_most_one_record() {
        let mut bytes = file(3);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let scan = scan(&bytes);
            let least = if bit / 8 < HEADER_LEN { 3 } else { 2 };
            let foreign = scan.header == HeaderFound::Foreign;
            assert!(
                scan.entries.len() >= least && !foreign,
                "bit {bit}: {:?}",
                firsts(&scan)
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_record_of_another_stream_is_not_taken() {
        let mut bytes = file(1);
        Record {
            stream: [9; 16],
            ..record(11, 5)
        }
        .encode(&mut bytes);
        record(12, 5).encode(&mut bytes);
        let scan = scan(&bytes);
        assert_eq!(firsts(&scan), [10, 12]);
        assert!(scan.entries[1].after_damage);
    }

    #[test]
    fn a_file_full_of_false_beginnings_costs_bounded_work() {
        let mut bytes = header().encode();
        let mut needle = vec![0xff, 0xff, 0, 0, 1, 2, 3, 4, 0, Class::Bulk.code()];
        needle.extend_from_slice(&[3; 16]);
        while bytes.len() < 4 << 20 {
            bytes.extend_from_slice(&needle);
        }
        let scan = scan(&bytes);
        assert_eq!((scan.entries.len(), scan.tail), (0, Tail::Damaged));
    }

    #[test]
    fn every_cut_keeps_all_whole_records_before_it() {
        let bytes = file(4);
        let one = record(0, 50).encoded_len();
        for cut in HEADER_LEN..bytes.len() {
            let scan = scan(&bytes[..cut]);
            let whole = (cut - HEADER_LEN) / one;
            assert_eq!(scan.entries.len(), whole, "cut at {cut}");
            let clean = (cut - HEADER_LEN).is_multiple_of(one);
            assert_eq!(
                scan.tail,
                if clean { Tail::Clean } else { Tail::Torn },
                "cut at {cut}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_without_a_panic(
            tail in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let mut bytes = file(1);
            bytes.extend_from_slice(&tail);
            let scan = scan(&bytes);
            prop_assert_eq!(firsts(&scan), [10]);
            scan_all_prefixes(&tail);
        }
    }

    fn wounded(mut bytes: Vec<u8>, wounds: &[(u8, prop::sample::Index, u8)]) -> Vec<u8> {
        for (kind, at, byte) in wounds {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match kind {
                0 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
                1 => bytes.truncate(at),
                2 => bytes[at..].fill(0),
                3 => bytes.insert(at, *byte),
                _ => {
                    let end = at.saturating_add(usize::from(*byte)).min(bytes.len());
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn mutated_segments_give_whole_records_in_order_and_no_other(
            wounds in prop::collection::vec((0_u8..5, any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let honest = file(6);
            let bytes = wounded(honest.clone(), &wounds);
            let scan = scan(&bytes);
            let mut behind = 0;
            for entry in &scan.entries {
                let at = usize::try_from(entry.offset).unwrap();
                prop_assert!(at >= behind, "{:?}", scan);
                behind = at.saturating_add(entry.len);
                let (record, len) = Record::decode(&bytes[at..]).unwrap();
                prop_assert_eq!((len, record.seq_first), (entry.len, entry.seq_first));
                let mut again = Vec::new();
                record.encode(&mut again);
                prop_assert!(honest.windows(len).any(|part| part == again), "{:?} was never written", record);
            }
        }
    }

    fn scan_all_prefixes(bytes: &[u8]) {
        (0..bytes.len()).for_each(|end| drop(scan(&bytes[..end])));
    }
}
