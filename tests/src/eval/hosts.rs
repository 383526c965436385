//! What the scorer makes of recorded hosts, and of attacks that come to a host which it knows: the share that it ranks above all but one
//! benign incident in a day, or in a week.
//!
//! Both recordings are runs of `picket-coverage`: hosts that did their work for some days, and tests of attacks, one machine each. Each
//! attack is played to a copy of each host as it is at the end of its recording.
//!
//! # Invariants
//!
//! - Of a host, what the hand that plays did (the shell of the script and all below it) is no part of the recording.
//! - Of an attack only its own process tree counts; it is one incident. What was not executed is in no share.
//! - The days in which nothing can be mature are learned from and not counted.
//! - A benign incident counts on each day on which it has an event, by the strongest of that day.

mod report;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use picket_event::{Event, ProcessUid, ScorerVerdict, Severity, UnixNanos, Verdict};
use picket_scorer::{Alerts, Scorer, Settings, incident_of, is_mature_reason};

use crate::coverage::attack::Techniques;
use crate::coverage::judge::{self, State};
use crate::coverage::list::{List, Test};
use crate::coverage::record::{Run, Step, Told, Variant};
use crate::coverage::tree::Tree;
use crate::failure::Failure;

pub use report::Report;

/// What is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Hosts<'a> {
    /// A run that recorded hosts.
    pub recordings: &'a Path,
    /// A run that recorded attacks, and its list.
    pub attacks: Option<(&'a Path, &'a Path)>,
    /// Notifications in 24 hours, at most, as the agent promises.
    pub budget: u32,
}

/// One recorded host.
#[derive(Debug)]
pub struct Host {
    /// Its role.
    pub name: String,
    /// Events of the host itself.
    pub events: usize,
    /// Days with an event.
    pub days: usize,
    /// Of them those after the first, in which nothing can be mature.
    pub counted: usize,
    /// Notifications of the agent by its own rule, on all days.
    pub notifications: usize,
    /// Benign incidents of the counted days, the strongest first.
    pub incidents: Vec<Strength>,
    /// Alerts of rules, medium or worse, by title: how many, and how many of them high or critical.
    pub alerts: BTreeMap<String, (usize, usize)>,
    /// What became of the attacks, in the order of their list.
    pub attacks: Vec<Found>,
    state: (Vec<u8>, Alerts),
    last: UnixNanos,
}

/// How strong an incident is: the higher, the stranger.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strength {
    /// Of its rarest event, -log2 p.
    pub rarity: f64,
    /// The sum over its factors of the most that each was beyond its usual.
    pub bits: f64,
    /// How dense what is strange lies in it: the bits of each event's strangest factor, by the events that were scored (four at least).
    pub density: f64,
    /// What made it so, for people.
    pub why: String,
}

/// What one host made of one attack.
#[derive(Clone, Debug)]
pub struct Found {
    /// How strong it is there.
    pub strength: Strength,
    /// Whether the agent would have told somebody, by its own rule.
    pub notified: bool,
}

/// One attack that was executed.
#[derive(Debug)]
pub struct Attack {
    /// Its name.
    pub name: String,
    /// Its technique.
    pub technique: String,
    /// Whether a rule of medium or worse judged it.
    pub by_rules: bool,
    began: i64,
    events: Vec<Event>,
}

/// Evaluates.
pub fn run(what: Hosts<'_>) -> Result<Report, Failure> {
    let attacks = match what.attacks {
        Some((run, list)) => attacks(run, list)?,
        None => Vec::new(),
    };
    let recorded = Run::read(what.recordings)?;
    let mut hosts = Vec::new();
    for step in recorded
        .steps
        .iter()
        .filter(|step| step.variant == Variant::Plain)
    {
        let (told, _) = recorded.events(step)?;
        let mut host = Host::of(step, &told, what.budget);
        host.attacks = attacks.iter().map(|attack| host.meet(attack)).collect();
        hosts.push(host);
    }
    if hosts.is_empty() {
        return Err(Failure::Unexpected {
            what: what.recordings.display().to_string(),
            text: "it holds no recorded host".to_owned(),
        });
    }
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Report { hosts, attacks })
}

/// The executed tests with the events of their trees.
fn attacks(run: &Path, list: &Path) -> Result<Vec<Attack>, Failure> {
    let (run, list) = (Run::read(run)?, List::read(list)?);
    let mut attacks = Vec::new();
    for place in (1..).zip(&list.tests) {
        let plain = |step: &&Step| step.guid == place.1.guid && step.variant == Variant::Plain;
        let Some(step) = run.steps.iter().rfind(plain) else {
            continue;
        };
        let (told, _) = run.events(step)?;
        attacks.extend(attack(place, step, &told));
    }
    Ok(attacks)
}

fn attack(place: (usize, &Test), step: &Step, told: &[Told]) -> Option<Attack> {
    let row = judge::test(
        place,
        Variant::Plain,
        Some((step, told)),
        &Techniques::default(),
    );
    if row.state != State::Executed || row.builtin_only {
        return None;
    }
    let tree = Tree::below(root(step)?, told);
    let own = told.iter().filter(|told| tree.owns(&told.event));
    Some(Attack {
        name: row.name,
        technique: row.technique,
        by_rules: row
            .findings
            .iter()
            .any(|one| one.severity >= Severity::Medium && one.rule != "scorer"),
        began: step.played.began,
        events: own.map(|told| told.event.clone()).collect(),
    })
}

fn root(step: &Step) -> Option<ProcessUid> {
    ProcessUid::parse(step.played.root.as_ref()?).ok()
}

impl Host {
    fn of(step: &Step, told: &[Told], budget: u32) -> Self {
        let hand = root(step).map(|root| Tree::below(root, told));
        let by_hand = |event: &Event| hand.as_ref().is_some_and(|hand| hand.has(event));
        let own = told
            .iter()
            .map(|told| &told.event)
            .filter(|event| !by_hand(event) && !judge::is_runner(event));
        let mut learning = Learning::new(budget);
        for event in own {
            learning.take(event);
        }
        learning.finish(step.guid.clone())
    }

    /// Plays an attack to a copy of the host, right after its last event.
    fn meet(&self, attack: &Attack) -> Found {
        let (snapshot, alerts) = &self.state;
        let mut found = Found {
            strength: Strength::default(),
            notified: false,
        };
        let Ok(mut scorer) = Scorer::restore(Settings::new(SECRET), snapshot) else {
            return found;
        };
        let mut alerts = alerts.clone();
        let mut incident = Gathered::default();
        for event in &attack.events {
            let later = event.time.0.saturating_sub(attack.began).max(0);
            let now = UnixNanos(self.last.0.saturating_add(later));
            let Some(verdict) = scorer.step(now, event) else {
                continue;
            };
            incident.take(&verdict);
            found.notified |= alerts.step(now, ATTACK, &verdict).notifies();
        }
        found.strength = incident.strength();
        found
    }

    /// What an incident must exceed so that at most so many benign ones do in the counted days.
    pub fn bar(&self, most: usize, of: impl Fn(&Strength) -> f64) -> f64 {
        let mut values: Vec<f64> = self.incidents.iter().map(of).collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values.get(most).copied().unwrap_or(0.0)
    }
}

/// A host while its recording is played.
struct Learning {
    scorer: Scorer,
    alerts: Alerts,
    last: UnixNanos,
    events: usize,
    days: BTreeMap<i64, BTreeMap<u64, Gathered>>,
    notifications: usize,
    by_rules: BTreeMap<String, (usize, usize)>,
}

impl Learning {
    fn new(budget: u32) -> Self {
        Self {
            scorer: Scorer::new(Settings::new(SECRET)),
            alerts: Alerts::new(budget),
            last: UnixNanos(i64::MIN),
            events: 0,
            days: BTreeMap::new(),
            notifications: 0,
            by_rules: BTreeMap::new(),
        }
    }

    fn take(&mut self, event: &Event) {
        self.events += 1;
        self.last = self.last.max(event.time);
        let day = event.time.0.div_euclid(DAY);
        self.note_rules(event);
        let incidents = self.days.entry(day).or_default();
        let Some(verdict) = self.scorer.step(event.time, event) else {
            return;
        };
        let number = incident_of(event);
        incidents.entry(number).or_default().take(&verdict);
        let told = self.alerts.step(event.time, number, &verdict).notifies();
        self.notifications += usize::from(told);
    }

    fn note_rules(&mut self, event: &Event) {
        for verdict in &event.verdicts {
            let Verdict::Rule(rule) = verdict else {
                continue;
            };
            if rule.severity >= Severity::Medium {
                let (all, bad) = self.by_rules.entry(rule.title.clone()).or_default();
                *all += 1;
                *bad += usize::from(rule.severity >= Severity::High);
            }
        }
    }

    fn finish(self, name: String) -> Host {
        let counted = self.days.values().skip(LEARNING_DAYS);
        let mut incidents: Vec<Strength> = counted
            .clone()
            .flat_map(|incidents| incidents.values().map(Gathered::strength))
            .filter(|strength| strength.rarity > 0.0 || strength.density > 0.0)
            .collect();
        incidents.sort_by(|a, b| b.rarity.total_cmp(&a.rarity));
        Host {
            name,
            events: self.events,
            days: self.days.len(),
            counted: counted.count(),
            notifications: self.notifications,
            incidents,
            alerts: self.by_rules,
            attacks: Vec::new(),
            state: (self.scorer.snapshot(), self.alerts),
            last: self.last,
        }
    }
}

/// What was seen of an incident.
#[derive(Default)]
struct Gathered {
    rarity: f64,
    why: String,
    factors: BTreeMap<Cow<'static, str>, f64>,
    events: u32,
    excess: f64,
}

impl Gathered {
    /// Only what the host knows enough about counts, as for alerts.
    fn take(&mut self, verdict: &ScorerVerdict) {
        let mature = || verdict.reasons.iter().filter(|one| is_mature_reason(one));
        let most = mature().map(|reason| reason.bits - reason.usual);
        self.events += 1;
        self.excess += most.fold(0.0, f64::max);
        for reason in mature() {
            let most = self.factors.entry(reason.factor.clone()).or_default();
            *most = most.max(reason.bits - reason.usual);
        }
        let rarity = -verdict.p.log2();
        if let Some(reason) = mature().next()
            && rarity > self.rarity
        {
            self.rarity = rarity;
            self.why = format!("{}: {} -> {}", reason.factor, reason.context, reason.value);
        }
    }

    fn strength(&self) -> Strength {
        Strength {
            rarity: self.rarity,
            bits: self
                .factors
                .values()
                .fold(0.0, |sum, bits| sum + bits.max(0.0)),
            density: self.excess / f64::from(self.events.max(FEWEST)),
            why: self.why.clone(),
        }
    }
}

/// A day in nanoseconds.
const DAY: i64 = 86_400_000_000_000;
/// The day on which the host is set up, and three more before which nothing is mature.
const LEARNING_DAYS: usize = 4;
/// Events by which the bits of an incident are divided at least: one strange event is not yet a dense incident.
const FEWEST: u32 = 4;
/// Keys the tables. Any value gives the same figures but for texts that meet.
const SECRET: [u8; 16] = *b"picket-eval key.";
/// The number of an attack's incident.
const ATTACK: u64 = u64::MAX;

#[cfg(test)]
mod tests;
