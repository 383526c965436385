//! How many processes nobody saw: the kernel numbers every task, and polling sees only some.
//!
//! # Invariants
//!
//! - The estimate is an upper bound for processes: a thread that came and went between two scans is
//!   counted too, because the kernel numbers threads and processes alike.
//! - It never shrinks.

use std::fs;

/// Compares what the kernel numbered with what was seen.
#[derive(Debug)]
pub(super) struct Unseen {
    counter: Option<Counter>,
    last: u64,
    created: u64,
    seen: u64,
    missed: u64,
}

impl Unseen {
    /// Begins to count. What is there now must be listed between [`Unseen::counted`] giving the same
    /// number twice.
    pub(super) fn begin() -> Self {
        let counter = Counter::choose();
        let last = counter.and_then(Counter::read).unwrap_or(0);
        Self {
            counter,
            last,
            created: 0,
            seen: 0,
            missed: 0,
        }
    }

    /// How many tasks were created since the beginning.
    pub(super) fn counted(&mut self) -> u64 {
        if let Some((counter, now)) = self
            .counter
            .and_then(|counter| Some((counter, counter.read()?)))
        {
            let new = counter.between(self.last, now);
            self.created = self.created.saturating_add(new);
            self.last = now;
        }
        self.created
    }

    /// So many new tasks were found.
    pub(super) fn saw(&mut self, tasks: u64) {
        self.seen = self.seen.saturating_add(tasks);
    }

    /// How many more tasks than before came and went unseen, when `created` were counted before the
    /// scan that is over now.
    pub(super) fn newly_unseen(&mut self, created: u64) -> u64 {
        let unseen = created.saturating_sub(self.seen).max(self.missed);
        let more = unseen.saturating_sub(self.missed);
        self.missed = unseen;
        more
    }

    /// What is counted, for people.
    pub(super) fn name(&self) -> &'static str {
        match self.counter {
            Some(Counter::Host) => "/proc/stat processes",
            Some(Counter::Namespace { .. }) => "/proc/loadavg last process number",
            None => "",
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Counter {
    /// Tasks since boot: exact, but for the whole host.
    Host,
    /// The last number given in our own process namespace; begins again at the greatest.
    Namespace { greatest: u64 },
}

impl Counter {
    fn choose() -> Option<Self> {
        let own = fs::read_link("/proc/self/ns/pid").ok()?;
        if own.as_os_str() == FIRST_NAMESPACE {
            return Some(Self::Host);
        }
        let greatest = fs::read_to_string("/proc/sys/kernel/pid_max").ok()?;
        Some(Self::Namespace {
            greatest: greatest.trim().parse().ok()?,
        })
    }

    fn read(self) -> Option<u64> {
        match self {
            Self::Host => {
                let stat = fs::read_to_string("/proc/stat").ok()?;
                let count = stat
                    .lines()
                    .find_map(|line| line.strip_prefix("processes "))?;
                count.trim().parse().ok()
            }
            Self::Namespace { .. } => {
                let load = fs::read_to_string("/proc/loadavg").ok()?;
                load.split_ascii_whitespace().next_back()?.parse().ok()
            }
        }
    }

    fn between(self, last: u64, now: u64) -> u64 {
        match self {
            Self::Namespace { greatest } if now < last => {
                let before = greatest.saturating_sub(last);
                before.saturating_add(now.saturating_sub(RESERVED))
            }
            _ => now.saturating_sub(last),
        }
    }
}

/// Inode number of the first process namespace in every Linux.
const FIRST_NAMESPACE: &str = "pid:[4026531836]";
/// After the greatest number, the kernel goes on behind these.
const RESERVED: u64 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_never_shrinks() {
        let mut unseen = Unseen {
            counter: None,
            last: 0,
            created: 0,
            seen: 0,
            missed: 0,
        };
        unseen.saw(3);
        assert_eq!(unseen.newly_unseen(10), 7);
        unseen.saw(2);
        assert_eq!(unseen.newly_unseen(10), 0);
        assert_eq!(unseen.newly_unseen(14), 2);
    }

    #[test]
    fn numbers_that_begin_again_are_counted_on() {
        let counter = Counter::Namespace { greatest: 32_768 };
        assert_eq!(counter.between(32_760, 310), 18);
        assert_eq!(counter.between(400, 410), 10);
        assert_eq!(Counter::Host.between(5, 9), 4);
    }

    #[test]
    fn every_new_process_moves_the_counter() {
        let mut unseen = Unseen::begin();
        let before = unseen.counted();
        std::process::Command::new("true").status().unwrap();
        assert!(unseen.counted() > before);
    }
}
