//! Which events `watch` shows: those that every given condition holds for.

use std::collections::BTreeSet;

use picket_event::filter::Filter;
use picket_event::{Event, Kind, Severity};

use super::WatchArgs;

/// The conditions; none of them given, all events are shown.
#[derive(Debug)]
pub(super) struct Chosen {
    kinds: BTreeSet<Kind>,
    filter: Option<Filter>,
    min_severity: Option<Severity>,
}

impl Chosen {
    pub(super) fn new(arguments: &WatchArgs) -> Self {
        Self {
            kinds: arguments.kinds.iter().copied().collect(),
            filter: arguments.filter.clone(),
            min_severity: arguments.min_severity,
        }
    }

    /// Whether it is shown. An event that nobody judged has no severity, so it is below any.
    pub(super) fn takes(&self, event: &Event) -> bool {
        let kind = self.kinds.is_empty() || self.kinds.contains(&event.kind);
        kind && event.severity() >= self.min_severity
            && self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.matches(event))
    }
}

#[cfg(test)]
mod tests {
    use picket_event::{Process, ProcessUid, RuleVerdict, Source, Text, UnixNanos, Verdict};

    use super::*;

    fn exec(exe: &str, severity: Option<Severity>) -> Event {
        let mut process = Process::new(ProcessUid::new([1; 16]), 7);
        process.exe = Text::from(exe);
        let mut event = Event::new(Kind::Exec, UnixNanos(0), Source::Ebpf).by(process);
        event.verdicts = severity.into_iter().map(judged).collect();
        event
    }

    fn judged(severity: Severity) -> Verdict {
        Verdict::Rule(RuleVerdict {
            id: "x".to_owned(),
            title: "X".to_owned(),
            severity,
            attack: Vec::new(),
            author: String::new(),
            license: String::new(),
            rests_on: Vec::new(),
        })
    }

    fn chosen(kinds: &[Kind], filter: Option<&str>, min_severity: Option<Severity>) -> Chosen {
        Chosen {
            kinds: kinds.iter().copied().collect(),
            filter: filter.map(|text| Filter::parse(text).expect("it parses")),
            min_severity,
        }
    }

    #[test]
    fn without_conditions_everything_is_shown() {
        assert!(chosen(&[], None, None).takes(&exec("/bin/sh", None)));
    }

    #[test]
    fn every_condition_must_hold() {
        let shell = Some("process.exe = '/bin/sh'");
        let all = chosen(&[Kind::Exec], shell, Some(Severity::Medium));
        assert!(all.takes(&exec("/bin/sh", Some(Severity::High))));
        assert!(!all.takes(&exec("/bin/ls", Some(Severity::High))));
        assert!(!all.takes(&exec("/bin/sh", Some(Severity::Low))));
        let exits = chosen(&[Kind::Exit], shell, None);
        assert!(!exits.takes(&exec("/bin/sh", None)));
    }

    #[test]
    fn what_nobody_judged_is_below_any_severity() {
        let any = chosen(&[], None, Some(Severity::Informational));
        assert!(!any.takes(&exec("/bin/sh", None)));
        assert!(any.takes(&exec("/bin/sh", Some(Severity::Informational))));
    }
}
