//! One chain: a class of a run.

use std::collections::BTreeMap;

use picket_event::batch::Header;
use picket_event::{Class, Gap, GapReason, StreamId, UnixNanos};
use picket_seal::{Chain, Digest, KeyId, Position};

use super::keys::Signer;
use super::{Fault, payload};

/// What is known of one chain.
#[derive(Debug)]
pub(crate) struct Line {
    /// Its run.
    pub(crate) stream: StreamId,
    /// Its class.
    pub(crate) class: Class,
    /// Batches that verified.
    pub(crate) batches: u64,
    /// Events in them.
    pub(crate) events: u64,
    /// Numbers that are gaps, by reason.
    pub(crate) gaps: BTreeMap<GapReason, u64>,
    /// How many gaps of unknown size there are, by reason.
    pub(crate) unknown_gaps: BTreeMap<GapReason, u64>,
    /// Numbers that the host has sealed, as other headers say, and that are not here (yet).
    pub(crate) outstanding: u64,
    /// Numbers whose payload the collector says that it no longer keeps. Their headers verified; what they held, nobody can tell from here.
    pub(crate) retired: u64,
    /// When the newest of those was sealed, by the host's clock.
    pub(crate) retired_until: Option<UnixNanos>,
    /// Of the batches, those that are proven to be in the last checkpoint.
    pub(crate) proven: u64,
    /// Batches behind the first fault.
    pub(crate) unchecked: u64,
    /// The first number of the first batch that does not fit, and why it does not.
    pub(crate) fault: Option<(u64, Fault)>,
    /// The first number that is here.
    pub(crate) first: u64,
    /// The branch of the host's keys that signed its newest batch; `None`: the first one.
    pub(crate) branch: Option<KeyId>,
    /// Who signed here, each once.
    pub(super) signers: Vec<Signer>,
    chain: Option<Chain>,
    heads: BTreeMap<u64, Digest>,
    /// Numbers whose payload is not here and that no gap has covered yet: first and the one behind.
    unexplained: Vec<(u64, u64)>,
    /// Numbers whose headers are lost: first and the one behind.
    ranges: Vec<(u64, u64)>,
    /// What events here tell of other runs.
    elsewhere: Vec<Gap>,
}

/// In one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// Everything fits and is here.
    Verified,
    /// Everything fits; more was sealed than is here.
    Outstanding,
    /// Something does not fit.
    Failed,
}

impl Line {
    pub(super) const fn new(stream: StreamId, class: Class) -> Self {
        Self {
            stream,
            class,
            batches: 0,
            events: 0,
            gaps: BTreeMap::new(),
            unknown_gaps: BTreeMap::new(),
            outstanding: 0,
            retired: 0,
            retired_until: None,
            proven: 0,
            unchecked: 0,
            fault: None,
            first: 0,
            branch: None,
            signers: Vec::new(),
            chain: None,
            heads: BTreeMap::new(),
            unexplained: Vec::new(),
            ranges: Vec::new(),
            elsewhere: Vec::new(),
        }
    }

    /// In one word.
    pub(crate) const fn outcome(&self) -> Outcome {
        match (&self.fault, self.outstanding) {
            (Some(_), _) => Outcome::Failed,
            (None, 0) => Outcome::Verified,
            (None, _) => Outcome::Outstanding,
        }
    }

    /// The first number that is not here.
    pub(crate) fn next(&self) -> u64 {
        self.chain.map_or(0, |chain| chain.next_seq)
    }

    /// All numbers that are gaps.
    pub(crate) fn gap_numbers(&self) -> u64 {
        self.gaps
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many gaps are of unknown size.
    pub(crate) fn unknown_gap_count(&self) -> u64 {
        self.unknown_gaps
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Takes a batch whose signature and payload hash were verified.
    pub(super) fn take(
        &mut self,
        header: &Header,
        hash: Digest,
        content: payload::Content<'_>,
        from_start: bool,
    ) -> Result<(), Fault> {
        let link = header.link();
        let mut chain = self.chain.unwrap_or_else(|| start(header, from_start));
        let begins = chain;
        match chain
            .advance(&link, header.head(hash))
            .map_err(Fault::Chain)?
        {
            Position::Next => {}
            Position::AlreadySeen => return Err(Fault::Twice(link.seq_first)),
        }
        let held = payload::check(header, content).map_err(Fault::Payload)?;
        if self.chain.is_none() {
            self.first = link.seq_first;
            self.heads.insert(begins.next_seq, begins.head);
        }
        self.chain = Some(chain);
        self.heads.insert(chain.next_seq, chain.head);
        self.batches = self.batches.saturating_add(1);
        self.count(header, held);
        Ok(())
    }

    fn count(&mut self, header: &Header, held: payload::Held) {
        match held {
            payload::Held::Events(events, told) => {
                self.events = self.events.saturating_add(events);
                for gap in told {
                    match gap.stream {
                        Some(stream) if stream != self.stream => self.elsewhere.push(gap),
                        _ => self.explain(&gap),
                    }
                }
            }
            payload::Held::Retired(numbers) => {
                self.retired = self.retired.saturating_add(numbers);
                self.retired_until = self.retired_until.max(Some(header.wall));
            }
            payload::Held::Nothing => {
                let end = header.seq_first.saturating_add(header.count);
                self.unexplained.push((header.seq_first, end));
                if header.range_end.is_some() {
                    self.ranges.push((header.seq_first, end));
                }
            }
        }
        for gap in &header.gaps {
            self.count_gap(gap);
        }
    }

    fn count_gap(&mut self, gap: &Gap) {
        let Some(count) = gap.count else {
            let sum = self.unknown_gaps.entry(gap.reason).or_default();
            *sum = sum.saturating_add(1);
            return;
        };
        let sum = self.gaps.entry(gap.reason).or_default();
        *sum = sum.saturating_add(count);
        self.close_range(gap.seq_first, count);
    }

    /// What events here tell of other runs.
    pub(super) fn take_elsewhere(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.elsewhere)
    }

    /// An event of the host says why numbers whose header is here have no payload.
    pub(super) fn explain(&mut self, gap: &Gap) {
        let closed = gap
            .count
            .map_or(0, |count| self.close_range(gap.seq_first, count));
        if closed > 0 {
            let sum = self.gaps.entry(gap.reason).or_default();
            *sum = sum.saturating_add(closed);
        }
    }

    /// These numbers are explained. How many of them were not before.
    fn close_range(&mut self, first: u64, count: u64) -> u64 {
        let before = size(&self.unexplained);
        let gap = (first, first.saturating_add(count));
        let open = std::mem::take(&mut self.unexplained).into_iter();
        self.unexplained = open.flat_map(|range| without(range, gap)).collect();
        before.saturating_sub(size(&self.unexplained))
    }

    /// Who signed the newest batch.
    pub(super) fn note_signer(&mut self, signer: Signer, branch: Option<KeyId>) {
        if !self.signers.contains(&signer) {
            self.signers.push(signer);
        }
        self.branch = branch;
    }

    /// Whether the chain has come to this number.
    pub(super) fn reaches(&self, next_seq: u64) -> bool {
        self.chain.is_some_and(|chain| chain.next_seq >= next_seq)
    }

    /// Whether another header's word about this chain fits. Of a header that is lost nobody can tell.
    pub(super) fn compare(&mut self, next_seq: u64, said: Digest) {
        let from = self.heads.first_key_value().map_or(0, |(first, _)| *first);
        let inside = |(first, end): &(u64, u64)| *first < next_seq && next_seq < *end;
        if next_seq < from || self.fault.is_some() || self.ranges.iter().any(inside) {
            return;
        }
        let known = self.heads.get(&next_seq).copied().unwrap_or(Digest::ZERO);
        if known != said {
            let fault = Fault::OtherPast {
                next_seq,
                said,
                known,
            };
            self.fail(next_seq, fault);
        }
    }

    /// The host has sealed up to this number. Behind a fault nobody can say what is missing.
    pub(super) fn await_until(&mut self, next_seq: u64) {
        if self.fault.is_some() {
            return;
        }
        let missing = next_seq.saturating_sub(self.next());
        self.outstanding = self.outstanding.max(missing);
    }

    pub(super) fn fail(&mut self, seq: u64, fault: Fault) {
        self.fault.get_or_insert((seq, fault));
    }

    /// Nothing comes any more.
    pub(super) fn close(&mut self) {
        if let Some((first, end)) = self.unexplained.first().copied() {
            let last = end.saturating_sub(1);
            self.fail(first, Fault::Unexplained { first, last });
        }
    }
}

fn start(header: &Header, from_start: bool) -> Chain {
    if from_start {
        return Chain::START;
    }
    Chain {
        next_seq: header.seq_first,
        head: header.prev_hash,
    }
}

fn size(ranges: &[(u64, u64)]) -> u64 {
    ranges.iter().fold(0, |sum, (first, end)| {
        sum.saturating_add(end.saturating_sub(*first))
    })
}

/// What of `range` is outside `gap`; both from their first number to the one behind their last.
fn without(range: (u64, u64), gap: (u64, u64)) -> impl Iterator<Item = (u64, u64)> {
    let before = (range.0, range.1.min(gap.0));
    let behind = (range.0.max(gap.1), range.1);
    [before, behind]
        .into_iter()
        .filter(|(first, end)| first < end)
}
