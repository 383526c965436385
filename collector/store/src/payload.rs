//! Opening a payload: bounded before anything is allocated, one event at a time.
//!
//! A few bytes on the wire can stand for a large message in memory (a repeated field of empty
//! messages). So the decompressed size is bounded, each event's size is bounded, and never more
//! than one event is decoded at once.

use std::cell::RefCell;
use std::io;

use picket_event::batch::MAX_BATCH_BYTES;
use picket_event::{DecodeError, Event, EventError, Glance};
use picket_proto::v1;
use prost::Message;
use prost::bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use zstd::zstd_safe::{DParameter, get_frame_content_size};

/// Largest event, in bytes as encoded.
pub const MAX_EVENT_BYTES: usize = 256 << 10;

/// Why a payload was refused.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It does not say how large it will be, or is not zstd at all.
    #[error("the payload does not say how large it is")]
    NoSize,
    /// It would be larger than any payload may be.
    #[error("the payload would have {0} bytes")]
    TooLarge(u64),
    /// One event is larger than any may be.
    #[error("event {index} of the payload has {size} bytes")]
    EventTooLarge {
        /// The how-manieth, from 0.
        index: usize,
        /// Its size in bytes.
        size: u64,
    },
    /// It cannot be decompressed within the size it states.
    #[error("the payload cannot be decompressed")]
    Compressed(#[source] io::Error),
    /// What is inside is no message.
    #[error("the payload cannot be decoded")]
    Decode(#[source] prost::DecodeError),
    /// An event ends behind the payload's end.
    #[error("event {0} of the payload is cut off")]
    CutOff(usize),
    /// An event is wrong.
    #[error("event {index} of the payload is wrong")]
    Event {
        /// The how-manieth, from 0.
        index: usize,
        /// What is wrong with it.
        source: EventError,
    },
}

/// The checked events of a payload, in their order. Ends after the first error.
#[derive(Debug)]
pub struct Events {
    rest: Bytes,
    index: usize,
}

/// Decompresses a payload; empty bytes hold no event.
pub fn open(payload: &[u8]) -> Result<Events, PayloadError> {
    if payload.is_empty() {
        return Ok(Events {
            rest: Bytes::new(),
            index: 0,
        });
    }
    Ok(Events {
        rest: decompress(payload)?.into(),
        index: 0,
    })
}

/// The payload of these events, as an agent makes it.
pub fn close(events: Vec<v1::Event>) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(&v1::BatchPayload { events }.encode_to_vec(), LEVEL)
}

impl Iterator for Events {
    type Item = Result<Event, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_event().transpose();
        if matches!(next, Some(Err(_))) {
            self.rest.clear();
        }
        next
    }
}

impl Events {
    /// The exact bytes of the next event, not decoded. Ends after the first error.
    pub(crate) fn next_bytes(&mut self) -> Option<Result<Bytes, PayloadError>> {
        let next = self.next_encoded().transpose();
        if matches!(next, Some(Err(_))) {
            self.rest.clear();
        }
        next
    }

    /// Checks the next event as [`Iterator::next`] does, and says only what stands out of it. Ends after the first error.
    pub fn next_glance(&mut self) -> Option<Result<Glance, PayloadError>> {
        let next = self.next_as(Event::glance).transpose();
        if matches!(next, Some(Err(_))) {
            self.rest.clear();
        }
        next
    }

    fn next_event(&mut self) -> Result<Option<Event>, PayloadError> {
        self.next_as(Event::decode)
    }

    fn next_as<T>(
        &mut self,
        read: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, PayloadError> {
        let index = self.index;
        let Some(bytes) = self.next_encoded()? else {
            return Ok(None);
        };
        read(&bytes).map(Some).map_err(|wrong| match wrong {
            DecodeError::Message(source) => PayloadError::Decode(source),
            DecodeError::Event(source) => PayloadError::Event { index, source },
        })
    }

    fn next_encoded(&mut self) -> Result<Option<Bytes>, PayloadError> {
        while self.rest.has_remaining() {
            let (tag, wire_type) = decode_key(&mut self.rest).map_err(PayloadError::Decode)?;
            if (tag, wire_type) == (EVENTS, WireType::LengthDelimited) {
                return self.encoded().map(Some);
            }
            let skipped = skip_field(wire_type, tag, &mut self.rest, DecodeContext::default());
            skipped.map_err(PayloadError::Decode)?;
        }
        Ok(None)
    }

    fn encoded(&mut self) -> Result<Bytes, PayloadError> {
        let index = self.index;
        self.index = index.saturating_add(1);
        let size = decode_varint(&mut self.rest).map_err(PayloadError::Decode)?;
        let fits = usize::try_from(size)
            .ok()
            .filter(|size| *size <= MAX_EVENT_BYTES);
        let length = fits.ok_or(PayloadError::EventTooLarge { index, size })?;
        if length > self.rest.remaining() {
            return Err(PayloadError::CutOff(index));
        }
        Ok(self.rest.split_to(length))
    }
}

fn decompress(payload: &[u8]) -> Result<Vec<u8>, PayloadError> {
    let size = get_frame_content_size(payload)
        .ok()
        .flatten()
        .ok_or(PayloadError::NoSize)?;
    let fits = usize::try_from(size)
        .ok()
        .filter(|size| *size <= MAX_BATCH_BYTES);
    let size = fits.ok_or(PayloadError::TooLarge(size))?;
    OPENER
        .with_borrow_mut(|kept| open_with(kept, payload, size))
        .map_err(PayloadError::Compressed)
}

/// Decompresses with the thread's own opener. One that has failed is not used again.
fn open_with(kept: &mut Option<Opener>, payload: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let mut opener = match kept.take() {
        Some(opener) => opener,
        None => new_opener()?,
    };
    let opened = opener.decompress(payload, size)?;
    *kept = Some(opener);
    Ok(opened)
}

fn new_opener() -> io::Result<Opener> {
    let mut opener = Opener::new()?;
    opener.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
    Ok(opener)
}

type Opener = zstd::bulk::Decompressor<'static>;

thread_local! {
    /// To make one costs as much as to open a small payload: some 100 KiB are allocated and set up.
    static OPENER: RefCell<Option<Opener>> = const { RefCell::new(None) };
}

/// The field of `BatchPayload` that holds the events.
const EVENTS: u32 = 1;

/// As the agents compress.
const LEVEL: i32 = 1;

/// No window beyond the largest payload: 2^22 is 4 MiB.
const WINDOW_LOG: u32 = 22;
