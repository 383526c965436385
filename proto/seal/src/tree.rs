//! The tree over a log of headers, as RFC 9162 builds it: one root for all, short proofs for each.
//!
//! ```text
//! leaf = SHA-256(0x00 | header hash)        node = SHA-256(0x01 | left | right)
//! ```
//!
//! # Invariants
//!
//! - A root says of how many leaves and of which, in which order: for one size there is one.
//! - Nothing is proved by a path with a hash too many or too few.
//! - Nothing here keeps the leaves: whoever does gives [`Nodes`].

use crate::Digest;

/// What stands in the tree for the header of this hash.
pub fn leaf_hash(header_hash: &Digest) -> Digest {
    Digest::of_parts(&[&[0x00], header_hash.as_bytes()])
}

/// The hash over two neighbours.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[0x01], left.as_bytes(), right.as_bytes()])
}

/// Why a path proves nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TreeError {
    /// The leaf is behind the end of the tree.
    #[error("leaf {index} is not in a tree of {size}")]
    Beyond {
        /// Which leaf.
        index: u64,
        /// How many the tree has.
        size: u64,
    },
    /// The path has not the length that it must have.
    #[error("the path has {got} hashes, which is not what it takes")]
    Length {
        /// How many came.
        got: usize,
    },
    /// The path leads to another root.
    #[error("the path leads to the root {got}, not {expected}")]
    OtherRoot {
        /// The root that was to be reached.
        expected: Digest,
        /// The root that it leads to.
        got: Digest,
    },
    /// The older tree is the larger one.
    #[error("a tree of {new} is not the continuation of one of {old}")]
    Shrunk {
        /// How many leaves the older one has.
        old: u64,
        /// How many the newer one has.
        new: u64,
    },
}

/// Whoever keeps a tree's leaves and so can say what stands above them.
pub trait Nodes {
    /// Why it cannot.
    type Error;

    /// The hash over the 2^`level` leaves from `index` * 2^`level` on. Only asked where all of them are there.
    fn node(&self, level: u32, index: u64) -> Result<Digest, Self::Error>;
}

/// The root over the first `size` leaves.
pub fn root<N: Nodes>(nodes: &N, size: u64) -> Result<Digest, N::Error> {
    match size {
        0 => Ok(Digest::of(&[])),
        _ => range(nodes, 0, size),
    }
}

/// The path from leaf `index` to the root over the first `size` leaves (RFC 9162, 2.1.3.1). Empty if it is not there.
pub fn inclusion<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Digest>, N::Error> {
    let mut path = Vec::new();
    let (mut first, mut count) = (0_u64, size);
    if index >= size {
        return Ok(path);
    }
    while count > 1 {
        let left = split(count);
        let right = count.saturating_sub(left);
        let middle = first.saturating_add(left);
        if index < middle {
            path.push(range(nodes, middle, right)?);
            count = left;
        } else {
            path.push(range(nodes, first, left)?);
            (first, count) = (middle, right);
        }
    }
    path.reverse();
    Ok(path)
}

/// What shows that the first `old` of `new` leaves are those of the older root (RFC 9162, 2.1.4.1). Empty where there is
/// nothing to show.
pub fn consistency<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Digest>, N::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut first, mut count) = (0_u64, new);
    let is_end = |first: u64, count: u64| first.saturating_add(count) == old;
    while !is_end(first, count) {
        let left = split(count);
        let right = count.saturating_sub(left);
        let middle = first.saturating_add(left);
        if old <= middle {
            path.push(range(nodes, middle, right)?);
            count = left;
        } else {
            path.push(range(nodes, first, left)?);
            (first, count) = (middle, right);
        }
    }
    // Where the old tree is a whole one of the new, its root is known.
    if first != 0 {
        path.push(range(nodes, first, count)?);
    }
    path.reverse();
    Ok(path)
}

/// Checks that the leaf stands at `index` in the tree of `size` leaves with this root (RFC 9162, 2.1.3.2).
///
/// Fails with [`TreeError::Beyond`], [`TreeError::Length`] or [`TreeError::OtherRoot`].
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    path: &[Digest],
    root: &Digest,
) -> Result<(), TreeError> {
    if index >= size {
        return Err(TreeError::Beyond { index, size });
    }
    let mut climb = Climb::new(index, size);
    let mut hash = *leaf;
    for sibling in path {
        hash = match climb.step() {
            None => return Err(TreeError::Length { got: path.len() }),
            Some(Side::Left) => node_hash(sibling, &hash),
            Some(Side::Right) => node_hash(&hash, sibling),
        };
    }
    climb.arrived(path.len())?;
    same(root, hash)
}

/// Checks that the newer tree begins with all of the older one (RFC 9162, 2.1.4.2).
///
/// Fails with [`TreeError::Shrunk`], [`TreeError::Length`] or [`TreeError::OtherRoot`].
pub fn verify_consistency(
    old: (u64, &Digest),
    new: (u64, &Digest),
    path: &[Digest],
) -> Result<(), TreeError> {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size > new_size {
        let (old, new) = (old_size, new_size);
        return Err(TreeError::Shrunk { old, new });
    }
    let length = TreeError::Length { got: path.len() };
    if old_size == 0 || old_size == new_size {
        let empty = path.is_empty().then_some(()).ok_or(length);
        return empty.and_then(|()| match old_size {
            0 => Ok(()),
            _ => same(old_root, *new_root),
        });
    }
    let mut climb = Climb::new(old_size.saturating_sub(1), new_size);
    climb.skip_whole();
    // A whole old tree is a node of the new one: the path leaves out what its root already says.
    let (start, rest) = if old_size.is_power_of_two() {
        (*old_root, path)
    } else {
        let (first, rest) = path.split_first().ok_or(length)?;
        (*first, rest)
    };
    let (mut of_old, mut of_new) = (start, start);
    for sibling in rest {
        match climb.step() {
            None => return Err(length),
            Some(Side::Left) => {
                of_old = node_hash(sibling, &of_old);
                of_new = node_hash(sibling, &of_new);
            }
            Some(Side::Right) => of_new = node_hash(&of_new, sibling),
        }
    }
    climb.arrived(path.len())?;
    same(old_root, of_old)?;
    same(new_root, of_new)
}

fn same(expected: &Digest, got: Digest) -> Result<(), TreeError> {
    if *expected == got {
        return Ok(());
    }
    let expected = *expected;
    Err(TreeError::OtherRoot { expected, got })
}

/// The way up from a node to the root: on which side the next sibling stands.
struct Climb {
    node: u64,
    last: u64,
}

/// Where a sibling stands.
enum Side {
    Left,
    Right,
}

impl Climb {
    fn new(index: u64, size: u64) -> Self {
        Self {
            node: index,
            last: size.saturating_sub(1),
        }
    }

    /// To the largest whole tree that ends with the node.
    fn skip_whole(&mut self) {
        while self.node & 1 == 1 {
            self.up();
        }
    }

    fn step(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let is_left = self.node & 1 == 1 || self.node == self.last;
        if is_left {
            // The last node of a level without a partner rises until it has one.
            while self.node & 1 == 0 && self.node != 0 {
                self.up();
            }
        }
        self.up();
        Some(if is_left { Side::Left } else { Side::Right })
    }

    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    fn arrived(&self, got: usize) -> Result<(), TreeError> {
        (self.last == 0)
            .then_some(())
            .ok_or(TreeError::Length { got })
    }
}

/// The hash over `count` leaves from `first` on, where `first` is one at which a subtree of that size may begin.
fn range<N: Nodes>(nodes: &N, first: u64, count: u64) -> Result<Digest, N::Error> {
    let (mut first, mut count) = (first, count);
    let mut lefts = Vec::new();
    loop {
        if count.is_power_of_two() {
            let level = count.trailing_zeros();
            let last = nodes.node(level, first >> level)?;
            let fold = |right: Digest, left: &Digest| node_hash(left, &right);
            return Ok(lefts.iter().rev().fold(last, fold));
        }
        let left = split(count);
        let level = left.trailing_zeros();
        lefts.push(nodes.node(level, first >> level)?);
        first = first.saturating_add(left);
        count = count.saturating_sub(left);
    }
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    let below = count.saturating_sub(1).max(1);
    1 << below.ilog2()
}
