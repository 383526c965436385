//! What was used of the budgets, and what is under way, over restarts.
//!
//! # The file
//!
//! `policy.spent`: JSON, replaced as a whole before each act. One that is damaged counts as a used-up budget for its
//! time, so that nobody gets a new one by damaging it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use picket_event::policy::{Budgets, PolicyAction};
use picket_event::{CommandId, PolicyCause, UnixNanos};
use serde::{Deserialize, Serialize};

use crate::respond::check::Checked;
use crate::state::{StateDir, StateError};

const NAME: &str = "policy.spent";
/// More times of one action are not kept; they are more than any budget of a day should be.
const MAX_TIMES: usize = 10_000;
/// No budget counts over a longer time.
const LONGEST_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// What was used.
#[derive(Debug)]
pub(crate) struct Spent {
    path: PathBuf,
    kept: Kept,
    /// When a damaged file was found.
    damaged: Option<UnixNanos>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Kept {
    /// When each kind of action was done, in nanoseconds since 1970.
    times: BTreeMap<String, Vec<i64>>,
    under_way: Option<UnderWay>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct UnderWay {
    command: String,
    action: String,
    policy_version: u64,
    entry: String,
    title: String,
}

impl Spent {
    /// What earlier runs used.
    pub(crate) fn open(state: &StateDir, now: UnixNanos) -> Self {
        let path = state.path(NAME);
        let read = state
            .read(NAME)
            .map_err(|error| crate::failure::chain(&error));
        let kept = read.and_then(|bytes| match bytes {
            None => Ok(Kept::default()),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        });
        let damaged = kept.as_ref().err().map(|reason| {
            tracing::error!(
                reason,
                "the used budgets cannot be read and count as used up"
            );
            now
        });
        Self {
            path,
            kept: kept.unwrap_or_default(),
            damaged,
        }
    }

    /// Whether the action may be done once more.
    pub(super) fn has_left(&self, action: PolicyAction, budgets: &Budgets, now: UnixNanos) -> bool {
        let (most, within) = budgets.of(action);
        let since = now.minus(within);
        if self.damaged.is_some_and(|when| when > since) {
            return false;
        }
        let times = self.kept.times.get(name(action)).into_iter().flatten();
        // A time that seems to come only later counts too: the clock was set back.
        let used = times.filter(|time| **time > since.0).count();
        u32::try_from(used).is_ok_and(|used| used < most)
    }

    /// Takes one, durably, with what it is for.
    pub(super) fn take(
        &mut self,
        action: PolicyAction,
        (checked, cause): (&Checked, &PolicyCause),
        now: UnixNanos,
    ) -> Result<(), StateError> {
        let mut kept = self.kept.clone();
        let times = kept.times.entry(name(action).to_owned()).or_default();
        times.retain(|time| *time > now.0.saturating_sub(LONGEST_NS));
        if times.len() >= MAX_TIMES {
            times.remove(0);
        }
        times.push(now.0);
        kept.under_way = Some(UnderWay {
            command: checked.command.id.to_string(),
            action: action.name().to_owned(),
            policy_version: cause.policy_version,
            entry: cause.entry.clone(),
            title: cause.title.clone(),
        });
        self.write(&kept)?;
        self.kept = kept;
        Ok(())
    }

    /// Nothing is under way any more. What was for nothing is given back.
    pub(super) fn done(&mut self, action: PolicyAction, for_nothing: bool) {
        self.kept.under_way = None;
        if for_nothing && let Some(times) = self.kept.times.get_mut(name(action)) {
            times.pop();
        }
        if let Err(error) = self.write(&self.kept) {
            let reason = crate::failure::chain(&error);
            tracing::error!(reason, "the used budgets cannot be kept");
        }
    }

    /// What was under way when the agent ended: its id, the action and why.
    pub(super) fn interrupted(&mut self) -> Option<(CommandId, String, PolicyCause)> {
        let under_way = self.kept.under_way.take()?;
        let cause = PolicyCause {
            policy_version: under_way.policy_version,
            entry: under_way.entry,
            mode: "act".to_owned(),
            by: String::new(),
            id: String::new(),
            title: under_way.title,
            process: None,
            event_kind: String::new(),
        };
        let id = CommandId::parse(&under_way.command).ok()?;
        Some((id, under_way.action, cause))
    }

    /// How often each action was done in the last day.
    pub(super) fn used(&self, now: UnixNanos) -> BTreeMap<String, usize> {
        let since = now.0.saturating_sub(LONGEST_NS);
        let times = self.kept.times.iter();
        times
            .map(|(action, times)| {
                let used = times.iter().filter(|time| **time > since).count();
                (action.clone(), used)
            })
            .collect()
    }

    fn write(&self, kept: &Kept) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(kept).map_err(|error| StateError::Damaged {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        crate::state::write(&self.path, &bytes)
    }
}

/// `kill` and `kill-tree` share a budget.
const fn name(action: PolicyAction) -> &'static str {
    match action {
        PolicyAction::KillTree => PolicyAction::Kill.name(),
        action => action.name(),
    }
}
