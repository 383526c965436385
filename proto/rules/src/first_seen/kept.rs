//! What rules about new values have seen, as bytes.
//!
//! ```text
//! "PKFS" | version u8 | newest i64 (i64::MIN: none) | rules u32
//!   rule:  definition [u8; 16] | learned i64 | values u32
//!     value: hash [u8; 16] | last i64      the one that was not seen for the longest first
//! digest of all that stands before [u8; 16]
//! ```
//!
//! Numbers are little-endian. Hash, digest and definition (of a rule's id, fields and `per`) are first halves of SHA-256.

use super::{Firsts, MOST_VALUES_OF_ONE, Memory, Per, half, put};

const BEGIN: &[u8; 4] = b"PKFS";
const VERSION: u8 = 1;

impl Firsts {
    /// All of it.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let mut bytes = BEGIN.to_vec();
        bytes.push(VERSION);
        bytes.extend(self.newest.unwrap_or(i64::MIN).to_le_bytes());
        put_count(&mut bytes, self.rules.len());
        for memory in &self.rules {
            bytes.extend(memory.definition());
            bytes.extend(memory.learned.to_le_bytes());
            put_count(&mut bytes, memory.by_touch.len());
            for hash in memory.by_touch.values() {
                let last = memory.seen.get(hash).map_or(i64::MIN, |(last, _)| *last);
                bytes.extend(hash.to_le_bytes());
                bytes.extend(last.to_le_bytes());
            }
        }
        bytes.extend(half(&bytes));
        bytes
    }

    /// Goes on from a snapshot, where a rule asks the same; nothing changes and `None` comes if it is damaged.
    pub(crate) fn restore(&mut self, bytes: &[u8]) -> Option<()> {
        let (whole, end) = bytes.split_at_checked(bytes.len().checked_sub(16)?)?;
        let mut rest = whole.strip_prefix(BEGIN)?.strip_prefix(&[VERSION])?;
        if half(whole) != end {
            return None;
        }
        let newest = number(&mut rest)?;
        let mut kept = Vec::new();
        for _ in 0..count(&mut rest)? {
            kept.push(rule(&mut rest)?);
        }
        rest.is_empty().then_some(())?;
        self.newest = (newest != i64::MIN).then_some(newest);
        for rule in kept {
            let same = |memory: &&mut Memory| memory.definition() == rule.definition;
            if let Some(memory) = self.rules.iter_mut().find(same) {
                memory.learned = rule.learned;
                for (hash, last) in rule.values {
                    self.touches += 1;
                    memory.note(hash, last, self.touches);
                }
            }
        }
        self.values = self.rules.iter().map(|memory| memory.seen.len()).sum();
        Some(())
    }
}

/// What was kept of one rule.
struct Kept {
    definition: [u8; 16],
    learned: i64,
    values: Vec<(u128, i64)>,
}

fn rule(rest: &mut &[u8]) -> Option<Kept> {
    let definition = take(rest)?;
    let learned = number(rest)?;
    let values = count(rest)?;
    if values > MOST_VALUES_OF_ONE {
        return None;
    }
    let mut kept = Vec::new();
    for _ in 0..values {
        kept.push((u128::from_le_bytes(take(rest)?), number(rest)?));
    }
    Some(Kept {
        definition,
        learned,
        values: kept,
    })
}

impl Memory {
    fn definition(&self) -> [u8; 16] {
        let mut bytes = vec![match self.plan.per {
            Per::Host => 0,
            Per::User => 1,
        }];
        put(&mut bytes, self.id.as_bytes());
        for field in &self.plan.fields {
            put(&mut bytes, field.as_bytes());
        }
        half(&bytes)
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn count(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(take(rest)?)).ok()
}

fn number(rest: &mut &[u8]) -> Option<i64> {
    take(rest).map(i64::from_le_bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}
