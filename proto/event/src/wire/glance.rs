//! What ingest has to know of an event, without making the event: nothing is allocated for its texts and lists.
//!
//! # Invariants
//!
//! - Bytes are taken exactly where [`Event::decode`] takes them. What is not written as this version writes it is left to that.

use super::decode::{DecodeError, Fields, Odd, Read, detail, namespaces, start, verdict};
use super::{digest_or_none, id, id_or_none, known, known_or_none};
use crate::{Event, Fidelity, HashStatus, Kind, ProcessUid, Severity, Source, UnixNanos};

/// What stands out of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Glance {
    /// Its number in its stream and class.
    pub seq: u64,
    /// What happened.
    pub kind: Kind,
    /// When, by the host's clock.
    pub time: UnixNanos,
    /// The worst verdict.
    pub severity: Option<Severity>,
}

impl Event {
    /// Checks the message `v1::Event` as [`Self::decode`] does, and says what stands out of it.
    pub fn glance(bytes: &[u8]) -> Result<Glance, DecodeError> {
        if let Ok(glance) = event(bytes) {
            return Ok(glance);
        }
        Self::decode(bytes).map(|event| Glance {
            seq: event.seq,
            kind: event.kind,
            time: event.time,
            severity: event.severity(),
        })
    }
}

fn event(bytes: &[u8]) -> Read<Glance> {
    let (mut seq, mut kind, mut time, mut source) = (0, 0, 0_i64, 0);
    let (mut severity, mut has_detail) = (None, false);
    let mut fields = Fields::of(bytes, &[7]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => seq = value.number()?,
            2 => kind = value.signed()?,
            3 => time = value.number()?.cast_signed(),
            4 => checked(value.number()?),
            5 => source = value.signed()?,
            6 => process(value.bytes()?)?,
            7 => severity = severity.max(Some(judged(value.bytes()?)?)),
            16..=40 if !has_detail => {
                detail(tag, value)?;
                has_detail = true;
            }
            _ => return Err(Odd),
        }
    }
    known("source", source, Source::from_wire)?;
    Ok(Glance {
        seq,
        kind: known("kind", kind, Kind::from_wire)?,
        time: UnixNanos(time),
        severity,
    })
}

fn process(bytes: &[u8]) -> Read<()> {
    let mut uid = &b""[..];
    let mut fields = Fields::of(bytes, &[6, 23, 24]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => uid = value.bytes()?,
            2 | 3 | 7 | 12 | 13 | 28..=31 => checked(value.small()?),
            4 => checked(id_or_none(
                "process.parent_uid",
                value.bytes()?,
                ProcessUid::from_slice,
            )?),
            5 | 6 | 10 | 14 | 19 | 26 | 27 => checked(value.bytes()?),
            8 | 21 => checked(value.number()?),
            9 | 22 => checked(value.flag()?),
            11 => user(value.bytes()?)?,
            15 => checked(start(value)?),
            16 => checked(digest_or_none("process.sha256", value.bytes()?)?),
            17 => checked(known_or_none(
                "process.hash_status",
                value.signed()?,
                HashStatus::from_wire,
            )?),
            18 => checked(value.word()?),
            20 => checked(namespaces(value.bytes()?)?),
            23 => variable(value.bytes()?)?,
            24 => ancestor(value.bytes()?)?,
            25 => checked(known_or_none(
                "process.fidelity",
                value.signed()?,
                Fidelity::from_wire,
            )?),
            _ => return Err(Odd),
        }
    }
    id("process.uid", uid, ProcessUid::from_slice)?;
    Ok(())
}

fn user(bytes: &[u8]) -> Read<()> {
    let mut fields = Fields::of(bytes, &[]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => checked(value.small()?),
            2 => checked(value.bytes()?),
            _ => return Err(Odd),
        }
    }
    Ok(())
}

fn variable(bytes: &[u8]) -> Read<()> {
    let mut fields = Fields::of(bytes, &[]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 | 2 => checked(value.bytes()?),
            _ => return Err(Odd),
        }
    }
    Ok(())
}

fn ancestor(bytes: &[u8]) -> Read<()> {
    let mut uid = &b""[..];
    let mut fields = Fields::of(bytes, &[]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => uid = value.bytes()?,
            2 => checked(value.small()?),
            3 => checked(value.bytes()?),
            _ => return Err(Odd),
        }
    }
    id("process.ancestry.uid", uid, ProcessUid::from_slice)?;
    Ok(())
}

/// How bad a verdict is. A rule's is read whole: it is rarer, and checked more.
fn judged(bytes: &[u8]) -> Read<Severity> {
    let mut fields = Fields::of(bytes, &[]);
    if let Some((2, value)) = fields.next()?
        && fields.is_at_end()
    {
        return score(value.bytes()?);
    }
    verdict(bytes).map(|verdict| verdict.severity())
}

fn score(bytes: &[u8]) -> Read<Severity> {
    let mut alert = false;
    let mut fields = Fields::of(bytes, &[3]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 | 2 => checked(value.real()?),
            3 => reason(value.bytes()?)?,
            4 => alert = value.flag()?,
            _ => return Err(Odd),
        }
    }
    Ok(if alert {
        Severity::Medium
    } else {
        Severity::Informational
    })
}

fn reason(bytes: &[u8]) -> Read<()> {
    let mut fields = Fields::of(bytes, &[10]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => checked(value.word()?),
            2 | 3 => checked(value.bytes()?),
            4 | 5 => checked(value.real()?),
            6 | 7 => checked(value.number()?),
            8 | 9 => checked(value.small()?),
            10 => level(value.bytes()?)?,
            _ => return Err(Odd),
        }
    }
    Ok(())
}

fn level(bytes: &[u8]) -> Read<()> {
    let mut fields = Fields::of(bytes, &[]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => checked(value.word()?),
            2 | 3 => checked(value.number()?),
            4 => checked(value.small()?),
            _ => return Err(Odd),
        }
    }
    Ok(())
}

/// What was read is of its type; what it is does not matter here.
const fn checked<T: Copy>(_value: T) {}
