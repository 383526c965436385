//! What goes to stdout, what goes to stderr, and whether it may have colour.
//!
//! # Invariants
//!
//! - Data goes to stdout, everything else to stderr.
//! - Colour only on a terminal without `NO_COLOR`.
//! - A line is flushed when it is written to a terminal, or when the caller waits for more.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use picket_event::{Severity, Text};

use crate::failure::{Exit, Failure};

/// Stdout was not writable.
#[derive(Debug, thiserror::Error)]
#[error("failed to write to stdout")]
struct WriteError(#[source] io::Error);

/// Stdout, buffered.
#[derive(Debug)]
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    paint: Paint,
}

impl Output {
    /// The process's own.
    pub(crate) fn stdout() -> Self {
        Self {
            out: BufWriter::new(io::stdout().lock()),
            paint: Paint::of_stdout(),
        }
    }

    /// How it may be coloured.
    pub(crate) const fn paint(&self) -> Paint {
        self.paint
    }

    /// One line. What a host or a peer said was escaped by whoever made the line.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.out, "{line}").map_err(unwritten)
    }

    /// One record of comma-separated values.
    pub(crate) fn csv(&mut self, record: &str) -> Result<(), Failure> {
        write!(self.out, "{record}\r\n").map_err(unwritten)
    }

    /// One JSON object on a line of its own.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_string(value).map_err(|source| Failure::new(Exit::Failed, source))?;
        self.line(&text)
    }

    /// Hands everything on.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(unwritten)
    }
}

fn unwritten(source: io::Error) -> Failure {
    Failure::new(Exit::Failed, WriteError(source))
}

/// Says something that is not data, on stderr.
pub(crate) fn note(text: &str) {
    let line = Text::from(text).for_terminal();
    let unheard = writeln!(io::stderr().lock(), "{line}");
    drop(unheard);
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

    fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            on: io::stdout().is_terminal() && !unwanted && !dumb,
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

    /// Neither, but worth a look.
    pub(crate) fn warn(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Less important.
    pub(crate) fn faint(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// As bad as `severity` says.
    pub(crate) fn severity(self, severity: Severity, text: &str) -> String {
        match severity {
            Severity::Informational | Severity::Low => self.faint(text),
            Severity::Medium => self.warn(text),
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
