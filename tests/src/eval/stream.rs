//! The scorer on recorded events: how often it tells somebody, and what it does about attacks.
//!
//! Events are those that `picket-agent watch --json` and `picketctl events --json` print, one a line, in
//! the order of time. Each host has a scorer of its own, which learns from everything, scored first.

use std::collections::BTreeMap;
use std::path::Path;
use std::str;
use std::time::Duration;

use picket_event::{Ancestor, Event, Kind, UnixNanos, json};
use picket_scorer::{Alerts, Decision, Scorer, Settings, incident_of, recompute};
use serde_json::{Value, json};

use super::EvalError;
use super::file::{lines, refuse};
use super::models::processor_time;

mod trials;

/// What a stream is judged with.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'p> {
    /// Recorded events, attacks or not.
    pub events: &'p Path,
    /// Events of attacks, to be tried after the stream.
    pub attacks: Option<&'p Path>,
    /// Notifications in 24 hours, at most.
    pub budget: u32,
}

/// Runs the stream and the trials; one object for each host.
pub fn run(stream: Stream<'_>) -> Result<Value, EvalError> {
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    each_event(stream.events, |host, event| {
        let host = hosts
            .entry(host)
            .or_insert_with(|| Host::new(stream.budget));
        host.take(&event);
    })?;
    let mut attacks = Vec::new();
    if let Some(path) = stream.attacks {
        each_event(path, |_, event| attacks.push(event))?;
    }
    if hosts.is_empty() {
        return Err(EvalError::Nothing {
            path: stream.events.to_path_buf(),
            what: "event",
        });
    }
    let told = hosts.iter().map(|(name, host)| {
        let mut told = host.figures(name);
        told["flood"] = trials::flood(host);
        if !attacks.is_empty() {
            told["attacks"] = trials::attacks(host, &attacks);
        }
        told
    });
    Ok(told.collect())
}

/// A host with what it learned.
struct Host {
    scorer: Scorer,
    alerts: Alerts,
    budget: u32,
    last: UnixNanos,
    events: u64,
    scored: u64,
    not_recomputed: u64,
    candidates: u64,
    withheld: u64,
    floods: u64,
    /// Times of notifications.
    told: Vec<i64>,
    days: BTreeMap<i64, u64>,
    took: Duration,
    /// Parents of programs, some of them.
    parents: Vec<Ancestor>,
}

impl Host {
    fn new(budget: u32) -> Self {
        Self {
            scorer: Scorer::new(Settings::new(SECRET)),
            alerts: Alerts::new(budget),
            budget,
            last: UnixNanos(i64::MIN),
            events: 0,
            scored: 0,
            not_recomputed: 0,
            candidates: 0,
            withheld: 0,
            floods: 0,
            told: Vec::new(),
            days: BTreeMap::new(),
            took: Duration::ZERO,
            parents: Vec::new(),
        }
    }

    fn take(&mut self, event: &Event) {
        self.events += 1;
        self.last = self.last.max(event.time);
        self.note_parent(event);
        let began = processor_time();
        let verdict = self.scorer.step(event.time, event);
        self.took += processor_time().saturating_sub(began);
        let Some(verdict) = verdict else { return };
        self.scored += 1;
        self.not_recomputed += u64::from(!recompute(&verdict).agrees_with(&verdict));
        self.candidates += u64::from(verdict.alert);
        let day = self.days.entry(event.time.0.div_euclid(DAY)).or_default();
        let decision = self.alerts.step(event.time, incident_of(event), &verdict);
        if decision.notifies() {
            self.told.push(event.time.0);
            *day += 1;
        }
        self.floods += u64::from(decision == Decision::Flood);
        self.withheld = self.alerts.withheld_so_far();
    }

    fn note_parent(&mut self, event: &Event) {
        let process = event.process.as_ref().filter(|_| event.kind == Kind::Exec);
        let parent = process.and_then(|process| process.ancestry.first());
        let Some(parent) = parent.filter(|_| self.parents.len() < MOST_PARENTS) else {
            return;
        };
        if self.parents.iter().all(|known| known.exe != parent.exe) {
            self.parents.push(parent.clone());
        }
    }

    fn figures(&self, name: &str) -> Value {
        let days = self.days.len() as u64;
        let told = self.told.len() as u64;
        json!({
            "host": name,
            "days": days,
            "events": self.events,
            "scored": self.scored,
            "scores_not_recomputable": self.not_recomputed,
            "alerts_before_budget": self.candidates,
            "notifications": told,
            "notifications_per_day": ratio(told, days),
            "most_in_24_hours": most_in_a_day(&self.told),
            "budget": self.budget,
            "floods": self.floods,
            "incidents_withheld": self.withheld,
            "micros_per_event": ratio(u64::try_from(self.took.as_nanos()).unwrap_or(u64::MAX), self.events) / 1e3,
            "state_bytes": self.scorer.state_bytes(),
        })
    }

    /// A copy that can be tried without a trace.
    fn copy(&self) -> Option<(Scorer, Alerts)> {
        let scorer = Scorer::restore(Settings::new(SECRET), &self.scorer.snapshot()).ok()?;
        Some((scorer, self.alerts.clone()))
    }
}

fn each_event(path: &Path, mut each: impl FnMut(String, Event)) -> Result<(), EvalError> {
    lines(path, |number, line| {
        let wrong = |why: String| refuse(path, number, why);
        let text = str::from_utf8(line).map_err(|error| wrong(error.to_string()))?;
        let read = json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let mut event = read.event;
        event.verdicts.clear();
        let host = read.host.map(|host| host.to_string());
        each(host.unwrap_or_else(|| "this host".to_owned()), event);
        Ok(())
    })
}

/// The most notifications that any 24 hours hold.
fn most_in_a_day(told: &[i64]) -> usize {
    let from = |place: usize| {
        let end = told[place].saturating_add(DAY);
        told[place..].iter().filter(|time| **time < end).count()
    };
    (0..told.len()).map(from).max().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

/// A day in nanoseconds.
const DAY: i64 = 86_400_000_000_000;
/// Keys the tables. Any value gives the same figures but for texts that meet.
const SECRET: [u8; 16] = *b"picket-eval key.";
/// Parents that a flood's programs may have.
const MOST_PARENTS: usize = 64;
