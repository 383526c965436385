//! What the hosts of a fleet tell each other through their collector: which values they have in which contexts.
//!
//! # Invariants
//!
//! - Contexts and values are hashes under a secret of the fleet, and a host says of each only that it has it: no text and no number of times leaves it.
//! - A prior holds nothing that fewer than [`LEAST_HOSTS`] hosts said.
//! - A prior is verified as it was sent: the bytes are never encoded again.

use picket_proto::v1;
use picket_seal::{Digest, Domain, PublicKey, SealError, Signature, SigningKey};
use prost::Message;

use crate::UnixNanos;

/// How many hosts must have said a thing before others hear of it.
pub const LEAST_HOSTS: u32 = 5;
/// Contexts in a prior at most.
pub const MOST_CONTEXTS: usize = 1_024;
/// Values in a prior at most.
pub const MOST_VALUES: usize = 4_096;
/// Pairs in a sketch at most.
pub const MOST_PAIRS: usize = 3_584;

/// A value in its context; each is a hash under the fleet's secret, the value's holds its context.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Pair {
    /// The context.
    pub context: u64,
    /// The value in it.
    pub value: u64,
}

/// The secret that a fleet's hashes are made with: the same for all hosts of a collector.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct FleetSecret([u8; 16]);

/// Names the secret without telling it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FleetId([u8; 8]);

/// What one host has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sketch {
    /// Under whose secret.
    pub fleet: FleetId,
    /// What it has, in no order.
    pub pairs: Vec<Pair>,
}

/// A context that enough hosts have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SharedContext {
    /// Its hash.
    pub context: u64,
    /// Hosts that have it.
    pub hosts: u32,
    /// Different values that it has on any of them.
    pub values: u32,
}

/// A value that enough hosts have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SharedValue {
    /// Its hash, which holds the context.
    pub value: u64,
    /// Hosts that have it.
    pub hosts: u32,
}

/// What the fleet knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Prior {
    /// Under whose secret.
    pub fleet: FleetId,
    /// Which one, from 1 on; later ones have higher numbers.
    pub number: u64,
    /// When it was made, by the collector's clock.
    pub wall: UnixNanos,
    /// Hosts whose sketches are in it.
    pub hosts: u32,
    /// Contexts, the most widespread first; at most [`MOST_CONTEXTS`].
    pub contexts: Vec<SharedContext>,
    /// Values, the most widespread first; at most [`MOST_VALUES`].
    pub values: Vec<SharedValue>,
}

/// Why a sketch or a prior is refused.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Not a message, or lists that do not belong together.
    #[error("it cannot be decoded")]
    Form,
    /// Larger than any may be.
    #[error("it has {got} entries, at most {most} are taken")]
    TooLarge {
        /// What came.
        got: usize,
        /// What is taken.
        most: usize,
    },
    /// It tells of fewer hosts than it may.
    #[error("it holds what fewer than {LEAST_HOSTS} hosts said")]
    TooFewHosts,
    /// Not signed by this key.
    #[error("it is not signed by the collector's checkpoint key")]
    Signature(#[source] SealError),
}

impl FleetSecret {
    /// From its bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// From as many bytes as it has.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its name.
    pub fn id(&self) -> FleetId {
        let digest = Digest::of_domain(Domain::Fleet, &self.0);
        let id = digest.as_bytes().first_chunk().copied();
        FleetId(id.unwrap_or_default())
    }
}

/// Without its bytes.
impl std::fmt::Debug for FleetSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FleetSecret").field(&self.id()).finish()
    }
}

impl FleetId {
    fn from_slice(bytes: &[u8]) -> Result<Self, FleetError> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_length| FleetError::Form)
    }
}

impl TryFrom<v1::FleetSketch> for Sketch {
    type Error = FleetError;

    fn try_from(wire: v1::FleetSketch) -> Result<Self, FleetError> {
        let fleet = FleetId::from_slice(&wire.fleet)?;
        let (contexts, values) = (wire.contexts, wire.values);
        at_most(contexts.len(), MOST_PAIRS)?;
        if contexts.len() != values.len() {
            return Err(FleetError::Form);
        }
        let pairs = contexts.into_iter().zip(values);
        let pairs = pairs.map(|(context, value)| Pair { context, value });
        Ok(Self {
            fleet,
            pairs: pairs.collect(),
        })
    }
}

impl From<Sketch> for v1::FleetSketch {
    fn from(sketch: Sketch) -> Self {
        Self {
            fleet: sketch.fleet.0.to_vec(),
            contexts: sketch.pairs.iter().map(|pair| pair.context).collect(),
            values: sketch.pairs.iter().map(|pair| pair.value).collect(),
        }
    }
}

impl Prior {
    /// The signed form.
    pub fn sign(&self, key: &SigningKey) -> v1::SignedPrior {
        let body = v1::PriorBody {
            fleet: self.fleet.0.to_vec(),
            number: self.number,
            wall_unix_ns: self.wall.0,
            hosts: self.hosts,
            contexts: self.contexts.iter().map(|one| one.context).collect(),
            context_hosts: self.contexts.iter().map(|one| one.hosts).collect(),
            context_values: self.contexts.iter().map(|one| one.values).collect(),
            values: self.values.iter().map(|one| one.value).collect(),
            value_hosts: self.values.iter().map(|one| one.hosts).collect(),
        };
        let body = body.encode_to_vec();
        v1::SignedPrior {
            signature: key.sign(Domain::Prior, &body).as_bytes().to_vec(),
            public_key: key.public_key().as_bytes().to_vec(),
            body,
        }
    }

    /// What a signed prior says. The key that it names counts for nothing.
    pub fn read(signed: &v1::SignedPrior, key: &PublicKey) -> Result<Self, FleetError> {
        let signature = Signature::from_slice(&signed.signature).map_err(FleetError::Signature)?;
        key.verify(Domain::Prior, &signed.body, &signature)
            .map_err(FleetError::Signature)?;
        let body = v1::PriorBody::decode(signed.body.as_slice());
        let body = body.map_err(|_message| FleetError::Form)?;
        let prior = Self {
            fleet: FleetId::from_slice(&body.fleet)?,
            number: body.number,
            wall: UnixNanos(body.wall_unix_ns),
            hosts: body.hosts,
            contexts: contexts(&body)?,
            values: values(&body)?,
        };
        prior.refuse_few_hosts()?;
        Ok(prior)
    }

    fn refuse_few_hosts(&self) -> Result<(), FleetError> {
        let contexts = self.contexts.iter().map(|one| one.hosts);
        let values = self.values.iter().map(|one| one.hosts);
        if contexts.chain(values).any(|hosts| hosts < LEAST_HOSTS) {
            return Err(FleetError::TooFewHosts);
        }
        Ok(())
    }
}

fn contexts(body: &v1::PriorBody) -> Result<Vec<SharedContext>, FleetError> {
    let lengths = [body.context_hosts.len(), body.context_values.len()];
    same_lengths(body.contexts.len(), &lengths, MOST_CONTEXTS)?;
    let counts = body.context_hosts.iter().zip(&body.context_values);
    let rows = body.contexts.iter().zip(counts);
    let rows = rows.map(|(context, (hosts, values))| SharedContext {
        context: *context,
        hosts: *hosts,
        values: *values,
    });
    Ok(rows.collect())
}

fn values(body: &v1::PriorBody) -> Result<Vec<SharedValue>, FleetError> {
    same_lengths(body.values.len(), &[body.value_hosts.len()], MOST_VALUES)?;
    let rows = body.values.iter().zip(&body.value_hosts);
    let rows = rows.map(|(value, hosts)| SharedValue {
        value: *value,
        hosts: *hosts,
    });
    Ok(rows.collect())
}

fn same_lengths(length: usize, others: &[usize], most: usize) -> Result<(), FleetError> {
    at_most(length, most)?;
    if others.iter().any(|other| *other != length) {
        return Err(FleetError::Form);
    }
    Ok(())
}

const fn at_most(got: usize, most: usize) -> Result<(), FleetError> {
    if got > most {
        return Err(FleetError::TooLarge { got, most });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prior() -> Prior {
        Prior {
            fleet: FleetSecret::new([7; 16]).id(),
            number: 3,
            wall: UnixNanos(9),
            hosts: 12,
            contexts: vec![SharedContext {
                context: 1,
                hosts: 12,
                values: 4,
            }],
            values: vec![
                SharedValue {
                    value: 2,
                    hosts: 12,
                },
                SharedValue { value: 3, hosts: 5 },
            ],
        }
    }

    #[test]
    fn a_prior_is_read_back_and_no_altered_one_is() {
        let key = SigningKey::generate().expect("the system gives random bytes");
        let signed = prior().sign(&key);
        let read = Prior::read(&signed, &key.public_key()).expect("it is whole");
        assert_eq!(read, prior());
        for at in 0..signed.body.len() {
            let mut altered = signed.clone();
            if let Some(byte) = altered.body.get_mut(at) {
                *byte ^= 1;
            }
            let refused = Prior::read(&altered, &key.public_key());
            assert!(matches!(refused, Err(FleetError::Signature(_))));
        }
        let other = SigningKey::generate().expect("the system gives random bytes");
        assert!(Prior::read(&signed, &other.public_key()).is_err());
    }

    #[test]
    fn what_few_hosts_said_is_refused_also_when_it_is_signed() {
        let key = SigningKey::generate().expect("the system gives random bytes");
        let mut few = prior();
        few.values.push(SharedValue { value: 4, hosts: 4 });
        let refused = Prior::read(&few.sign(&key), &key.public_key());
        assert!(matches!(refused, Err(FleetError::TooFewHosts)));
        let mut many = prior();
        many.values = vec![SharedValue { value: 4, hosts: 9 }; MOST_VALUES + 1];
        let refused = Prior::read(&many.sign(&key), &key.public_key());
        assert!(matches!(refused, Err(FleetError::TooLarge { .. })));
    }

    #[test]
    fn a_sketch_goes_over_the_wire_and_back() {
        let pair = |n| Pair {
            context: n,
            value: n << 8,
        };
        let sketch = Sketch {
            fleet: FleetSecret::new([7; 16]).id(),
            pairs: (0..9).map(pair).collect(),
        };
        let wire = v1::FleetSketch::from(sketch.clone());
        assert_eq!(Sketch::try_from(wire.clone()).expect("it is whole"), sketch);
        let mut uneven = wire.clone();
        uneven.values.pop();
        assert!(matches!(Sketch::try_from(uneven), Err(FleetError::Form)));
        let mut large = wire;
        large.contexts = vec![1; MOST_PAIRS + 1];
        large.values.clone_from(&large.contexts);
        assert!(matches!(
            Sketch::try_from(large),
            Err(FleetError::TooLarge { .. })
        ));
    }
}
