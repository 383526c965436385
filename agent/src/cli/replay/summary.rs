//! What became of the lines, on standard error.

use std::io::{self, Write};
use std::path::Path;

use picket_event::{Event, Severity, Text};

use crate::detect::OverSeveral;

/// So many unread lines are named.
const NAMED: u64 = 20;

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Summary {
    events: u64,
    alerts: u64,
    verdicts: u64,
    passed: u64,
    unread: u64,
    named: Vec<String>,
}

impl Summary {
    /// An event was printed.
    pub(super) fn event(&mut self, event: &Event) {
        self.events += 1;
        self.verdicts += event.verdicts.len() as u64;
        self.alerts += u64::from(event.severity() >= Some(Severity::Medium));
    }

    /// A line or record was read that is no event, and no rule found anything in it.
    pub(super) const fn passed(&mut self) {
        self.passed += 1;
    }

    /// A line could not be read.
    pub(super) fn unread(&mut self, path: &Path, number: u64, reason: &str) {
        self.unread += 1;
        if self.unread <= NAMED {
            let path = Text::from(path.display().to_string()).for_terminal();
            self.named.push(format!("{path}:{number}: {reason}"));
        }
    }

    /// Prints them, and what rules over several events could not tell. A closed stderr changes nothing.
    pub(super) fn print(&self, rules: OverSeveral) {
        let more = self.unread.saturating_sub(NAMED);
        let unnamed = (more > 0).then(|| format!("{more} more lines"));
        let unread = self.named.iter().chain(&unnamed);
        let mut lines: Vec<String> = unread.map(|line| format!("unread: {line}")).collect();
        lines.push(format!(
            "{} events, {} lines without an event, {} unread lines, {} verdicts, {} alerts",
            self.events, self.passed, self.unread, self.verdicts, self.alerts
        ));
        if rules.learning > 0 {
            lines.push(format!(
                "{} rules about what is new were silent: the recording is shorter than they learn",
                rules.learning
            ));
        }
        let mut err = io::stderr().lock();
        for line in lines {
            drop(writeln!(err, "picket-agent: {line}"));
        }
    }
}
