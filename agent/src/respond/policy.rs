//! What the host does by itself, because a policy that operators signed says so.
//!
//! # Invariants
//!
//! - The path never waits: a decision that finds no place is counted, not made.
//! - What is done is done by the same code, under the same protection, as what operators command.
//! - What was used of the budgets, and what is about to be done, is durable before it is done.
//! - Each decision is an event with its cause; beyond [`TOLD_PER_HOUR`] those that do nothing are counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use picket_event::command::{Action, Command, Mode};
use picket_event::policy::{PolicyAction, PolicyMode};
use picket_event::{CommandId, Containment, Detail, Event, PolicyCause, ReceiptState};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::check::Checked;
use super::{MINUTE_NS, Responder};
use crate::clock::boot_ns;
use crate::content::{SharedContents, Taken};

mod spent;
mod system;
#[cfg(test)]
mod tests;

pub(crate) use spent::Spent;
use system::Subject;

/// Decisions that may wait.
pub(crate) const QUEUE: usize = 256;
/// The same to the same object is not decided again for so long.
const AGAIN: Duration = Duration::from_mins(10);
/// Objects that are remembered for that.
const REMEMBERED: usize = 4_096;
/// Decisions that do nothing and are told, in an hour.
const TOLD_PER_HOUR: u32 = 60;
/// The life that its command states. A decision is made however long it waited: nothing is left undone in silence.
const LIFE: Duration = Duration::from_mins(1);

/// An entry of the policy whose time has come.
#[derive(Debug)]
pub(crate) struct Decision {
    /// The policy it is of, which may have been followed by another meanwhile.
    taken: Arc<Taken>,
    action: PolicyAction,
    mode: PolicyMode,
    lasts: Option<Duration>,
    /// `None`: the event names nobody.
    on: Option<Action>,
    subject: Subject,
    cause: PolicyCause,
}

/// Where the path reports what was judged.
#[derive(Debug)]
pub(crate) struct Lookout {
    contents: SharedContents,
    decisions: mpsc::Sender<Decision>,
    missed: Arc<AtomicU64>,
}

/// What is remembered between decisions.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    lately: HashMap<(String, String), u64>,
    told: (u64, u32),
    repeated: u64,
    untold: u64,
    missed: Arc<AtomicU64>,
}

impl Lookout {
    /// Both ends of the way from the path to the responder.
    pub(crate) fn over(
        contents: SharedContents,
        responder: &Responder,
    ) -> (Self, mpsc::Receiver<Decision>) {
        let (decisions, due) = mpsc::channel(QUEUE);
        let missed = Arc::clone(&responder.memory.missed);
        let lookout = Self {
            contents,
            decisions,
            missed,
        };
        (lookout, due)
    }

    /// Takes note of an event that was judged.
    pub(crate) fn look(&self, event: &Event) {
        if event.verdicts.is_empty() {
            return;
        }
        let Some(taken) = self.contents.policy() else {
            return;
        };
        for due in taken.policy.due(event) {
            let mut cause = due.cause;
            cause.policy_version = taken.version;
            let decision = Decision {
                taken: Arc::clone(&taken),
                action: due.entry.action,
                mode: due.entry.mode,
                lasts: due.entry.lasts,
                on: due.action,
                subject: subject(event),
                cause,
            };
            if self.decisions.try_send(decision).is_err() {
                self.missed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    entry = due.entry.name,
                    "too many decisions wait, one is not made"
                );
            }
        }
    }
}

impl Responder {
    /// Makes a decision. Nothing: it was made lately, or too many were told lately that do nothing.
    pub(crate) fn decide(&mut self, due: Decision) -> Vec<Containment> {
        let Some(action) = due.on.clone() else {
            let words = "the event names nobody to do it to";
            let checked = self.checked(&due, Action::Release, Mode::DryRun);
            return self.tell_idle(&due, checked.refuse("no_object", words).into_receipt());
        };
        if self.is_repeated(&due.cause.entry, &action) {
            self.memory.repeated = self.memory.repeated.saturating_add(1);
            return Vec::new();
        }
        if due.mode != PolicyMode::Act {
            let reason = if due.mode == PolicyMode::Ask {
                "asked"
            } else {
                "observed"
            };
            return self.say(&due, action, reason);
        }
        let budgets = &due.taken.policy.budgets;
        if !self.spent.has_left(due.action, budgets, self.clock.now()) {
            return self.say(&due, action, "budget");
        }
        self.do_it(&due, action)
    }

    /// Does it. What the budget lost for nothing it gets back.
    fn do_it(&mut self, due: &Decision, action: Action) -> Vec<Containment> {
        let checked = self.checked(due, action, Mode::Enforce);
        let now = self.clock.now();
        if let Err(refusal) = system::check(&checked, &due.subject) {
            return self.tell_idle(due, refusal.into_receipt());
        }
        if let Err(error) = self.spent.take(due.action, (&checked, &due.cause), now) {
            let reason = crate::failure::chain(&error);
            return self.tell_idle(due, checked.refuse("no_record", &reason).into_receipt());
        }
        let answers = self.act(&checked);
        let refused = |answer: &Containment| answer.state == ReceiptState::Refused;
        let for_nothing = answers.as_ref().map_or(true, |all| all.iter().all(refused));
        self.spent.done(due.action, for_nothing);
        match answers {
            Ok(answers) => answers.into_iter().map(|answer| of(due, answer)).collect(),
            Err(refusal) => self.tell_idle(due, refusal.into_receipt()),
        }
    }

    /// Says what would be done, after looking whether it could be.
    fn say(&mut self, due: &Decision, action: Action, reason: &str) -> Vec<Containment> {
        let checked = self.checked(due, action, Mode::DryRun);
        let looked = match system::check(&checked, &due.subject) {
            Ok(()) => self.act(&checked),
            Err(refusal) => Err(refusal),
        };
        let mut answer = match looked {
            Ok(answers) => answers.into_iter().next(),
            Err(refusal) => Some(refusal.into_receipt()),
        };
        if let Some(answer) = &mut answer
            && answer.state == ReceiptState::Accepted
        {
            reason.clone_into(&mut answer.reason);
            if reason != "observed" {
                answer.effect = format!("{}; {}", asking(due, &checked), answer.effect);
            }
        }
        let Some(answer) = answer else {
            return Vec::new();
        };
        self.tell_idle(due, answer)
    }

    /// Tells of a decision that does nothing, unless too many were told lately.
    fn tell_idle(&mut self, due: &Decision, answer: Containment) -> Vec<Containment> {
        if self.memory.may_tell() {
            vec![of(due, answer)]
        } else {
            Vec::new()
        }
    }

    fn checked(&self, due: &Decision, action: Action, mode: Mode) -> Checked {
        let now = self.clock.now();
        let cause = &due.cause;
        Checked {
            command: Command {
                id: CommandId::new(picket_seal::random().unwrap_or_default()),
                hosts: vec![self.believer.host],
                host_epoch: self.believer.host_epoch,
                not_before: now,
                expires: now.plus(LIFE),
                mode,
                auto_release: due.lasts,
                exe_sha256: None,
                action,
                reason: format!(
                    "policy {}, entry `{}`: {}",
                    cause.policy_version, cause.entry, cause.title
                ),
                incident: String::new(),
                dry_run_digest: None,
                break_glass: None,
                rings: Vec::new(),
                host_set: None,
            },
            signers: due.taken.signers.clone(),
        }
    }

    /// Whether this entry decided the same lately, or what it wants is in force.
    fn is_repeated(&mut self, entry: &str, action: &Action) -> bool {
        let object = action.object();
        let effects = self.effects.as_ref();
        let in_force = effects.is_ok_and(|effects| {
            let mut all = effects.all().iter();
            all.any(|one| one.action == action.name() && one.object == object)
        });
        in_force || self.memory.is_repeated(entry, object)
    }

    /// Tells of what was under way when the agent was interrupted.
    pub(super) fn resume_policy(&mut self) -> Vec<Containment> {
        let Some((id, action, cause)) = self.spent.interrupted() else {
            return Vec::new();
        };
        let effect = "the agent was interrupted; what is in force is in its status";
        vec![Containment {
            command_id: id,
            action,
            reason: "interrupted".to_owned(),
            cause: Some(Box::new(cause)),
            ..super::trust::receipt(&[], ReceiptState::Partial, "", effect.to_owned())
        }]
    }

    /// For `status`.
    pub(super) fn policy_status(&self) -> Value {
        let taken = self.contents.policy();
        json!({
            "version": taken.as_ref().map(|taken| taken.version),
            "entries": taken.as_ref().map(|taken| taken.policy.entries.len()),
            "signers": taken.map(|taken| taken.signers.clone()),
            "used": self.spent.used(self.clock.now()),
            "repeated": self.memory.repeated,
            "untold": self.memory.untold,
            "missed": self.memory.missed.load(Ordering::Relaxed),
        })
    }
}

impl Memory {
    fn is_repeated(&mut self, entry: &str, object: String) -> bool {
        let now = boot_ns();
        let again = u64::try_from(AGAIN.as_nanos()).unwrap_or(u64::MAX);
        let is_recent = |at: &u64| now.saturating_sub(*at) < again;
        if self.lately.len() >= REMEMBERED {
            self.lately.retain(|_, at| is_recent(at));
        }
        if self.lately.len() >= REMEMBERED {
            self.lately.clear();
        }
        let before = self.lately.entry((entry.to_owned(), object));
        let mut repeated = true;
        let at = before.or_insert_with(|| {
            repeated = false;
            now
        });
        if repeated && !is_recent(at) {
            *at = now;
            repeated = false;
        }
        repeated
    }

    fn may_tell(&mut self) -> bool {
        let hour = MINUTE_NS.unsigned_abs().saturating_mul(60);
        let now = boot_ns();
        if self.told.1 == 0 || now.saturating_sub(self.told.0) > hour {
            self.told = (now, 0);
        }
        self.told.1 = self.told.1.saturating_add(1);
        let may = self.told.1 <= TOLD_PER_HOUR;
        self.untold = self.untold.saturating_add(u64::from(!may));
        may
    }
}

fn of(due: &Decision, answer: Containment) -> Containment {
    Containment {
        action: due.action.name().to_owned(),
        cause: Some(Box::new(due.cause.clone())),
        ..answer
    }
}

/// What a person would type.
fn asking(due: &Decision, checked: &Checked) -> String {
    let name = due.action.name();
    let object = match &checked.command.action {
        Action::Quarantine(file) => match file.sha256 {
            Some(digest) => format!(" {} --sha256 {digest}", file.path.lossy()),
            None => format!(" {}", file.path.lossy()),
        },
        Action::BlockHash(digest) => format!(" {digest}"),
        Action::LockUser(user) => format!(" {user}"),
        action => action
            .process()
            .map_or_else(String::new, |target| format!(" {}", target.pid)),
    };
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let lasts = due
        .lasts
        .map_or_else(String::new, |lasts| format!(" --for {}s", lasts.as_secs()));
    format!("asks: picketctl contain {name}{object} --host {host}{lasts}")
}

/// What the event is about: the file that was written, else what the process runs.
fn subject(event: &Event) -> Subject {
    let process = event.process.as_ref();
    let written = match &event.detail {
        Some(Detail::File(file)) => Some(file.current_path().clone()),
        _ => None,
    };
    Subject {
        pid: process.map_or(0, |process| process.pid),
        written: written.is_some(),
        file: written
            .or_else(|| process.map(|process| process.exe.clone()))
            .unwrap_or_default(),
    }
}
