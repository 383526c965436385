//! The end of effects: by a command, by time, or because the host was started anew.
//!
//! What stays true: an effect leaves the table only after its undoing was read back; who began it is told
//! with a receipt of its own, `reverted`.

use picket_event::command::{Action, Mode};
use picket_event::{Affected, CommandId, Containment, ReceiptState};

use super::check::{Checked, Refusal};
use super::effects::{Effect, End, InForce};
use super::vault::Vault;
use super::{MAX_LISTED, Responder};

/// What became of an attempt to undo.
#[derive(Clone, Debug)]
pub(crate) struct Undone {
    /// It was read back that nothing of the effect is left.
    pub(crate) complete: bool,
    /// For people.
    pub(crate) effect: String,
    /// Whom it was about.
    pub(crate) affected: Vec<Affected>,
}

impl Undone {
    /// Nothing is left.
    pub(crate) fn complete(effect: &str) -> Self {
        Self {
            complete: true,
            effect: effect.to_owned(),
            affected: Vec::new(),
        }
    }

    /// Something is left.
    pub(crate) fn failed(effect: String) -> Self {
        Self {
            complete: false,
            effect,
            affected: Vec::new(),
        }
    }
}

impl Responder {
    /// Undoes what the command means: its own answer, and one for each command that it undid.
    pub(super) fn undo(&mut self, checked: &Checked) -> Result<Vec<Containment>, Refusal> {
        let meant: Vec<InForce> = self
            .effects(checked)?
            .all()
            .iter()
            .filter(|one| is_meant(&checked.command.action, one))
            .cloned()
            .collect();
        if meant.is_empty() {
            return Err(checked.refuse("not_in_force", "nothing of that is in force on this host"));
        }
        if checked.command.mode == Mode::DryRun {
            let affected = meant.iter().map(|one| {
                let object = picket_event::Text::from(one.object.as_str());
                Affected::object(object, "in force")
            });
            let effect = format!("dry run: {} effects would be undone", meant.len());
            return Ok(vec![Containment {
                reason: Containment::DRY_RUN.to_owned(),
                affected: affected.collect(),
                ..checked.receipt(ReceiptState::Accepted, &effect)
            }]);
        }
        let mut own = checked.receipt(ReceiptState::Executed, "");
        own.verified = true;
        let mut answers = Vec::new();
        for one in &meant {
            let (undone, reverted) = self.end(one, "undone");
            own.verified &= undone.complete;
            own.affected.extend(undone.affected);
            let joint = if own.effect.is_empty() { "" } else { "; " };
            own.effect.push_str(joint);
            own.effect.push_str(&undone.effect);
            answers.extend(reverted);
        }
        if !own.verified {
            own.state = ReceiptState::Partial;
        }
        own.affected.truncate(MAX_LISTED);
        answers.insert(0, own);
        Ok(answers)
    }

    /// What time ended. One that cannot be undone is told once and tried again each time.
    pub(crate) fn tick(&mut self) -> Vec<Containment> {
        let now = self.clock.now();
        self.judge_trial();
        let sent = self.sent();
        let Ok(effects) = &self.effects else {
            return sent;
        };
        let mut told = Vec::new();
        for one in effects.due(now) {
            let (undone, reverted) = self.end(&one, "auto_release");
            match reverted {
                Some(reverted) => {
                    self.stuck.remove(&one.command);
                    told.push(reverted);
                }
                None if self.stuck.insert(one.command.clone()) => {
                    told.push(stuck(&one, undone));
                }
                None => {}
            }
        }
        let told = told.into_iter().map(|answer| self.keep(answer));
        sent.into_iter().chain(told).collect()
    }

    /// Processes of an earlier boot stand still no more.
    pub(super) fn end_what_a_boot_ended(&mut self) -> Vec<Containment> {
        let boot = self.boot;
        let all = self
            .effects
            .as_ref()
            .map_or(&[][..], |effects| effects.all());
        let gone = all.iter().filter(|one| match &one.effect {
            Effect::Suspended(suspended) => !suspended.is_of_boot(boot),
            _ => false,
        });
        let gone: Vec<InForce> = gone.cloned().collect();
        gone.iter()
            .filter_map(|one| self.end(one, "reboot").1)
            .collect()
    }

    /// Undoes one effect; if nothing is left of it, the answer of the command that began it.
    pub(super) fn end(&mut self, one: &InForce, reason: &str) -> (Undone, Option<Containment>) {
        let mut undone = self.take_back(one);
        if !undone.complete {
            return (undone, None);
        }
        let forgotten = match &mut self.effects {
            Ok(effects) => effects.remove(&one.command),
            Err(_) => Ok(()),
        };
        if let Err(error) = forgotten {
            tracing::error!(
                reason = crate::failure::chain(&error),
                "an effect that is undone stays in the table"
            );
            undone.effect.push_str("; the table could not be written");
        }
        self.block_what_is_in_force();
        let reverted = Containment {
            reason: reason.to_owned(),
            effect: undone.effect.clone(),
            affected: undone.affected.clone(),
            ..of(one, ReceiptState::Reverted)
        };
        (undone, Some(reverted))
    }

    fn take_back(&mut self, one: &InForce) -> Undone {
        match &one.effect {
            Effect::Suspended(suspended) => suspended.undo(self.boot),
            Effect::Quarantined(file) => file.undo(Vault::open(&self.state)),
            Effect::Locked(locked) => locked.undo(&self.accounts),
            Effect::Blocked(blocked) => blocked.undo(&self.blocklist),
            Effect::Isolated(_) => self.lift(one),
            Effect::Removable => Undone::complete("the package may be removed no more"),
        }
    }

    /// Keeps an effect of the command, durably, with its end.
    pub(super) fn put_effect(&mut self, checked: &Checked, effect: Effect) -> Result<(), Refusal> {
        let command = &checked.command;
        let (now, boot) = (self.clock.now(), self.boot);
        let begun = self
            .effects(checked)?
            .all()
            .iter()
            .find(|one| one.id() == command.id)
            .cloned();
        let in_force = match begun {
            Some(begun) => InForce { effect, ..begun },
            None if self.effects(checked)?.is_full() => {
                return Err(checked.refuse("table_full", "too many effects are in force"));
            }
            None => InForce {
                command: command.id.to_string(),
                action: command.action.name().to_owned(),
                object: command.action.object(),
                since: now.0,
                end: command
                    .auto_release
                    .map(|after| End::after(after, now, boot)),
                signers: checked.signers.clone(),
                stated_reason: command.reason.clone(),
                effect,
            },
        };
        let kept = match &mut self.effects {
            Ok(effects) => effects.put(in_force),
            Err(_) => Ok(()),
        };
        kept.map_err(|error| checked.refuse("no_record", &crate::failure::chain(&error)))
    }

    /// Forgets an effect that was not made after all.
    pub(super) fn drop_effect(&mut self, id: CommandId) {
        if let Ok(effects) = &mut self.effects
            && let Err(error) = effects.remove(&id.to_string())
        {
            let reason = crate::failure::chain(&error);
            tracing::error!(reason, "an effect that was not made stays in the table");
        }
    }

    pub(super) fn effects(&self, checked: &Checked) -> Result<&super::effects::Effects, Refusal> {
        self.effects
            .as_ref()
            .map_err(|error| checked.refuse("no_record", &crate::failure::chain(error)))
    }
}

fn is_meant(action: &Action, one: &InForce) -> bool {
    match (action, &one.effect) {
        (Action::Resume(target), Effect::Suspended(suspended)) => suspended.is_of(target.process),
        (Action::Restore(command), Effect::Quarantined(_)) => one.id() == *command,
        (Action::Release, Effect::Isolated(_)) | (Action::ForbidRemoval, Effect::Removable) => true,
        (Action::UnlockUser(name), Effect::Locked(locked)) => &locked.name == name,
        (Action::UnblockHash(digest), Effect::Blocked(blocked)) => blocked.is_of(*digest),
        _ => false,
    }
}

/// An answer in the name of the command that began an effect.
pub(super) fn of(one: &InForce, state: ReceiptState) -> Containment {
    Containment {
        command_id: one.id(),
        action: one.action.clone(),
        state,
        reason: String::new(),
        effect: String::new(),
        affected: Vec::new(),
        verified: true,
        redelivered: false,
        undo_token: one.command.clone(),
        signers: one.signers.clone(),
        stated_reason: one.stated_reason.clone(),
        cause: None,
    }
}

fn stuck(one: &InForce, undone: Undone) -> Containment {
    Containment {
        reason: "auto_release".to_owned(),
        effect: format!("not undone yet, tried again: {}", undone.effect),
        affected: undone.affected,
        verified: false,
        ..of(one, ReceiptState::Partial)
    }
}
