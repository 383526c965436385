//! Whether a payload holds exactly the numbers that its header speaks of.

use std::io::{self, Read};

use picket_event::Gap;
use picket_event::batch::{Header, MAX_BATCH_BYTES};
use picket_proto::v1;
use prost::Message;

/// What is wrong with a payload whose hash was right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    /// Not a zstd frame, or larger than a batch may be.
    #[error("it cannot be decompressed")]
    Compression(#[source] io::Error),
    /// Larger than a batch may be.
    #[error("it is larger than {MAX_BATCH_BYTES} bytes")]
    TooLarge,
    /// Not a message.
    #[error("it cannot be decoded")]
    Decode(#[source] prost::DecodeError),
    /// An event has another number than is due.
    #[error("the number {expected} is due, and the event has {got}")]
    Number {
        /// The number that is due.
        expected: u64,
        /// The event's.
        got: u64,
    },
    /// Events are missing at the end.
    #[error("it ends before {expected}, and the header before {end}")]
    TooFew {
        /// The number that is due.
        expected: u64,
        /// The first number behind the header.
        end: u64,
    },
    /// A header that stands for lost ones has a payload, or a number that is not lost.
    #[error("the header at {0} stands for lost ones, and not all its numbers are gaps")]
    Range(u64),
    /// It is here, and the collector says that it is not.
    #[error("the payload at {0} is here, but is said to be gone by a limit")]
    NotRetired(u64),
    /// A gap reaches over the border of its header, or over another gap.
    #[error("the gap at {0} does not fit its header")]
    Gap(u64),
}

/// What a batch holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Held {
    /// So many events, and what they say about numbers that were sealed before.
    Events(u64, Vec<Gap>),
    /// No payload: its gaps, or an event of a later batch, must say why.
    Nothing,
    /// So many numbers beside its gaps, and the collector says that it kept their events as long as it wanted to.
    Retired(u64),
}

/// What came with a header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content<'b> {
    /// The payload; empty: there is none.
    pub(super) bytes: &'b [u8],
    /// The collector says that there was one.
    pub(super) retired: bool,
}

/// Checks the payload against its header, and the header's gaps against its numbers.
pub(super) fn check(header: &Header, content: Content<'_>) -> Result<Held, PayloadError> {
    let payload = content.bytes;
    let end = header.seq_first.saturating_add(header.count);
    let gaps = own_gaps(header, end)?;
    if header.range_end.is_some() && !(payload.is_empty() && covers(&gaps, header, end)) {
        return Err(PayloadError::Range(header.seq_first));
    }
    match (payload.is_empty(), content.retired) {
        (true, true) if header.range_end.is_none() => {
            let covered = gaps
                .iter()
                .map(|(first, behind)| behind.saturating_sub(*first));
            let covered = covered.fold(0, u64::saturating_add);
            return Ok(Held::Retired(header.count.saturating_sub(covered)));
        }
        (true, _) => return Ok(Held::Nothing),
        (false, true) => return Err(PayloadError::NotRetired(header.seq_first)),
        (false, false) => {}
    }
    let events = decode(payload)?.events;
    let mut due = Due {
        next: header.seq_first,
        gaps: gaps.iter().copied().peekable(),
    };
    for event in &events {
        due.take(event.seq)?;
    }
    match due.number() {
        number if number == end => Ok(Held::Events(events.len() as u64, told(events))),
        expected => Err(PayloadError::TooFew { expected, end }),
    }
}

/// The gaps that events tell of: payloads that were dropped after their headers had been signed.
fn told(events: Vec<v1::Event>) -> Vec<Gap> {
    let gaps = events.into_iter().filter_map(|event| match event.detail {
        Some(v1::event::Detail::Gap(gap)) => Gap::try_from(gap).ok(),
        _ => None,
    });
    gaps.collect()
}

/// The numbers that are due, one after the other.
struct Due<I: Iterator<Item = (u64, u64)>> {
    next: u64,
    gaps: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = (u64, u64)>> Due<I> {
    fn take(&mut self, got: u64) -> Result<(), PayloadError> {
        let expected = self.number();
        if got != expected {
            return Err(PayloadError::Number { expected, got });
        }
        self.next = expected.saturating_add(1);
        Ok(())
    }

    /// The next number that no gap covers.
    fn number(&mut self) -> u64 {
        while let Some((_, end)) = self.gaps.next_if(|(first, _)| *first <= self.next) {
            self.next = end;
        }
        self.next
    }
}

/// The gaps of known size, ascending: first number and the one behind. They are the header's own numbers.
fn own_gaps(header: &Header, end: u64) -> Result<Vec<(u64, u64)>, PayloadError> {
    let mut own = Vec::new();
    for (first, behind) in header.gaps.iter().filter_map(bounds) {
        if first < header.seq_first || behind > end {
            return Err(PayloadError::Gap(first));
        }
        own.push((first, behind));
    }
    own.sort_unstable();
    let overlapping = own.windows(2).find(|pair| pair[0].1 > pair[1].0);
    match overlapping {
        Some(pair) => Err(PayloadError::Gap(pair[1].0)),
        None => Ok(own),
    }
}

/// Whether these gaps, one behind the other, are all of a header's numbers.
fn covers(gaps: &[(u64, u64)], header: &Header, end: u64) -> bool {
    let reached = gaps
        .iter()
        .try_fold(header.seq_first, |next, (first, behind)| {
            (*first == next).then_some(*behind)
        });
    reached == Some(end)
}

fn bounds(gap: &Gap) -> Option<(u64, u64)> {
    let count = gap.count?;
    Some((gap.seq_first, gap.seq_first.saturating_add(count)))
}

fn decode(payload: &[u8]) -> Result<v1::BatchPayload, PayloadError> {
    let decoder = zstd::stream::read::Decoder::new(payload).map_err(PayloadError::Compression)?;
    let mut bytes = Vec::new();
    let most = MAX_BATCH_BYTES as u64;
    decoder
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(PayloadError::Compression)?;
    if bytes.len() as u64 > most {
        return Err(PayloadError::TooLarge);
    }
    v1::BatchPayload::decode(bytes.as_slice()).map_err(PayloadError::Decode)
}
