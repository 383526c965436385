//! Standard output: buffered for speed, flushed for people, quiet when the reader is gone.

use std::io::{self, BufWriter, StdoutLock, Write};

use crate::failure::{Code, Failure};

/// Standard output of this program.
#[derive(Debug)]
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reader {
    /// Somebody reads.
    There,
    /// The pipe is closed: a reason to end, not an error.
    Gone,
}

impl Output {
    /// Takes standard output for as long as this lives.
    pub(crate) fn new() -> Self {
        Self {
            out: BufWriter::with_capacity(64 << 10, io::stdout().lock()),
        }
    }

    /// Writes a line. It may stay in the buffer until [`Self::flush`].
    pub(crate) fn line(&mut self, text: &str) -> Result<Reader, Failure> {
        let written = self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.write_all(b"\n"));
        reader(written)
    }

    /// Hands over what is in the buffer.
    pub(crate) fn flush(&mut self) -> Result<Reader, Failure> {
        reader(self.out.flush())
    }
}

fn reader(done: io::Result<()>) -> Result<Reader, Failure> {
    match done {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::new(Code::Failed, &WriteError(error))),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("failed to write to standard output")]
struct WriteError(#[source] io::Error);
