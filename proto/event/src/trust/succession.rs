//! From one version of the trust root to the next.
//!
//! # Invariants
//!
//! - Only the very next version is taken, and only by the persons of the one before it.
//! - A version that nobody could follow is refused: no thresholds beyond the persons who could meet them.
//! - Expiry does not stop a rotation, neither of the old version nor of the new: whoever was away takes each in order.

use std::collections::BTreeSet;
use std::time::Duration;

use picket_proto::v1;
use picket_seal::Domain;

use super::standing::wrong_role;
use super::{ActionClass, MAX_TRUST_AGE, Person, Role, TrustError, TrustRoot};
use crate::UnixNanos;

/// The clock of whoever made it may be ahead by so much.
const CLOCK_TOLERANCE: Duration = Duration::from_hours(1);

/// Who signed a next version, and how many it takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SuccessorStanding {
    /// Everybody who signed, each once.
    pub signers: Vec<String>,
    /// How many of them count for the class `trust`.
    pub counted: u32,
    /// How many it takes.
    pub needed: u32,
    /// How many of them have the role of recovery.
    pub recovery: u32,
    /// How many of those it takes in place of the others.
    pub recovery_needed: u32,
}

impl SuccessorStanding {
    /// Whether one of both ways is complete.
    pub const fn is_complete(&self) -> bool {
        self.counted >= self.needed || self.recovery >= self.recovery_needed
    }
}

impl TrustRoot {
    /// The next version, if it follows this one and its persons signed it, and who did.
    pub fn succeed(
        &self,
        signed: &v1::SignedTrustRoot,
        now: UnixNanos,
    ) -> Result<(Self, Vec<String>), TrustError> {
        let next = Self::decode(&signed.body)?;
        self.check_successor(&next, now)?;
        let standing = self.weigh_successor(signed)?;
        if !standing.is_complete() {
            return Err(TrustError::TooFew {
                class: ActionClass::Trust,
                got: usize::try_from(standing.counted).unwrap_or(usize::MAX),
                needed: standing.needed,
            });
        }
        Ok((next, standing.signers))
    }

    /// Whether a version could follow this one, whoever signed it.
    pub fn check_successor(&self, next: &Self, now: UnixNanos) -> Result<(), TrustError> {
        if Some(next.version) != self.version.checked_add(1) {
            return Err(TrustError::Version {
                has: self.version,
                got: next.version,
            });
        }
        let latest = now.plus(CLOCK_TOLERANCE);
        let long = next.expires.since(next.created) > MAX_TRUST_AGE;
        if long || next.created > latest || next.expires <= next.created {
            return Err(TrustError::TooLong);
        }
        next.check_meetable()
    }

    /// Whether a replacement by the host's own root is one that could be used.
    pub fn check_meetable(&self) -> Result<(), TrustError> {
        let requesters = count(&self.persons, &[Role::Requester]);
        let approvers = count(&self.persons, &[Role::Approver]);
        let both = count(&self.persons, &[Role::Requester, Role::Approver]);
        // One who only asks counts once; everybody else has to be an approver.
        let eligible = both.min(approvers.saturating_add(1));
        let recovery = count(&self.persons, &[Role::Recovery]);
        for class in ActionClass::ALL {
            let needed = self.threshold(*class);
            let eligible = match class {
                ActionClass::Recovery if recovery == 0 => continue,
                ActionClass::Recovery => recovery,
                ActionClass::Content => continue,
                _ if requesters == 0 => 0,
                _ => eligible,
            };
            if needed > eligible {
                let class = *class;
                return Err(TrustError::Unmeetable {
                    class,
                    needed,
                    eligible,
                });
            }
        }
        Ok(())
    }

    /// Who of this version's persons signed the next one.
    pub fn weigh_successor(
        &self,
        signed: &v1::SignedTrustRoot,
    ) -> Result<SuccessorStanding, TrustError> {
        let mut names = BTreeSet::new();
        let mut persons = Vec::new();
        for signature in &signed.signatures {
            let person = self.signer(Domain::TrustRoot, &signed.body, signature)?;
            if !person.is_any(&[Role::Requester, Role::Approver, Role::Recovery]) {
                return Err(wrong_role(&person.name, Role::Approver));
            }
            if names.insert(&person.name) {
                persons.push(person.clone());
            }
        }
        let approvers = count(&persons, &[Role::Approver]);
        let both = count(&persons, &[Role::Requester, Role::Approver]);
        Ok(SuccessorStanding {
            signers: persons.iter().map(|person| person.name.clone()).collect(),
            counted: both.min(approvers.saturating_add(1)),
            needed: self.threshold(ActionClass::Trust),
            recovery: count(&persons, &[Role::Recovery]),
            recovery_needed: self.threshold(ActionClass::Recovery),
        })
    }
}

fn count(persons: &[Person], roles: &[Role]) -> u32 {
    let having = persons.iter().filter(|person| person.is_any(roles));
    u32::try_from(having.count()).unwrap_or(u32::MAX)
}
