//! How a command ends when it fails: one line, a hint where a next step is known, one exit code.

use std::error::Error;
use std::io::{self, Write};

/// The exit codes of the contract, without 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Code {
    /// It was tried and failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Somebody's policy says no.
    Refused = 3,
    /// Nobody answers.
    Unreachable = 4,
    /// Somebody answers who cannot prove what they claim.
    Unverified = 5,
}

/// Why a command failed, for people.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: Code,
    /// What failed, with its causes.
    pub(crate) line: String,
    /// What to do next; empty: not known.
    pub(crate) hint: String,
}

impl Failure {
    /// From an error and its chain of causes, joined once.
    pub(crate) fn new(code: Code, error: &dyn Error) -> Self {
        Self {
            code,
            line: chain(error),
            hint: String::new(),
        }
    }

    /// From a sentence.
    pub(crate) fn line(code: Code, line: impl Into<String>) -> Self {
        Self {
            code,
            line: line.into(),
            hint: String::new(),
        }
    }

    /// With a next step.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Prints it on stderr. A closed stderr changes nothing.
    pub(crate) fn print(&self) {
        let mut text = format!("picket-agent: {}\n", one_line(&self.line));
        if !self.hint.is_empty() {
            text.push_str("hint: ");
            text.push_str(&one_line(&self.hint));
            text.push('\n');
        }
        drop(io::stderr().lock().write_all(text.as_bytes()));
    }
}

/// An error with its causes: `failed to open ...: permission denied`.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&lower_case_io(error));
        cause = error.source();
    }
    text
}

/// What the kernel said, without Rust's decoration.
fn lower_case_io(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let Some(io) = error.downcast_ref::<io::Error>() else {
        return text;
    };
    let text = match (io.raw_os_error(), text.split_once(" (os error")) {
        (Some(_), Some((said, _))) => said.to_owned(),
        _ => text,
    };
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text,
    }
}

/// Whatever a peer or a file put into the text, it stays one line and moves no cursor.
fn one_line(text: &str) -> String {
    picket_event::Text::from(text.trim()).for_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to open `x`")]
    struct Open(#[source] io::Error);

    #[test]
    fn causes_are_joined_once_and_read_like_the_kernel_said_them() {
        let error = Open(io::Error::from_raw_os_error(13));
        assert_eq!(chain(&error), "failed to open `x`: permission denied");
    }

    #[test]
    fn a_peer_cannot_write_a_second_line() {
        assert_eq!(
            one_line("a\nhint: run this\u{1b}[2J"),
            "a\\nhint: run this\\u{1b}[2J"
        );
    }
}
