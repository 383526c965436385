//! Many sketches become what the fleet knows. Pure.
//!
//! # Invariants
//!
//! - Each host adds one to a thing at most, and at most its share to how open a context is taken to be: nobody alone makes a value
//!   known, or a context one in which anything may come.
//! - Memory is bounded: of more than [`MOST_COUNTED`] different values the later ones are not counted.

use std::collections::HashMap;

use picket_event::fleet::{
    LEAST_HOSTS, MOST_CONTEXTS, MOST_VALUES, Pair, SharedContext, SharedValue,
};

/// What came out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Merged {
    /// Hosts whose sketches are in it.
    pub(super) hosts: u32,
    /// Contexts that enough hosts have, the most widespread first.
    pub(super) contexts: Vec<SharedContext>,
    /// Values that enough hosts have, in these contexts, the most widespread first.
    pub(super) values: Vec<SharedValue>,
}

/// Merges what `read` shows; it is asked twice and must show the same.
pub(super) fn merge<E>(read: impl Fn(&mut dyn FnMut(&[u8])) -> Result<(), E>) -> Result<Merged, E> {
    let mut counted = Counted::default();
    read(&mut |bytes| counted.add(&from_bytes(bytes)))?;
    let mut open = Openness::default();
    read(&mut |bytes| open.add(&from_bytes(bytes), &counted))?;
    Ok(counted.select(&open))
}

/// Pairs as they are kept, each once: context u64 le, value u64 le.
pub(super) fn to_bytes(mut pairs: Vec<Pair>) -> Vec<u8> {
    pairs.sort_unstable();
    pairs.dedup();
    let numbers = pairs.iter().flat_map(|pair| [pair.context, pair.value]);
    numbers.flat_map(u64::to_le_bytes).collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<Pair> {
    let (pairs, _rest) = bytes.as_chunks::<16>();
    let pairs = pairs.iter().map(|pair| {
        let both = u128::from_le_bytes(*pair);
        Pair {
            context: low(both),
            value: low(both >> 64),
        }
    });
    pairs.collect()
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
const fn low(number: u128) -> u64 {
    number as u64
}

/// How many hosts have what.
#[derive(Debug, Default)]
struct Counted {
    hosts: u32,
    contexts: HashMap<u64, u32>,
    values: HashMap<Pair, u32>,
}

impl Counted {
    /// One more host's pairs, sorted and each once.
    fn add(&mut self, pairs: &[Pair]) {
        self.hosts = self.hosts.saturating_add(1);
        let mut before = None;
        for pair in pairs {
            if before != Some(pair.context) {
                before = Some(pair.context);
                count(&mut self.contexts, pair.context);
            }
            count(&mut self.values, *pair);
        }
    }

    fn is_shared(&self, pair: &Pair) -> bool {
        self.values
            .get(pair)
            .is_some_and(|hosts| *hosts >= LEAST_HOSTS)
    }

    fn select(&self, open: &Openness) -> Merged {
        let mut shared_values: HashMap<u64, u32> = HashMap::new();
        for (pair, _) in self
            .values
            .iter()
            .filter(|(_, hosts)| **hosts >= LEAST_HOSTS)
        {
            *shared_values.entry(pair.context).or_default() += 1;
        }
        let enough = self
            .contexts
            .iter()
            .filter(|(_, hosts)| **hosts >= LEAST_HOSTS);
        let contexts = enough.map(|(context, hosts)| SharedContext {
            context: *context,
            hosts: *hosts,
            values: open.values(*context, *hosts, shared_values.get(context)),
        });
        let mut contexts: Vec<_> = contexts.collect();
        contexts.sort_unstable_by_key(|one| (std::cmp::Reverse(one.hosts), one.context));
        contexts.truncate(MOST_CONTEXTS);
        let kept: std::collections::HashSet<u64> = contexts.iter().map(|one| one.context).collect();
        let values = self.values.iter();
        let values =
            values.filter(|(pair, hosts)| **hosts >= LEAST_HOSTS && kept.contains(&pair.context));
        let mut values: Vec<_> = values
            .map(|(pair, hosts)| SharedValue {
                value: pair.value,
                hosts: *hosts,
            })
            .collect();
        values.sort_unstable_by_key(|one| (std::cmp::Reverse(one.hosts), one.value));
        values.truncate(MOST_VALUES);
        Merged {
            hosts: self.hosts,
            contexts,
            values,
        }
    }
}

/// One more, unless there are too many different ones.
fn count<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K) {
    if let Some(known) = counts.get_mut(&key) {
        *known = known.saturating_add(1);
    } else if counts.len() < MOST_COUNTED {
        counts.insert(key, 1);
    }
}

/// By context, the sum over hosts of the share of values that few others have, in thousandths.
#[derive(Debug, Default)]
struct Openness(HashMap<u64, u64>);

impl Openness {
    fn add(&mut self, pairs: &[Pair], counted: &Counted) {
        for of_context in pairs.chunk_by(|a, b| a.context == b.context) {
            let Some(first) = of_context.first() else {
                continue;
            };
            if !counted.contexts.contains_key(&first.context) {
                continue;
            }
            let own = of_context.iter().filter(|pair| !counted.is_shared(pair));
            let share = own.count() as u64 * 1_000 / (of_context.len() as u64).max(1);
            *self.0.entry(first.context).or_default() += share;
        }
    }

    /// How many values a context is taken to have: those that are shared, and so many more that the share of values nobody else has comes
    /// out as the mean of the hosts'.
    fn values(&self, context: u64, hosts: u32, shared: Option<&u32>) -> u32 {
        let sum = self.0.get(&context).copied().unwrap_or_default();
        let mean = (sum / u64::from(hosts.max(1))).min(MOST_OPEN);
        let more = u64::from(hosts) * mean / (1_000 - mean);
        let shared = shared.copied().unwrap_or_default();
        shared.saturating_add(u32::try_from(more).unwrap_or(u32::MAX))
    }
}

/// Different values that are counted.
const MOST_COUNTED: usize = 500_000;
/// The largest mean share of values that nobody else has, in thousandths.
const MOST_OPEN: u64 = 990;

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(sketches: &[Vec<Pair>]) -> Merged {
        let kept: Vec<Vec<u8>> = sketches.iter().cloned().map(to_bytes).collect();
        let read = |each: &mut dyn FnMut(&[u8])| -> Result<(), ()> {
            for bytes in &kept {
                each(bytes);
            }
            Ok(())
        };
        merge(read).unwrap()
    }

    fn pair(context: u64, value: u64) -> Pair {
        Pair { context, value }
    }

    #[test]
    fn only_what_five_hosts_said_is_told_and_nobody_counts_twice() {
        let usual = vec![pair(1, 10), pair(1, 11), pair(2, 20)];
        let mut sketches = vec![usual; 5];
        sketches[0].extend([pair(1, 66); 900]);
        for sketch in sketches.iter_mut().take(4) {
            sketch.push(pair(3, 30));
        }
        let merged = merged(&sketches);
        assert_eq!(merged.hosts, 5);
        let values: Vec<_> = merged
            .values
            .iter()
            .map(|one| (one.value, one.hosts))
            .collect();
        assert_eq!(values, [(10, 5), (11, 5), (20, 5)]);
        let contexts: Vec<_> = merged
            .contexts
            .iter()
            .map(|one| (one.context, one.hosts))
            .collect();
        assert_eq!(contexts, [(1, 5), (2, 5)]);
    }

    #[test]
    fn one_host_opens_no_context_and_many_do() {
        let mut closed = vec![vec![pair(1, 10)]; 100];
        let open = |sketches: &[Vec<Pair>]| merged(sketches).contexts[0].values;
        assert_eq!(open(&closed), 1);
        closed[7].extend((0..3_000).map(|n| pair(1, 1_000 + n)));
        assert_eq!(open(&closed), 1, "one of a hundred");
        for (host, sketch) in (0_u64..).zip(closed.iter_mut()) {
            sketch.extend((0..3).map(|n| pair(1, 10_000 + host * 10 + n)));
        }
        assert!(open(&closed) > 250, "{}", open(&closed));
    }

    #[test]
    fn the_most_widespread_come_first_and_there_are_bounds() {
        let sketch = |host: u64| {
            (0..3_000)
                .filter(move |n| n % (host + 1) == 0)
                .map(|n| pair(n, n))
        };
        let sketches: Vec<Vec<Pair>> = (0..30).map(|host| sketch(host).collect()).collect();
        let merged = merged(&sketches);
        assert!(merged.contexts.len() <= MOST_CONTEXTS && merged.values.len() <= MOST_VALUES);
        assert!(
            merged
                .contexts
                .is_sorted_by_key(|one| std::cmp::Reverse(one.hosts))
        );
        assert!(merged.contexts.iter().all(|one| one.hosts >= LEAST_HOSTS));
    }
}
