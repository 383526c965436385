//! A batch from a host: is it what that host signed, whole and in order? Pure; nothing is kept here.
//!
//! # Invariants
//!
//! - Sizes are checked before anything is decoded or decompressed.
//! - An [`Entry`] is only ever made from a batch whose signature, payload hash and numbers hold.
//! - One event is in memory at a time, so a batch costs little more than its own bytes.

use picket_event::batch::{Header, MAX_BATCH_BYTES};
use picket_event::{EventError, Gap, HostId, UnixNanos};
use picket_proto::v1;
use picket_seal::{Digest, Payload, PublicKey, SealError, Signature, verify_header};
use picket_store::payload::{self, PayloadError};
use picket_store::{Entry, Lineage, Summary};
use prost::Message;

use crate::refusal::Refusal;

/// Largest header, in bytes.
const MAX_HEADER_BYTES: usize = 256 << 10;

/// Most successions that may come with one batch: the hourly epochs of five weeks.
const MAX_SUCCESSIONS: usize = 1024;

/// Largest body of a succession, in bytes.
const MAX_SUCCESSION_BYTES: usize = 256;

/// Reads the header, if the batch is within its bounds and names the host that sent it.
pub fn read_header(batch: &v1::SignedBatch, host: HostId) -> Result<Header, Refusal> {
    check_sizes(batch)?;
    let wire = v1::BatchHeader::decode(batch.header.as_slice());
    let header = Header::try_from(wire.map_err(|_message| Refusal::BadHeader)?);
    let header = header.map_err(|wrong| malformed(&wrong, Refusal::BadHeader))?;
    if header.host != host {
        return Err(Refusal::WrongHost);
    }
    Ok(header)
}

/// By whom a batch is said to be signed.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The key of the header's epoch.
    pub key: PublicKey,
    /// The branch of the host's keys that it is of.
    pub lineage: Lineage,
    /// When the batch arrived.
    pub received: UnixNanos,
}

/// Checks the batch against its header and its key.
pub fn check(batch: v1::SignedBatch, header: Header, signed: Signed) -> Result<Entry, Refusal> {
    let header_hash = check_signature(&batch, &header, &signed.key)?;
    let summary = check_events(&header, &batch.payload)?;
    Ok(Entry {
        received: signed.received,
        header,
        header_hash,
        batch,
        summary,
        lineage: signed.lineage,
    })
}

fn check_sizes(batch: &v1::SignedBatch) -> Result<(), Refusal> {
    let bodies = batch
        .successions
        .iter()
        .all(|one| one.body.len() <= MAX_SUCCESSION_BYTES);
    let fits = batch.header.len() <= MAX_HEADER_BYTES
        && batch.payload.len() <= MAX_BATCH_BYTES
        && batch.successions.len() <= MAX_SUCCESSIONS
        && bodies;
    if fits { Ok(()) } else { Err(Refusal::TooLarge) }
}

fn check_signature(
    batch: &v1::SignedBatch,
    header: &Header,
    key: &PublicKey,
) -> Result<Digest, Refusal> {
    if header.key_id != key.key_id() {
        return Err(Refusal::WrongKey);
    }
    let signature = Signature::from_slice(&batch.signature);
    let signature = signature.map_err(|_length| Refusal::BadSignature)?;
    // A payload is never empty: even no events compress to some bytes. The header still proves the chain.
    let payload = match batch.payload.as_slice() {
        [] => Payload::Dropped,
        bytes => Payload::Present(bytes),
    };
    verify_header(
        key,
        &batch.header,
        &signature,
        payload,
        &header.payload_hash,
    )
    .map_err(|refused| match refused {
        SealError::PayloadDiffers { .. } => Refusal::PayloadHash,
        _ => Refusal::BadSignature,
    })
}

/// The events' numbers are, in order, exactly those of the header that no gap covers. A payload that the host
/// dropped holds none of them; a header that stands for lost ones has no payload, and gaps say so of each number.
fn check_events(header: &Header, payload: &[u8]) -> Result<Summary, Refusal> {
    let mut numbers = Numbers::of(header)?;
    if header.range_end.is_some() && !(payload.is_empty() && numbers.next().is_none()) {
        return Err(Refusal::BadHeader);
    }
    if payload.is_empty() {
        return Ok(Summary::EMPTY);
    }
    let mut summary = Summary::EMPTY;
    let mut events = payload::open(payload).map_err(|wrong| unreadable(&wrong))?;
    while let Some(glance) = events.next_glance() {
        let glance = glance.map_err(|wrong| unreadable(&wrong))?;
        if numbers.next() != Some(glance.seq) {
            return Err(Refusal::BadSequence);
        }
        summary = summary.and(Summary::of_glance(&glance));
    }
    match numbers.next() {
        None => Ok(summary),
        Some(_) => Err(Refusal::BadSequence),
    }
}

/// The numbers of a header without those of its gaps.
struct Numbers {
    next: u64,
    end: u64,
    /// First and end of each gap, the last one first.
    gaps: Vec<(u64, u64)>,
}

impl Numbers {
    fn of(header: &Header) -> Result<Self, Refusal> {
        if header.count == 0 {
            return Err(Refusal::EmptyBatch);
        }
        let end = header
            .seq_first
            .checked_add(header.count)
            .ok_or(Refusal::BadHeader)?;
        let mut gaps = Vec::with_capacity(header.gaps.len());
        let mut behind = header.seq_first;
        for gap in &header.gaps {
            let (first, last) = bounds(gap).ok_or(Refusal::BadHeader)?;
            if first < behind || last > end {
                return Err(Refusal::BadHeader);
            }
            behind = last;
            gaps.push((first, last));
        }
        gaps.reverse();
        Ok(Self {
            next: header.seq_first,
            end,
            gaps,
        })
    }
}

/// A gap of unknown size covers no number.
fn bounds(gap: &Gap) -> Option<(u64, u64)> {
    Some((
        gap.seq_first,
        gap.seq_first.checked_add(gap.count.unwrap_or(0))?,
    ))
}

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        while let Some((first, end)) = self.gaps.last().copied().filter(|gap| gap.0 <= self.next) {
            debug_assert!(first <= self.next, "the gaps are in order");
            self.next = self.next.max(end);
            self.gaps.pop();
        }
        if self.next >= self.end {
            return None;
        }
        let number = self.next;
        self.next = number.checked_add(1)?;
        Some(number)
    }
}

fn unreadable(wrong: &PayloadError) -> Refusal {
    match wrong {
        PayloadError::TooLarge(_) | PayloadError::EventTooLarge { .. } => Refusal::TooLarge,
        PayloadError::Event { source, .. } => malformed(source, Refusal::BadPayload),
        _ => Refusal::BadPayload,
    }
}

fn malformed(wrong: &EventError, otherwise: Refusal) -> Refusal {
    match wrong {
        EventError::UnknownValue { .. } => Refusal::UnknownEnum,
        _ => otherwise,
    }
}
