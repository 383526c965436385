//! Signs that two machines speak for one host, or that one speaks from an old copy of its state.
//!
//! # Invariants
//!
//! - Each kind is raised once for a host, with its time, in the audit: it stays until the host is enrolled anew.
//! - An alarm changes nothing by itself: an operator decides.

use std::sync::Arc;

use picket_event::{Clock, HostId, UnixNanos};
use picket_proto::v1;

use crate::branch::Branch;
use crate::database::{Database, audit};
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::registry::{Known, Registry};

/// What was noticed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Alarm {
    /// It speaks with an event key that it has vouched out of office already.
    OlderKeys,
    /// It runs on another machine than before.
    OtherMachine,
    /// One event key vouched for two.
    TwoSuccessors,
    /// It told two histories of the same numbers.
    OtherHistory,
}

impl Alarm {
    const ALL: [Self; 4] = [
        Self::OlderKeys,
        Self::OtherMachine,
        Self::TwoSuccessors,
        Self::OtherHistory,
    ];

    /// Its fixed name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OlderKeys => "older_keys",
            Self::OtherMachine => "other_machine",
            Self::TwoSuccessors => "two_successors",
            Self::OtherHistory => "other_history",
        }
    }

    /// What it means, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::OlderKeys => {
                "it speaks with an event key that has ended: its state is an old copy, or was copied to another machine"
            }
            Self::OtherMachine => {
                "its machine id has changed: it was copied or moved, and what comes from there is kept apart"
            }
            Self::TwoSuccessors => {
                "one of its event keys vouched for two: it was cloned, or a key was stolen"
            }
            Self::OtherHistory => {
                "it told two histories of the same numbers: it was cloned, or a key was stolen"
            }
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alarm| alarm.name() == name)
    }

    /// What a refusal of a batch gives away.
    pub const fn of(refusal: Refusal) -> Option<Self> {
        match refusal {
            Refusal::TwoSuccessors => Some(Self::TwoSuccessors),
            Refusal::OtherBranch | Refusal::ChainFork => Some(Self::OtherHistory),
            _ => None,
        }
    }

    /// Whether a hello names another machine than the host's own sessions did; one that names none does not.
    pub fn says_other_machine(hello: &v1::Hello, known: &Known) -> bool {
        let before = &known.facts.machine_id_hash;
        let now = hello.facts.as_ref().map(|it| &it.machine_id_hash);
        now.is_some_and(|now| !before.is_empty() && !now.is_empty() && before != now)
    }

    /// What a hello gives away, compared with what is known.
    pub fn of_hello(hello: &v1::Hello, known: &Known, known_epoch: u64) -> Vec<Self> {
        let older = hello.epoch < known_epoch;
        let moved = Self::says_other_machine(hello, known).then_some(Self::OtherMachine);
        moved
            .into_iter()
            .chain(older.then_some(Self::OlderKeys))
            .collect()
    }
}

/// Raises alarms.
#[derive(Clone, Debug)]
pub struct Alarms {
    /// Where they are kept.
    pub database: Database,
    /// Where they are shown.
    pub registry: Registry,
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Alarms {
    /// The host's keys branch off, because they vouched for two or because the host `moved` to another machine: what the other branch
    /// sends is taken in and marked.
    pub async fn branches_begun(&self, host: HostId, begun: Vec<Branch>, moved: bool) {
        for branch in &begun {
            let (name, fork_epoch) = (branch.name, branch.fork_epoch);
            tracing::error!(%host, branch = %name, fork_epoch, "two speak for one host");
            self.metrics.forks.inc();
        }
        if !begun.is_empty() {
            self.registry.branches_begun(&host, begun);
            let alarm = if moved {
                Alarm::OtherMachine
            } else {
                Alarm::TwoSuccessors
            };
            self.raise(host, alarm).await;
        }
    }

    /// Raises an alarm, unless it was raised before.
    pub async fn raise(&self, host: HostId, alarm: Alarm) {
        let now = self.clock.now();
        if !self.registry.raise(&host, alarm, now) {
            return;
        }
        self.metrics.alarms.inc();
        let (name, words) = (alarm.name(), alarm.words());
        tracing::error!(%host, alarm = name, words, "an operator has to look");
        let kept = self
            .database
            .call(move |t| audit::add(t, entry(&host.to_string(), alarm, now)))
            .await;
        if let Err(error) = kept {
            let error = crate::failure::chain(&error);
            tracing::error!(error, "alarm not kept");
        }
    }
}

fn entry(host: &str, alarm: Alarm, now: UnixNanos) -> audit::Entry<'_> {
    audit::Entry {
        time: now,
        who: "collector",
        action: ACTION,
        object: host,
        detail: alarm.name(),
        proof: &[],
    }
}

/// What alarms are called in the audit.
pub const ACTION: &str = "host.alarm";
