//! The trust root: whom hosts believe, and how many of them it takes.
//!
//! # Invariants
//!
//! - Thresholds count persons, not keys and not signatures, and never automation.
//! - Nobody approves what they asked for: the first signature is the requester's, the others are of other persons.
//! - A signature by a key that the trust root does not name, or by a person who lacks the role, refuses the whole.
//! - An expired trust root lets effects end and nothing begin; the next version is taken all the same.

use std::collections::BTreeSet;
use std::time::Duration;

use picket_proto::v1;
use picket_seal::{Domain, KeyId, PublicKey, SealError, Signature};
use prost::Message;

use crate::kind::closed_set;
use crate::wire::{id, known};
use crate::{EventError, HostId, UnixNanos};

mod file;
mod standing;
mod succession;
#[cfg(test)]
mod tests;

pub use file::{TrustFileError, from_pem, to_pem};
pub use standing::Standing;
pub use succession::SuccessorStanding;

/// A trust root is good for at most so long.
pub const MAX_TRUST_AGE: Duration = Duration::from_hours(90 * 24);

/// Whom hosts believe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustRoot {
    /// Grows by one with each change; starts at 1.
    pub version: u64,
    /// When it was made.
    pub created: UnixNanos,
    /// When it ends.
    pub expires: UnixNanos,
    /// The operators.
    pub persons: Vec<Person>,
    /// How many of them each class of actions takes.
    pub thresholds: Vec<(ActionClass, u32)>,
    /// Hosts on which what cannot be undone, or lasts, takes more persons.
    pub critical_hosts: BTreeSet<HostId>,
}

/// One operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Person {
    /// Their name.
    pub name: String,
    /// Their signing keys.
    pub keys: Vec<PublicKey>,
    /// What they may do.
    pub roles: Vec<Role>,
}

/// Exact bytes and the signatures over them.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Under which domain.
    pub domain: Domain,
    /// The bytes.
    pub body: &'a [u8],
    /// Who signed.
    pub signatures: &'a [v1::Signature],
}

closed_set! {
    /// What an operator may do.
    Role, Role {
        /// Ask for actions.
        Requester = "requester",
        /// Approve what others asked for.
        Approver = "approver",
        /// A program that asks.
        Automation = "automation",
        /// Sign rules, policy and configuration.
        Content = "content",
        /// Sign trust roots only.
        Recovery = "recovery",
    }
}

closed_set! {
    /// Actions that take the same number of signatures.
    ActionClass, ActionClass {
        /// Looks, changes nothing.
        Read = "read",
        /// Can be undone and ends by itself.
        Reversible = "reversible",
        /// Cannot be undone.
        Destructive = "destructive",
        /// More than ten hosts.
        Fleet = "fleet",
        /// Rules, policy, configuration.
        Content = "content",
        /// The trust root itself.
        Trust = "trust",
        /// Cannot be undone or lasts, on a critical host.
        Critical = "critical",
        /// The trust root, by the role of recovery alone.
        Recovery = "recovery",
    }
}

/// Why a command is not approved, or bytes are no trust root.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrustError {
    /// Not a message.
    #[error("the trust root cannot be decoded")]
    Decode(#[source] prost::DecodeError),
    /// A field is wrong.
    #[error("a field of the trust root is wrong")]
    Field(#[source] EventError),
    /// A key is wrong.
    #[error("a key of `{person}` is wrong")]
    Key {
        /// Whose.
        person: String,
        /// What is wrong with it.
        source: SealError,
    },
    /// Nobody is named.
    #[error("the trust root names nobody")]
    Empty,
    /// A person is named twice.
    #[error("the trust root names `{0}` twice")]
    Twice(String),
    /// One key is given to two persons, who would then count twice.
    #[error("the trust root gives one key to `{0}` and to somebody else")]
    SharedKey(String),
    /// It is over.
    #[error("the trust root expired at {0}")]
    Expired(UnixNanos),
    /// A signature is by a key that nobody of the trust root holds.
    #[error("the key {0} belongs to nobody in the trust root")]
    UnknownKey(KeyId),
    /// A person signed who lacks the role for it.
    #[error("`{person}` signed without the role {role}")]
    WrongRole {
        /// Who.
        person: String,
        /// What they would have to be.
        role: Role,
    },
    /// Somebody both approves and is a program, or the like.
    #[error("`{0}` is automation and can have no other role")]
    Automation(String),
    /// Not the version that comes next.
    #[error("trust root {got} does not follow trust root {has}")]
    Version {
        /// The version in force.
        has: u64,
        /// The one that came.
        got: u64,
    },
    /// Good for longer than 90 days, or from the future.
    #[error("a trust root is good for at most 90 days from now")]
    TooLong,
    /// Nobody could ever meet a threshold.
    #[error("the class {class} takes {needed} persons, but only {eligible} could sign")]
    Unmeetable {
        /// Which class.
        class: ActionClass,
        /// How many persons it takes.
        needed: u32,
        /// How many there are.
        eligible: u32,
    },
    /// A signature or key id of the wrong length.
    #[error("a signature is malformed")]
    Malformed(#[source] SealError),
    /// A signature does not fit the bytes.
    #[error("the signature of `{0}` does not fit")]
    BadSignature(String),
    /// Too few persons.
    #[error("{got} of {needed} needed persons signed for the class {class}")]
    TooFew {
        /// Of what.
        class: ActionClass,
        /// Persons whose signatures count.
        got: usize,
        /// Persons needed.
        needed: u32,
    },
}

impl TrustRoot {
    /// From its exact bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, TrustError> {
        let wire = v1::TrustRoot::decode(bytes).map_err(TrustError::Decode)?;
        let persons = wire
            .persons
            .into_iter()
            .map(person)
            .collect::<Result<Vec<_>, _>>()?;
        refuse_doubles(&persons)?;
        let thresholds = wire
            .thresholds
            .into_iter()
            .map(threshold)
            .collect::<Result<_, _>>()?;
        let critical = wire
            .critical_hosts
            .iter()
            .map(|host| id("critical_hosts", host, HostId::from_slice));
        Ok(Self {
            version: wire.version,
            created: UnixNanos(wire.created_unix_ns),
            expires: UnixNanos(wire.expires_unix_ns),
            persons,
            thresholds,
            critical_hosts: critical
                .collect::<Result<_, _>>()
                .map_err(TrustError::Field)?,
        })
    }

    /// Version 1: every operator may ask and approve; thresholds never exceed their number.
    pub fn first(persons: Vec<Person>, now: UnixNanos) -> Self {
        let people = u32::try_from(persons.len()).unwrap_or(u32::MAX);
        let capped = |wanted: u32| wanted.min(people).max(1);
        let thresholds = ActionClass::FIRST
            .iter()
            .map(|class| (*class, capped(class.wanted())));
        Self {
            version: 1,
            created: now,
            expires: now.plus(MAX_TRUST_AGE),
            thresholds: thresholds.collect(),
            persons,
            critical_hosts: BTreeSet::new(),
        }
    }

    /// Its bytes. Encoded once; from then on only these bytes count.
    pub fn encode(&self) -> Vec<u8> {
        v1::TrustRoot {
            version: self.version,
            created_unix_ns: self.created.0,
            expires_unix_ns: self.expires.0,
            persons: self.persons.iter().map(person_to_wire).collect(),
            thresholds: self
                .thresholds
                .iter()
                .map(|(class, persons)| v1::Threshold {
                    class: class.to_wire(),
                    persons: *persons,
                })
                .collect(),
            critical_hosts: self
                .critical_hosts
                .iter()
                .map(|host| host.as_bytes().to_vec())
                .collect(),
        }
        .encode_to_vec()
    }

    /// How many persons the class takes. On critical hosts as many as for a fleet, unless it is listed.
    pub fn threshold(&self, class: ActionClass) -> u32 {
        let listed = self.thresholds.iter().find(|(listed, _)| *listed == class);
        match (listed, class) {
            (Some((_, persons)), _) => (*persons).max(1),
            (None, ActionClass::Critical) => self.threshold(ActionClass::Fleet),
            (None, _) => class.wanted(),
        }
    }

    /// The person who holds this key.
    pub fn holder(&self, key_id: KeyId) -> Option<&Person> {
        self.key(key_id).map(|(person, _)| person)
    }

    /// The person of this name.
    pub fn person(&self, name: &str) -> Option<&Person> {
        self.persons.iter().find(|person| person.name == name)
    }

    /// Whose signature it is; it must fit.
    pub fn signer(
        &self,
        domain: Domain,
        body: &[u8],
        signed: &v1::Signature,
    ) -> Result<&Person, TrustError> {
        let key_id = KeyId::from_slice(&signed.key_id).map_err(TrustError::Malformed)?;
        let signature = Signature::from_slice(&signed.signature).map_err(TrustError::Malformed)?;
        let (person, key) = self.key(key_id).ok_or(TrustError::UnknownKey(key_id))?;
        key.verify(domain, body, &signature)
            .map_err(|_unfit| TrustError::BadSignature(person.name.clone()))?;
        Ok(person)
    }

    fn key(&self, key_id: KeyId) -> Option<(&Person, &PublicKey)> {
        let persons = self.persons.iter();
        persons
            .flat_map(|person| person.keys.iter().map(move |key| (person, key)))
            .find(|(_, key)| key.key_id() == key_id)
    }
}

impl Person {
    /// Whether they have one of these roles.
    pub fn is_any(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.roles.contains(role))
    }
}

impl ActionClass {
    /// Those that version 1 lists: agents and operators of any version know them.
    const FIRST: [Self; 6] = [
        Self::Read,
        Self::Reversible,
        Self::Destructive,
        Self::Fleet,
        Self::Content,
        Self::Trust,
    ];

    /// Signatures that the class takes unless the trust root says otherwise.
    const fn wanted(self) -> u32 {
        match self {
            Self::Read | Self::Reversible | Self::Destructive => 1,
            Self::Fleet | Self::Content | Self::Trust | Self::Critical | Self::Recovery => 2,
        }
    }
}

fn person(wire: v1::Person) -> Result<Person, TrustError> {
    let mut keys = Vec::with_capacity(wire.public_keys.len());
    for bytes in &wire.public_keys {
        let wrong = |source| TrustError::Key {
            person: wire.name.clone(),
            source,
        };
        keys.push(PublicKey::from_slice(bytes).map_err(wrong)?);
    }
    let roles = wire
        .roles
        .iter()
        .map(|role| known("roles", *role, Role::from_wire));
    let roles = roles.collect::<Result<_, _>>().map_err(TrustError::Field)?;
    Ok(Person {
        name: wire.name,
        keys,
        roles,
    })
}

fn refuse_doubles(persons: &[Person]) -> Result<(), TrustError> {
    if persons.is_empty() {
        return Err(TrustError::Empty);
    }
    let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for person in persons {
        if person.roles.contains(&Role::Automation) && person.roles.len() > 1 {
            return Err(TrustError::Automation(person.name.clone()));
        }
        if !names.insert(&person.name) {
            return Err(TrustError::Twice(person.name.clone()));
        }
        if !person.keys.iter().all(|key| keys.insert(key.as_bytes())) {
            return Err(TrustError::SharedKey(person.name.clone()));
        }
    }
    Ok(())
}

fn threshold(wire: v1::Threshold) -> Result<(ActionClass, u32), TrustError> {
    let class = known("threshold.class", wire.class, ActionClass::from_wire);
    Ok((class.map_err(TrustError::Field)?, wire.persons))
}

fn person_to_wire(person: &Person) -> v1::Person {
    v1::Person {
        name: person.name.clone(),
        public_keys: person
            .keys
            .iter()
            .map(|key| key.as_bytes().to_vec())
            .collect(),
        roles: person.roles.iter().map(|role| role.to_wire()).collect(),
    }
}
