//! Processes that stand still: stopped as a tree, let go as exactly what they were.
//!
//! # Invariants
//!
//! - Where the control groups of version 2 can be written, the tree is frozen by a group: no signal of
//!   anybody lets it run. Elsewhere it is stopped by signals, and the receipt says so.
//! - Everybody goes back into the group they came from; who was stopped before stays stopped.

use std::path::PathBuf;

use picket_event::command::{Mode, Target};
use picket_event::{Affected, BootId, Containment, ProcessUid, ReceiptState, Text};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use super::check::{self, Checked, Refusal};
use super::effects::Effect;
use super::kill::Held;
use super::kill_tree::{Stopped, Tree};
use super::process::{processes, would};
use super::procfs;
use super::undo::Undone;
use super::{MAX_LISTED, Responder};

/// A tree that stands still.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Suspended {
    /// In which boot.
    pub(crate) boot: String,
    /// Its root.
    pub(crate) root: String,
    /// The group that is frozen; `None`: they are stopped by signals.
    pub(crate) group: Option<PathBuf>,
    /// Whether the group was made for this.
    pub(crate) made: bool,
    /// Who is in it.
    pub(crate) members: Vec<Member>,
}

/// One process of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Member {
    /// Which process.
    pub(crate) uid: String,
    /// Its number.
    pub(crate) pid: u32,
    /// The group that it came from.
    pub(crate) group: Option<PathBuf>,
    /// Whether it was stopped before.
    pub(crate) stopped: bool,
}

impl Responder {
    /// Stops a tree.
    pub(super) fn suspend(
        &mut self,
        checked: &Checked,
        target: Target,
    ) -> Result<Containment, Refusal> {
        check::scene(checked, self)?;
        let found = self.look(target.process);
        if checked.command.mode == Mode::DryRun {
            return Ok(would(checked, "stopped", &found));
        }
        let group = Cgroup::named(&checked.command.id.to_string());
        let mut suspended = Suspended {
            boot: self.boot.to_string(),
            root: target.process.to_string(),
            group: group.as_ref().ok().map(|group| group.path().to_owned()),
            made: true,
            members: found.iter().map(Member::of).collect(),
        };
        // Before anybody is moved it is known, durably, where each came from.
        self.put_effect(checked, Effect::Suspended(suspended.clone()))?;
        let lineage = || self.lineage(target.process);
        let tree = Tree::new(self.boot, target.process, &lineage, &self.protection);
        let stopped = tree.stop(group.ok());
        suspended.learn(&stopped);
        self.put_effect(checked, Effect::Suspended(suspended))?;
        Ok(receipt(checked, stopped))
    }
}

fn receipt(checked: &Checked, stopped: Stopped) -> Containment {
    let still = stopped.members.iter().filter(|one| one.still).count();
    let complete = still == stopped.members.len() && stopped.complete;
    let (state, rest) = match (complete, &stopped.group) {
        (true, Some(_)) => (ReceiptState::Executed, "frozen as a group"),
        (true, None) => (
            ReceiptState::Executed,
            "by signals, as no group can be frozen",
        ),
        (false, _) => (ReceiptState::Partial, "not all of the tree stands still"),
    };
    let affected = stopped.members.into_iter().map(|member| Affected {
        process_uid: Some(member.found.uid),
        pid: member.found.pid,
        exe: procfs::exe(member.found.pid),
        object: Text::NONE,
        outcome: if member.still { "stopped" } else { "alive" }.to_owned(),
    });
    Containment {
        affected: affected.take(MAX_LISTED).collect(),
        verified: complete,
        undo_token: checked.command.id.to_string(),
        ..checked.receipt(state, &format!("stopped {}; {rest}", processes(still)))
    }
}

impl Member {
    fn of(found: &procfs::Found) -> Self {
        Self {
            uid: found.uid.to_string(),
            pid: found.pid,
            group: Cgroup::of(found.pid).map(|group| group.path().to_owned()),
            stopped: found.is_stopped(),
        }
    }
}

impl Suspended {
    /// Takes over who was caught. Whoever was born meanwhile goes back where its tree came from.
    fn learn(&mut self, stopped: &Stopped) {
        let home = self.members.first().and_then(|member| member.group.clone());
        self.group.clone_from(&stopped.group);
        self.made = stopped.made;
        for caught in &stopped.members {
            let uid = caught.found.uid.to_string();
            if self.members.iter().any(|member| member.uid == uid) {
                continue;
            }
            self.members.push(Member {
                uid,
                pid: caught.found.pid,
                group: home.clone(),
                stopped: false,
            });
        }
    }

    /// Whether a resume of this root means this.
    pub(crate) fn is_of(&self, root: ProcessUid) -> bool {
        self.root == root.to_string()
    }

    /// Whether its processes can still be there.
    pub(crate) fn is_of_boot(&self, boot: BootId) -> bool {
        self.boot == boot.to_string()
    }

    /// Lets everybody go on, and reads back that they do.
    pub(crate) fn undo(&self, boot: BootId) -> Undone {
        if !self.is_of_boot(boot) {
            return Undone::complete("the host was started anew; the processes are gone");
        }
        let group = self.group.clone().map(Cgroup::at);
        let home = self.members.first().and_then(|member| member.group.clone());
        let born = group.as_ref().and_then(Cgroup::pids).unwrap_or_default();
        if let Some(group) = &group {
            group.thaw();
        }
        let mut affected = Vec::new();
        let known = self.members.iter().filter_map(|member| member.free(boot));
        affected.extend(known);
        let strangers = born
            .iter()
            .filter(|pid| !self.members.iter().any(|member| member.pid == **pid));
        for pid in strangers.filter(|_| self.made) {
            // Born in the frozen group: a child of a member.
            drop(Cgroup::give_back(
                *pid,
                home.clone().map(Cgroup::at).as_ref(),
            ));
        }
        let gone = group.is_none_or(|group| !self.made || group.remove());
        let free = affected.iter().filter(|one| one.outcome == "alive").count();
        let complete = free == affected.len();
        let left = if gone {
            ""
        } else {
            "; its group could not be removed"
        };
        Undone {
            complete,
            effect: format!("let {} go on{left}", processes(free)),
            affected,
        }
    }
}

impl Member {
    /// Back into its group and running; `None` if it is gone.
    fn free(&self, boot: BootId) -> Option<Affected> {
        let uid = ProcessUid::parse(&self.uid).ok()?;
        let found = procfs::find(&boot, self.pid).filter(|found| found.uid == uid)?;
        let held = Held::take(&boot, &found)?;
        drop(Cgroup::give_back(
            self.pid,
            self.group.clone().map(Cgroup::at).as_ref(),
        ));
        if !self.stopped && held.signal(Signal::CONT).is_err() {
            tracing::warn!(pid = self.pid, "failed to let a process go on");
        }
        let now = procfs::find(&boot, self.pid).filter(|found| found.uid == uid)?;
        let runs = self.stopped || !now.is_stopped();
        Some(Affected {
            process_uid: Some(uid),
            pid: self.pid,
            exe: procfs::exe(self.pid),
            object: Text::NONE,
            outcome: if runs { "alive" } else { "stopped" }.to_owned(),
        })
    }
}
