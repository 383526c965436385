//! Sequences that have begun and are not complete, within bounds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use picket_event::{Evidence, UnixNanos};

use super::{MOST_OPEN, MOST_OPEN_OF_ONE, Sequence, Whose};

/// Which open sequence.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    pub(super) sequence: usize,
    pub(super) whose: Whose,
    pub(super) same: Option<Vec<u8>>,
}

/// An event, and its number as it arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) arrival: u64,
    pub(super) event: Evidence,
}

/// Open sequences by key, with the order in which they were touched.
#[derive(Debug, Default)]
pub(super) struct OpenSequences {
    by_key: HashMap<Key, Open>,
    by_touch: BTreeMap<u64, Key>,
    /// The touches of each sequence.
    of_one: BTreeMap<usize, BTreeSet<u64>>,
    touches: u64,
    forgotten: u64,
}

/// What a step is to a sequence.
#[derive(Debug)]
pub(super) enum Advance {
    /// It does not go on with it.
    No,
    /// It goes on with it, and more is wanted.
    Open,
    /// It was the last one; the events in their order.
    Complete(Vec<Evidence>),
}

#[derive(Debug)]
struct Open {
    touch: u64,
    span: i64,
    /// For each step but the last the youngest chain that ends with it.
    chains: Vec<Option<Chain>>,
}

/// Steps that follow each other.
#[derive(Clone, Debug)]
struct Chain {
    events: Vec<Seen>,
}

impl OpenSequences {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) const fn count_from(&mut self, forgotten: u64) {
        self.forgotten = forgotten;
    }

    /// The first step was seen.
    pub(super) fn begin(&mut self, key: Key, plan: &Sequence, seen: Seen) {
        let known = self.by_key.get(&key).map(|open| open.touch);
        if known.is_none() {
            self.make_room(key.sequence, seen.event.time);
            let open = Open {
                touch: 0,
                span: plan.span,
                chains: vec![None; plan.steps.saturating_sub(1)],
            };
            self.by_key.insert(key.clone(), open);
        }
        if let Some(open) = self.by_key.get_mut(&key) {
            open.keep(0, Chain { events: vec![seen] });
        }
        self.touch(key, known.unwrap_or(0));
    }

    /// What the step is to the sequence of this key.
    pub(super) fn advance(
        &mut self,
        key: &Key,
        plan: &Sequence,
        step: usize,
        seen: Seen,
    ) -> Advance {
        let Some(open) = self.by_key.get_mut(key) else {
            return Advance::No;
        };
        let Some(chain) = open.longer(step, plan.span, seen) else {
            return Advance::No;
        };
        if step.saturating_add(1) >= plan.steps {
            self.remove(key);
            return Advance::Complete(chain.events.iter().map(|seen| seen.event).collect());
        }
        open.keep(step, chain);
        let touch = open.touch;
        self.touch(key.clone(), touch);
        Advance::Open
    }

    /// What ended before this time does not go on.
    pub(super) fn close(&mut self, sequence: usize, whose: &Whose, until: UnixNanos) {
        let Some(touches) = self.of_one.get(&sequence) else {
            return;
        };
        let keys = touches.iter().filter_map(|touch| self.by_touch.get(touch));
        let keys: Vec<Key> = keys.filter(|key| key.whose == *whose).cloned().collect();
        for key in keys {
            let Some(open) = self.by_key.get_mut(&key) else {
                continue;
            };
            for chain in &mut open.chains {
                chain.take_if(|chain| chain.last() <= until.0);
            }
            if open.chains.iter().all(Option::is_none) {
                self.remove(&key);
            }
        }
    }

    fn touch(&mut self, key: Key, before: u64) {
        self.touches += 1;
        self.by_touch.remove(&before);
        let of_one = self.of_one.entry(key.sequence).or_default();
        of_one.remove(&before);
        of_one.insert(self.touches);
        if let Some(open) = self.by_key.get_mut(&key) {
            open.touch = self.touches;
        }
        self.by_touch.insert(self.touches, key);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(open) = self.by_key.remove(key) {
            self.by_touch.remove(&open.touch);
            if let Some(of_one) = self.of_one.get_mut(&key.sequence) {
                of_one.remove(&open.touch);
            }
        }
    }

    /// Drops the oldest if its span is over, and whatever is too much.
    fn make_room(&mut self, sequence: usize, now: UnixNanos) {
        if let Some(oldest) = self.oldest(None)
            && self.is_over(&oldest, now)
        {
            self.remove(&oldest);
        }
        let of_one = |open: &Self| open.of_one.get(&sequence).map_or(0, BTreeSet::len);
        if of_one(self) >= MOST_OPEN_OF_ONE {
            self.drop_oldest(Some(sequence), now);
        } else if self.len() >= MOST_OPEN {
            self.drop_oldest(None, now);
        }
    }

    fn drop_oldest(&mut self, of: Option<usize>, now: UnixNanos) {
        if let Some(oldest) = self.oldest(of) {
            self.forgotten += u64::from(!self.is_over(&oldest, now));
            self.remove(&oldest);
        }
    }

    fn oldest(&self, of: Option<usize>) -> Option<Key> {
        match of {
            None => self.by_touch.first_key_value().map(|(_, key)| key.clone()),
            Some(sequence) => {
                let touch = self.of_one.get(&sequence)?.first()?;
                self.by_touch.get(touch).cloned()
            }
        }
    }

    fn is_over(&self, key: &Key, now: UnixNanos) -> bool {
        let Some(open) = self.by_key.get(key) else {
            return true;
        };
        let mut chains = open.chains.iter().flatten();
        chains.all(|chain| now.0.saturating_sub(chain.begun()) > open.span)
    }
}

impl Open {
    /// The chain that ends with this step, if one goes on with it.
    fn longer(&self, step: usize, span: i64, seen: Seen) -> Option<Chain> {
        let before = self.chains.get(step.checked_sub(1)?)?.as_ref()?;
        let UnixNanos(time) = seen.event.time;
        let goes_on = before.last() <= time && time.saturating_sub(before.begun()) <= span;
        let known = before.events.iter().any(|it| it.arrival == seen.arrival);
        if !goes_on || known {
            return None;
        }
        let mut chain = before.clone();
        chain.events.push(seen);
        Some(chain)
    }

    /// Of two chains that end with the same step, the one that began later has more time left.
    fn keep(&mut self, step: usize, chain: Chain) {
        if let Some(kept) = self.chains.get_mut(step)
            && kept
                .as_ref()
                .is_none_or(|kept| kept.begun() <= chain.begun())
        {
            *kept = Some(chain);
        }
    }
}

impl Chain {
    fn begun(&self) -> i64 {
        self.events
            .first()
            .map_or(i64::MIN, |seen| seen.event.time.0)
    }

    fn last(&self) -> i64 {
        self.events
            .last()
            .map_or(i64::MIN, |seen| seen.event.time.0)
    }
}
