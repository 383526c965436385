//! Whether the package may be taken off this host: always, or with `protect_removal` only while operators allow it.
//!
//! # Invariants
//!
//! - Where an agent runs, what it was told at its start and what is in force counts; the files count only where none answers.
//! - An allowance ends by itself, after [`MAX_REMOVAL`] at the latest.
//! - That the package goes, and that somebody was refused, is an event before the answer is given.
//!
//! Whoever is root can delete the files all the same; what this adds is that the package manager refuses, and that nobody
//! removes the agent by mistake or in silence.

use std::path::Path;

use picket_event::command::{MAX_REMOVAL, Mode};
use picket_event::{BootId, CommandId, Containment, ReceiptState, UnixNanos};

use super::check::{Checked, Refusal};
use super::effects::{Effect, Effects, InForce};
use super::undo::of;
use super::{Responder, isolate::socket};
use crate::clock;
use crate::config::Config;
use crate::failure::{Failure, chain};
use crate::state::host;

#[cfg(test)]
mod tests;

/// Whether the package may go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Removal {
    /// Nothing protects it; why.
    Unprotected(String),
    /// Operators allowed it; who, and until when.
    Allowed(String),
    /// It stays; why.
    Refused(String),
}

impl Removal {
    /// As one line of the agent's socket.
    pub(crate) fn words(&self) -> String {
        let (word, text) = match self {
            Self::Unprotected(text) => ("unprotected", text),
            Self::Allowed(text) => ("allowed", text),
            Self::Refused(text) => ("refused", text),
        };
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        format!("{word} {text}\n")
    }

    /// From that line.
    pub(crate) fn parse(words: &str) -> Option<Self> {
        let (word, text) = words.split_once(' ')?;
        let text = text.to_owned();
        match word {
            "unprotected" => Some(Self::Unprotected(text)),
            "allowed" => Some(Self::Allowed(text)),
            "refused" => Some(Self::Refused(text)),
            _ => None,
        }
    }
}

impl Responder {
    /// Lets the package be removed for a while.
    pub(super) fn allow_removal(&mut self, checked: &Checked) -> Result<Containment, Refusal> {
        let lasting = checked.command.auto_release;
        let Some(lasting) = lasting.filter(|lasting| *lasting <= MAX_REMOVAL) else {
            let why = "a removal is allowed for 24 hours at most";
            return Err(checked.refuse("too_long", why));
        };
        let note = if self.protects_removal {
            ""
        } else {
            "; this host's settings do not protect it anyway"
        };
        let minutes = lasting.as_secs().div_ceil(60);
        if checked.command.mode == Mode::DryRun {
            let effect = format!("dry run: the package could be removed for {minutes} min{note}");
            return Ok(Containment {
                reason: Containment::DRY_RUN.to_owned(),
                ..checked.receipt(ReceiptState::Accepted, &effect)
            });
        }
        self.put_effect(checked, Effect::Removable)?;
        let effect = format!("the package may be removed for {minutes} min{note}");
        Ok(Containment {
            verified: matches!(self.removal(), Removal::Allowed(_)) || !self.protects_removal,
            undo_token: checked.command.id.to_string(),
            ..checked.receipt(ReceiptState::Executed, &effect)
        })
    }

    /// Whether the package may go, and what is to be told. Who only asks is told nothing about.
    pub(crate) fn removal_asked(&mut self, tells: bool) -> (Removal, Vec<Containment>) {
        let removal = self.removal();
        if !tells {
            return (removal, Vec::new());
        }
        let told = match &removal {
            Removal::Refused(_) if !self.may_tell_refusal() => Vec::new(),
            Removal::Refused(why) => vec![told(ReceiptState::Refused, "not_allowed", why)],
            Removal::Unprotected(why) => vec![told(ReceiptState::Executed, REMOVING, why)],
            Removal::Allowed(who) => {
                let effect = format!("the package is being removed; {who}");
                let (now, boot) = (self.clock.now(), self.boot);
                let allowing = self.effects.as_ref().ok();
                let allowing = allowing.and_then(|effects| allowing_in(effects.all(), now, boot));
                let allowing = allowing.map(|one| Containment {
                    reason: REMOVING.to_owned(),
                    effect,
                    ..of(one, ReceiptState::Executed)
                });
                allowing.into_iter().collect()
            }
        };
        (removal, told)
    }

    fn removal(&self) -> Removal {
        let in_force = self.effects.as_ref().map(Effects::all).map_err(chain_of);
        decide(
            self.protects_removal,
            in_force,
            (self.clock.now(), self.boot),
        )
    }
}

/// Asks the agent of this state directory, or, if none answers, its files.
pub(crate) fn ask(state: &Path, config: Option<&Path>, tells: bool) -> Result<Removal, Failure> {
    if !host::is_enrolled(state) {
        let why = "nobody enrolled this host";
        return Ok(Removal::Unprotected(why.to_owned()));
    }
    match socket::ask_removal(state, tells) {
        Ok(Some(removal)) => return Ok(removal),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the agent did not answer, its files are asked"),
    }
    let protects = Config::load(config)?.protect_removal;
    let in_force = Effects::look(state).map_err(chain_of);
    let in_force = in_force.as_deref().map_err(Clone::clone);
    let time = (clock::system().now(), clock::boot_id());
    Ok(decide(protects, in_force, time))
}

fn decide(
    protects: bool,
    in_force: Result<&[InForce], String>,
    (now, boot): (UnixNanos, BootId),
) -> Removal {
    if !protects {
        return Removal::Unprotected("the settings do not protect it (protect_removal)".to_owned());
    }
    match in_force.map(|in_force| allowing_in(in_force, now, boot)) {
        Ok(Some(one)) => Removal::Allowed(words(one)),
        Ok(None) => Removal::Refused("no operators' word allows it".to_owned()),
        Err(why) => Removal::Refused(format!("what is in force cannot be read: {why}")),
    }
}

/// The newest allowance whose time is not over.
fn allowing_in(in_force: &[InForce], now: UnixNanos, boot: BootId) -> Option<&InForce> {
    in_force.iter().rfind(|one| {
        let end = one.end.as_ref();
        one.effect == Effect::Removable && end.is_some_and(|end| !end.left(now, boot).is_zero())
    })
}

fn words(one: &InForce) -> String {
    let until = one.end.as_ref().map(|end| UnixNanos(end.wall).to_string());
    format!(
        "allowed by {} until {}",
        one.signers.join(", "),
        until.unwrap_or_default()
    )
}

fn chain_of(error: impl std::borrow::Borrow<crate::state::StateError>) -> String {
    chain(error.borrow())
}

/// It is no command's.
fn told(state: ReceiptState, reason: &str, why: &str) -> Containment {
    let effect = match state {
        ReceiptState::Refused => format!("the package was to be removed and stays: {why}"),
        _ => format!("the package is being removed; {why}"),
    };
    Containment {
        reason: reason.to_owned(),
        effect,
        ..Containment::new(CommandId::new([0; 16]), "removal", state)
    }
}

/// The reason of the last word of an agent whose package goes.
const REMOVING: &str = "removing";
