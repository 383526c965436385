//! Records in a row: how each is framed, and how the next whole one is found behind damage.
//!
//! ```text
//! segment:  "PKTWAL" | version u16 le = 1 | nonce [u8; 16] | frame*
//! frame:    "rec\x01" | len u32 le | crc32c u32 le | body [u8; len]
//! ```
//!
//! The checksum covers nonce, offset of the frame (u64 le), len and body. A host that puts a
//! well-formed frame into its payload therefore gains nothing: it knows neither nonce nor offset.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::StoreError;

/// Length of a segment's head, in bytes.
pub(crate) const HEAD: u64 = HEAD_BYTES as u64;

const HEAD_BYTES: usize = 24;

/// Largest body, in bytes: a batch of the largest size with its successions and notes.
pub(crate) const MAX_BODY: usize = 6 << 20;

const MAGIC: &[u8; 8] = b"PKTWAL\x01\x00";
const MARK: [u8; 4] = *b"rec\x01";
const FRAME_HEAD: usize = 12;

/// The random part of a segment's checksums.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Nonce(pub(crate) [u8; 16]);

/// The head of a new segment.
pub(crate) fn segment_head(nonce: Nonce) -> Vec<u8> {
    [MAGIC.as_slice(), &nonce.0].concat()
}

/// The frame of `body` at `offset`. `None` if the body is larger than any may be.
pub(crate) fn frame(nonce: Nonce, offset: u64, body: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= MAX_BODY)?;
    let crc = checksum(nonce, offset, len, body);
    Some(
        [
            MARK.as_slice(),
            &len.to_le_bytes(),
            &crc.to_le_bytes(),
            body,
        ]
        .concat(),
    )
}

fn checksum(nonce: Nonce, offset: u64, len: u32, body: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&nonce.0);
    let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &len.to_le_bytes());
    crc32c::crc32c_append(crc, body)
}

/// Walks over the frames of one segment up to a length.
#[derive(Debug)]
pub(crate) struct Frames {
    file: BufReader<File>,
    nonce: Nonce,
    offset: u64,
    end: u64,
}

/// The head of a frame, its mark taken off.
struct FrameHead {
    len: u32,
    size: usize,
    crc: u32,
}

/// What stands at a place.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// A whole record.
    Body {
        /// Where its frame begins.
        offset: u64,
        /// Its bytes.
        body: Vec<u8>,
    },
    /// Bytes that were a record once, or that a whole one follows.
    Damage {
        /// Where they begin.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// A record that was being written, up to the end.
    Torn {
        /// Where they begin.
        offset: u64,
    },
}

impl Frames {
    /// Of the segment at `path`, up to `end` or to where the file ends, whichever comes first.
    pub(crate) fn open(path: &Path, end: Option<u64>) -> Result<Self, StoreError> {
        let failed = |source| StoreError::io("read segment", path, source);
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut head = [0; HEAD_BYTES];
        if length < HEAD {
            return Err(StoreError::NotASegment {
                path: path.to_owned(),
            });
        }
        file.read_exact(&mut head).map_err(failed)?;
        let (magic, nonce) = head.split_at(MAGIC.len());
        let nonce = nonce.try_into().expect("the head is 8 and 16 bytes long");
        if magic != MAGIC {
            return Err(StoreError::NotASegment {
                path: path.to_owned(),
            });
        }
        let file = BufReader::with_capacity(READ_AHEAD, file);
        let end = end.unwrap_or(length).min(length);
        Ok(Self {
            file,
            nonce: Nonce(nonce),
            offset: HEAD,
            end,
        })
    }

    /// The next record or the next damage; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Found>> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let offset = self.offset;
        if let Some(body) = self.whole_at(offset)? {
            self.offset = after(offset, body.len());
            return Ok(Some(Found::Body { offset, body }));
        }
        self.skip_damage(offset).map(Some)
    }

    /// Goes on at a place that was between two records.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        self.offset = offset.max(HEAD);
    }

    /// Where the next record begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    fn skip_damage(&mut self, from: u64) -> io::Result<Found> {
        let mut at = from.saturating_add(1);
        while let Some(candidate) = self.next_mark(at)? {
            if self.whole_at(candidate)?.is_some() {
                self.seek(candidate)?;
                let length = candidate.saturating_sub(from);
                return Ok(Found::Damage {
                    offset: from,
                    length,
                });
            }
            at = candidate.saturating_add(1);
        }
        self.last_damage(from)
    }

    /// Nothing whole follows. A frame that is all there and does not fit its checksum has rotted; one
    /// that ends behind the end was being written.
    fn last_damage(&mut self, from: u64) -> io::Result<Found> {
        let end = self.head_at(from)?.map(|head| after(from, head.size));
        if let Some(end) = end {
            self.offset = end;
            return Ok(Found::Damage {
                offset: from,
                length: end.saturating_sub(from),
            });
        }
        self.offset = self.end;
        Ok(Found::Torn { offset: from })
    }

    /// The body of the frame at `offset`, if there is a whole one.
    fn whole_at(&mut self, offset: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(head) = self.head_at(offset)? else {
            return Ok(None);
        };
        let mut body = vec![0; head.size];
        self.file.read_exact(&mut body)?;
        let fits = checksum(self.nonce, offset, head.len, &body) == head.crc;
        Ok(fits.then_some(body))
    }

    /// The head of the frame at `offset`, if it has its mark and all of its bytes are there.
    fn head_at(&mut self, offset: u64) -> io::Result<Option<FrameHead>> {
        self.seek(offset)?;
        if after(offset, 0) > self.end {
            return Ok(None);
        }
        let mut bytes = [0; FRAME_HEAD];
        self.file.read_exact(&mut bytes)?;
        let [m0, m1, m2, m3, l0, l1, l2, l3, c0, c1, c2, c3] = bytes;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let size = usize::try_from(len).unwrap_or(usize::MAX);
        let fits = after(offset, size) <= self.end && size <= MAX_BODY;
        let head = FrameHead {
            len,
            size,
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
        };
        Ok(([m0, m1, m2, m3] == MARK && fits).then_some(head))
    }

    /// Where the next mark begins, from `at` on.
    fn next_mark(&mut self, at: u64) -> io::Result<Option<u64>> {
        self.seek(at)?;
        let mut matched = 0_usize;
        let mut offset = at;
        let mut byte = [0_u8];
        while offset < self.end {
            self.file.read_exact(&mut byte)?;
            offset = offset.saturating_add(1);
            matched = match byte {
                [b] if Some(&b) == MARK.get(matched) => matched.saturating_add(1),
                [b] => usize::from(Some(&b) == MARK.first()),
            };
            if matched == MARK.len() {
                return Ok(Some(offset.saturating_sub(MARK.len() as u64)));
            }
        }
        Ok(None)
    }

    fn seek(&mut self, offset: u64) -> io::Result<()> {
        let here = self.file.stream_position()?;
        let step = i64::try_from(offset).ok().zip(i64::try_from(here).ok());
        match step {
            Some((to, from)) => self.file.seek_relative(to.saturating_sub(from))?,
            None => drop(self.file.seek(SeekFrom::Start(offset))?),
        }
        self.offset = offset;
        Ok(())
    }
}

fn after(offset: u64, body: usize) -> u64 {
    offset
        .saturating_add(FRAME_HEAD as u64)
        .saturating_add(body as u64)
}

const READ_AHEAD: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const NONCE: Nonce = Nonce([9; 16]);

    /// Three records, one of which holds what looks like a frame.
    fn segment() -> Vec<u8> {
        let mut bytes = segment_head(NONCE);
        let forged = frame(Nonce([0; 16]), 60, b"forged").unwrap();
        for body in [&b"first record"[..], &forged, b"third"] {
            let next = frame(NONCE, bytes.len() as u64, body).unwrap();
            bytes.extend(next);
        }
        bytes
    }

    fn wounded(mut bytes: Vec<u8>, wounds: &[(u8, Index, u8)]) -> Vec<u8> {
        for (kind, at, byte) in wounds {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match kind {
                0 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
                1 => bytes.truncate(at),
                2 => bytes[at..].fill(0),
                3 => bytes.insert(at, *byte),
                _ => bytes.extend(vec![*byte; usize::from(*byte)]),
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn mutated_segments_give_the_records_that_were_written_and_account_for_every_byte(
            wounds in vec((0_u8..5, any::<Index>(), any::<u8>()), 1..5),
        ) {
            let honest = segment();
            let bytes = wounded(honest.clone(), &wounds);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            let Ok(mut frames) = Frames::open(file.path(), None) else {
                return Ok(());
            };
            let mut at = HEAD;
            while let Some(found) = frames.next().unwrap() {
                match found {
                    Found::Body { offset, body } => {
                        prop_assert_eq!(offset, at);
                        at = after(offset, body.len());
                        let whole = &bytes[usize::try_from(offset).unwrap()..usize::try_from(at).unwrap()];
                        let nonce = Nonce(bytes[8..24].try_into().unwrap());
                        prop_assert_eq!(frame(nonce, offset, &body), Some(whole.to_vec()));
                        prop_assert!(honest.windows(whole.len()).any(|part| part == whole));
                    }
                    Found::Damage { offset, length } => {
                        prop_assert!(offset == at && length > 0);
                        at = at.saturating_add(length);
                    }
                    Found::Torn { offset } => {
                        prop_assert_eq!(offset, at);
                        at = bytes.len() as u64;
                    }
                }
            }
            prop_assert_eq!(at, bytes.len() as u64);
        }
    }
}
