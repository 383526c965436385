//! The event keys of one host, with the branches that they have where one key vouched for two.
//!
//! # Invariants
//!
//! - A branch begins only with a second successor that a key of this host signed: both are proof that two held one key.
//! - Which branch is the host is not told by evidence. The first one here is the one whose successor was named first.

use picket_seal::{KeyId, PublicKey, Signature, SuccessionChain, SuccessionError};

/// All keys of a host.
#[derive(Debug)]
pub(super) struct Keys {
    /// The first one is what the host began with.
    branches: Vec<Branch>,
}

#[derive(Debug)]
struct Branch {
    parent: usize,
    /// The last epoch that it shares with its parent.
    fork_epoch: u64,
    name: KeyId,
    chain: SuccessionChain,
}

/// Who signed a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Signer {
    pub(super) branch: usize,
    pub(super) epoch: u64,
}

/// Where the keys of a host branch off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Fork {
    /// Key id of the branch's first own key.
    pub(crate) name: KeyId,
    /// The last epoch that it shares with the one that it left.
    pub(crate) epoch: u64,
}

impl Keys {
    pub(super) fn new(first: PublicKey) -> Self {
        Self {
            branches: vec![Branch {
                parent: 0,
                fork_epoch: 0,
                name: first.key_id(),
                chain: SuccessionChain::new(first),
            }],
        }
    }

    /// Takes a key that one of those here vouched for: the next one of a branch, or the first one of a new branch.
    pub(super) fn accept(
        &mut self,
        epoch: u64,
        key: PublicKey,
        body: &[u8],
        signature: &Signature,
    ) -> Result<(), SuccessionError> {
        let mut first_refusal = None;
        let mut forked = None;
        for (number, branch) in self.branches.iter_mut().enumerate() {
            match branch.chain.accept(epoch, key, body, signature) {
                Ok(_) => return Ok(()),
                Err(SuccessionError::TwoSuccessors { .. }) if forked.is_none() => {
                    forked = Some(number);
                }
                Err(refused) => drop(first_refusal.get_or_insert(refused)),
            }
        }
        let fork_epoch = epoch.saturating_sub(1);
        let shared = forked.and_then(|number| {
            let parent = self.branches.get(number)?;
            Some((number, parent.chain.key(fork_epoch)?))
        });
        match (shared, first_refusal) {
            (Some((parent, shared)), _) if self.branches.len() < MAX_BRANCHES => {
                let mut chain = SuccessionChain::resume(fork_epoch, shared);
                chain.accept(epoch, key, body, signature)?;
                self.branches.push(Branch {
                    parent,
                    fork_epoch,
                    name: key.key_id(),
                    chain,
                });
                Ok(())
            }
            (_, Some(refused)) => Err(refused),
            (_, None) => Err(SuccessionError::EpochsExhausted { latest: epoch }),
        }
    }

    /// The key of this epoch and name, else the first branch's of the epoch.
    pub(super) fn find(&self, epoch: u64, name: KeyId) -> Option<(Signer, PublicKey)> {
        let own = |branch: &Branch| branch.chain.key(epoch).filter(|key| key.key_id() == name);
        let mut branches = self.branches.iter().enumerate();
        let found = branches.find_map(|(number, branch)| Some((number, own(branch)?)));
        let first = || Some((0, self.branches.first()?.chain.key(epoch)?));
        let (branch, key) = found.or_else(first)?;
        Some((Signer { branch, epoch }, key))
    }

    /// The newest epoch of the first branch.
    pub(super) fn latest_epoch(&self) -> u64 {
        let first = self.branches.first();
        first.map_or(0, |first| first.chain.latest_epoch())
    }

    /// Whether `before` is of the branch of `now` or of what that one shares with those before it.
    pub(super) fn holds(&self, now: Signer, before: Signer) -> bool {
        let (mut branch, mut shared) = (now.branch, u64::MAX);
        loop {
            if before.branch == branch {
                return before.epoch <= shared;
            }
            let Some(it) = self.branches.get(branch).filter(|it| it.parent < branch) else {
                return false;
            };
            (branch, shared) = (it.parent, it.fork_epoch.min(shared));
        }
    }

    /// What a branch is called; `None`: it is the first one.
    pub(super) fn name(&self, branch: usize) -> Option<KeyId> {
        let branch = self.branches.get(branch).filter(|_| branch > 0)?;
        Some(branch.name)
    }

    /// Where they branch off.
    pub(super) fn forks(&self) -> Vec<Fork> {
        let forks = self.branches.iter().skip(1).map(|branch| Fork {
            name: branch.name,
            epoch: branch.fork_epoch,
        });
        forks.collect()
    }
}

/// More than any collector keeps of one host.
const MAX_BRANCHES: usize = 128;
