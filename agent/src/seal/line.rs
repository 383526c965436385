//! One class of a run: its chain, and what waits to be sealed.

use std::collections::BTreeMap;

use picket_event::batch::ClassHead;
use picket_event::{Class, Event, Gap, GapReason, Kind};
use picket_seal::Chain;

use super::{MAX_WAIT_NS, Now};

/// One class.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) class: Class,
    pub(super) chain: Chain,
    pub(super) next: u64,
    pub(super) gaps: Vec<Gap>,
    pub(super) gap_numbers: u64,
    pub(super) payload: Vec<u8>,
    pub(super) waiting_since: Option<u64>,
}

impl Line {
    pub(super) fn new(class: Class) -> Self {
        Self {
            class,
            chain: Chain::START,
            next: 0,
            gaps: Vec::new(),
            gap_numbers: 0,
            payload: Vec::new(),
            waiting_since: None,
        }
    }

    pub(super) fn number(&mut self, mut event: Box<Event>, now: Now) {
        event.seq = self.next;
        self.next = self.next.saturating_add(1);
        self.waiting_since.get_or_insert(now.mono_ns);
        event.encode_field(EVENTS_FIELD, &mut self.payload);
    }

    /// How long its first event may wait.
    pub(super) const fn patience_ns(&self) -> u64 {
        match self.class {
            Class::Alert => 0,
            Class::Security | Class::Bulk => MAX_WAIT_NS,
        }
    }

    /// How many numbers no header covers yet.
    pub(super) const fn unsealed(&self) -> u64 {
        self.next.saturating_sub(self.chain.next_seq)
    }

    pub(super) fn head(&self) -> ClassHead {
        ClassHead {
            class: self.class,
            next_seq: self.chain.next_seq,
            head: self.chain.head,
        }
    }

    /// Numbers events of one kind that are lost.
    pub(super) fn lose(&mut self, kind: Kind, count: u64, reason: GapReason, now: Now) {
        self.waiting_since.get_or_insert(now.mono_ns);
        self.gap_numbers = self.gap_numbers.saturating_add(count);
        let first = self.next;
        self.next = self.next.saturating_add(count);
        match self.gaps.last_mut() {
            Some(last) if last.reason == reason && end(last) == first => {
                last.count = last.count.map(|known| known.saturating_add(count));
                add_kind(&mut last.kinds, kind, count);
            }
            _ => self.gaps.push(Gap {
                seq_first: first,
                count: Some(count),
                reason,
                kinds: vec![(kind, count)],
                stream: None,
            }),
        }
    }
}

/// `BatchPayload.events`; each is appended, so that no batch is held twice in memory.
const EVENTS_FIELD: u32 = 1;

pub(super) fn end(gap: &Gap) -> u64 {
    gap.seq_first.saturating_add(gap.count.unwrap_or(0))
}

fn add_kind(kinds: &mut Vec<(Kind, u64)>, kind: Kind, count: u64) {
    let mut sums: BTreeMap<Kind, u64> = kinds.drain(..).collect();
    let sum = sums.entry(kind).or_default();
    *sum = sum.saturating_add(count);
    kinds.extend(sums);
}
