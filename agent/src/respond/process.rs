//! Actions on processes: whom they mean, who may not be touched, what became of them.

use std::sync::PoisonError;

use picket_event::command::{Action, Command, Mode, Target};
use picket_event::{Affected, Containment, ProcessUid, ReceiptState, Text};
use picket_seal::Digest;

use super::check::{self, Checked, Refusal, Scene};
use super::kill::{self, Held};
use super::kill_tree::Tree;
use super::procfs::{self, Found};
use super::{MAX_LISTED, Responder};
use crate::enrich::hash::{HashCache, HashJob, JobId, hash};

impl Responder {
    /// Ends a process or a tree.
    pub(super) fn end_processes(&self, checked: &Checked) -> Result<Containment, Refusal> {
        let found = check::scene(checked, self)?;
        let dry = checked.command.mode == Mode::DryRun;
        Ok(match checked.command.action {
            Action::KillTree(target) if dry => would(checked, "killed", &self.look(target.process)),
            Action::KillTree(target) => self.kill_tree(checked, target.process),
            _ if dry => would(checked, "killed", std::slice::from_ref(&found)),
            _ => self.kill(checked, &found),
        })
    }

    fn kill(&self, checked: &Checked, found: &Found) -> Containment {
        let Some(held) = Held::take(&self.boot, found) else {
            return checked
                .refuse("not_found", "the process ended meanwhile")
                .into_receipt();
        };
        let (state, effect) = match kill::kill(&held) {
            Ok(true) => (ReceiptState::Executed, "killed 1 process".to_owned()),
            Ok(false) => (
                ReceiptState::Partial,
                "the process did not die in time".to_owned(),
            ),
            Err(error) => (
                ReceiptState::Partial,
                format!("the kernel refused: {error}"),
            ),
        };
        Containment {
            affected: vec![held.affected()],
            verified: state == ReceiptState::Executed,
            ..checked.receipt(state, &effect)
        }
    }

    fn kill_tree(&self, checked: &Checked, root: ProcessUid) -> Containment {
        let lineage = || self.lineage(root);
        let outcome = Tree::new(self.boot, root, &lineage, &self.protection).kill();
        let dead = outcome
            .affected
            .iter()
            .filter(|one| one.outcome == "dead")
            .count();
        let (state, rest) = if outcome.complete {
            (ReceiptState::Executed, "nobody is left")
        } else {
            (ReceiptState::Partial, "the tree is not gone")
        };
        let mut affected = outcome.affected;
        affected.truncate(MAX_LISTED);
        Containment {
            affected,
            verified: outcome.complete,
            ..checked.receipt(state, &format!("killed {}; {rest}", processes(dead)))
        }
    }

    /// Everybody whom an action on the tree would find now.
    pub(super) fn look(&self, root: ProcessUid) -> Vec<Found> {
        let lineage = || self.lineage(root);
        Tree::new(self.boot, root, &lineage, &self.protection).look()
    }

    /// Descendants that the sensor told of, those whose parents are gone included.
    pub(super) fn lineage(&self, root: ProcessUid) -> Vec<(ProcessUid, u32)> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.descendants(root)
    }

    /// After a crash: what the kernel says now of the process that was to end.
    pub(super) fn read_processes_again(&self, checked: &Checked, target: Target) -> Containment {
        let alive = procfs::find_target(&self.boot, target).is_some();
        let (state, effect) = match checked.command.action {
            _ if alive => (
                ReceiptState::Partial,
                "the agent was interrupted; the process lives",
            ),
            Action::Kill(_) => (
                ReceiptState::Executed,
                "the agent was interrupted; the process is dead",
            ),
            _ => (
                ReceiptState::Partial,
                "the agent was interrupted; the root is dead, its descendants are not known",
            ),
        };
        let outcome = if alive { "alive" } else { "dead" };
        Containment {
            affected: vec![Affected {
                process_uid: Some(target.process),
                pid: target.pid,
                exe: Text::NONE,
                object: Text::NONE,
                outcome: outcome.to_owned(),
            }],
            verified: state == ReceiptState::Executed,
            reason: "interrupted".to_owned(),
            ..checked.receipt(state, effect)
        }
    }
}

/// The answer to a dry run on processes.
pub(super) fn would(checked: &Checked, what: &str, found: &[Found]) -> Containment {
    let affected = found.iter().map(|found| Affected {
        process_uid: Some(found.uid),
        pid: found.pid,
        exe: procfs::exe(found.pid),
        object: Text::NONE,
        outcome: "alive".to_owned(),
    });
    let effect = format!("dry run: {} would be {what}", processes(found.len()));
    Containment {
        reason: Containment::DRY_RUN.to_owned(),
        affected: affected.take(MAX_LISTED).collect(),
        ..checked.receipt(ReceiptState::Accepted, &effect)
    }
}

impl Scene for Responder {
    fn find(&self, command: &Command) -> Option<Found> {
        let target = command.action.process()?;
        if let Some(found) = procfs::find_target(&self.boot, target) {
            return Some(found);
        }
        // The root of a tree may be gone while its children live.
        if matches!(command.action, Action::Kill(_)) {
            return None;
        }
        self.lineage(target.process)
            .into_iter()
            .find_map(|(uid, pid)| {
                procfs::find(&self.boot, pid).filter(|found| found.uid == uid && found.is_alive())
            })
    }

    fn exe_hash(&self, found: &Found) -> Option<Digest> {
        let id = JobId::Process(found.uid);
        let job = HashJob::executable(id, found.pid, Text::NONE);
        hash(&job, &mut HashCache::default()).hashed.sha256
    }

    fn protected(&self, command: &Command, found: &Found) -> Option<(u32, &'static str)> {
        let mut meant = vec![found.clone()];
        if !matches!(command.action, Action::Kill(_))
            && let Some(target) = command.action.process()
        {
            meant.extend(self.look(target.process));
        }
        meant
            .iter()
            .find_map(|found| Some((found.pid, self.protection.reason(found)?)))
    }
}

pub(super) fn processes(count: usize) -> String {
    if count == 1 {
        "1 process".to_owned()
    } else {
        format!("{count} processes")
    }
}
