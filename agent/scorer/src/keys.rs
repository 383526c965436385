//! Keyed hashes of contexts and values.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::factor::Factor;
use crate::feature::Observation;

/// Most levels that a factor has: its context and the more general ones.
pub(crate) const MOST_LEVELS: usize = 3;

/// Where the counts of one level of one observation are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LevelKeys {
    /// Of the context.
    pub(crate) context: u64,
    /// Of the value in it.
    pub(crate) value: u64,
}

/// The keys of an observation's levels, from the special to the general.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels {
    keys: [LevelKeys; MOST_LEVELS],
    len: usize,
}

impl Levels {
    /// The levels in use, at least one.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &LevelKeys> {
        self.keys.iter().take(self.len)
    }

    /// The most special one.
    pub(crate) const fn special(&self) -> LevelKeys {
        let [special, ..] = self.keys;
        special
    }
}

/// The host's secret, as a hash function.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    secret: [u8; 16],
}

impl Keys {
    pub(crate) const fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    /// Where the observation's counts are.
    ///
    /// A value with a wider form (an address with its network) is looked up by that form from the
    /// second level on, first in its own context, then in none. A command line is counted by its program.
    pub(crate) fn levels(&self, observation: &Observation<'_>) -> Levels {
        let context = self.text(&observation.context);
        let value = self.text(&observation.value);
        let level = |number, context, value| self.level(observation, number, context, value);
        let special = level(0, context, value);
        match &observation.wider {
            Some(program) if observation.factor == Factor::CommandLine => {
                let counted = level(0, context, self.text(program));
                let keys = [counted, LevelKeys::default(), LevelKeys::default()];
                Levels { keys, len: 1 }
            }
            None => {
                let keys = [special, level(1, NOWHERE, value), LevelKeys::default()];
                Levels { keys, len: 2 }
            }
            Some(wider) => {
                let wider = self.text(wider);
                let keys = [special, level(1, context, wider), level(2, NOWHERE, wider)];
                Levels { keys, len: 3 }
            }
        }
    }

    fn level(&self, of: &Observation<'_>, number: u64, context: u64, value: u64) -> LevelKeys {
        let place = (of.factor.index() as u64) << 8 | number;
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write_u64(place);
        hasher.write_u64(context);
        let context = hasher.finish();
        hasher.write_u64(value);
        LevelKeys {
            context,
            value: hasher.finish(),
        }
    }

    /// Where the counts of a value in a context are, for questions that are no factors.
    pub(crate) fn of_parts(&self, number: usize, context: &[u8], value: &[u8]) -> LevelKeys {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write_u64((number as u64) << 8 | OTHER_QUESTION);
        hasher.write_u64(self.text(context));
        let context = hasher.finish();
        hasher.write_u64(self.text(value));
        LevelKeys {
            context,
            value: hasher.finish(),
        }
    }

    /// A name alone, never 0.
    pub(crate) fn name(&self, name: &[u8]) -> u64 {
        self.text(name) | 1 << 63
    }

    /// Of a text, of which the first [`MOST_BYTES`] and the length count.
    fn text(&self, text: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write(text.get(..MOST_BYTES).unwrap_or(text));
        hasher.write_u64(text.len() as u64);
        hasher.finish()
    }

    /// What only somebody with the secret can put under these bytes.
    pub(crate) fn checksum(&self, bytes: &[u8]) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(bytes);
        hasher.finish128().as_bytes()
    }
}

/// Without the secret.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// The context of the levels that ask the whole host.
const NOWHERE: u64 = 0;
/// The level number of questions that are no factors, which no factor has.
const OTHER_QUESTION: u64 = 0xff;
/// The longest path that Linux takes.
const MOST_BYTES: usize = 4096;
