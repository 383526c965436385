//! Hosts that are cut off: from everybody but their collector, until they are released.
//!
//! # Invariants
//!
//! - Nothing is cut off unless the collector was reached a moment ago, or the end is near.
//! - The way to the collector is tried again through the rules; if it is shut, the rules go at once.
//! - As long as any isolation is in force the rules stand; the newest says what stays reachable, the longest when it ends.
//! - It ends at its deadline also when this agent is dead: the kernel ends it.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use picket_event::command::{Isolation as Asked, Mode};
use picket_event::{Affected, BootId, Containment, ReceiptState, Text, UnixNanos};
use picket_isolation::{
    Deadline, Form, Guard, IsolationError, Network, Own, Repair, Table, Wanted, probe,
};
use serde::{Deserialize, Serialize};

use super::Responder;
use super::check::{Checked, Refusal};
use super::effects::{Effect, InForce};
use super::undo::{Undone, of};
use crate::failure::chain;
use crate::uplink::places::{Known, SharedPlaces};

pub(crate) mod boot;
pub(crate) mod code;
pub(crate) mod socket;
#[cfg(test)]
mod tests;

/// Without a live session an isolation may not last longer.
const LONGEST_UNPROVEN: Duration = Duration::from_hours(1);
/// How long the collector may take to answer through the rules.
const REACH: Duration = Duration::from_secs(2);
/// Repairs that may wait to be told.
const REPAIRS: usize = 64;
/// The most repairs that become events, per minute.
const TOLD_PER_MINUTE: u32 = 10;
const MINUTE_NS: i64 = 60_000_000_000;

/// A host that is cut off.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Isolated {
    /// Networks that stay reachable, as address and length of the prefix.
    allow: Vec<(std::net::IpAddr, u8)>,
    /// Where the collectors are.
    known: Known,
    /// The hash of the code that ends it here, in hexadecimal digits.
    break_glass: Option<String>,
    /// Wrong codes that were tried.
    #[serde(default)]
    wrong_codes: u32,
    /// It was ended by the code while no agent ran; that is still to be told.
    #[serde(default)]
    released: bool,
}

/// What keeps the rules as they should be.
#[derive(Debug)]
pub(crate) struct Isolation {
    places: SharedPlaces,
    guard: Option<Guard>,
    tell: SyncSender<Repair>,
    repairs: Receiver<Repair>,
    /// Since when repairs were counted, and how many.
    minute: (UnixNanos, u32),
    collectors: Vec<SocketAddr>,
    /// The control group was not what the kernel sees.
    user_only: bool,
}

impl Isolation {
    /// No rules yet. What an earlier run knew of the collectors' addresses is known again.
    pub(crate) fn new(places: SharedPlaces, in_force: &[InForce]) -> Self {
        for (_, isolated) in in_force.iter().filter_map(isolated) {
            places.restore(&isolated.known);
            places.isolated(!isolated.released);
        }
        let (tell, repairs) = sync_channel(REPAIRS);
        Self {
            places,
            guard: None,
            tell,
            repairs,
            minute: (UnixNanos(i64::MIN), 0),
            collectors: Vec::new(),
            user_only: false,
        }
    }

    /// Whether the host is cut off by this agent.
    pub(super) const fn is_in_force(&self) -> bool {
        self.guard.is_some()
    }

    fn own(&self) -> Own {
        let own = Own::find();
        Own {
            cgroup: own.cgroup.filter(|_| !self.user_only),
            ..own
        }
    }

    fn enforce(&mut self, wanted: Wanted) -> Result<Form, IsolationError> {
        self.places.isolated(true);
        self.collectors.clone_from(&wanted.collectors);
        if let Some(guard) = &self.guard {
            return guard.change(wanted);
        }
        let tell = self.tell.clone();
        let told = move |repair: Repair| {
            if tell.try_send(repair).is_err() {
                tracing::warn!("repaired the isolation; too many repairs wait to be told");
            }
        };
        let guard = Guard::begin(wanted, told)?;
        let form = guard.form();
        self.guard = Some(guard);
        Ok(form)
    }

    fn lift(&mut self) -> Result<(), IsolationError> {
        self.places.isolated(false);
        match self.guard.take() {
            Some(guard) => guard.end(),
            None => Table::open()?.remove(),
        }
    }

    /// What is not in force as it should be; empty: all is, and a packet to where nothing may go did not leave.
    fn doubts(&self, wanted: &Wanted) -> (String, String) {
        let difference = match &self.guard {
            None => Some("no rules".to_owned()),
            Some(guard) => guard
                .difference()
                .unwrap_or_else(|error| Some(chain(&error))),
        };
        let probed = probe(wanted);
        let doubt = match (difference, probed.holds()) {
            (Some(difference), _) => difference,
            (None, false) => "a packet that no rule lets through left the host".to_owned(),
            (None, true) => String::new(),
        };
        (doubt, probed.text())
    }
}

impl Responder {
    /// Cuts the host off.
    pub(super) fn isolate(
        &mut self,
        checked: &Checked,
        asked: &Asked,
    ) -> Result<Containment, Refusal> {
        let live = self.isolation.places.live();
        let is_near = |after: Duration| after <= LONGEST_UNPROVEN;
        if live.is_none() && !checked.command.auto_release.is_some_and(is_near) {
            let why = "no session with the collector is up, and the isolation would last longer than an hour";
            return Err(checked.refuse("no_path", why));
        }
        if checked.command.mode == Mode::DryRun {
            return would(checked);
        }
        let isolated = Isolated {
            allow: asked.allow.clone(),
            known: self.isolation.places.known(),
            break_glass: checked.command.break_glass.map(|hash| hash.to_string()),
            wrong_codes: 0,
            released: false,
        };
        self.put_effect(checked, Effect::Isolated(isolated))?;
        match self.cut_off(live) {
            Ok((wanted, form)) => {
                let doubts = self.isolation.doubts(&wanted);
                Ok(receipt(checked, &wanted, form, &doubts))
            }
            Err((code, why)) => {
                self.drop_effect(checked.command.id);
                // An earlier isolation stays in force as it was.
                let back = self.follow_effects();
                let back =
                    back.map_or_else(|error| format!("; {}", chain(&error)), |()| String::new());
                Err(checked.refuse(code, &format!("{why}{back}")))
            }
        }
    }

    /// The rules as they should be now, and the collector still behind them.
    fn cut_off(
        &mut self,
        live: Option<SocketAddr>,
    ) -> Result<(Wanted, Form), (&'static str, String)> {
        let failed = |error: IsolationError| {
            let code = if error.is_unsupported() {
                "unsupported"
            } else {
                "not_isolated"
            };
            (code, chain(&error))
        };
        let Some(mut wanted) = self.wanted(None) else {
            return Err(("no_record", "the isolation is not in the table".to_owned()));
        };
        let form = self.isolation.enforce(wanted.clone()).map_err(failed)?;
        let Some(live) = live.filter(|live| !is_reached(*live)) else {
            return Ok((wanted, form));
        };
        // The control group may not be what the kernel sees; the user is.
        if form.cgroup
            && let Some(own) = &mut wanted.own
        {
            own.cgroup = None;
            let form = self.isolation.enforce(wanted.clone()).map_err(failed)?;
            if is_reached(live) {
                self.isolation.user_only = true;
                return Ok((wanted, form));
            }
        }
        let why = format!("the collector at {live} was not reached through the rules");
        Err(("no_path", why))
    }

    /// What the table of effects asks for; `None`: nothing. `but`: one that is about to end.
    fn wanted(&self, but: Option<&str>) -> Option<Wanted> {
        let effects = self.effects.as_ref().ok()?.all();
        let mut in_force: Vec<(&InForce, &Isolated)> =
            effects.iter().filter_map(isolated).collect();
        in_force.retain(|(one, isolated)| Some(one.command.as_str()) != but && !isolated.released);
        let (_, newest) = in_force.last()?;
        let known = self.isolation.places.known();
        let mut collectors = newest.known.addresses();
        collectors.extend(known.addresses());
        collectors.extend(self.isolation.places.live());
        collectors.sort_unstable();
        collectors.dedup();
        Some(Wanted {
            collectors,
            own: Some(self.isolation.own()),
            networks: newest.networks(),
            until: until(
                in_force.iter().map(|(one, _)| *one),
                self.clock.now(),
                self.boot,
            ),
        })
    }

    /// Makes the rules what the table of effects says.
    fn follow_effects(&mut self) -> Result<(), IsolationError> {
        match self.wanted(None) {
            Some(wanted) => self.isolation.enforce(wanted).map(drop),
            None if self.isolation.is_in_force() => self.isolation.lift(),
            None => Ok(()),
        }
    }

    /// At the start: what an earlier run left in force is so again, for the time that it has left.
    pub(super) fn resume_isolation(&mut self) -> Vec<Containment> {
        let all = self
            .effects
            .as_ref()
            .map_or(&[][..], |effects| effects.all());
        let all: Vec<InForce> = all
            .iter()
            .filter(|one| isolated(one).is_some())
            .cloned()
            .collect();
        let mut told = Vec::new();
        for (one, _) in all
            .iter()
            .filter_map(isolated)
            .filter(|(_, it)| it.released)
        {
            told.extend(self.end(one, Containment::BREAK_GLASS).1);
        }
        if let Err(error) = self.follow_effects() {
            let reason = chain(&error);
            tracing::error!(
                reason,
                "an isolation that is in force could not be made so again"
            );
            told.extend(self.newest_isolation().map(|one| Containment {
                reason: "not_isolated".to_owned(),
                effect: format!("not in force after a restart: {reason}"),
                verified: false,
                ..of(&one, ReceiptState::Partial)
            }));
        }
        told
    }

    /// Ends one isolation; the rules stay if another is in force.
    pub(super) fn lift(&mut self, one: &InForce) -> Undone {
        let rest = self.wanted(Some(&one.command));
        let stays = rest.is_some();
        let done = match rest {
            Some(wanted) => self.isolation.enforce(wanted).map(drop),
            None => self.isolation.lift(),
        };
        match done {
            Err(error) => Undone::failed(chain(&error)),
            Ok(()) if stays => {
                Undone::complete("another isolation is in force; this one is not any more")
            }
            Ok(()) => Undone {
                affected: vec![Affected::object(Text::from("the host"), "released")],
                ..Undone::complete("the rules are gone; the host reaches and is reached as before")
            },
        }
    }

    /// Repairs since the last time, and addresses that the collector told.
    pub(super) fn isolation_news(&mut self) -> Vec<Containment> {
        self.let_new_addresses_through();
        let repairs: Vec<Repair> = self.isolation.repairs.try_iter().collect();
        let Some(one) = self.newest_isolation() else {
            return Vec::new();
        };
        let now = self.clock.now();
        let mut told = Vec::new();
        for repair in repairs {
            let minute = &mut self.isolation.minute;
            if now.0.saturating_sub(minute.0.0) > MINUTE_NS {
                *minute = (now, 0);
            }
            minute.1 = minute.1.saturating_add(1);
            match minute.1 {
                0..TOLD_PER_MINUTE => told.push(repaired(&one, &repair, "")),
                TOLD_PER_MINUTE => told.push(repaired(
                    &one,
                    &repair,
                    "; more in this minute are not told",
                )),
                _ => tracing::warn!(
                    found = repair.found,
                    "repaired the isolation; too many to tell each"
                ),
            }
        }
        told
    }

    fn let_new_addresses_through(&mut self) {
        if !self.isolation.is_in_force() {
            return;
        }
        let Some(wanted) = self.wanted(None) else {
            return;
        };
        if wanted.collectors == self.isolation.collectors {
            return;
        }
        let known = self.isolation.places.known();
        if let Some(mut one) = self.newest_isolation()
            && let Effect::Isolated(isolated) = &mut one.effect
        {
            isolated.known = known;
            self.put_back(one);
        }
        match self.isolation.enforce(wanted) {
            Ok(_) => tracing::info!("new addresses of the collector are let through the isolation"),
            Err(error) => tracing::error!(
                reason = chain(&error),
                "new addresses of the collector are not let through"
            ),
        }
    }

    fn newest_isolation(&self) -> Option<InForce> {
        let all = self.effects.as_ref().ok()?.all();
        all.iter().rfind(|one| isolated(one).is_some()).cloned()
    }

    /// Keeps an effect that is better known now.
    fn put_back(&mut self, one: InForce) {
        if let Ok(effects) = &mut self.effects
            && let Err(error) = effects.put(one)
        {
            tracing::error!(
                reason = chain(&error),
                "the table of effects could not be written"
            );
        }
    }
}

impl Isolated {
    fn networks(&self) -> Vec<Network> {
        let allow = self.allow.iter();
        allow
            .map(|(address, bits)| Network {
                address: *address,
                bits: *bits,
            })
            .collect()
    }
}

fn isolated(one: &InForce) -> Option<(&InForce, &Isolated)> {
    match &one.effect {
        Effect::Isolated(isolated) => Some((one, isolated)),
        _ => None,
    }
}

/// The latest end of all; `None`: one of them has none.
fn until<'a>(
    all: impl Iterator<Item = &'a InForce>,
    now: UnixNanos,
    boot: BootId,
) -> Option<Deadline> {
    let mut longest = Duration::ZERO;
    for one in all {
        longest = longest.max(one.end.as_ref()?.left(now, boot));
    }
    Some(Deadline::after(longest))
}

fn is_reached(at: SocketAddr) -> bool {
    TcpStream::connect_timeout(&at, REACH).is_ok()
}

fn would(checked: &Checked) -> Result<Containment, Refusal> {
    let can = Table::open().and_then(|mut table| table.exists());
    can.map_err(|error| checked.refuse("unsupported", &chain(&error)))?;
    let effect = "dry run: the host would be cut off from everything but its collector";
    Ok(Containment {
        reason: Containment::DRY_RUN.to_owned(),
        ..checked.receipt(ReceiptState::Accepted, effect)
    })
}

fn receipt(
    checked: &Checked,
    wanted: &Wanted,
    form: Form,
    doubts: &(String, String),
) -> Containment {
    let (doubt, probed) = doubts;
    let who = if form.cgroup { "control group" } else { "user" };
    let bridges = if form.bridge {
        ""
    } else {
        "; this kernel has no rules for bridges"
    };
    let places: Vec<String> = wanted.collectors.iter().map(ToString::to_string).collect();
    let mut effect = format!(
        "cut off; {} stays for this agent, by its {who}; probes: {probed}{bridges}",
        places.join(", ")
    );
    let state = if doubt.is_empty() {
        ReceiptState::Executed
    } else {
        effect.push_str("; not sure: ");
        effect.push_str(doubt);
        ReceiptState::Partial
    };
    Containment {
        affected: vec![Affected::object(Text::from("the host"), "isolated")],
        verified: doubt.is_empty(),
        undo_token: checked.command.id.to_string(),
        ..checked.receipt(state, &effect)
    }
}

fn repaired(one: &InForce, repair: &Repair, more: &str) -> Containment {
    let found = &repair.found;
    let (state, reason, effect) = match &repair.failed {
        None => (
            ReceiptState::Executed,
            Containment::REPAIRED,
            format!("{found}; in force again{more}"),
        ),
        Some(why) => (
            ReceiptState::Partial,
            "not_isolated",
            format!("{found}; not in force: {why}{more}"),
        ),
    };
    Containment {
        reason: reason.to_owned(),
        effect,
        verified: repair.failed.is_none(),
        ..of(one, state)
    }
}
