//! How a command ends when it fails: one line, a hint where a next step is known, one exit code.

use std::error::Error;
use std::fmt;
use std::io;

use picket_event::Text;

/// The exit codes of the contract, without 0. Usage (2) is the command line parser's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// It was tried and failed.
    Failed = 1,
    /// What was asked cannot be asked.
    Usage = 2,
    /// Refused by policy.
    Refused = 3,
    /// A proof does not hold.
    Unverified = 5,
}

/// Why a command failed, for people.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    line: String,
    hint: String,
}

impl Failure {
    /// From a sentence: `failed to ...`.
    pub fn new(exit: Exit, line: impl Into<String>) -> Self {
        Self {
            exit,
            line: line.into(),
            hint: String::new(),
        }
    }

    /// From an error with its causes.
    pub fn of(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, chain(error))
    }

    /// With a next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

/// `picket-collector: ...` and, on a line of its own, `hint: ...`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "picket-collector: {}",
            Text::from(self.line.trim()).for_terminal()
        )?;
        if !self.hint.is_empty() {
            write!(
                f,
                "\nhint: {}",
                Text::from(self.hint.as_str()).for_terminal()
            )?;
        }
        Ok(())
    }
}

/// The error and its causes, each once: `failed to ...: ...: permission denied`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = plain(cause);
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// What the kernel said, without Rust's decoration.
fn plain(cause: &(dyn Error + 'static)) -> String {
    match cause.downcast_ref::<io::Error>() {
        Some(os) if os.raw_os_error().is_some() => {
            let text = os.to_string();
            text.split(" (os error")
                .next()
                .unwrap_or_default()
                .to_lowercase()
        }
        _ => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to open `x`")]
    struct Open(#[source] io::Error);

    #[test]
    fn a_failure_is_one_line_with_its_causes_and_a_hint() {
        let error = Open(io::Error::from_raw_os_error(13));
        let failure = Failure::of(Exit::Failed, &error).hint("run as its owner");
        let text =
            "picket-collector: failed to open `x`: permission denied\nhint: run as its owner";
        assert_eq!(failure.to_string(), text);
    }
}
