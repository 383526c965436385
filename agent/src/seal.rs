//! Numbers events, chains them class by class and signs them in batches. Pure: no disk, no clock.
//!
//! # Invariants
//!
//! - Every event, and every event known to be lost, has a number before anything can drop it.
//! - The headers of a class cover its numbers without a hole: `seq_first` follows the header before.
//! - In a batch the events' numbers are those of its header that no gap of known size covers.
//! - A batch waits at most [`MAX_WAIT_NS`]; in the class ALERT only until the next look, so that what
//!   came together goes together.

use std::io;

use picket_event::batch::{ClassHead, Header, PreviousStream};
use picket_event::{
    BootId, Class, Detail, Event, Gap, GapReason, HostId, Kind, Source, StreamId, UnixNanos,
};
use picket_proto::v1;
use picket_seal::{Chain, Digest, Signature, SigningKey, header_hash, seal_header};
use prost::Message;

mod line;
mod range;
#[cfg(test)]
mod tests;

use line::Line;
pub(crate) use range::Range;

/// A batch is sealed when its events take this much, uncompressed.
pub const MAX_BYTES: usize = 256 << 10;
/// A batch is sealed when its first event has waited so long, in nanoseconds.
pub const MAX_WAIT_NS: u64 = 200_000_000;
const ZSTD_LEVEL: i32 = 1;

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Wall clock.
    pub wall: UnixNanos,
    /// Nanoseconds since boot.
    pub mono_ns: u64,
}

/// The key in force.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// Its epoch.
    pub epoch: u64,
    /// Its private half.
    pub key: &'a SigningKey,
}

/// Who speaks, in which run.
#[derive(Clone, Copy, Debug)]
pub struct Speaker {
    /// The host.
    pub host: HostId,
    /// The run.
    pub stream: StreamId,
    /// The boot.
    pub boot: BootId,
}

/// One sealed batch.
#[derive(Debug)]
pub struct Sealed {
    /// In which run.
    pub stream: StreamId,
    /// In which class.
    pub class: Class,
    /// First number covered.
    pub seq_first: u64,
    /// How many numbers are covered.
    pub count: u64,
    /// How many of them are gaps.
    pub gaps: u64,
    /// Exact header bytes.
    pub header: Vec<u8>,
    /// Exact payload bytes.
    pub payload: Vec<u8>,
    /// Over the header.
    pub signature: Signature,
}

/// One line of the transport ledger, as far as the sealer knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Numbered {
    /// Which class.
    pub class: Class,
    /// Numbers given.
    pub given: u64,
    /// Of these, numbers that stand for lost events.
    pub gaps: u64,
    /// Numbers sealed.
    pub sealed: u64,
    /// Hash of the last header.
    pub head: Digest,
}

/// Seals the events of one run.
pub struct Sealer {
    speaker: Speaker,
    lines: [Line; 3],
    previous: Option<PreviousStream>,
    opening_gap: Option<GapReason>,
    /// The newest that was heard of; each header names it.
    checkpoint: Option<Digest>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("speaker", &self.speaker)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// A new run. `previous` is the run before it; if that one did not close its books, the first
    /// header says so by a gap of unknown size.
    pub fn new(speaker: Speaker, previous: Option<PreviousStream>) -> io::Result<Self> {
        let crashed = previous.as_ref().is_some_and(|previous| !previous.clean);
        Ok(Self {
            speaker,
            lines: [Class::Alert, Class::Security, Class::Bulk].map(Line::new),
            previous,
            opening_gap: crashed.then_some(GapReason::Crash),
            checkpoint: None,
            compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
        })
    }

    /// The collector has signed a checkpoint: from now on headers name it.
    pub(crate) fn name_checkpoint(&mut self, checkpoint: Option<Digest>) {
        self.checkpoint = checkpoint;
    }

    /// Numbers an event. Returns a batch if it is full.
    pub fn push(
        &mut self,
        event: Box<Event>,
        now: Now,
        signer: Signer<'_>,
    ) -> io::Result<Option<Sealed>> {
        let class = event.class();
        let line = self.line(class);
        line.number(event, now);
        if line.payload.len() >= MAX_BYTES {
            return self.flush(class, now, signer);
        }
        Ok(None)
    }

    /// Numbers events of one kind that are lost.
    pub fn lose(&mut self, class: Class, (kind, count): (Kind, u64), reason: GapReason, now: Now) {
        if count > 0 {
            self.line(class).lose(kind, count, reason, now);
        }
    }

    /// Says, in the class itself, that the payload of numbers which were sealed before is gone.
    pub fn report(&mut self, class: Class, gap: Gap, now: Now) {
        let mut event = Event::new(Kind::Gap, now.wall, Source::Agent);
        event.boot_ns = now.mono_ns;
        let event = Box::new(event.with(Detail::Gap(gap)));
        self.line(class).number(event, now);
    }

    /// Seals what has waited long enough, in the classes that have room for a batch.
    pub fn flush_due(
        &mut self,
        now: Now,
        signer: Signer<'_>,
        has_room: impl Fn(Class) -> bool,
    ) -> io::Result<Vec<Sealed>> {
        self.flush_if(now, signer, |line| {
            let waited = |since| now.mono_ns.saturating_sub(since) >= line.patience_ns();
            line.waiting_since.is_some_and(waited) && has_room(line.class)
        })
    }

    /// Seals everything, as before a change of keys.
    pub fn flush_all(&mut self, now: Now, signer: Signer<'_>) -> io::Result<Vec<Sealed>> {
        self.flush_if(now, signer, |_| true)
    }

    /// How long until something must be sealed, in nanoseconds.
    pub fn due_in_ns(&self, mono_ns: u64) -> Option<u64> {
        let due = |line: &Line| Some(line.waiting_since?.saturating_add(line.patience_ns()));
        let first = self.lines.iter().filter_map(due).min()?;
        Some(first.saturating_sub(mono_ns))
    }

    /// The ledger so far.
    pub fn numbered(&self) -> [Numbered; 3] {
        [0, 1, 2].map(|index: usize| {
            let line = &self.lines[index];
            Numbered {
                class: line.class,
                given: line.next,
                gaps: line.gap_numbers,
                sealed: line.chain.next_seq,
                head: line.chain.head,
            }
        })
    }

    fn flush_if(
        &mut self,
        now: Now,
        signer: Signer<'_>,
        due: impl Fn(&Line) -> bool,
    ) -> io::Result<Vec<Sealed>> {
        let due: Vec<Class> = self
            .lines
            .iter()
            .filter(|line| due(line))
            .map(|line| line.class)
            .collect();
        let mut sealed = Vec::new();
        for class in due {
            sealed.extend(self.flush(class, now, signer)?);
        }
        Ok(sealed)
    }

    /// Seals one class. Nothing happens while it has no number to cover.
    fn flush(&mut self, class: Class, now: Now, signer: Signer<'_>) -> io::Result<Option<Sealed>> {
        let line = self.line(class);
        if line.unsealed() == 0 {
            line.waiting_since = None;
            return Ok(None);
        }
        let raw = std::mem::take(&mut line.payload);
        let payload = self.compressor.compress(&raw)?;
        self.line(class).payload = recycled(raw);
        let header = self.header(class, Digest::of(&payload), now, signer);
        Ok(Some(self.seal(class, header, payload, signer.key)))
    }

    fn header(
        &mut self,
        class: Class,
        payload_hash: Digest,
        now: Now,
        signer: Signer<'_>,
    ) -> Header {
        let other_heads = self.other_heads(class);
        let opening = self.opening_gap.take();
        let line = self.line(class);
        let link = line.chain.next_link(line.unsealed());
        let mut gaps = std::mem::take(&mut line.gaps);
        gaps.splice(
            0..0,
            opening.map(|reason| unknown_gap(link.seq_first, reason)),
        );
        Header {
            host: self.speaker.host,
            stream: self.speaker.stream,
            class,
            seq_first: link.seq_first,
            count: link.count,
            prev_hash: link.prev_hash,
            payload_hash,
            other_heads,
            gaps,
            epoch: signer.epoch,
            key_id: signer.key.public_key().key_id(),
            boot: self.speaker.boot,
            wall: now.wall,
            mono_ns: now.mono_ns,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            previous_stream: self.previous.take(),
            last_checkpoint: self.checkpoint,
            range_end: None,
        }
    }

    fn seal(&mut self, class: Class, header: Header, payload: Vec<u8>, key: &SigningKey) -> Sealed {
        let (stream, link) = (header.stream, header.link());
        let (gaps, _unknown) = header.gap_counts();
        let header = v1::BatchHeader::from(header).encode_to_vec();
        let line = self.line(class);
        line.chain = Chain {
            next_seq: line.next,
            head: header_hash(&header),
        };
        line.waiting_since = None;
        Sealed {
            stream,
            class,
            seq_first: link.seq_first,
            count: link.count,
            gaps,
            signature: seal_header(key, &header),
            header,
            payload,
        }
    }

    fn other_heads(&self, class: Class) -> Vec<ClassHead> {
        let others = self.lines.iter().filter(|line| line.class != class);
        others.map(Line::head).collect()
    }

    /// Where each class's chain stands.
    pub fn heads(&self) -> Vec<ClassHead> {
        self.lines.iter().map(Line::head).collect()
    }

    fn line(&mut self, class: Class) -> &mut Line {
        let index = match class {
            Class::Alert => 0,
            Class::Security => 1,
            Class::Bulk => 2,
        };
        &mut self.lines[index]
    }
}

fn recycled(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer.shrink_to(MAX_BYTES * 2);
    buffer
}

fn unknown_gap(seq_first: u64, reason: GapReason) -> Gap {
    Gap {
        seq_first,
        count: None,
        reason,
        kinds: Vec::new(),
        stream: None,
    }
}
