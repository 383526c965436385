//! The isolation at boot, before the network and without an agent.
//!
//! What stays true: nobody is let through, not even the agent, which does not run yet; the agent's start opens the
//! way to the collector.

use std::path::Path;

use picket_event::BootId;
use picket_isolation::{Table, Wanted};

use super::{isolated, until};
use crate::clock;
use crate::failure::{Code, Failure, chain};
use crate::respond::effects::{Effects, InForce};
use crate::state::{StateDir, StateError};

/// Puts in force what the state directory says is, for the time that it has left. Whether anything is.
pub(crate) fn apply(state: &Path) -> Result<bool, Failure> {
    let boot = clock::boot_id();
    let state = match StateDir::open(state) {
        // The agent that runs keeps it in force.
        Err(StateError::InUse { .. }) => return Ok(false),
        opened => opened?,
    };
    let effects = Effects::open(&state, boot)?;
    let Some(wanted) = wanted(effects.all(), boot) else {
        return Ok(false);
    };
    let applied = Table::open().and_then(|mut table| {
        let form = table.apply(&wanted)?;
        table.difference(&wanted, form)
    });
    match applied {
        Ok(None) => Ok(true),
        Ok(Some(difference)) => Err(Failure::line(
            Code::Failed,
            format!("not isolated: {difference}"),
        )),
        Err(error) => Err(Failure::line(Code::Failed, chain(&error))),
    }
}

fn wanted(effects: &[InForce], boot: BootId) -> Option<Wanted> {
    let now = clock::system().now();
    let all = effects.iter().filter_map(isolated);
    let all: Vec<_> = all.filter(|(_, isolated)| !isolated.released).collect();
    let (_, newest) = all.last()?;
    let until = until(all.iter().map(|(one, _)| *one), now, boot);
    if until.is_some_and(|until| until.left().is_zero()) {
        return None;
    }
    Some(Wanted {
        collectors: Vec::new(),
        own: None,
        networks: newest.networks(),
        until,
    })
}
