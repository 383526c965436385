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

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use picket_event::command::{Action, Command, Mode};
use picket_event::trust::TrustRoot;
use picket_event::{BootId, CommandId, Containment, HostId, ReceiptState, UnixNanos};
use picket_proto::v1;
use tokio::sync::watch;

use crate::clock::SharedClock;
use crate::content::SharedContents;
use crate::enrich::SharedTable;
use crate::health::SharedHealth;
use crate::state::commands::{CommandLog, Known};
use crate::state::{StateDir, StateError};
use crate::uplink::places::SharedPlaces;

pub(crate) mod block;
mod cgroup;
pub(crate) mod check;
mod collect;
mod content;
pub(crate) mod effects;
pub(crate) mod isolate;
mod kill;
mod kill_tree;
mod likeness;
pub(crate) mod lock_user;
mod place;
pub(crate) mod policy;
mod process;
pub(crate) mod procfs;
pub(crate) mod protect;
mod quarantine;
pub(crate) mod removal;
pub(crate) mod serve;
mod suspend;
#[cfg(test)]
pub(crate) mod tests;
mod triage;
mod trust;
mod undo;
mod vault;

use block::Blocklist;
use check::{Addressee, Checked, Refusal};
use effects::Effects;
use isolate::Isolation;
use lock_user::Accounts;
use policy::{Memory, Spent};
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
    /// Tells the uplink which version that is.
    pub(crate) told: watch::Sender<Told>,
}

/// What was said last about the trust root, for the collector.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Told {
    /// The version in force.
    pub(crate) version: u64,
    /// Why one that was offered is not believed; empty: it is.
    pub(crate) refused: String,
}

/// What the collector hands to the responder.
#[derive(Debug)]
pub(crate) enum Asked {
    /// To do something; of a command in rings, the word that a ring began.
    Command(v1::SignedCommand, Option<v1::SignedStatement>),
    /// To believe others from now on.
    TrustRoot(v1::SignedTrustRoot),
    /// To use these rules or this policy.
    Content(v1::SignedContent),
}

/// What this host keeps of commands.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Which it has seen.
    pub(crate) log: Result<CommandLog, StateError>,
    /// What of them is in force.
    pub(crate) effects: Result<Effects, StateError>,
    /// Where that, and what was taken away, is kept.
    pub(crate) state: Arc<StateDir>,
    /// The users of this host.
    pub(crate) accounts: Accounts,
    /// Where the collectors are.
    pub(crate) places: SharedPlaces,
    /// Rules and policy that operators signed.
    pub(crate) contents: SharedContents,
    /// Whether the package may be removed only by an operator's word.
    pub(crate) protects_removal: bool,
    /// How the agent is.
    pub(crate) health: SharedHealth,
}

/// Does commands, one after the other.
#[derive(Debug)]
pub(crate) struct Responder {
    believer: Believer,
    boot: BootId,
    clock: SharedClock,
    /// What was seen, or why that is not known: then everything is refused.
    log: Result<CommandLog, StateError>,
    /// What is in force, or why that is not known: then nothing that can be undone is done.
    effects: Result<Effects, StateError>,
    state: Arc<StateDir>,
    accounts: Accounts,
    isolation: Isolation,
    /// Effects whose time is over and that could not be undone yet.
    stuck: HashSet<String>,
    blocklist: Arc<Blocklist>,
    contents: SharedContents,
    /// What the policy used of its budgets.
    spent: Spent,
    memory: Memory,
    /// Since when content is on trial; `None`: none is.
    trial: Option<Instant>,
    /// Another configuration was taken, so the agent starts anew once that was told.
    starts_anew: bool,
    /// Whether files may be under way.
    sending: bool,
    /// Whether the package may be removed only by an operator's word.
    protects_removal: bool,
    health: SharedHealth,
    table: SharedTable,
    protection: Protection,
    refusals: (UnixNanos, u32),
}

impl Responder {
    /// Ready to answer. A record that could not be read means that what needs it is refused.
    pub(crate) fn new(
        believer: Believer,
        clock: SharedClock,
        kept: Kept,
        table: SharedTable,
        protection: Protection,
    ) -> Self {
        let boot = crate::clock::boot_id();
        let refusals = (UnixNanos(i64::MIN), 0);
        // Before the uplink looks for a collector that no resolver may be asked for.
        let in_force = kept.effects.as_ref().map_or(&[][..], Effects::all);
        let isolation = Isolation::new(kept.places, in_force);
        let spent = Spent::open(&kept.state, clock.now());
        Self {
            believer,
            boot,
            clock,
            log: kept.log,
            effects: kept.effects,
            state: kept.state,
            accounts: kept.accounts,
            isolation,
            stuck: HashSet::new(),
            blocklist: Arc::default(),
            contents: kept.contents,
            spent,
            memory: Memory::default(),
            trial: Some(Instant::now()),
            starts_anew: false,
            sending: true,
            protects_removal: kept.protects_removal,
            health: kept.health,
            table,
            protection,
            refusals,
        }
    }

    /// What may not start, for the path to look at.
    pub(crate) fn blocklist(&self) -> Arc<Blocklist> {
        Arc::clone(&self.blocklist)
    }

    /// Answers commands that were begun before a crash, by reading their effect again.
    pub(crate) fn resume(&mut self) -> Vec<Containment> {
        self.block_what_is_in_force();
        let mut told = self.end_what_a_boot_ended();
        told.extend(self.resume_isolation());
        told.extend(self.resume_policy());
        let Ok(log) = &mut self.log else {
            return told;
        };
        let unanswered = log.unanswered().unwrap_or_else(|error| {
            tracing::error!(
                error = crate::failure::chain(&error),
                "cannot read begun commands"
            );
            Vec::new()
        });
        let answers = unanswered.iter().map(|command| self.read_again(command));
        told.extend(answers);
        told.into_iter().map(|answer| self.keep(answer)).collect()
    }

    /// Checks a command and does it. What it undid is answered too. Nothing: refused, and there were
    /// too many such refusals lately to tell each.
    pub(crate) fn answer(
        &mut self,
        signed: &v1::SignedCommand,
        start: Option<&v1::SignedStatement>,
    ) -> Vec<Containment> {
        match self.check(signed, start) {
            Ok(Step::Answered(mut receipt)) => {
                receipt.redelivered = true;
                vec![*receipt]
            }
            Ok(Step::Do(checked)) => self.carry_out(&checked, &signed.body),
            Err(refusal) if self.may_tell(&refusal) => vec![refusal.into_receipt()],
            Err(_) => Vec::new(),
        }
    }

    /// The checks in their order, up to time. The ones about the process follow the intent.
    fn check(
        &mut self,
        signed: &v1::SignedCommand,
        start: Option<&v1::SignedStatement>,
    ) -> Result<Step, Refusal> {
        let now = self.now();
        let to = Addressee {
            host: self.believer.host,
            host_epoch: self.believer.host_epoch,
            trust: &self.believer.trust,
        };
        let checked = check::addressed(signed, start, to, now)?;
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
        check::time(&checked, now)?;
        Ok(Step::Do(Box::new(checked)))
    }

    /// The wall clock, never below the newest time that operators' commands have shown.
    fn now(&self) -> UnixNanos {
        let floor = self.log.as_ref().map(CommandLog::newest_not_before);
        self.clock.now().max(floor.unwrap_or(UnixNanos(i64::MIN)))
    }

    /// Intent, last checks, act, answer.
    fn carry_out(&mut self, checked: &Checked, body: &[u8]) -> Vec<Containment> {
        let Ok(log) = &mut self.log else {
            let closed = checked.refuse("no_record", "the table is closed");
            return vec![closed.into_receipt()];
        };
        let intended = log.intend(&checked.command, body);
        if let Err(error) = intended {
            let reason = crate::failure::chain(&error);
            return vec![checked.refuse("no_record", &reason).into_receipt()];
        }
        let answers = match self.act(checked) {
            Ok(answers) => answers,
            Err(refusal) => vec![refusal.into_receipt()],
        };
        answers
            .into_iter()
            .map(|answer| self.keep(answer))
            .collect()
    }

    /// What the action is, done or, on a dry run, only looked at.
    fn act(&mut self, checked: &Checked) -> Result<Vec<Containment>, Refusal> {
        let one = |answer: Containment| vec![answer];
        match &checked.command.action {
            Action::Kill(_) | Action::KillTree(_) => self.end_processes(checked).map(one),
            Action::Suspend(target) => self.suspend(checked, *target).map(one),
            Action::Collect(what) => self.collect(checked, what).map(one),
            Action::BlockHash(digest) => self.block(checked, *digest).map(one),
            Action::Isolate(isolation) => self.isolate(checked, isolation).map(one),
            Action::LockUser(name) => self.lock_user(checked, name).map(one),
            Action::Triage(most) => self.triage(checked, *most).map(one),
            Action::AllowRemoval => self.allow_removal(checked).map(one),
            Action::Quarantine(file) => self.quarantine(checked, file).map(one),
            action if action.is_undo() => self.undo(checked),
            action => Err(checked.refuse(
                "unsupported",
                &format!("this version cannot {}", action.name()),
            )),
        }
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
        let (Action::Kill(target) | Action::KillTree(target)) = &command.action else {
            let effect = "the agent was interrupted; what is in force is in its status";
            return Containment {
                reason: "interrupted".to_owned(),
                ..checked.receipt(ReceiptState::Partial, effect)
            };
        };
        self.read_processes_again(&checked, *target)
    }

    /// Whoever has no valid signature cannot fill the spool with refusals.
    fn may_tell(&mut self, refusal: &Refusal) -> bool {
        if !refusal.is_anonymous() {
            return true;
        }
        let may = self.may_tell_refusal();
        if !may {
            tracing::warn!(
                reason = refusal.code,
                "refused a command; too many to tell each"
            );
        }
        may
    }

    fn may_tell_refusal(&mut self) -> bool {
        let now = self.clock.now();
        if now.0.saturating_sub(self.refusals.0.0) > MINUTE_NS {
            self.refusals = (now, 0);
        }
        self.refusals.1 = self.refusals.1.saturating_add(1);
        self.refusals.1 <= MAX_REFUSALS
    }
}

/// What the checks before the intent say.
enum Step {
    Do(Box<Checked>),
    Answered(Box<Containment>),
}

/// The id in bytes that may be no command at all.
pub(crate) fn claimed_id(body: &[u8]) -> CommandId {
    use prost::Message as _;
    let wire = v1::CommandBody::decode(body).unwrap_or_default();
    CommandId::from_slice(&wire.command_id).unwrap_or(CommandId::new([0; 16]))
}
