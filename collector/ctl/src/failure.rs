//! How a command ends when it does not succeed: one line, a hint where a next step is known, an exit code.
//!
//! # Invariants
//!
//! - The chain of causes is joined once, here; no error repeats its cause in its own text.
//! - Control characters of a peer's or a host's text never reach the terminal.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use picket_event::Text;

/// The exit codes of the contract.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Exit {
    /// Failed for another reason.
    Failed = 1,
    /// Asked for something that cannot be asked.
    Usage = 2,
    /// Refused by policy, of the collector or of the host.
    Refused = 3,
    /// Nobody answers.
    Unreachable = 4,
    /// Keys, certificates, fingerprints or evidence do not fit.
    Unverified = 5,
}

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    cause: Option<Box<dyn Error + Send + Sync>>,
    hint: Option<String>,
}

impl Failure {
    /// With this cause.
    pub(crate) fn new(exit: Exit, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            exit,
            cause: Some(cause.into()),
            hint: None,
        }
    }

    /// Everything was said already; only the exit code is left.
    pub(crate) const fn silent(exit: Exit) -> Self {
        Self {
            exit,
            cause: None,
            hint: None,
        }
    }

    /// With a next step.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether what was asked cannot be asked.
    pub(crate) fn is_usage(&self) -> bool {
        self.exit == Exit::Usage
    }

    /// Whether the collector refused for this reason.
    pub(crate) fn says(&self, refusal: &str) -> bool {
        let words = self.cause.as_ref().map(|cause| joined(cause.as_ref()));
        words.is_some_and(|words| words.contains(&format!(": {refusal}: ")))
    }

    /// The exit code.
    #[cfg(test)]
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Prints itself to stderr and says how the program ends. A reader who left early is no failure.
    pub(crate) fn report(self) -> ExitCode {
        let Some(cause) = &self.cause else {
            return ExitCode::from(self.exit as u8);
        };
        if is_broken_pipe(cause.as_ref()) {
            return ExitCode::SUCCESS;
        }
        let mut err = io::stderr().lock();
        let unheard = writeln!(err, "{self}");
        drop(unheard);
        ExitCode::from(self.exit as u8)
    }
}

/// `picketctl: ...` and, on a line of its own, `hint: ...`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cause) = &self.cause {
            let text = Text::from(joined(cause.as_ref()));
            write!(f, "picketctl: {}", text.for_terminal())?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {}", Text::from(hint.as_str()).for_terminal())?;
        }
        Ok(())
    }
}

/// The error and its causes, each once: `failed to ...: ...: permission denied`.
pub(crate) fn joined(error: &(dyn Error + 'static)) -> String {
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

/// Without the number that `std` adds, in lower case as everything else: `permission denied`.
fn plain(cause: &(dyn Error + 'static)) -> String {
    match cause.downcast_ref::<io::Error>() {
        Some(os) if os.raw_os_error().is_some() => {
            let text = os.to_string();
            let words = text.split(" (os error").next().unwrap_or_default();
            words.to_lowercase()
        }
        _ => cause.to_string(),
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::BrokenPipe
        {
            return true;
        }
        next = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to read `x`")]
    struct Read(#[source] io::Error);

    #[test]
    fn a_failure_is_one_line_with_every_cause_once_and_a_hint() {
        let cause = Read(io::Error::from_raw_os_error(13));
        let failure = Failure::new(Exit::Failed, cause).hint("run as its owner");
        let expected = "picketctl: failed to read `x`: permission denied\nhint: run as its owner";
        assert_eq!(failure.to_string(), expected);
    }

    #[test]
    fn text_of_a_peer_cannot_move_the_cursor() {
        let failure = Failure::new(Exit::Failed, "no such host \u{1b}[2J\nall is well");
        assert_eq!(
            failure.to_string(),
            "picketctl: no such host \\u{1b}[2J\\nall is well"
        );
    }

    #[test]
    fn a_reader_who_left_is_found_behind_other_errors() {
        assert!(is_broken_pipe(&Read(io::ErrorKind::BrokenPipe.into())));
        assert!(!is_broken_pipe(&Read(io::ErrorKind::NotFound.into())));
    }
}
