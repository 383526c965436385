//! Whether what was acknowledged is stored, each event once: asked of the collector and read from its disk.
//!
//! Three witnesses, none of which is the simulation's own count:
//!
//! - `picketctl verify` takes all evidence over the Operator service and checks signatures, keys and chains on this
//!   side. A chain without a hole, whose numbers are all events, holds each number once.
//! - `picketctl hosts` balances the books: what each host says it numbered against what the collector stored.
//! - Our own collector's write-ahead log, read back after its end by the store's own reader, as a search reads
//!   it: every event's number is marked in a map of its chain, and one that is marked already is a duplicate.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use picket_event::{Class, StreamId};
use picket_store::{Order, Query, Store};
use serde_json::Value;

use super::host::{Host, Line};
use super::place_of;
use super::site::Site;
use crate::failure::Failure;

/// What the witnesses said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proof {
    /// Events that agents were told are durable.
    pub acked: u64,
    /// Events in the evidence of these agents' chains.
    pub stored: u64,
    /// Chains whose evidence was verified.
    pub chains: u64,
    /// Acknowledged numbers that the evidence or the log lacks.
    pub missing: u64,
    /// Events whose number was there before; 0 also if the log could not be read (see `scanned`).
    pub doubled: u64,
    /// Events read back from the log; `None`: a given collector, whose log is not ours to read.
    pub scanned: Option<u64>,
    /// Numbers that are gaps.
    pub gaps: u64,
    /// Hosts whose books balance.
    pub balanced: u64,
    /// Hosts of the simulation.
    pub hosts: u64,
}

/// Chain by chain, as its host knows it.
type Books = HashMap<(String, &'static str), Line>;

impl Proof {
    /// Asks all witnesses. Our own collector is ended for the last.
    pub(super) fn of(site: &mut Site, hosts: &[Host]) -> Result<Self, Failure> {
        let books = books(hosts);
        let mut proof = Self {
            acked: books.values().map(|line| line.acked).sum(),
            hosts: hosts.len() as u64,
            ..Self::default()
        };
        proof.evidence(site, &books)?;
        proof.ledgers(site, hosts)?;
        if let Some(wal) = site.stop()? {
            proof.log(&wal, &books)?;
        }
        Ok(proof)
    }

    /// Whether acknowledged = stored, nothing twice, all books balanced.
    pub fn holds(&self) -> bool {
        let read = self.scanned.is_none_or(|scanned| scanned == self.stored);
        self.missing == 0
            && self.doubled == 0
            && self.gaps == 0
            && read
            && self.stored == self.acked
            && self.balanced == self.hosts
    }

    fn evidence(&mut self, site: &Site, books: &Books) -> Result<(), Failure> {
        let mut left: HashMap<_, _> = books.iter().collect();
        for line in site.ctl_json(&["verify"])? {
            let Some(key) = key_of(&line) else {
                return Err(place_of("picketctl verify", &line.to_string()));
            };
            let Some(own) = left.remove(&key) else {
                continue;
            };
            let number = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or_default();
            let whole = line.get("ok") == Some(&Value::Bool(true)) && number("seq_first") == 0;
            if !whole {
                return Err(place_of("picketctl verify", &line.to_string()));
            }
            self.chains += 1;
            self.stored += number("events");
            self.missing += own.acked.saturating_sub(number("seq_next"));
            self.gaps += number("seq_next").saturating_sub(number("events"));
        }
        // Chains of which there is no evidence at all.
        self.missing += left.values().map(|line| line.acked).sum::<u64>();
        Ok(())
    }

    fn ledgers(&mut self, site: &Site, hosts: &[Host]) -> Result<(), Failure> {
        let told = site.ctl_json(&["hosts"])?;
        let balanced = told.iter().filter_map(|host| {
            let balanced = host.pointer("/ledger/balanced")?.as_bool()?;
            balanced.then(|| host.get("host")?.as_str()).flatten()
        });
        let balanced: std::collections::HashSet<&str> = balanced.collect();
        let is_balanced = |host: &&Host| balanced.contains(host.id.to_string().as_str());
        self.balanced = hosts.iter().filter(is_balanced).count() as u64;
        Ok(())
    }

    fn log(&mut self, wal: &Path, books: &Books) -> Result<(), Failure> {
        let failed =
            |error: picket_store::StoreError| place_of("the collector's log", &error.to_string());
        let (store, _) = Store::open(wal, picket_store::Options::default()).map_err(failed)?;
        let mut maps: HashMap<(StreamId, Class), Map> = HashMap::new();
        let (mut scanned, mut doubled) = (0_u64, 0_u64);
        let walk = store
            .reader()
            .scan(&Query::default(), Order::OldestFirst, &mut |stored| {
                scanned += 1;
                let map = maps.entry((stored.stream, stored.class)).or_default();
                doubled += u64::from(!map.mark(stored.event.seq));
                ControlFlow::Continue(())
            });
        let report = walk.map_err(failed)?;
        if report.unreadable > 0 {
            return Err(place_of("the collector's log", "it is damaged"));
        }
        let mut marked = 0_u64;
        for ((stream, class), map) in &maps {
            let key = (stream.to_string(), class.name());
            let Some(own) = books.get(&key) else {
                continue;
            };
            let below = map.below(own.acked);
            marked += map.count;
            self.missing += own.acked.saturating_sub(below);
        }
        let unseen = books.keys().filter(|(stream, class)| {
            let stream = StreamId::parse(stream);
            let class = Class::from_name(class);
            !stream
                .ok()
                .zip(class)
                .is_some_and(|key| maps.contains_key(&key))
        });
        let unseen: u64 = unseen
            .filter_map(|key| books.get(key))
            .map(|line| line.acked)
            .sum();
        self.missing += unseen;
        self.doubled += doubled;
        self.scanned = Some(marked);
        if scanned != marked + doubled {
            return Err(place_of("the collector's log", "events of nobody's chain"));
        }
        Ok(())
    }
}

fn books(hosts: &[Host]) -> Books {
    let mut books = Books::new();
    for host in hosts {
        for line in host.lines() {
            if line.numbered > 0 {
                books.insert((host.stream.to_string(), line.class.name()), line);
            }
        }
    }
    books
}

fn key_of(line: &Value) -> Option<(String, &'static str)> {
    let stream = line.get("stream")?.as_str()?.to_owned();
    let class = Class::from_name(line.get("class")?.as_str()?)?;
    Some((stream, class.name()))
}

/// Which numbers of a chain were seen: a bit each.
#[derive(Debug, Default)]
struct Map {
    words: Vec<u64>,
    count: u64,
}

impl Map {
    /// Marks a number; `false` if it was marked before.
    fn mark(&mut self, number: u64) -> bool {
        let (index, bit) = (
            usize::try_from(number / 64).unwrap_or(usize::MAX),
            1 << (number % 64),
        );
        if index > LARGEST_MAP {
            return false;
        }
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let Some(word) = self.words.get_mut(index) else {
            return false;
        };
        let new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(new);
        new
    }

    /// How many numbers below `end` are marked.
    fn below(&self, end: u64) -> u64 {
        let (words, bits) = (usize::try_from(end / 64).unwrap_or(usize::MAX), end % 64);
        let whole = self
            .words
            .iter()
            .take(words)
            .map(|word| u64::from(word.count_ones()));
        let rest = self
            .words
            .get(words)
            .map_or(0, |word| word & ((1 << bits) - 1));
        whole.sum::<u64>() + u64::from(rest.count_ones())
    }
}

/// Words of a map: a chain of four thousand million events.
const LARGEST_MAP: usize = 1 << 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut map = Map::default();
        assert!(map.mark(0) && map.mark(64) && map.mark(130));
        assert!(!map.mark(64));
        assert_eq!(
            (map.count, map.below(64), map.below(65), map.below(1_000)),
            (3, 1, 2, 3)
        );
    }

    fn proof() -> Proof {
        Proof {
            acked: 10,
            stored: 10,
            chains: 1,
            scanned: Some(10),
            balanced: 1,
            hosts: 1,
            ..Proof::default()
        }
    }

    #[test]
    fn a_proof_holds_only_if_every_part_does() {
        assert!(proof().holds());
        let broken = [
            Proof {
                stored: 9,
                ..proof()
            },
            Proof {
                missing: 1,
                ..proof()
            },
            Proof {
                doubled: 1,
                ..proof()
            },
            Proof { gaps: 1, ..proof() },
            Proof {
                scanned: Some(9),
                ..proof()
            },
            Proof {
                balanced: 0,
                ..proof()
            },
        ];
        assert!(broken.iter().all(|proof| !proof.holds()));
    }
}
