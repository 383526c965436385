//! The end of an isolation by a code, on the host itself.
//!
//! # Invariants
//!
//! - A code ends only what commands that carry its hash began.
//! - Each wrong one is counted, durably, and the next answer takes longer.
//! - Its use is told: by the agent at once, or at its next start if none ran.

use std::path::Path;
use std::time::Duration;

use picket_event::command::BreakGlass;
use picket_event::{Containment, ReceiptState};
use picket_isolation::Table;

use super::{Isolated, isolated};
use crate::clock;
use crate::failure::{Code, Failure, chain};
use crate::respond::Responder;
use crate::respond::effects::{Effect, Effects, InForce};
use crate::respond::undo::of;
use crate::state::StateDir;

/// What came of a code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Use {
    /// The isolation is over.
    Released,
    /// Its isolation is over; another is in force.
    Another,
    /// No isolation that is in force has this code. So many were wrong until now.
    Wrong(u32),
    /// The host is not isolated.
    NotIsolated,
    /// It was right, and the rules could not be taken away.
    Failed,
}

impl Use {
    /// How long the answer waits: longer with each wrong code, up to about a minute.
    pub(crate) fn delay(self) -> Duration {
        match self {
            Self::Wrong(count) => Duration::from_secs(1 << count.clamp(1, 7).saturating_sub(1)),
            _ => Duration::ZERO,
        }
    }
}

impl Responder {
    /// Ends what the code is for. What became of it, and what is to be told.
    pub(crate) fn use_code(&mut self, typed: &str) -> (Use, Vec<Containment>) {
        let effects = self.effects.as_ref();
        let all: Vec<InForce> = effects.map_or(&[][..], |effects| effects.all()).to_vec();
        let (meant, all) = meant(&all, typed);
        if all.is_empty() {
            return (Use::NotIsolated, Vec::new());
        }
        if meant.is_empty() {
            return self.count_wrong(&all);
        }
        let mut told = Vec::new();
        let mut complete = true;
        for one in &meant {
            let (undone, reverted) = self.end(one, Containment::BREAK_GLASS);
            complete &= undone.complete;
            told.extend(reverted);
        }
        let told = told.into_iter().map(|answer| self.keep(answer)).collect();
        let outcome = match (complete, meant.len() == all.len()) {
            (false, _) => Use::Failed,
            (true, true) => Use::Released,
            (true, false) => Use::Another,
        };
        (outcome, told)
    }

    fn count_wrong(&mut self, all: &[InForce]) -> (Use, Vec<Containment>) {
        let mut most = 0;
        let mut told = Vec::new();
        for one in all {
            let one = wrong(one);
            let count = isolated(&one).map_or(0, |(_, isolated)| isolated.wrong_codes);
            most = most.max(count);
            // Each doubling is told: so few words for however many tries.
            if count.is_power_of_two() {
                told.push(Containment {
                    reason: "wrong_code".to_owned(),
                    effect: format!("still in force; wrong codes tried on the host: {count}"),
                    ..of(&one, ReceiptState::Executed)
                });
            }
            self.put_back(one);
        }
        (Use::Wrong(most), told)
    }
}

/// Ends what the code is for where no agent runs. The next agent tells it.
pub(crate) fn use_directly(state: &Path, typed: &str) -> Result<Use, Failure> {
    let state = StateDir::open(state)?;
    let mut effects = Effects::open(&state, clock::boot_id())?;
    let in_force = effects.all().to_vec();
    let (meant, all) = meant(&in_force, typed);
    if all.is_empty() {
        return Ok(Use::NotIsolated);
    }
    if meant.is_empty() {
        let mut most = 0;
        for one in all.iter().map(wrong) {
            most = most.max(isolated(&one).map_or(0, |(_, isolated)| isolated.wrong_codes));
            effects.put(one)?;
        }
        return Ok(Use::Wrong(most));
    }
    let stays = meant.len() < all.len();
    if !stays {
        let gone = Table::open().and_then(|mut table| table.remove());
        gone.map_err(|error| Failure::line(Code::Failed, chain(&error)).hint("run as root"))?;
    }
    for one in &meant {
        effects.put(changed(one, |isolated| isolated.released = true))?;
    }
    Ok(if stays { Use::Another } else { Use::Released })
}

/// Those whose code this is, and all isolations that are in force.
fn meant(effects: &[InForce], typed: &str) -> (Vec<InForce>, Vec<InForce>) {
    let hash = BreakGlass::parse(typed)
        .ok()
        .map(|code| code.digest().to_string());
    let all = effects.iter().filter_map(isolated);
    let all: Vec<_> = all.filter(|(_, isolated)| !isolated.released).collect();
    let is_meant = |isolated: &Isolated| hash.is_some() && isolated.break_glass == hash;
    let meant = all.iter().filter(|(_, isolated)| is_meant(isolated));
    (
        meant.map(|(one, _)| (*one).clone()).collect(),
        all.iter().map(|(one, _)| (*one).clone()).collect(),
    )
}

fn wrong(one: &InForce) -> InForce {
    changed(one, |isolated| {
        isolated.wrong_codes = isolated.wrong_codes.saturating_add(1);
    })
}

fn changed(one: &InForce, change: impl FnOnce(&mut Isolated)) -> InForce {
    let mut one = one.clone();
    if let Effect::Isolated(isolated) = &mut one.effect {
        change(isolated);
    }
    one
}
