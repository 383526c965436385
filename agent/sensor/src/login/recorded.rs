//! Words of a recording become login events as live ones do, by the recording's own time.
//!
//! What stays true: no clock is asked, so the same recording gives the same events. Nothing of this
//! host is looked up: the recording may be another's.

use std::time::{Duration, Instant};

use picket_event::{Event, Kind, Login, Process, ProcessUid, Text, UnixNanos};

use super::audited::AuditLogin;
use super::fact::{Fact, Witness};
use super::fusion::{Fusion, Origin, SeenBy, Word};
use super::line::AuthLine;

/// Puts the words of a recording together.
#[derive(Debug)]
pub(crate) struct RecordedLogins {
    fusion: Fusion,
    begin: Instant,
    first: Option<UnixNanos>,
    /// How far the recording's time has come; it does not go back.
    passed: Duration,
}

impl RecordedLogins {
    pub(crate) fn new() -> Self {
        Self {
            fusion: Fusion::of_recording(),
            begin: Instant::now(),
            first: None,
            passed: Duration::ZERO,
        }
    }

    /// A line of a log; `writer` is the name of the process that wrote it.
    pub(crate) fn line(&mut self, line: AuthLine, writer: Option<ProcessUid>) {
        let process = writer.zip(line.pid).map(|(uid, pid)| Process {
            comm: line.program.clone(),
            ..Process::new(uid, pid)
        });
        for _ in 0..line.times {
            let fact = line.fact.clone();
            self.hear(SeenBy::AuthLog, line.time, process.clone(), fact);
        }
    }

    /// A record of audit, by this process. `caller` is who called the program, where the record names it.
    pub(crate) fn audit(&mut self, record: &AuditLogin, process: Process, caller: Text) {
        if let Some(mut fact) = record.fact() {
            fact.login.session = record.session();
            if fact.login.user.is_empty() && !fact.login.target_user.is_empty() {
                fact.login.user = caller;
            }
            self.hear(SeenBy::Audit, record.time(), Some(process), fact);
        }
    }

    /// A command that sudo ran, as it told audit.
    pub(crate) fn switched(&mut self, time: UnixNanos, process: Process, login: Login, done: bool) {
        let fact = if done {
            Fact::success(Witness::Switched, Kind::AccountSwitch, login)
        } else {
            Fact::failure(Witness::SwitchRefused, Kind::AccountSwitch, login)
        };
        self.hear(SeenBy::Audit, time, Some(process), fact);
    }

    fn hear(&mut self, seen_by: SeenBy, time: UnixNanos, process: Option<Process>, fact: Fact) {
        let first = *self.first.get_or_insert(time);
        self.passed = self.passed.max(time.since(first));
        let word = Word {
            origin: Origin::LIVE,
            seen_by,
            time,
            pid: process.as_ref().map(|process| process.pid),
            ppid: None,
            process: process.filter(|_| fact.kind.is_some()),
            fact,
            old: false,
        };
        self.fusion.hear(word, self.now());
    }

    fn now(&self) -> Instant {
        self.begin.checked_add(self.passed).unwrap_or(self.begin)
    }

    /// Appends the events that nothing more is to be expected for.
    pub(crate) fn give(&mut self, out: &mut Vec<Event>) {
        self.fusion
            .give(self.now(), |_| false, out, &mut Vec::new());
    }

    /// Appends all that is left.
    pub(crate) fn finish(&mut self, out: &mut Vec<Event>) {
        self.fusion.give_all(out, &mut Vec::new());
    }
}
