//! Carries out commands that operators signed, and says truthfully what became of them.
//!
//! A command is checked in a fixed order ([`check`]), its intent is made durable, it is done, its effect
//! is read back, the answer is made durable and enters the path as an event like any other.
//!
//! # Invariants
//!
//! - Nothing is done for a command that any check refuses, and nothing twice.
//! - `executed` is said only of an effect that was read back.
//! - After a crash between act and answer the effect is read again at the start.

use std::sync::PoisonError;

use picket_event::command::{Action, Command, MAX_COMMAND_BYTES, Mode, Target};
use picket_event::trust::TrustRoot;
use picket_event::{
    Affected, BootId, CommandId, Containment, HostId, ProcessUid, ReceiptState, UnixNanos,
};
use picket_proto::v1;
use picket_seal::Digest;

use crate::clock::SharedClock;
use crate::enrich::SharedTable;
use crate::enrich::hash::{HashCache, HashJob, JobId, hash};
use crate::state::StateError;
use crate::state::commands::{CommandLog, Known};

mod cgroup;
pub(crate) mod check;
mod kill;
mod kill_tree;
pub(crate) mod procfs;
pub(crate) mod protect;
#[cfg(test)]
mod tests;

use check::{Checked, Refusal, Scene};
use kill::Held;
use kill_tree::Tree;
use procfs::Found;
use protect::Protection;

/// The most processes that a receipt lists.
const MAX_LISTED: usize = 1_000;
/// The most refusals without a valid signature that become events, per minute.
const MAX_REFUSALS: u32 = 60;
const MINUTE_NS: i64 = 60_000_000_000;

/// Who is addressed and whom it believes.
#[derive(Debug)]
pub(crate) struct Believer {
    /// This host.
    pub(crate) host: HostId,
    /// The state's generation.
    pub(crate) host_epoch: u64,
    /// The operators.
    pub(crate) trust: TrustRoot,
}

/// Does commands, one after the other.
#[derive(Debug)]
pub(crate) struct Responder {
    believer: Believer,
    boot: BootId,
    clock: SharedClock,
    /// What was seen, or why that is not known: then everything is refused.
    log: Result<CommandLog, StateError>,
    table: SharedTable,
    protection: Protection,
    refusals: (UnixNanos, u32),
}

impl Responder {
    /// Ready to answer. A `log` that could not be read means that every command is refused.
    pub(crate) fn new(
        believer: Believer,
        clock: SharedClock,
        log: Result<CommandLog, StateError>,
        table: SharedTable,
        protection: Protection,
    ) -> Self {
        let boot = crate::clock::boot_id();
        let refusals = (UnixNanos(i64::MIN), 0);
        Self {
            believer,
            boot,
            clock,
            log,
            table,
            protection,
            refusals,
        }
    }

    /// Answers commands that were begun before a crash, by reading their effect again.
    pub(crate) fn resume(&mut self) -> Vec<Containment> {
        let Ok(log) = &mut self.log else {
            return Vec::new();
        };
        let unanswered = log.unanswered().unwrap_or_else(|error| {
            tracing::error!(
                error = crate::failure::chain(&error),
                "cannot read begun commands"
            );
            Vec::new()
        });
        let answers = unanswered.iter().map(|command| self.read_again(command));
        let answers: Vec<Containment> = answers.collect();
        answers
            .into_iter()
            .map(|answer| self.keep(answer))
            .collect()
    }

    /// Checks a command and does it. `None`: refused, and there were too many such refusals lately
    /// to tell each.
    pub(crate) fn answer(&mut self, signed: &v1::SignedCommand) -> Option<Containment> {
        match self.check(signed) {
            Ok(Step::Answered(mut receipt)) => {
                receipt.redelivered = true;
                Some(*receipt)
            }
            Ok(Step::Do(checked)) => Some(self.carry_out(&checked, &signed.body)),
            Err(refusal) => self.may_tell(&refusal).then(|| refusal.into_receipt()),
        }
    }

    /// The checks in their order, up to time. The ones about the process follow the intent.
    fn check(&mut self, signed: &v1::SignedCommand) -> Result<Step, Refusal> {
        check::size(signed, MAX_COMMAND_BYTES)?;
        let now = self.clock.now();
        let checked = check::signatures(signed, &self.believer.trust, now)?;
        check::host(&checked, self.believer.host, self.believer.host_epoch)?;
        let log = match &mut self.log {
            Ok(log) => log,
            Err(error) => return Err(checked.refuse("no_record", &crate::failure::chain(error))),
        };
        let unreadable = |error: StateError| crate::failure::chain(&error);
        match log
            .known(checked.command.id, &signed.body)
            .map_err(unreadable)
        {
            Ok(Known::New) => {}
            Ok(Known::Answered(receipt)) => return Ok(Step::Answered(receipt)),
            Ok(Known::Other) => return Err(checked.refuse("replayed", "this id was used before")),
            Ok(Known::Full) => return Err(checked.refuse("table_full", "too many commands")),
            Err(reason) => return Err(checked.refuse("no_record", &reason)),
        }
        check::time(&checked, now.max(log.newest_not_before()))?;
        Ok(Step::Do(Box::new(checked)))
    }

    /// Intent, last checks, act, answer.
    fn carry_out(&mut self, checked: &Checked, body: &[u8]) -> Containment {
        let intended = match &mut self.log {
            Ok(log) => log.intend(&checked.command, body),
            Err(_) => {
                return checked
                    .refuse("no_record", "the table is closed")
                    .into_receipt();
            }
        };
        if let Err(error) = intended {
            let reason = crate::failure::chain(&error);
            return checked.refuse("no_record", &reason).into_receipt();
        }
        let receipt = match check::scene(checked, self) {
            Ok(found) => self.act(checked, &found),
            Err(refusal) => refusal.into_receipt(),
        };
        self.keep(receipt)
    }

    fn act(&self, checked: &Checked, found: &Found) -> Containment {
        let dry = checked.command.mode == Mode::DryRun;
        match checked.command.action {
            Action::Kill(_) if dry => Self::would(checked, std::slice::from_ref(found)),
            Action::KillTree(target) if dry => Self::would(checked, &self.look(target.process)),
            Action::Kill(_) => self.kill(checked, found),
            Action::KillTree(target) => self.kill_tree(checked, target.process),
        }
    }

    fn would(checked: &Checked, found: &[Found]) -> Containment {
        let affected = found.iter().map(|found| Affected {
            process_uid: found.uid,
            pid: found.pid,
            exe: procfs::exe(found.pid),
            outcome: "alive".to_owned(),
        });
        let effect = format!("dry run: {} would be killed", processes(found.len()));
        Containment {
            reason: Containment::DRY_RUN.to_owned(),
            affected: affected.take(MAX_LISTED).collect(),
            ..checked.receipt(ReceiptState::Accepted, &effect)
        }
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
        let state = if outcome.complete {
            ReceiptState::Executed
        } else {
            ReceiptState::Partial
        };
        let rest = if outcome.complete {
            "nobody is left"
        } else {
            "the tree is not gone"
        };
        let mut affected = outcome.affected;
        affected.truncate(MAX_LISTED);
        Containment {
            affected,
            verified: outcome.complete,
            ..checked.receipt(state, &format!("killed {}; {rest}", processes(dead)))
        }
    }

    /// Everybody whom a kill of the tree would find now.
    fn look(&self, root: ProcessUid) -> Vec<Found> {
        let lineage = || self.lineage(root);
        Tree::new(self.boot, root, &lineage, &self.protection).look()
    }

    /// Descendants that the sensor told of, those whose parents are gone included.
    fn lineage(&self, root: ProcessUid) -> Vec<(ProcessUid, u32)> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.descendants(root)
    }

    /// Makes the answer durable. One that cannot be kept is given all the same, and says so.
    fn keep(&mut self, mut receipt: Containment) -> Containment {
        if let Ok(log) = &mut self.log
            && let Err(error) = log.answer(&receipt)
        {
            tracing::error!(error = crate::failure::chain(&error), "receipt not kept");
            receipt.effect.push_str("; this answer could not be kept");
        }
        receipt
    }

    /// After a crash: what the kernel says now.
    fn read_again(&self, command: &Command) -> Containment {
        let checked = Checked {
            command: command.clone(),
            signers: Vec::new(),
        };
        if command.mode == Mode::DryRun {
            let effect = "the agent was interrupted; nothing was looked up and nothing done";
            return Containment {
                reason: Containment::DRY_RUN.to_owned(),
                ..checked.receipt(ReceiptState::Accepted, effect)
            };
        }
        let target = command.action.target();
        let alive = procfs::find_target(&self.boot, target).is_some();
        let (state, effect) = match command.action {
            _ if alive => (
                ReceiptState::Partial,
                "the agent was interrupted; the process lives",
            ),
            Action::Kill(_) => (
                ReceiptState::Executed,
                "the agent was interrupted; the process is dead",
            ),
            Action::KillTree(_) => (
                ReceiptState::Partial,
                "the agent was interrupted; the root is dead, its descendants are not known",
            ),
        };
        let outcome = if alive { "alive" } else { "dead" };
        Containment {
            affected: vec![Affected {
                process_uid: target.process,
                pid: target.pid,
                exe: picket_event::Text::NONE,
                outcome: outcome.to_owned(),
            }],
            verified: state == ReceiptState::Executed,
            reason: "interrupted".to_owned(),
            ..checked.receipt(state, effect)
        }
    }

    /// Whoever has no valid signature cannot fill the spool with refusals.
    fn may_tell(&mut self, refusal: &Refusal) -> bool {
        if !refusal.is_anonymous() {
            return true;
        }
        let now = self.clock.now();
        if now.0.saturating_sub(self.refusals.0.0) > MINUTE_NS {
            self.refusals = (now, 0);
        }
        self.refusals.1 = self.refusals.1.saturating_add(1);
        if self.refusals.1 > MAX_REFUSALS {
            tracing::warn!(
                reason = refusal.code,
                "refused a command; too many to tell each"
            );
        }
        self.refusals.1 <= MAX_REFUSALS
    }
}

/// What the checks before the intent say.
enum Step {
    Do(Box<Checked>),
    Answered(Box<Containment>),
}

impl Scene for Responder {
    fn find(&self, command: &Command) -> Option<Found> {
        let target = command.action.target();
        if let Some(found) = procfs::find_target(&self.boot, target) {
            return Some(found);
        }
        // The root of a tree may be gone while its children live.
        let Action::KillTree(Target { process, .. }) = command.action else {
            return None;
        };
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let descendants = table.descendants(process);
        drop(table);
        descendants.into_iter().find_map(|(uid, pid)| {
            procfs::find(&self.boot, pid).filter(|found| found.uid == uid && found.is_alive())
        })
    }

    fn exe_hash(&self, found: &Found) -> Option<Digest> {
        let id = JobId::Process(found.uid);
        let none = picket_event::Text::NONE;
        let job = HashJob::executable(id, found.pid, none);
        hash(&job, &mut HashCache::default()).hashed.sha256
    }

    fn protected(&self, command: &Command, found: &Found) -> Option<(u32, &'static str)> {
        let tree = match command.action {
            Action::Kill(_) => vec![found.clone()],
            Action::KillTree(target) => {
                let mut tree = self.look(target.process);
                tree.push(found.clone());
                tree
            }
        };
        tree.iter()
            .find_map(|found| Some((found.pid, self.protection.reason(found)?)))
    }
}

fn processes(count: usize) -> String {
    if count == 1 {
        "1 process".to_owned()
    } else {
        format!("{count} processes")
    }
}

/// The id in bytes that may be no command at all.
pub(crate) fn claimed_id(body: &[u8]) -> CommandId {
    use prost::Message as _;
    let wire = v1::CommandBody::decode(body).unwrap_or_default();
    CommandId::from_slice(&wire.command_id).unwrap_or(CommandId::new([0; 16]))
}
