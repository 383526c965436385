//! The hosts of a command as the root of a tree over them, so that a host is handed its own place in it and not all others'.
//!
//! ```text
//! entry = SHA-256( "picket/host-set/v1" 0x00 | ring u32 le | host id )      leaf and node: picket_seal::tree
//! ```
//!
//! # Invariants
//!
//! - The order of hosts is fixed: ring by ring, in each by ascending id. A host is there once.
//! - How many leaves there are is signed beside the root: at most so many hosts can ever show that they are among them.
//! - Where the rings end is signed too, so a place is in one ring; the leaf names it once more.
//! - A tree is made of all its hosts or not at all.

use std::collections::HashSet;

use picket_proto::v1;
use picket_seal::tree::{self, Nodes, TreeError, leaf_hash, node_hash, verify_inclusion};
use picket_seal::{Digest, Domain, SealError};

use crate::HostId;

/// The most hosts that a command may name by their root.
pub const MAX_HOST_SET: usize = 20_000;

/// What is signed in place of a list of hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostSet {
    /// The root of the tree.
    pub root: Digest,
    /// How many hosts it has.
    pub count: u32,
}

/// All hosts of a command, with what each is to be shown.
#[derive(Clone, Debug)]
pub struct HostTree {
    hosts: Vec<HostId>,
    /// Where each ring ends; one end where there are no rings.
    ends: Vec<u32>,
    /// The leaves, and above them every whole pair's node.
    levels: Vec<Vec<Digest>>,
}

/// Why hosts are not those of a root.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HostSetError {
    /// Nobody, or too many.
    #[error("a root is of 1 to {MAX_HOST_SET} hosts, not {0}")]
    Size(usize),
    /// Not in the one order that they have.
    #[error("the hosts are not in the order of the tree, or one of them is there twice")]
    Order,
    /// One id of another length.
    #[error("a host's id is malformed")]
    Id,
    /// A list beside a list.
    #[error("the command lists its hosts itself: no others belong to it")]
    Stray,
    /// The list is not there.
    #[error("the command names its hosts by a root, and their list is missing")]
    NoList,
    /// Other hosts than those that were signed.
    #[error("the hosts give the root {got} of {hosts}, not {signed} of {count}")]
    OtherHosts {
        /// The root that was signed.
        signed: Digest,
        /// Of so many.
        count: u32,
        /// The root of these hosts.
        got: Digest,
        /// How many they are.
        hosts: u32,
    },
    /// Nothing shows that the host is one of them.
    #[error("nothing shows that the host is one of those of the root")]
    NoProof,
    /// A hash of another length.
    #[error("a hash of the proof is malformed")]
    Hash(#[source] SealError),
    /// What is shown proves nothing.
    #[error("the proof does not show that the host is one of those of the root")]
    Tree(#[source] TreeError),
}

impl HostTree {
    /// Of these hosts, whose rings end there: in each ring they are put in order first. Empty: no rings.
    ///
    /// Fails with [`HostSetError::Size`] or [`HostSetError::Order`].
    pub fn sorting(mut hosts: Vec<HostId>, rings: &[u32]) -> Result<Self, HostSetError> {
        for (begin, end) in spans(&ends(rings, hosts.len())) {
            let ring = hosts.get_mut(begin..end);
            ring.ok_or(HostSetError::Order)?.sort_unstable();
        }
        Self::of(hosts, rings)
    }

    /// Of these hosts, which must be in their order.
    ///
    /// Fails with [`HostSetError::Size`] or [`HostSetError::Order`].
    pub fn of(hosts: Vec<HostId>, rings: &[u32]) -> Result<Self, HostSetError> {
        if hosts.is_empty() || hosts.len() > MAX_HOST_SET {
            return Err(HostSetError::Size(hosts.len()));
        }
        let ends = ends(rings, hosts.len());
        let mut leaves = Vec::with_capacity(hosts.len());
        for ((begin, end), ring) in spans(&ends).zip(1_u32..) {
            let in_ring = hosts.get(begin..end).ok_or(HostSetError::Order)?;
            if !in_ring.is_sorted_by(|before, after| before < after) {
                return Err(HostSetError::Order);
            }
            let ring = if rings.is_empty() { 0 } else { ring };
            leaves.extend(in_ring.iter().map(|host| leaf(host, ring)));
        }
        let each: HashSet<&HostId> = hosts.iter().collect();
        if leaves.len() != hosts.len() || each.len() != hosts.len() {
            return Err(HostSetError::Order);
        }
        Ok(Self {
            hosts,
            ends,
            levels: levels(leaves),
        })
    }

    /// What is signed of it.
    pub fn set(&self) -> HostSet {
        let count = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        let root = tree::root(self, u64::from(count));
        HostSet {
            root: root.expect("every node over the leaves is there"),
            count,
        }
    }

    /// Its hosts, in their order.
    pub fn hosts(&self) -> &[HostId] {
        &self.hosts
    }

    /// Its hosts alone.
    pub fn into_hosts(self) -> Vec<HostId> {
        self.hosts
    }

    /// What shows a host that it is one of them; `None`: it is not.
    pub fn proof(&self, host: &HostId) -> Option<v1::HostProof> {
        let at = find(&self.hosts, &self.ends, host)?;
        let size = self.hosts.len().try_into().ok()?;
        let path = tree::inclusion(self, at.try_into().ok()?, size);
        let path = path.expect("every node over the leaves is there");
        Some(v1::HostProof {
            index: at.try_into().ok()?,
            path: path.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
        })
    }
}

impl HostSet {
    /// The ring that a host is in, by what it is shown: from 1, and 0 where the command has none.
    ///
    /// Fails with [`HostSetError::NoProof`], [`HostSetError::Hash`] or [`HostSetError::Tree`]: then the host is none of these.
    pub fn ring_shown(
        &self,
        rings: &[u32],
        host: &HostId,
        proof: Option<&v1::HostProof>,
    ) -> Result<u32, HostSetError> {
        let proof = proof.ok_or(HostSetError::NoProof)?;
        let path = proof.path.iter().take(LONGEST_PATH.saturating_add(1));
        let path = path.map(|hash| Digest::from_slice(hash).map_err(HostSetError::Hash));
        let path = path.collect::<Result<Vec<_>, _>>()?;
        let ring = ring_at(rings, proof.index);
        let (index, size) = (u64::from(proof.index), u64::from(self.count));
        verify_inclusion(&leaf(host, ring), index, size, &path, &self.root)
            .map_err(HostSetError::Tree)?;
        Ok(ring)
    }
}

impl Nodes for HostTree {
    type Error = Missing;

    fn node(&self, level: u32, index: u64) -> Result<Digest, Missing> {
        let place = |number: u64| usize::try_from(number).ok();
        let level = place(u64::from(level)).and_then(|level| self.levels.get(level));
        let node = level.zip(place(index));
        let node = node.and_then(|(level, index)| level.get(index));
        node.copied().ok_or(Missing)
    }
}

/// A node that only leaves that are not there would have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the tree has no such node")]
pub struct Missing;

/// Where a host is, in hosts that are in order from each end to the next.
pub(super) fn find(hosts: &[HostId], ends: &[u32], host: &HostId) -> Option<usize> {
    spans(ends).find_map(|(begin, end)| {
        let at = hosts.get(begin..end)?.binary_search(host).ok()?;
        begin.checked_add(at)
    })
}

/// The ring of a place: from 1, and 0 where there are none.
fn ring_at(rings: &[u32], index: u32) -> u32 {
    let before = rings.iter().take_while(|end| **end <= index).count();
    if rings.is_empty() {
        return 0;
    }
    let ring = u32::try_from(before).unwrap_or(u32::MAX);
    ring.saturating_add(1)
}

fn leaf(host: &HostId, ring: u32) -> Digest {
    let entry = [&ring.to_le_bytes()[..], host.as_bytes()].concat();
    leaf_hash(&Digest::of_domain(Domain::HostSet, &entry))
}

/// All whole pairs, up to the last node.
fn levels(leaves: Vec<Digest>) -> Vec<Vec<Digest>> {
    let mut levels = vec![leaves];
    while let Some(below) = levels.last().filter(|below| below.len() > 1) {
        let pairs = below.as_chunks().0.iter();
        let above = pairs.map(|[left, right]| node_hash(left, right)).collect();
        levels.push(above);
    }
    levels
}

/// Where the runs of hosts that are in order end.
pub(super) fn ends(rings: &[u32], hosts: usize) -> Vec<u32> {
    match rings {
        [] => vec![u32::try_from(hosts).unwrap_or(u32::MAX)],
        rings => rings.to_vec(),
    }
}

/// From where to where each goes.
fn spans(ends: &[u32]) -> impl Iterator<Item = (usize, usize)> {
    let place = |end: &u32| usize::try_from(*end).unwrap_or(usize::MAX);
    let begins = [0].into_iter().chain(ends.iter().map(place));
    begins.zip(ends.iter().map(place))
}

/// Of a tree of as many leaves as a command may have hosts, and of any larger.
const LONGEST_PATH: usize = 32;

#[cfg(test)]
mod tests;
