//! What is kept in memory: where each chain stands, and which segment holds what.
//!
//! 24 bytes for each stored batch (its first number and half of its hash, to tell a redelivery
//! from a second history), some hundred for each stream, some tens for each host in each segment.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use picket_event::batch::Header;
use picket_event::{Class, HostId, StreamId, UnixNanos};
use picket_seal::{Chain, Digest, Position};

use crate::branch::Signers;
use crate::{AppendError, Cursor, Lineage, Query, SignedBy, SignedSpan, Summary, TRUNK};

/// More chains than this is no honest host: three classes and a restart every hour fill it in seven years.
pub(crate) const MAX_CHAINS: usize = 3 * 65_536;

/// One chain.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ChainKey {
    /// In which run of the agent.
    pub stream: StreamId,
    /// In which class.
    pub class: Class,
}

/// How far one chain is on disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// Which chain.
    pub key: ChainKey,
    /// The first number that is not on disk.
    pub durable_seq: u64,
    /// What the header of that number must name; `None` while a batch is on its way to the disk.
    pub head: Option<Digest>,
}

/// One line of the collector's ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ledger {
    /// Which chain.
    pub key: ChainKey,
    /// Its next number.
    pub next_seq: u64,
    /// Events stored.
    pub stored: u64,
    /// Numbers that are gaps.
    pub gaps: u64,
    /// Gaps of unknown size.
    pub unknown_gaps: u64,
    /// Who signed its newest batch; `None`: it has none.
    pub signed_by: Option<SignedBy>,
}

/// All chains of one host, latest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostLedger {
    /// One line each.
    pub chains: Vec<Ledger>,
    /// The time of its latest event.
    pub last_event: Option<UnixNanos>,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// It comes next.
    Next,
    /// It is there already.
    Duplicate,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    hosts: HashMap<HostId, HostIndex>,
    /// In the order of their numbers; the last may be the one that is written.
    pub(crate) segments: Vec<SegmentInfo>,
    appended: u64,
}

/// One segment, as far as it is synced.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
    pub(crate) summary: Summary,
}

impl Segment {
    fn goes_on_behind(&self, from: Cursor) -> bool {
        let here = self.number == from.segment && self.length > from.offset;
        here || self.number > from.segment
    }
}

/// A segment and whose batches it holds.
#[derive(Debug)]
pub(crate) struct SegmentInfo {
    pub(crate) segment: Segment,
    pub(crate) hosts: HashSet<HostId>,
    /// Bytes of payloads that thinning would take away.
    pub(crate) payloads: u64,
}

impl SegmentInfo {
    pub(crate) fn new(number: u32, path: PathBuf) -> Self {
        let segment = Segment {
            number,
            path,
            length: 0,
            summary: Summary::EMPTY,
        };
        Self {
            segment,
            hosts: HashSet::new(),
            payloads: 0,
        }
    }

    /// Batches of these hosts were added; the segment is now this long.
    pub(crate) fn grow(
        &mut self,
        length: u64,
        hosts: impl IntoIterator<Item = HostId>,
        summary: Summary,
    ) {
        self.segment.length = length;
        self.segment.summary = self.segment.summary.and(summary);
        self.hosts.extend(hosts);
    }
}

#[derive(Debug, Default)]
struct HostIndex {
    chains: HashMap<ChainKey, ChainState>,
    last_event: Option<UnixNanos>,
    /// Whether other branches than the first one signed something.
    branched: bool,
}

#[derive(Debug)]
struct ChainState {
    chain: Chain,
    durable_seq: u64,
    stored: u64,
    gaps: u64,
    unknown_gaps: u64,
    placed: Vec<Placed>,
    signers: Signers,
    /// When it was last added to, as a count of all batches.
    touched: u64,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    seq_first: u64,
    hash: [u8; 16],
}

/// What a batch brings beside its header.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// Its events.
    Events(Summary),
    /// Nothing: the host had to drop the payload, so all its numbers are gaps.
    Dropped,
}

impl Content {
    /// Of a batch with this payload and these events; `retired`: the payload was there.
    pub(crate) fn of(payload: &[u8], retired: bool, summary: Summary) -> Self {
        if payload.is_empty() && !retired {
            Self::Dropped
        } else {
            Self::Events(summary)
        }
    }
}

impl Head {
    /// Of a chain without a batch.
    const fn none(key: ChainKey) -> Self {
        Self {
            key,
            durable_seq: 0,
            head: Some(Digest::ZERO),
        }
    }
}

impl Index {
    /// Of these segments alone, without chains: for reading.
    pub(crate) fn of_segments(segments: Vec<SegmentInfo>) -> Self {
        Self {
            segments,
            ..Self::default()
        }
    }

    /// Says what becomes of a batch, changing nothing.
    pub(crate) fn place(
        &self,
        header: &Header,
        hash: Digest,
        lineage: &Lineage,
    ) -> Result<Place, AppendError> {
        let place = self.place_in_chain(header, hash)?;
        let host = self.hosts.get(&header.host);
        let branched = lineage.branch != TRUNK || host.is_some_and(|host| host.branched);
        if place == Place::Next && branched && !may_go_on(host, header, lineage) {
            return Err(AppendError::OtherBranch);
        }
        Ok(place)
    }

    fn place_in_chain(&self, header: &Header, hash: Digest) -> Result<Place, AppendError> {
        let key = ChainKey {
            stream: header.stream,
            class: header.class,
        };
        let host = self.hosts.get(&header.host);
        let state = host.and_then(|host| host.chains.get(&key));
        let Some(state) = state else {
            let chains = host.map_or(0, |host| host.chains.len());
            return Self::place_first(header, chains);
        };
        match state.chain.check(&header.link()) {
            Ok(Position::Next) => Ok(Place::Next),
            Ok(Position::AlreadySeen) if state.holds(header.seq_first, hash) => {
                Ok(Place::Duplicate)
            }
            Ok(Position::AlreadySeen) => Err(AppendError::Fork {
                seq_first: header.seq_first,
            }),
            Err(refused) => Err(AppendError::Chain(refused)),
        }
    }

    fn place_first(header: &Header, chains: usize) -> Result<Place, AppendError> {
        if chains >= MAX_CHAINS {
            return Err(AppendError::TooManyStreams(chains));
        }
        match Chain::START.check(&header.link()) {
            Ok(_) => Ok(Place::Next),
            Err(refused) => Err(AppendError::Chain(refused)),
        }
    }

    /// Moves the chain behind a batch that [`Index::place`] said comes next.
    pub(crate) fn add(&mut self, header: &Header, hash: Digest, content: Content, branch: u32) {
        self.appended = self.appended.saturating_add(1);
        let key = ChainKey {
            stream: header.stream,
            class: header.class,
        };
        let host = self.hosts.entry(header.host).or_default();
        if let Content::Events(summary) = content
            && !summary.kinds.is_empty()
        {
            host.last_event = host.last_event.max(Some(summary.last));
        }
        host.branched |= branch != TRUNK;
        let state = host.chains.entry(key).or_insert_with(ChainState::new);
        state.add(header, hash, content);
        let epoch = header.epoch;
        state
            .signers
            .note(header.seq_first, SignedBy { branch, epoch });
        state.touched = self.appended;
    }

    /// Everything added to these chains is on disk.
    pub(crate) fn settle(&mut self, chains: impl IntoIterator<Item = (HostId, ChainKey)>) {
        for (host, key) in chains {
            let state = self
                .hosts
                .get_mut(&host)
                .and_then(|host| host.chains.get_mut(&key));
            if let Some(state) = state {
                state.durable_seq = state.chain.next_seq;
            }
        }
    }

    /// Everything read back from disk is on disk, and nothing was heard of any chain yet.
    pub(crate) fn settle_recovered(&mut self) {
        for state in self
            .hosts
            .values_mut()
            .flat_map(|host| host.chains.values_mut())
        {
            state.durable_seq = state.chain.next_seq;
        }
    }

    /// The segments that go on behind a place and may hold what is wanted, in order.
    pub(crate) fn segments_for(&self, from: Cursor, query: &Query) -> Vec<Segment> {
        let behind = self.segments.iter();
        let behind = behind.filter(|info| info.segment.goes_on_behind(from));
        let wanted = behind.filter(|info| query.may_want_segment(info));
        wanted.map(|info| info.segment.clone()).collect()
    }

    /// The segments that go on behind a place, in order.
    pub(crate) fn segments_behind(&self, from: Cursor) -> Vec<Segment> {
        let segments = self.segments.iter().map(|info| &info.segment);
        let behind = segments.filter(|segment| segment.goes_on_behind(from));
        behind.cloned().collect()
    }

    /// Bytes of the log behind a place.
    pub(crate) fn bytes_behind(&self, from: Cursor) -> u64 {
        let segments = self.segments.iter().map(|info| &info.segment);
        let behind = segments.filter(|segment| segment.goes_on_behind(from));
        let lengths = behind.map(|segment| {
            let taken = if segment.number == from.segment {
                from.offset
            } else {
                0
            };
            segment.length.saturating_sub(taken)
        });
        lengths.fold(0, u64::saturating_add)
    }

    /// A segment was written anew and is shorter.
    pub(crate) fn shorten(&mut self, number: u32, length: u64) {
        let found = self
            .segments
            .binary_search_by_key(&number, |info| info.segment.number);
        if let Some(info) = found.ok().and_then(|at| self.segments.get_mut(at)) {
            info.segment.length = length;
            info.payloads = 0;
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        let lengths = self.segments.iter().map(|info| info.segment.length);
        lengths.fold(0, u64::saturating_add)
    }

    pub(crate) fn end(&self) -> Cursor {
        let last = self.segments.last().map(|info| &info.segment);
        last.map_or(Cursor::START, |last| Cursor {
            segment: last.number,
            offset: last.length,
        })
    }

    pub(crate) fn heads(&self, host: &HostId, limit: usize) -> Vec<Head> {
        let latest = self.latest_first(host).into_iter().take(limit);
        latest.map(|(key, state)| state.head(*key)).collect()
    }

    pub(crate) fn head(&self, host: &HostId, key: &ChainKey) -> Head {
        let state = self.hosts.get(host).and_then(|host| host.chains.get(key));
        state.map_or_else(|| Head::none(*key), |state| state.head(*key))
    }

    pub(crate) fn ledger(&self, host: &HostId) -> HostLedger {
        let chains = self
            .latest_first(host)
            .into_iter()
            .map(|(key, state)| state.ledger(*key));
        let last_event = self.hosts.get(host).and_then(|host| host.last_event);
        HostLedger {
            chains: chains.collect(),
            last_event,
        }
    }

    /// Who signed a number of a chain.
    pub(crate) fn signed_by(&self, host: &HostId, key: &ChainKey, seq: u64) -> Option<SignedBy> {
        self.hosts.get(host)?.chains.get(key)?.signers.of(seq)
    }

    /// Who signed what of a host.
    pub(crate) fn signed_spans(&self, host: &HostId) -> Vec<SignedSpan> {
        let chains = self.hosts.get(host).map(|host| host.chains.iter());
        let chains = chains.into_iter().flatten();
        let spans = chains.flat_map(|(key, state)| state.signers.spans(*key, state.chain.next_seq));
        spans.collect()
    }

    fn latest_first(&self, host: &HostId) -> Vec<(&ChainKey, &ChainState)> {
        let chains = self.hosts.get(host).map(|host| host.chains.iter());
        let mut chains: Vec<_> = chains.into_iter().flatten().collect();
        chains.sort_by_key(|(_, state)| std::cmp::Reverse(state.touched));
        chains
    }
}

impl ChainState {
    fn new() -> Self {
        Self {
            chain: Chain::START,
            durable_seq: 0,
            stored: 0,
            gaps: 0,
            unknown_gaps: 0,
            placed: Vec::new(),
            signers: Signers::default(),
            touched: 0,
        }
    }

    fn add(&mut self, header: &Header, hash: Digest, content: Content) {
        let next_seq = header.seq_first.saturating_add(header.count);
        self.chain = Chain {
            next_seq,
            head: header.head(hash),
        };
        let (declared, unknown) = header.gap_counts();
        let gaps = match content {
            Content::Events(_) => declared,
            Content::Dropped => header.count,
        };
        self.stored = self
            .stored
            .saturating_add(header.count.saturating_sub(gaps));
        self.gaps = self.gaps.saturating_add(gaps);
        self.unknown_gaps = self.unknown_gaps.saturating_add(unknown);
        self.placed.push(Placed {
            seq_first: header.seq_first,
            hash: half(hash),
        });
    }

    fn holds(&self, seq_first: u64, hash: Digest) -> bool {
        let at = self
            .placed
            .binary_search_by_key(&seq_first, |placed| placed.seq_first);
        let placed = at.ok().and_then(|at| self.placed.get(at));
        placed.is_some_and(|placed| placed.hash == half(hash))
    }

    fn head(&self, key: ChainKey) -> Head {
        let settled = self.durable_seq == self.chain.next_seq;
        Head {
            key,
            durable_seq: self.durable_seq,
            head: settled.then_some(self.chain.head),
        }
    }

    fn ledger(&self, key: ChainKey) -> Ledger {
        Ledger {
            key,
            next_seq: self.chain.next_seq,
            stored: self.stored,
            gaps: self.gaps,
            unknown_gaps: self.unknown_gaps,
            signed_by: self.signers.last(),
        }
    }
}

/// Whether this branch may go on in this run: nobody else has signed in it but its own past. That numbers are lost in a run is only
/// said by the branch that it is of: another may still have them.
fn may_go_on(host: Option<&HostIndex>, header: &Header, lineage: &Lineage) -> bool {
    let classes = [Class::Alert, Class::Security, Class::Bulk];
    let keys = classes.map(|class| ChainKey {
        stream: header.stream,
        class,
    });
    let of_run = || keys.iter().filter_map(|key| host?.chains.get(key));
    let is_own = lineage.branch == TRUNK || of_run().any(|it| it.signers.any_of(lineage.branch));
    (is_own || header.range_end.is_none()) && of_run().all(|it| it.signers.all_in(lineage))
}

fn half(hash: Digest) -> [u8; 16] {
    *hash
        .as_bytes()
        .first_chunk()
        .expect("a digest is longer than 16 bytes")
}
