//! The sessions of one host: its own, and one for each other that speaks for it.
//!
//! # Invariants
//!
//! - At most one session is the host's; the others are given no commands.
//! - A session takes over only from its own earlier ones: from the same run, or from an earlier epoch of the same branch of event
//!   keys. So two that speak for one host do not throw each other out again and again.

use std::collections::BTreeMap;

use picket_event::{StreamId, UnixNanos};
use picket_proto::v1;
use picket_store::{SignedBy, TRUNK};

/// Where a hello places its session.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The run that it named.
    pub stream: Option<StreamId>,
    /// The key that it speaks by, as far as it is known.
    pub by: Option<SignedBy>,
    /// Whether it is the host's own.
    pub is_host: bool,
}

/// What another that speaks for a host said of itself last.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Whether it has a session.
    pub connected: bool,
    /// When it was heard of.
    pub last_seen: UnixNanos,
    /// What it runs on.
    pub facts: Option<v1::HostFacts>,
    /// Its side of the transport ledger.
    pub classes: Vec<v1::ClassLedger>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Lives {
    open: Vec<Life>,
    /// By the number of its branch.
    told: BTreeMap<u32, Told>,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    number: u64,
    place: Place,
}

impl Lives {
    /// A session begins, and those end that it takes over from.
    pub(super) fn begin(&mut self, number: u64, place: Place) {
        self.open.retain(|life| !place.takes_over(&life.place));
        if place.is_host {
            for life in &mut self.open {
                life.place.is_host = false;
            }
        }
        if self.open.len() >= MAX_LIVES {
            let doubtful = self.open.iter().position(|life| !life.place.is_host);
            self.open.remove(doubtful.unwrap_or(0));
        }
        self.open.push(Life { number, place });
    }

    pub(super) fn end(&mut self, number: u64) {
        self.open.retain(|life| life.number != number);
    }

    pub(super) fn holds(&self, number: u64) -> bool {
        self.open.iter().any(|life| life.number == number)
    }

    /// Whether a session is the host's.
    pub(super) fn is_host(&self, number: u64) -> bool {
        let host = |life: &Life| life.number == number && life.place.is_host;
        self.open.iter().any(host)
    }

    /// Whether the host has one.
    pub(super) fn has_host(&self) -> bool {
        self.open.iter().any(|life| life.place.is_host)
    }

    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    /// A run has shown by whose key it speaks.
    pub(super) fn speaks(&mut self, stream: StreamId, by: SignedBy, is_host: bool) {
        let of_run = |life: &&mut Life| life.place.stream == Some(stream);
        let known = self.open.iter_mut().find(of_run);
        if let Some(life) = known {
            let forgets =
                by.branch == TRUNK && life.place.by.is_some_and(|known| known.branch != TRUNK);
            if !forgets {
                let epoch = life.place.by.map_or(0, |known| known.epoch).max(by.epoch);
                life.place.by = Some(SignedBy { epoch, ..by });
                life.place.is_host &= is_host;
            }
        }
    }

    /// What a session that is not the host's says of itself.
    pub(super) fn tell(&mut self, number: u64, now: UnixNanos, tell: impl FnOnce(&mut Told)) {
        let life = self.open.iter().find(|life| life.number == number);
        if let Some(by) = life.and_then(|life| life.place.by) {
            let told = self.told.entry(by.branch).or_default();
            told.last_seen = now;
            tell(told);
        }
    }

    /// What another branch said last.
    pub(super) fn told(&self, branch: u32) -> Told {
        let connected = self
            .open
            .iter()
            .any(|life| !life.place.is_host && life.place.by.is_some_and(|by| by.branch == branch));
        Told {
            connected,
            ..self.told.get(&branch).cloned().unwrap_or_default()
        }
    }
}

impl Place {
    fn takes_over(&self, other: &Self) -> bool {
        let same_run = self.stream.is_some() && self.stream == other.stream;
        let earlier = self
            .by
            .zip(other.by)
            .is_some_and(|(own, before)| own.branch == before.branch && before.epoch <= own.epoch);
        same_run || earlier
    }
}

/// Sessions of one host at once.
const MAX_LIVES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(stream: u8, branch: u32, epoch: u64, is_host: bool) -> Place {
        Place {
            stream: Some(StreamId::new([stream; 16])),
            by: Some(SignedBy { branch, epoch }),
            is_host,
        }
    }

    #[test]
    fn a_host_that_comes_back_takes_over_from_itself() {
        let mut lives = Lives::default();
        lives.begin(1, place(1, 0, 4, true));
        lives.begin(2, place(1, 0, 4, true));
        assert!(!lives.holds(1), "the same run");
        lives.begin(3, place(2, 0, 5, true));
        assert!(!lives.holds(2), "the run after it");
        assert!(lives.is_host(3));
    }

    #[test]
    fn two_copies_leave_each_other_alone() {
        let mut lives = Lives::default();
        lives.begin(1, place(1, 0, 4, true));
        lives.begin(2, place(2, 1, 4, false));
        lives.begin(3, place(1, 0, 4, true));
        lives.begin(4, place(2, 1, 5, false));
        assert!(lives.is_host(3) && lives.holds(4) && !lives.holds(2));
        // The copy was first to change its key: the other one is behind, and does not throw it out.
        lives.begin(5, place(9, 0, 6, true));
        lives.begin(6, place(1, 0, 4, false));
        assert!(lives.is_host(5) && lives.holds(6));
    }

    #[test]
    fn a_session_whose_key_turns_out_to_branch_off_is_the_hosts_no_longer() {
        let mut lives = Lives::default();
        lives.begin(1, place(1, 0, 7, true));
        let by = SignedBy {
            branch: 1,
            epoch: 6,
        };
        lives.speaks(StreamId::new([1; 16]), by, false);
        assert!(lives.holds(1) && !lives.has_host());
        // What it shares with the host does not make it one again.
        let shared = SignedBy {
            branch: 0,
            epoch: 5,
        };
        lives.speaks(StreamId::new([1; 16]), shared, true);
        assert!(!lives.has_host());
        lives.tell(1, UnixNanos(3), |told| told.facts = None);
        let told = lives.told(1);
        assert!(told.connected && told.last_seen == UnixNanos(3));
    }

    #[test]
    fn sessions_of_one_host_are_few_and_its_own_stays() {
        let mut lives = Lives::default();
        lives.begin(1, place(1, 0, 4, true));
        for number in 2..20 {
            let branch = u32::try_from(number).unwrap();
            lives.begin(number, place(0, branch, 1, false));
            lives.begin(
                number + 100,
                place(u8::try_from(number).unwrap(), branch + 100, 1, false),
            );
        }
        assert_eq!(lives.count(), MAX_LIVES);
        assert!(lives.is_host(1));
    }
}
