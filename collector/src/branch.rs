//! Branches of a host's event keys: two that speak for one host, kept apart until an operator says which of them it is.
//!
//! One event key that vouched for two was copied with its state, or stolen. What came first is the host; the keys behind the
//! other successor are a branch, whose batches are taken in and marked.
//!
//! # Invariants
//!
//! - An honest host has no branch: it never lets one key vouch for two.
//! - A decision changes what is marked and what is taken from then on, and no stored byte.

use picket_event::{HostId, UnixNanos};
use picket_seal::KeyId;
use picket_store::{ChainKey, Lineage, Reader, SignedBy, StoredEvent, TRUNK};

/// One branch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Branch {
    /// From 1 on; [`TRUNK`] is the host's first branch and is not listed.
    pub number: u32,
    /// The branch that it left.
    pub parent: u32,
    /// The last epoch that both share.
    pub fork_epoch: u64,
    /// Key id of its first own key.
    pub name: KeyId,
    /// When it was first heard of.
    pub begun: UnixNanos,
    /// What an operator said.
    pub state: BranchState,
}

/// What an operator said about a branch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BranchState {
    /// Nothing yet.
    Undecided,
    /// It is not the host.
    Refused,
    /// It is the host; at most one of a host.
    Accepted,
}

/// Whose word a key's is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// The host's.
    Host,
    /// Of a branch of which nobody has decided.
    Doubtful,
    /// Of one that is not the host.
    Refused,
}

/// All branches of one host but the first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Branches(Vec<Branch>);

impl Branches {
    /// Of these.
    pub const fn new(branches: Vec<Branch>) -> Self {
        Self(branches)
    }

    /// Whether the keys never branched off.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Branch> {
        self.0.iter()
    }

    /// The branch that is the host.
    pub fn current(&self) -> u32 {
        let accepted = |branch: &&Branch| branch.state == BranchState::Accepted;
        self.0.iter().find(accepted).map_or(TRUNK, |one| one.number)
    }

    /// The one of this number; `None` for the first.
    pub fn get(&self, number: u32) -> Option<&Branch> {
        self.0.iter().find(|branch| branch.number == number)
    }

    /// The number of the one of this name.
    pub fn named(&self, name: KeyId, host: &HostId) -> Option<u32> {
        if name == trunk_name(host) {
            return Some(TRUNK);
        }
        let found = self.0.iter().find(|branch| branch.name == name);
        found.map(|branch| branch.number)
    }

    /// Its name.
    pub fn name(&self, number: u32, host: &HostId) -> KeyId {
        self.get(number)
            .map_or_else(|| trunk_name(host), |branch| branch.name)
    }

    /// The branch and those that it came out of.
    pub fn lineage(&self, number: u32) -> Lineage {
        let mut past: Vec<(u32, u64)> = Vec::new();
        let mut at = self.get(number);
        // A branch has a lower number than what came out of it, so this ends.
        while let Some(branch) = at {
            let shared = past.last().map_or(u64::MAX, |(_, epoch)| *epoch);
            past.push((branch.parent, branch.fork_epoch.min(shared)));
            at = self
                .get(branch.parent)
                .filter(|it| it.number < branch.number);
        }
        Lineage {
            branch: number,
            past,
        }
    }

    /// The branch to which this epoch of another one belongs: its own, or one that it came out of.
    pub fn owner(&self, number: u32, epoch: u64) -> u32 {
        let lineage = self.lineage(number);
        let shared = lineage.past.iter().rev();
        let mut shared = shared.filter(|(_, last)| epoch <= *last);
        shared.next().map_or(number, |(branch, _)| *branch)
    }

    /// Whose word this key's is.
    pub fn standing(&self, by: SignedBy) -> Standing {
        let current = self.current();
        if self.0.is_empty() || self.lineage(current).holds(by) {
            return Standing::Host;
        }
        match self.get(by.branch).map(|branch| branch.state) {
            Some(BranchState::Undecided) => Standing::Doubtful,
            // An accepted one holds its own.
            Some(BranchState::Refused | BranchState::Accepted) | None => Standing::Refused,
        }
    }

    /// Takes those that are not known yet.
    pub fn add(&mut self, begun: Vec<Branch>) {
        for branch in begun {
            if self.get(branch.number).is_none() {
                self.0.push(branch);
            }
        }
    }
}

/// The branch that signed an event, if that is not the host; `all` are those of its host.
pub fn doubtful(all: &Branches, reader: &Reader, stored: &StoredEvent) -> Option<KeyId> {
    let key = ChainKey {
        stream: stored.stream,
        class: stored.class,
    };
    let by = reader.signed_by(&stored.host, key, stored.event.seq)?;
    (all.standing(by) != Standing::Host).then(|| all.name(by.branch, &stored.host))
}

/// The first branch is called by the key that names the host.
pub fn trunk_name(host: &HostId) -> KeyId {
    let first = host.as_bytes().first_chunk();
    KeyId(*first.expect("a host id is longer than 8 bytes"))
}

/// Branches of one host of which nobody has decided, at most. More are refused.
pub const MAX_UNDECIDED: usize = 8;

/// Branches of one host, at most, over all its life.
pub const MAX_BRANCHES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(number: u32, parent: u32, fork_epoch: u64, state: BranchState) -> Branch {
        Branch {
            number,
            parent,
            fork_epoch,
            name: KeyId([u8::try_from(number).unwrap(); 8]),
            begun: UnixNanos(1),
            state,
        }
    }

    const fn by(branch: u32, epoch: u64) -> SignedBy {
        SignedBy { branch, epoch }
    }

    #[test]
    fn until_somebody_decides_the_first_branch_is_the_host() {
        let branches = Branches::new(vec![branch(1, TRUNK, 5, BranchState::Undecided)]);
        assert_eq!(branches.standing(by(TRUNK, 9)), Standing::Host);
        assert_eq!(branches.standing(by(1, 6)), Standing::Doubtful);
        assert_eq!(
            (branches.owner(1, 5), branches.owner(1, 6)),
            (TRUNK, 1),
            "what is shared is the first one's"
        );
        let none = Branches::default();
        assert_eq!(none.standing(by(TRUNK, 9)), Standing::Host);
    }

    #[test]
    fn an_accepted_branch_is_the_host_and_what_it_left_is_not() {
        let branches = Branches::new(vec![
            branch(1, TRUNK, 5, BranchState::Accepted),
            branch(2, 1, 8, BranchState::Undecided),
        ]);
        assert_eq!(branches.current(), 1);
        assert_eq!(branches.standing(by(1, 100)), Standing::Host);
        assert_eq!(branches.standing(by(TRUNK, 5)), Standing::Host);
        assert_eq!(branches.standing(by(TRUNK, 6)), Standing::Refused);
        assert_eq!(branches.standing(by(2, 9)), Standing::Doubtful);
        assert_eq!(branches.lineage(2).past, [(1, 8), (TRUNK, 5)]);
        assert_eq!((branches.owner(2, 7), branches.owner(2, 3)), (1, TRUNK));
    }

    #[test]
    fn a_refused_branch_stays_refused_and_has_a_name() {
        let host = HostId::new([7; 32]);
        let branches = Branches::new(vec![branch(1, TRUNK, 5, BranchState::Refused)]);
        assert_eq!(branches.standing(by(1, 6)), Standing::Refused);
        assert_eq!(branches.named(KeyId([1; 8]), &host), Some(1));
        assert_eq!(branches.named(KeyId([7; 8]), &host), Some(TRUNK));
        assert_eq!(branches.named(KeyId([9; 8]), &host), None);
        assert_eq!(branches.name(1, &host), KeyId([1; 8]));
    }
}
