//! What is in force on this host: effects that somebody, or time, will undo.
//!
//! # Invariants
//!
//! - An effect is durable here before anything is done for it, and until its undoing was read back.
//! - Its end does not move with the wall clock within one boot; over a reboot the wall clock decides.
//! - A full table refuses, it never forgets.
//!
//! # The file
//!
//! `containment`: the table as JSON, replaced as a whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use picket_event::{BootId, CommandId, UnixNanos};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::block::Blocked;
use super::isolate::Isolated;
use super::lock_user::Locked;
use super::quarantine::Quarantined;
use super::suspend::Suspended;
use crate::clock::boot_ns;
use crate::state::{StateDir, StateError};

const NAME: &str = "containment";
/// The most effects that are in force at a time.
pub(crate) const MAX_EFFECTS: usize = 1_000;

/// One effect, who wanted it and until when.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct InForce {
    /// The command that began it, as its undo token.
    pub(crate) command: String,
    /// The action's name.
    pub(crate) action: String,
    /// What it is about, for people.
    pub(crate) object: String,
    /// When it began, in nanoseconds since 1970.
    pub(crate) since: i64,
    /// When it undoes itself; `None`: it does not.
    pub(crate) end: Option<End>,
    /// Who signed.
    pub(crate) signers: Vec<String>,
    /// Why, in their words.
    pub(crate) stated_reason: String,
    /// What is needed to undo it.
    pub(crate) effect: Effect,
}

/// When an effect ends.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct End {
    /// By the wall clock, in nanoseconds since 1970.
    pub(crate) wall: i64,
    /// By the clock of this boot, in nanoseconds.
    pub(crate) boot_ns: u64,
    /// Of which boot.
    pub(crate) boot: String,
}

/// What was done, as far as undoing it needs to know.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Effect {
    /// Processes stand still.
    Suspended(Suspended),
    /// A file is in the vault.
    Quarantined(Quarantined),
    /// A user is locked.
    Locked(Locked),
    /// A content may not start.
    Blocked(Blocked),
    /// The host is cut off.
    Isolated(Isolated),
    /// The package may be removed.
    Removable,
}

/// The table, with its file.
#[derive(Debug)]
pub(crate) struct Effects {
    path: PathBuf,
    boot: BootId,
    table: Vec<InForce>,
}

impl End {
    /// So long from now.
    pub(crate) fn after(after: Duration, now: UnixNanos, boot: BootId) -> Self {
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Self {
            wall: now.plus(after).0,
            boot_ns: boot_ns().saturating_add(nanos),
            boot: boot.to_string(),
        }
    }

    /// How long it still lasts; zero: it is over.
    pub(crate) fn left(&self, now: UnixNanos, boot: BootId) -> Duration {
        if self.boot == boot.to_string() {
            Duration::from_nanos(self.boot_ns.saturating_sub(boot_ns()))
        } else {
            UnixNanos(self.wall).since(now)
        }
    }
}

impl InForce {
    /// The command that began it.
    pub(crate) fn id(&self) -> CommandId {
        CommandId::parse(&self.command).unwrap_or(CommandId::new([0; 16]))
    }

    /// For `status` and the heartbeat.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "command": self.command, "action": self.action, "object": self.object,
            "since": UnixNanos(self.since).to_string(),
            "until": self.end.as_ref().map(|end| UnixNanos(end.wall).to_string()),
            "signers": self.signers, "reason": self.stated_reason,
        })
    }
}

impl Effects {
    /// Reads the table. A damaged one is an error: what is in force would be forgotten.
    pub(crate) fn open(state: &StateDir, boot: BootId) -> Result<Self, StateError> {
        let table = Self::look(state.root())?;
        Ok(Self {
            path: state.path(NAME),
            boot,
            table,
        })
    }

    /// Reads the table of a state directory that another process may have open: it is replaced as a whole.
    pub(crate) fn look(root: &Path) -> Result<Vec<InForce>, StateError> {
        let path = root.join(NAME);
        let Some(bytes) = crate::state::read(&path)? else {
            return Ok(Vec::new());
        };
        serde_json::from_slice(&bytes).map_err(|error| StateError::Damaged {
            path,
            reason: error.to_string(),
        })
    }

    /// Everything that is in force, the oldest first.
    pub(crate) fn all(&self) -> &[InForce] {
        &self.table
    }

    /// Whether another one would be refused.
    pub(crate) const fn is_full(&self) -> bool {
        self.table.len() >= MAX_EFFECTS
    }

    /// Keeps, durably, an effect that is about to be made or is now better known.
    pub(crate) fn put(&mut self, effect: InForce) -> Result<(), StateError> {
        let mut table = self.table.clone();
        match table.iter_mut().find(|old| old.command == effect.command) {
            Some(old) => *old = effect,
            None => table.push(effect),
        }
        self.write(table)
    }

    /// Forgets, durably, an effect that is undone.
    pub(crate) fn remove(&mut self, command: &str) -> Result<(), StateError> {
        let mut table = self.table.clone();
        table.retain(|old| old.command != command);
        self.write(table)
    }

    /// Those whose time is over.
    pub(crate) fn due(&self, now: UnixNanos) -> Vec<InForce> {
        let over = |one: &&InForce| {
            let end = one.end.as_ref();
            end.is_some_and(|end| end.left(now, self.boot).is_zero())
        };
        self.table.iter().filter(over).cloned().collect()
    }

    /// How long until the next one ends; `None`: none does.
    pub(crate) fn next_end(&self, now: UnixNanos) -> Option<Duration> {
        let ends = self.table.iter().filter_map(|one| one.end.as_ref());
        ends.map(|end| end.left(now, self.boot)).min()
    }

    fn write(&mut self, table: Vec<InForce>) -> Result<(), StateError> {
        let bytes = serde_json::to_vec_pretty(&table).map_err(|error| StateError::Damaged {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        crate::state::write(&self.path, &bytes)?;
        self.table = table;
        Ok(())
    }
}
