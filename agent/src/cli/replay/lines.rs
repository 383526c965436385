//! The lines of a file, whatever it holds.
//!
//! What stays true: no line makes it keep more than [`MOST_BYTES`], and the number of a line counts all before it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

/// The longest line that is read.
const MOST_BYTES: u64 = 16 << 20;
/// How files begin that gzip, zstd, xz and bzip2 wrote.
const PACKED: [&[u8]; 4] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh"];

/// What comes next.
pub(super) enum Line<'a> {
    /// A line, without its line feed.
    Whole(&'a [u8]),
    /// A line that was passed over.
    TooLong,
    /// The file is compressed.
    Packed,
}

/// Reads them.
pub(super) struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    pub(super) fn new(file: File) -> Self {
        Self {
            file: BufReader::with_capacity(64 << 10, file),
            line: Vec::new(),
            number: 0,
        }
    }

    /// The number of the last line, from 1.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The next line with its number; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        self.line.clear();
        let mut bounded = self.file.by_ref().take(MOST_BYTES);
        if bounded.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.number == 1 && PACKED.iter().any(|magic| self.line.starts_with(magic)) {
            return Ok(Some((self.number, Line::Packed)));
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() as u64 >= MOST_BYTES {
            self.file.skip_until(b'\n')?;
            return Ok(Some((self.number, Line::TooLong)));
        }
        Ok(Some((self.number, Line::Whole(&self.line))))
    }
}
