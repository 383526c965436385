//! Standard output: buffered for speed, flushed for people, quiet when the reader is gone.
//!
//! What stays true: colour only on a terminal, without `NO_COLOR`.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use picket_event::Severity;

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

/// Colours, or none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// No colour at all.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { on: false };

    /// As standard output and the environment want it.
    pub(crate) fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).unwrap_or_default();
        let wanted = set("NO_COLOR").is_empty() && set("TERM") != "dumb";
        Self {
            on: wanted && io::stdout().is_terminal(),
        }
    }

    /// Good news.
    pub(crate) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Bad news.
    pub(crate) fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// As bad as `severity` says.
    pub(crate) fn severity(self, severity: Severity, text: &str) -> String {
        match severity {
            Severity::Informational | Severity::Low => self.wrap("2", text),
            Severity::Medium => self.wrap("33", text),
            Severity::High | Severity::Critical => self.bad(text),
        }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_ends_where_the_text_ends() {
        let colour = Paint { on: true };
        let text = colour.severity(Severity::High, "bad");
        assert_eq!(text, "\u{1b}[1;31mbad\u{1b}[0m");
        assert_eq!(Paint::PLAIN.severity(Severity::High, "bad"), "bad");
    }
}
