//! The processes of a test: its shell and what came of it, by the names that processes have for ever.
//!
//! What stays true: a process belongs to the tree if its line of parents, as the agent told it at any time, leads to the shell. What cron,
//! the service manager or another daemon does on its behalf does not.

use std::collections::BTreeSet;

use picket_event::{Event, Kind, Process, ProcessUid, RuleVerdict};

use super::record::Told;

/// The tree of one test.
#[derive(Debug)]
pub(crate) struct Tree {
    root: ProcessUid,
    members: BTreeSet<ProcessUid>,
}

impl Tree {
    /// The tree below this shell, from all events of the step. Parents are told before or with their children.
    pub(crate) fn below(root: ProcessUid, events: &[Told]) -> Self {
        let mut members = BTreeSet::from([root]);
        loop {
            let before = members.len();
            for process in events.iter().filter_map(|told| told.event.process.as_ref()) {
                let mut parents = process.ancestry.iter().map(|ancestor| ancestor.uid);
                let known = process.parent_uid.is_some_and(|uid| members.contains(&uid))
                    || parents.any(|uid| members.contains(&uid));
                if known {
                    members.insert(process.uid);
                }
            }
            if members.len() == before {
                return Self { root, members };
            }
        }
    }

    /// Whether somebody of the tree did it, the start of the shell and what the runner did in it included.
    pub(crate) fn has(&self, event: &Event) -> bool {
        let actor = event.process.as_ref();
        actor.is_some_and(|process| self.members.contains(&process.uid))
    }

    /// Whether this event is the test's own: somebody of the tree did it, and it is not how the shell came to be.
    pub(crate) fn owns(&self, event: &Event) -> bool {
        let Some(process) = &event.process else {
            return false;
        };
        self.members.contains(&process.uid) && !self.is_start(process, event.kind)
    }

    /// Whether a judgement rests on nothing but the test: of several events, on those of its tree.
    pub(super) fn explains(&self, verdict: &RuleVerdict) -> bool {
        let mut actors = verdict.rests_on.iter().filter_map(|fact| fact.process_uid);
        actors.all(|uid| self.members.contains(&uid))
    }

    /// The runner's own work in the process that becomes the shell, the shell's start and its end. What the shell becomes later counts.
    fn is_start(&self, process: &Process, kind: Kind) -> bool {
        if process.uid != self.root {
            return false;
        }
        let runner = process.exe.as_bytes().ends_with(b"/picket-coverage");
        let shell =
            process.argv.len() == 1 && matches!(process.exe.basename(), b"dash" | b"bash" | b"sh");
        runner || matches!(kind, Kind::Fork | Kind::Exit) || (kind == Kind::Exec && shell)
    }
}
