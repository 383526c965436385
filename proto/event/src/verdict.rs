//! What was judged about an event, with the grounds.

use std::borrow::Cow;

use crate::{Event, Kind, ProcessUid, Severity, Text, UnixNanos};

/// One judgement.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A rule matched.
    Rule(RuleVerdict),
    /// The scorer found it surprising.
    Scorer(ScorerVerdict),
}

impl Verdict {
    /// How bad the judgement makes the event; a score beyond its threshold counts as medium.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Rule(rule) => rule.severity,
            Self::Scorer(score) if score.alert => Severity::Medium,
            Self::Scorer(_) => Severity::Informational,
        }
    }
}

/// A rule matched. The author travels with it, as the licence of shared rules asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleVerdict {
    /// The rule's UUID.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its level.
    pub severity: Severity,
    /// ATT&CK techniques, as `T1059.004`.
    pub attack: Vec<String>,
    /// Who wrote it.
    pub author: String,
    /// Under which licence.
    pub license: String,
    /// Of several events: the last of those it rests on, oldest first. At most [`MOST_EVIDENCE`].
    pub rests_on: Vec<Evidence>,
}

/// An event that a verdict about another one rests on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// What happened.
    pub kind: Kind,
    /// When.
    pub time: UnixNanos,
    /// Who acted, where it is known.
    pub process_uid: Option<ProcessUid>,
}

impl Evidence {
    /// Names this event.
    pub fn of(event: &Event) -> Self {
        Self {
            kind: event.kind,
            time: event.time,
            process_uid: event.process.as_ref().map(|process| process.uid),
        }
    }
}

/// How many events one verdict names.
pub const MOST_EVIDENCE: usize = 16;

/// How surprising the event was on this host, with everything needed to compute it again.
#[derive(Clone, Debug, PartialEq)]
pub struct ScorerVerdict {
    /// Surprise in bits.
    pub bits: f64,
    /// Calibrated probability of at least this much surprise.
    pub p: f64,
    /// The factors that carry it, strongest first.
    pub reasons: Vec<Reason>,
    /// Whether it is beyond the threshold in force.
    pub alert: bool,
}

impl ScorerVerdict {
    /// Whether the event was in a change window of a package manager, by its explanation.
    pub fn in_change_window(&self) -> bool {
        self.reasons
            .iter()
            .any(|reason| reason.factor == CHANGE_WINDOW)
    }
}

/// The factor of the reason that says that an event was in a change window. It has no bits.
pub const CHANGE_WINDOW: &str = "change window";

/// One factor of a score.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reason {
    /// Which factor, as `child of parent`.
    pub factor: Cow<'static, str>,
    /// In what context, as `/usr/sbin/nginx`.
    pub context: Text,
    /// What was seen there, as `/bin/sh`.
    pub value: Text,
    /// Surprise in bits.
    pub bits: f64,
    /// Mean surprise in this context so far, in bits.
    pub usual: f64,
    /// How often this value was seen in this context before.
    pub seen: u64,
    /// How often this context was seen before.
    pub context_seen: u64,
    /// On how many days.
    pub days: u32,
    /// How many different values it had.
    pub distinct: u32,
    /// The more general contexts that were asked, in order.
    pub backoff: Vec<BackoffLevel>,
}

/// What one more general context knew.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BackoffLevel {
    /// Which context.
    pub context: Cow<'static, str>,
    /// How often the value was seen in it.
    pub seen: u64,
    /// How often it was seen.
    pub context_seen: u64,
    /// How many different values it had.
    pub distinct: u32,
}
