//! What the other hosts of the fleet do, and what this one tells them.
//!
//! # Invariants
//!
//! - A host tells only what it did on two days, and never what is on probation or rare in a context that it knows.
//! - The fleet is asked only about contexts that this host is still learning: its own history counts for more.
//! - All is found by hashes under the fleet's secret. Memory is fixed: [`Fleet::state_bytes`].

use std::fmt;

use picket_event::fleet::{
    FleetSecret, MOST_CONTEXTS, MOST_PAIRS, MOST_VALUES, Pair, Prior, Sketch,
};

use crate::factor::Factor;
use crate::feature::Observation;
use crate::keys::{Keys, LevelKeys};
use crate::surprise::Counts;

/// The level of an explanation that says what the fleet knows: on how many hosts the context has the value
/// (`seen`), on how many there is the context (`context_seen`), and how many values it has on any (`distinct`).
pub(crate) const FLEET: &str = "hosts of the fleet";

/// What is shared, and what came back.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    secret: Option<(FleetSecret, Keys)>,
    /// What this host has.
    pub(crate) own: Own,
    prior: Shared,
}

/// What the fleet's prior holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FleetKnowledge {
    /// Which prior is in use; 0: none.
    pub number: u64,
    /// Hosts whose sketches are in it.
    pub hosts: u32,
    /// Contexts in it.
    pub contexts: usize,
    /// Values in it.
    pub values: usize,
    /// What this host would tell of itself.
    pub told: usize,
}

/// What the fleet knows of an observation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Where it is.
    pub(crate) keys: LevelKeys,
    /// What is known of the context; nothing, if too few hosts have it.
    pub(crate) counts: Option<Counts>,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self {
            secret: None,
            own: Own::new(),
            prior: Shared::default(),
        }
    }

    /// Bytes that it takes, from the first event to the last.
    pub(crate) const fn state_bytes() -> usize {
        let own = OWN * (size_of::<Pair>() + size_of::<Sighting>());
        let contexts = MOST_CONTEXTS * (size_of::<u64>() + 2 * size_of::<u16>());
        own + contexts + MOST_VALUES * (size_of::<u64>() + size_of::<u16>())
    }

    /// Under whose secret it counts.
    pub(crate) fn secret(&self) -> Option<FleetSecret> {
        self.secret.map(|(secret, _)| secret)
    }

    /// Counts under this secret from now on. What was counted under another one is forgotten.
    pub(crate) fn join(&mut self, secret: FleetSecret) {
        if self.secret() != Some(secret) {
            *self = Self::new();
            self.secret = Some((secret, Keys::new(*secret.as_bytes())));
        }
    }

    /// Uses this prior; `false`: it is under another secret.
    pub(crate) fn take(&mut self, prior: &Prior) -> bool {
        let of_this = self.secret().is_some_and(|own| own.id() == prior.fleet);
        if of_this {
            self.prior = Shared::of(prior);
        }
        of_this
    }

    /// What this host tells.
    pub(crate) fn sketch(&self, day: u16) -> Option<Sketch> {
        let secret = self.secret()?;
        let pairs = self.own.told(day);
        Some(Sketch {
            fleet: secret.id(),
            pairs: pairs.collect(),
        })
    }

    pub(crate) fn knowledge(&self, day: u16) -> FleetKnowledge {
        FleetKnowledge {
            number: self.prior.number,
            hosts: self.prior.hosts,
            contexts: self.prior.contexts.len(),
            values: self.prior.values.len(),
            told: self.own.told(day).count(),
        }
    }

    /// What the fleet knows of it, if it is asked about such things at all.
    pub(crate) fn ask(&self, observation: &Observation<'_>) -> Option<Asked> {
        let (_, keys) = self.secret.as_ref()?;
        let shared = SHARED.contains(&observation.factor);
        let keys = shared.then(|| keys.levels(observation).special())?;
        Some(Asked {
            keys,
            counts: self.prior.counts(keys),
        })
    }

    /// This host has it.
    pub(crate) fn learn(&mut self, keys: LevelKeys, day: u16) {
        self.own.note(
            Pair {
                context: keys.context,
                value: keys.value,
            },
            day,
        );
    }
}

/// What hosts compare: what programs start, as whom, from where and how. Nothing with a name of a person, an
/// address or a file in it.
const SHARED: [Factor; 4] = [
    Factor::ChildOfParent,
    Factor::ProgramDirectory,
    Factor::UserOfProgram,
    Factor::FlagsOfProgram,
];

/// When a pair was seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sighting {
    /// On how many days; 0: the place is empty.
    pub(crate) days: u16,
    /// The last of them.
    pub(crate) last: u16,
}

/// What this host has: places of fixed number, in which what was not seen for longest gives way.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Own {
    pairs: Vec<Pair>,
    seen: Vec<Sighting>,
}

impl Own {
    fn new() -> Self {
        Self {
            pairs: vec![
                Pair {
                    context: 0,
                    value: 0
                };
                OWN
            ],
            seen: vec![Sighting::default(); OWN],
        }
    }

    fn note(&mut self, pair: Pair, day: u16) {
        let bucket = bucket(pair);
        let known = bucket
            .clone()
            .find(|place| self.seen[*place].days > 0 && self.pairs[*place] == pair);
        let place = known.unwrap_or_else(|| {
            let age = |place: &usize| (self.seen[*place].last, self.seen[*place].days);
            let place = bucket.clone().min_by_key(age).unwrap_or(bucket.start);
            (self.pairs[place], self.seen[place]) = (pair, Sighting::default());
            place
        });
        let seen = &mut self.seen[place];
        if seen.days == 0 || seen.last != day {
            seen.days = seen.days.saturating_add(1);
            seen.last = day;
        }
    }

    /// What was seen on enough days, and of late.
    fn told(&self, day: u16) -> impl Iterator<Item = Pair> {
        let of_late = move |seen: &Sighting| {
            seen.days >= TOLD_DAYS && day.saturating_sub(seen.last) <= TOLD_FOR
        };
        let all = self.pairs.iter().zip(&self.seen);
        all.filter(move |(_, seen)| of_late(seen))
            .map(|(pair, _)| *pair)
    }

    /// The places in use, in order.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, Pair, Sighting)> {
        let all = self.pairs.iter().zip(&self.seen).enumerate();
        all.filter(|(_, (_, seen))| seen.days > 0)
            .map(|(place, (pair, seen))| (place, *pair, *seen))
    }

    /// Puts one back where it was; whether it can have been there.
    pub(crate) fn put(&mut self, place: usize, pair: Pair, seen: Sighting) -> bool {
        let fits = seen.days > 0 && bucket(pair).contains(&place);
        if fits {
            (self.pairs[place], self.seen[place]) = (pair, seen);
        }
        fits
    }
}

/// Its size only.
impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own")
            .field("used", &self.used().count())
            .finish_non_exhaustive()
    }
}

/// The places of a pair: the upper half of its hash, scaled to the number of buckets.
fn bucket(pair: Pair) -> std::ops::Range<usize> {
    let scaled = (pair.value >> 32) * (OWN / BUCKET) as u64;
    let start = usize::try_from(scaled >> 32).unwrap_or_default() * BUCKET;
    start..start + BUCKET
}

/// A prior, to be asked quickly: sorted, and each number in as few bytes as hold it.
#[derive(Clone, Default, Eq, PartialEq)]
struct Shared {
    number: u64,
    hosts: u32,
    contexts: Vec<u64>,
    context_counts: Vec<[u16; 2]>,
    values: Vec<u64>,
    value_hosts: Vec<u16>,
}

impl Shared {
    fn of(prior: &Prior) -> Self {
        let mut contexts: Vec<_> = prior.contexts.iter().take(MOST_CONTEXTS).collect();
        contexts.sort_by_key(|one| one.context);
        let mut values: Vec<_> = prior.values.iter().take(MOST_VALUES).collect();
        values.sort_by_key(|one| one.value);
        let counts = contexts
            .iter()
            .map(|one| [short(one.hosts), short(one.values)]);
        Self {
            number: prior.number,
            hosts: prior.hosts,
            context_counts: counts.collect(),
            contexts: contexts.iter().map(|one| one.context).collect(),
            value_hosts: values.iter().map(|one| short(one.hosts)).collect(),
            values: values.iter().map(|one| one.value).collect(),
        }
    }

    fn counts(&self, keys: LevelKeys) -> Option<Counts> {
        let place = self.contexts.binary_search(&keys.context).ok()?;
        let [hosts, values] = *self.context_counts.get(place)?;
        let value = self.values.binary_search(&keys.value).ok();
        let seen = value.and_then(|place| self.value_hosts.get(place));
        Some(Counts {
            seen: u32::from(seen.copied().unwrap_or_default()),
            context_seen: u32::from(hosts),
            distinct: u32::from(values).max(1),
        })
    }
}

/// Its size only.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("number", &self.number)
            .field("values", &self.values.len())
            .finish_non_exhaustive()
    }
}

/// Of more hosts than that nobody needs to know more exactly.
fn short(count: u32) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// Pairs that are remembered.
const OWN: usize = MOST_PAIRS;
/// Places that a pair may lie in.
const BUCKET: usize = 8;
/// Days on which a pair was seen before it is told.
const TOLD_DAYS: u16 = 2;
/// Days after which it is told no more.
const TOLD_FOR: u16 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(n: u64) -> Pair {
        Pair {
            context: n,
            value: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    #[test]
    fn a_pair_is_told_from_its_second_day_on_and_for_a_month() {
        let mut own = Own::new();
        for _ in 0..1_000 {
            own.note(pair(1), 4);
        }
        assert_eq!(own.told(4).count(), 0);
        own.note(pair(1), 6);
        assert_eq!(own.told(6).collect::<Vec<_>>(), [pair(1)]);
        assert_eq!((own.told(36).count(), own.told(37).count()), (1, 0));
    }

    #[test]
    fn what_was_not_seen_for_longest_gives_way() {
        let mut own = Own::new();
        for day in [1, 2] {
            for n in 0..100 {
                own.note(pair(n), day);
            }
        }
        for n in 1_000..200_000 {
            own.note(pair(n), 3);
        }
        assert_eq!(own.used().count(), OWN);
        assert_eq!(own.told(3).count(), 0);
        let kept: Vec<_> = own.used().collect();
        let mut again = Own::new();
        for (place, pair, seen) in kept {
            assert!(again.put(place, pair, seen));
        }
        assert!(again == own);
        assert!(!again.put(OWN, pair(1), Sighting { days: 1, last: 1 }));
    }
}
