//! What is remembered of each group of events, within bounds.

use std::collections::{BTreeMap, HashMap, VecDeque};

use picket_event::{Evidence, MOST_EVIDENCE, UnixNanos};

use super::condition::{Wanted, real};
use super::{CorrelationKind, MOST_GROUPS, MOST_NUMBERS, MOST_SEEN, Metric};

/// What an event adds to its group.
#[derive(Debug)]
pub(super) enum Seen {
    Hit,
    Value(Vec<u8>),
    Number(f64),
    /// By its place among the rules of the correlation.
    Rule(usize),
}

/// What makes a group complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) kind: CorrelationKind,
    pub(super) wanted: &'a Wanted,
    /// How many rules the correlation has.
    pub(super) rules: usize,
    /// In nanoseconds.
    pub(super) span: i64,
}

/// Groups by key, with the order in which they were touched.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_key: HashMap<Vec<u8>, Group>,
    by_touch: BTreeMap<u64, Vec<u8>>,
    touches: u64,
    /// Hits and values of all groups.
    seen: usize,
}

#[derive(Debug, Default)]
struct Group {
    touch: u64,
    /// Times of the hits that count, oldest first as they came.
    hits: VecDeque<i64>,
    /// Each value with the time at which it was last seen.
    values: HashMap<Vec<u8>, i64>,
    /// Each number with its time, as they came.
    numbers: VecDeque<(i64, f64)>,
    /// For each rule its last time. In order, for each rule and each number of rules that were left out before it: when the latest
    /// chain began that ends with it.
    rules: Vec<Option<i64>>,
    /// The last events that count.
    last: VecDeque<Evidence>,
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The events that the group rests on, if it is complete with this one; then it begins anew.
    pub(super) fn step(
        &mut self,
        key: Vec<u8>,
        asked: Asked<'_>,
        event: Evidence,
        seen: Seen,
    ) -> Option<Vec<Evidence>> {
        self.make_room(&key);
        self.touches += 1;
        let group = self.by_key.entry(key.clone()).or_default();
        self.by_touch.remove(&group.touch);
        group.touch = self.touches;
        let before = group.size();
        let complete = group.add(asked, event, seen);
        self.seen = self.seen.saturating_sub(before) + group.size();
        self.by_touch.insert(self.touches, key.clone());
        complete.then(|| self.remove(&key)).flatten()
    }

    fn remove(&mut self, key: &[u8]) -> Option<Vec<Evidence>> {
        let group = self.by_key.remove(key)?;
        self.by_touch.remove(&group.touch);
        self.seen = self.seen.saturating_sub(group.size());
        Some(group.last.into())
    }

    fn make_room(&mut self, key: &[u8]) {
        let is_new = !self.by_key.contains_key(key);
        let full = is_new && self.by_key.len() >= MOST_GROUPS;
        while (full && self.by_key.len() >= MOST_GROUPS) || self.seen >= MOST_SEEN {
            let Some((_, oldest)) = self.by_touch.pop_first() else {
                return;
            };
            self.remove(&oldest);
        }
    }
}

impl Group {
    fn size(&self) -> usize {
        self.hits.len() + self.values.len() + self.numbers.len()
    }

    fn add(&mut self, asked: Asked<'_>, event: Evidence, seen: Seen) -> bool {
        let UnixNanos(time) = event.time;
        let from = time.saturating_sub(asked.span);
        self.last.retain(|event| event.time.0 >= from);
        match (asked.kind, seen) {
            (CorrelationKind::Events, Seen::Hit) => {
                self.hits.retain(|hit| *hit >= from);
                self.hits.push_back(time);
                self.note(event);
                asked.wanted.number_holds(real(self.hits.len()))
            }
            (CorrelationKind::Values, Seen::Value(value)) => {
                self.values.retain(|_, last| *last >= from);
                if self.values.insert(value, time).is_none() {
                    self.note(event);
                }
                asked.wanted.number_holds(real(self.values.len()))
            }
            (CorrelationKind::Metric(metric), Seen::Number(number)) => {
                self.numbers.retain(|(time, _)| *time >= from);
                if self.numbers.len() >= MOST_NUMBERS {
                    self.numbers.pop_front();
                }
                self.numbers.push_back((time, number));
                self.note(event);
                let numbers = self.numbers.iter().map(|(_, number)| *number);
                asked.wanted.number_holds(metric.of(numbers.collect()))
            }
            (CorrelationKind::Together, Seen::Rule(position)) => {
                self.rules.resize(asked.rules, None);
                self.set(position, Some(time));
                self.note(event);
                let fresh = |last: &Option<i64>| last.is_some_and(|last| last >= from);
                let happened: Vec<bool> = self.rules.iter().map(fresh).collect();
                asked.wanted.rules_hold(&happened)
            }
            (CorrelationKind::InOrder, Seen::Rule(position)) => {
                let skipped = asked.wanted.skipped(asked.rules).unwrap_or(0);
                self.rules.resize(asked.rules * (skipped + 1), None);
                self.chain(position, skipped, (from, time), event) == Some(asked.rules)
            }
            _ => false,
        }
    }

    /// Lets chains grow by a rule, each as long as may be, and says of the longest how many rules are in it or may be missing.
    fn chain(
        &mut self,
        position: usize,
        most: usize,
        (from, time): (i64, i64),
        event: Evidence,
    ) -> Option<usize> {
        let width = most + 1;
        let mut longest = None;
        for skipped in (0..width).rev() {
            let before = (skipped == position).then_some(time);
            let earlier = (0..position).filter_map(|rule| {
                let left_out = skipped.checked_sub(position - rule - 1)?;
                *self.rules.get(rule * width + left_out)?
            });
            let begun = earlier.chain(before).max();
            let begun = begun.filter(|begun| (from..=time).contains(begun));
            if begun.is_some() {
                self.set(position * width + skipped, begun);
                longest = Some(position + 1 - skipped + most);
            }
        }
        if longest.is_some() {
            self.note(event);
        }
        longest
    }

    fn note(&mut self, event: Evidence) {
        if self.last.len() >= MOST_EVIDENCE {
            self.last.pop_front();
        }
        self.last.push_back(event);
    }

    fn set(&mut self, position: usize, time: Option<i64>) {
        if let Some(last) = self.rules.get_mut(position) {
            *last = time;
        }
    }
}

impl Metric {
    /// Of numbers, of which there is at least one.
    fn of(self, mut numbers: Vec<f64>) -> f64 {
        let count = real(numbers.len());
        match self {
            Self::Sum => numbers.iter().sum(),
            Self::Average => numbers.iter().sum::<f64>() / count,
            Self::Percentile(percent) => {
                numbers.sort_by(f64::total_cmp);
                let hundredths = numbers.len().saturating_sub(1) * usize::from(percent);
                let (place, beyond) = (hundredths / 100, hundredths % 100);
                let at = |place: usize| numbers.get(place).copied().unwrap_or_default();
                let (below, above) = (at(place), at(place + usize::from(beyond > 0)));
                below + (above - below) * real(beyond) / 100.0
            }
        }
    }
}
