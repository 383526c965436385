//! What is remembered of each group of events, within bounds.

use std::collections::{BTreeMap, HashMap, VecDeque};

use picket_event::{Evidence, MOST_EVIDENCE, UnixNanos};

use super::{CorrelationKind, MOST_GROUPS, MOST_SEEN};

/// What an event adds to its group.
#[derive(Debug)]
pub(super) enum Seen {
    Hit,
    Value(Vec<u8>),
    /// By its place among the rules of the correlation.
    Rule(usize),
}

/// What makes a group complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) kind: CorrelationKind,
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
    /// For each rule its last time; in order: when the chain began that ends with it.
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
        wanted: Wanted,
        event: Evidence,
        seen: Seen,
    ) -> Option<Vec<Evidence>> {
        self.make_room(&key);
        self.touches += 1;
        let group = self.by_key.entry(key.clone()).or_default();
        self.by_touch.remove(&group.touch);
        group.touch = self.touches;
        group.rules.resize(wanted.rules, None);
        let before = group.size();
        let complete = group.add(wanted, event, seen);
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
        self.hits.len() + self.values.len()
    }

    fn add(&mut self, wanted: Wanted, event: Evidence, seen: Seen) -> bool {
        let UnixNanos(time) = event.time;
        let from = time.saturating_sub(wanted.span);
        self.last.retain(|event| event.time.0 >= from);
        match (wanted.kind, seen) {
            (CorrelationKind::Events(wanted), Seen::Hit) => {
                self.hits.retain(|hit| *hit >= from);
                self.hits.push_back(time);
                self.note(event);
                self.hits.len() >= wanted
            }
            (CorrelationKind::Values(_, wanted), Seen::Value(value)) => {
                self.values.retain(|_, last| *last >= from);
                if self.values.insert(value, time).is_none() {
                    self.note(event);
                }
                self.values.len() >= wanted
            }
            (CorrelationKind::Together, Seen::Rule(position)) => {
                self.set(position, Some(time));
                self.note(event);
                let fresh = |last: &Option<i64>| last.is_some_and(|last| last >= from);
                self.rules.iter().all(fresh)
            }
            (CorrelationKind::InOrder, Seen::Rule(position)) => {
                let before = position.checked_sub(1);
                let begun = match before {
                    None => Some(time),
                    Some(before) => self.rules.get(before).copied().flatten(),
                };
                let begun = begun.filter(|begun| (from..=time).contains(begun));
                if begun.is_some() {
                    self.set(position, begun);
                    self.note(event);
                }
                begun.is_some() && position + 1 == self.rules.len()
            }
            _ => false,
        }
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
