//! To the wire and back.
//!
//! Going out cannot fail. Coming in, every identifier, enum and address is checked; the first that
//! is wrong refuses the event, with its name.

mod decode;
mod detail;
mod encode;
mod glance;
mod process;
mod verdict;

use picket_proto::v1;
use picket_seal::{Digest, SealError};

use crate::{Event, IdError, Kind, Source, UnixNanos};

pub use decode::DecodeError;
pub use glance::Glance;

/// Why a message from the wire is not an event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EventError {
    /// A number that this version gives no meaning.
    #[error("{field} has the unknown value {value}")]
    UnknownValue {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: i32,
    },
    /// An identifier of the wrong form.
    #[error("{field} is not valid")]
    Identifier {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: IdError,
    },
    /// A hash of the wrong length.
    #[error("{field} is not a SHA-256")]
    Hash {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: SealError,
    },
    /// An address of neither 4 nor 16 bytes.
    #[error("{field} has {length} bytes, which is no address")]
    Address {
        /// Which field.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A message without the part that gives it its meaning.
    #[error("{field} is missing")]
    Missing {
        /// Which field.
        field: &'static str,
    },
}

impl From<Event> for v1::Event {
    fn from(event: Event) -> Self {
        Self {
            seq: event.seq,
            kind: event.kind.to_wire(),
            time_unix_ns: event.time.0,
            boot_ns: event.boot_ns,
            source: event.source.to_wire(),
            process: event.process.map(Into::into),
            verdicts: event.verdicts.into_iter().map(Into::into).collect(),
            detail: event.detail.map(Into::into),
        }
    }
}

impl TryFrom<v1::Event> for Event {
    type Error = EventError;

    fn try_from(wire: v1::Event) -> Result<Self, EventError> {
        Ok(Self {
            seq: wire.seq,
            kind: known("kind", wire.kind, Kind::from_wire)?,
            time: UnixNanos(wire.time_unix_ns),
            boot_ns: wire.boot_ns,
            source: known("source", wire.source, Source::from_wire)?,
            process: wire.process.map(TryInto::try_into).transpose()?,
            verdicts: wire
                .verdicts
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            detail: wire.detail.map(TryInto::try_into).transpose()?,
        })
    }
}

/// A member of a closed set that must be known.
pub(crate) fn known<T>(
    field: &'static str,
    value: i32,
    from_wire: impl Fn(i32) -> Option<T>,
) -> Result<T, EventError> {
    from_wire(value).ok_or(EventError::UnknownValue { field, value })
}

/// A member of a closed set that may be unspecified (0) but not unknown.
pub(crate) fn known_or_none<T>(
    field: &'static str,
    value: i32,
    from_wire: impl Fn(i32) -> Option<T>,
) -> Result<Option<T>, EventError> {
    if value == 0 {
        Ok(None)
    } else {
        known(field, value, from_wire).map(Some)
    }
}

/// An identifier that must be there.
pub(crate) fn id<T>(
    field: &'static str,
    bytes: &[u8],
    from_slice: impl Fn(&[u8]) -> Result<T, IdError>,
) -> Result<T, EventError> {
    from_slice(bytes).map_err(|source| EventError::Identifier { field, source })
}

/// An identifier that may be empty.
pub(crate) fn id_or_none<T>(
    field: &'static str,
    bytes: &[u8],
    from_slice: impl Fn(&[u8]) -> Result<T, IdError>,
) -> Result<Option<T>, EventError> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        id(field, bytes, from_slice).map(Some)
    }
}

/// A digest that must be there.
pub(crate) fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, EventError> {
    Digest::from_slice(bytes).map_err(|source| EventError::Hash { field, source })
}

/// A digest that may be empty.
pub(crate) fn digest_or_none(
    field: &'static str,
    bytes: &[u8],
) -> Result<Option<Digest>, EventError> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        digest(field, bytes).map(Some)
    }
}

/// The bytes of a digest, none for none.
pub(crate) fn digest_bytes(digest: Option<Digest>) -> Vec<u8> {
    digest
        .map(|digest| digest.as_bytes().to_vec())
        .unwrap_or_default()
}
