//! Memory that one evaluation after the other uses: the values of fields, the candidates.
//!
//! # Invariants
//!
//! - Each field is asked for and lower-cased once per record.
//! - Nothing of one record is seen while the next is judged.
//! - Memory grows to the largest record seen and stays there; [`KEPT`] bounds what is kept.

use crate::record::{FieldId, Record, Span, Values};

/// Largest text that is kept from one record to the next, in bytes.
const KEPT: usize = 1 << 20;

/// Working memory of an evaluation; make one per thread and keep it.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Values as they are, and the same in ASCII lower case at the same places.
    raw: Vec<u8>,
    low: Vec<u8>,
    spans: Vec<Span>,
    slots: Vec<Loaded>,
    record: u64,
    /// One bit per rule of a group.
    pub(crate) candidates: Vec<u64>,
}

/// A field's values, if they belong to the present record.
#[derive(Clone, Copy, Debug, Default)]
struct Loaded {
    record: u64,
    slot: Slot,
}

/// Which spans hold the values of one field.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    first: usize,
    end: usize,
}

impl Scratch {
    /// Forgets the last record.
    pub(crate) fn begin(&mut self, fields: usize) {
        self.record += 1;
        self.raw.clear();
        self.low.clear();
        self.spans.clear();
        self.raw.shrink_to(KEPT);
        self.low.shrink_to(KEPT);
        self.slots.resize(fields, Loaded::default());
    }

    /// The values of `field`, asked for on first use.
    pub(crate) fn load<R: Record>(&mut self, record: &R, field: FieldId) -> Slot {
        let Some(loaded) = self.slots.get(field.index()) else {
            return Slot::default();
        };
        if loaded.record == self.record {
            return loaded.slot;
        }
        let (text, first) = (self.raw.len(), self.spans.len());
        record.visit(field, &mut Values::new(&mut self.raw, &mut self.spans));
        let added = self.raw.get(text..).unwrap_or_default();
        self.low.extend(added.iter().map(u8::to_ascii_lowercase));
        let slot = Slot {
            first,
            end: self.spans.len(),
        };
        if let Some(loaded) = self.slots.get_mut(field.index()) {
            *loaded = Loaded {
                record: self.record,
                slot,
            };
        }
        slot
    }

    /// Marks no rule of a group of `rules` as candidate.
    pub(crate) fn no_candidates(&mut self, rules: usize) {
        self.candidates.clear();
        self.candidates.resize(rules.div_ceil(64), 0);
    }
}

impl Slot {
    pub(crate) fn is_empty(self) -> bool {
        self.first == self.end
    }

    /// The values as they are.
    pub(crate) fn raw(self, scratch: &Scratch) -> impl Iterator<Item = &[u8]> {
        self.spans(scratch)
            .filter_map(|span| scratch.raw.get(span.start..span.end))
    }

    /// The values in ASCII lower case.
    pub(crate) fn lowered(self, scratch: &Scratch) -> impl Iterator<Item = &[u8]> {
        self.spans(scratch)
            .filter_map(|span| scratch.low.get(span.start..span.end))
    }

    fn spans(self, scratch: &Scratch) -> impl Iterator<Item = Span> {
        scratch
            .spans
            .get(self.first..self.end)
            .unwrap_or_default()
            .iter()
            .copied()
    }
}
