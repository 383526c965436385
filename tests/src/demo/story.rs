//! What the demo tells: steps, the commands it types, and what they print.

use std::io::{self, Write};

/// Prints the demo. Output to a closed pipe is let go.
#[derive(Debug)]
pub(super) struct Story {
    steps: u32,
    out: io::Stdout,
}

impl Story {
    pub(super) fn new() -> Self {
        Self {
            steps: 0,
            out: io::stdout(),
        }
    }

    pub(super) fn title(&mut self, text: &str) {
        self.line(&format!("\n{text}\n{}", "=".repeat(text.chars().count())));
    }

    pub(super) fn step(&mut self, text: &str) {
        self.steps = self.steps.saturating_add(1);
        self.line(&format!("\n{}. {text}", self.steps));
    }

    /// A command as a person would type it, then what it printed.
    pub(super) fn command(&mut self, command: &str, printed: &str) {
        self.line(&format!("   $ {command}"));
        for line in printed.lines() {
            self.line(&format!("   {line}"));
        }
    }

    pub(super) fn line(&mut self, text: &str) {
        // Whoever closed the pipe has seen enough.
        drop(writeln!(self.out, "{text}"));
    }
}
