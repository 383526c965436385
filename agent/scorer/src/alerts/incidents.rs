//! Incidents: what belongs together, with the bits of its different factors.

use std::borrow::Cow;
use std::collections::BTreeMap;

use picket_event::ScorerVerdict;

use super::PERIOD;
use crate::explain::is_mature_reason;

/// An incident, as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Its number, as the caller gave it.
    pub number: u64,
    /// The sum over its factors of the most that each was beyond its usual, in bits.
    pub bits: f64,
    /// The factors with their bits, by name.
    pub factors: Vec<(Cow<'static, str>, f64)>,
    /// Events that raised an alert.
    pub alerts: u64,
}

/// All incidents of late.
#[derive(Clone, Debug)]
pub(super) struct Incidents {
    entries: BTreeMap<u64, Entry>,
}

/// What is known of an incident.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    last: i64,
    alerts: u64,
    /// By name; at most [`MOST_FACTORS`].
    factors: Vec<(Cow<'static, str>, f64)>,
    /// Whether somebody was told.
    pub(super) told: Told,
    /// It was withheld.
    pub(super) withheld: bool,
}

/// What somebody was told of an incident.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Told {
    #[default]
    Nothing,
    Ordinary,
    Urgent,
}

impl Incidents {
    pub(super) const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }

    /// Adds a score. An incident begins with an alert and ends after a period of silence.
    pub(super) fn take(
        &mut self,
        now: i64,
        number: u64,
        verdict: &ScorerVerdict,
        alert: bool,
    ) -> Option<&mut Entry> {
        let over = |entry: &Entry| now.saturating_sub(entry.last) >= PERIOD;
        if self.entries.get(&number).is_some_and(over) {
            self.entries.remove(&number);
        }
        if !alert && !self.entries.contains_key(&number) {
            return None;
        }
        if self.entries.len() >= MOST_INCIDENTS && !self.entries.contains_key(&number) {
            self.forget_one();
        }
        let entry = self.entries.entry(number).or_default();
        entry.last = now;
        entry.alerts += u64::from(alert);
        entry.add(verdict);
        Some(entry)
    }

    /// Those nobody was told about, the strongest first.
    pub(super) fn withheld(&self) -> Vec<Incident> {
        let withheld = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.told == Told::Nothing);
        let mut all: Vec<Incident> = withheld
            .map(|(number, entry)| entry.told_as(*number))
            .collect();
        all.sort_by(|a, b| b.bits.total_cmp(&a.bits).then(a.number.cmp(&b.number)));
        all.truncate(MOST_KEPT);
        all
    }

    /// The one that was quiet for longest, of those the weakest.
    fn forget_one(&mut self) {
        let worth = |entry: &Entry| (entry.last, entry.bits());
        let least = self.entries.iter().min_by(|(_, a), (_, b)| {
            let ((a_last, a_bits), (b_last, b_bits)) = (worth(a), worth(b));
            a_last.cmp(&b_last).then(a_bits.total_cmp(&b_bits))
        });
        if let Some(number) = least.map(|(number, _)| *number) {
            self.entries.remove(&number);
        }
    }
}

impl Entry {
    /// Each factor counts once, by the most that it was beyond its usual in a mature context.
    fn add(&mut self, verdict: &ScorerVerdict) {
        for reason in &verdict.reasons {
            let excess = reason.bits - reason.usual;
            if !is_mature_reason(reason) || excess.is_nan() || excess < LEAST_EXCESS {
                continue;
            }
            let known = self
                .factors
                .iter()
                .position(|(factor, _)| *factor == reason.factor);
            match known {
                Some(place) => self.factors[place].1 = self.factors[place].1.max(excess),
                None if self.factors.len() < MOST_FACTORS => {
                    self.factors.push((reason.factor.clone(), excess));
                }
                None => {}
            }
        }
    }

    pub(super) fn bits(&self) -> f64 {
        self.factors.iter().map(|(_, bits)| bits).sum()
    }

    pub(super) fn factors(&self) -> usize {
        self.factors.len()
    }

    fn told_as(&self, number: u64) -> Incident {
        Incident {
            number,
            bits: self.bits(),
            factors: self.factors.clone(),
            alerts: self.alerts,
        }
    }
}

/// Incidents remembered.
const MOST_INCIDENTS: usize = 1_024;
/// Factors of an incident that count: more than there are.
const MOST_FACTORS: usize = 32;
/// Withheld incidents that are told on request.
const MOST_KEPT: usize = 16;
/// What a factor must be beyond its usual to count, in bits.
const LEAST_EXCESS: f64 = 6.0;
