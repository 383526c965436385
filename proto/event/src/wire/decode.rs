//! Events straight from bytes, for the collector that reads thousands a second.
//!
//! # Invariants
//!
//! - What is read here is what the message `v1::Event` of the same bytes says. Bytes that are not written as this version writes them (fields in
//!   another order, twice, of another type, unknown, out of range) are left to that message: it decides what they are.

use std::borrow::Cow;

use picket_proto::v1;
use picket_seal::Digest;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_varint};

use super::{EventError, digest_or_none, id, id_or_none, known, known_or_none};
use crate::{
    Ancestor, BackoffLevel, Detail, EnvVar, Event, Fidelity, HashStatus, Kind, Namespaces, Process,
    ProcessUid, Reason, ScorerVerdict, Source, Text, UnixNanos, User, Verdict,
};

impl Event {
    /// Reads the message `v1::Event`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if let Ok(event) = event(bytes) {
            return Ok(event);
        }
        let wire = v1::Event::decode(bytes).map_err(DecodeError::Message)?;
        Self::try_from(wire).map_err(DecodeError::Event)
    }
}

/// Why bytes are no event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// They are no message.
    #[error("the event cannot be decoded")]
    Message(#[source] prost::DecodeError),
    /// The message is no event.
    #[error("the event is wrong")]
    Event(#[source] EventError),
}

/// The bytes are not written as here.
pub(super) struct Odd;

pub(super) type Read<T> = Result<T, Odd>;

impl From<EventError> for Odd {
    fn from(_wrong: EventError) -> Self {
        Self
    }
}

fn event(bytes: &[u8]) -> Read<Event> {
    let (mut seq, mut kind, mut time, mut boot_ns, mut source) = (0, 0, 0_i64, 0, 0);
    let (mut process, mut verdicts, mut detail) = (None, Vec::new(), None);
    let mut fields = Fields::of(bytes, &[7]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => seq = value.number()?,
            2 => kind = value.signed()?,
            3 => time = value.number()?.cast_signed(),
            4 => boot_ns = value.number()?,
            5 => source = value.signed()?,
            6 => process = Some(self::process(value.bytes()?)?),
            7 => verdicts.push(verdict(value.bytes()?)?),
            16..=40 if detail.is_none() => detail = Some(self::detail(tag, value)?),
            _ => return Err(Odd),
        }
    }
    Ok(Event {
        seq,
        kind: known("kind", kind, Kind::from_wire)?,
        time: UnixNanos(time),
        boot_ns,
        source: known("source", source, Source::from_wire)?,
        process,
        verdicts,
        detail,
    })
}

/// By its message: it is small.
pub(super) fn detail(tag: u32, value: Value<'_>) -> Read<Detail> {
    let Value::Bytes { mut sized, .. } = value else {
        return Err(Odd);
    };
    let (mut detail, context) = (None, DecodeContext::default());
    let of = WireType::LengthDelimited;
    let merged = v1::event::Detail::merge(&mut detail, tag, of, &mut sized, context);
    merged.map_err(|_wrong| Odd)?;
    Ok(detail.ok_or(Odd)?.try_into()?)
}

fn process(bytes: &[u8]) -> Read<Process> {
    let mut process = Process::new(ProcessUid::new([0; 16]), 0);
    let (mut uid, mut ancestry) = (&b""[..], Vec::new());
    let mut fields = Fields::of(bytes, &[6, 23, 24]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => uid = value.bytes()?,
            2 => process.pid = value.small()?,
            3 => process.ppid = value.small()?,
            4 => process.parent_uid = uid_or_none(value)?,
            5 => process.exe = value.text()?,
            6 => process.argv.push(value.text()?),
            7 => process.argc = value.small()?,
            8 => process.argv_bytes = value.number()?,
            9 => process.argv_truncated = value.flag()?,
            10 => process.cwd = value.text()?,
            11 => process.user = Some(user(value.bytes()?)?),
            12 => process.login_uid = Some(value.small()?),
            13 => process.session = Some(value.small()?),
            14 => process.tty = value.text()?,
            15 => process.start_time = start(value)?,
            20 => process.ns = Some(namespaces(value.bytes()?)?),
            21 => process.caps = Some(value.number()?),
            22 => process.memfd = value.flag()?,
            23 => process.env.push(variable(value.bytes()?)?),
            24 => ancestry.push(ancestor(value.bytes()?)?),
            _ => later_of_process(&mut process, tag, value)?,
        }
    }
    process.uid = id("process.uid", uid, ProcessUid::from_slice)?;
    process.ancestry = ancestry.into();
    Ok(process)
}

fn later_of_process(process: &mut Process, tag: u32, value: Value<'_>) -> Read<()> {
    match tag {
        16 => process.sha256 = hash(value)?,
        17 => {
            let status = value.signed()?;
            process.hash_status =
                known_or_none("process.hash_status", status, HashStatus::from_wire)?;
        }
        18 => {
            let container = value.word()?;
            process.container = (!container.is_empty()).then(|| container.to_owned());
        }
        19 => process.cgroup = value.text()?,
        25 => {
            let fidelity = value.signed()?;
            process.fidelity = known_or_none("process.fidelity", fidelity, Fidelity::from_wire)?;
        }
        26 => process.comm = value.text()?,
        27 => process.script = value.text()?,
        28 => process.effective_uid = Some(value.small()?),
        29 => process.gid = Some(value.small()?),
        30 => process.argv_omitted_at = value.small()?,
        31 => process.effective_gid = Some(value.small()?),
        _ => return Err(Odd),
    }
    Ok(())
}

pub(super) fn start(value: Value<'_>) -> Read<Option<UnixNanos>> {
    let start = value.number()?.cast_signed();
    Ok((start != 0).then_some(UnixNanos(start)))
}

fn uid_or_none(value: Value<'_>) -> Read<Option<ProcessUid>> {
    let bytes = value.bytes()?;
    Ok(id_or_none(
        "process.parent_uid",
        bytes,
        ProcessUid::from_slice,
    )?)
}

fn hash(value: Value<'_>) -> Read<Option<Digest>> {
    Ok(digest_or_none("process.sha256", value.bytes()?)?)
}

fn user(bytes: &[u8]) -> Read<User> {
    let (mut uid, mut name) = (0, Text::NONE);
    let mut fields = Fields::of(bytes, &[]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => uid = value.small()?,
            2 => name = value.text()?,
            _ => return Err(Odd),
        }
    }
    Ok(User { uid, name })
}

pub(super) fn namespaces(bytes: &[u8]) -> Read<Namespaces> {
    let mut ns = Namespaces::default();
    let mut fields = Fields::of(bytes, &[]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => ns.pid = value.small()?,
            2 => ns.mnt = value.small()?,
            3 => ns.net = value.small()?,
            4 => ns.user = value.small()?,
            _ => return Err(Odd),
        }
    }
    Ok(ns)
}

fn variable(bytes: &[u8]) -> Read<EnvVar> {
    let mut variable = EnvVar {
        name: Text::NONE,
        value: Text::NONE,
    };
    let mut fields = Fields::of(bytes, &[]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => variable.name = value.text()?,
            2 => variable.value = value.text()?,
            _ => return Err(Odd),
        }
    }
    Ok(variable)
}

fn ancestor(bytes: &[u8]) -> Read<Ancestor> {
    let (mut uid, mut pid, mut exe) = (&b""[..], 0, Text::NONE);
    let mut fields = Fields::of(bytes, &[]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => uid = value.bytes()?,
            2 => pid = value.small()?,
            3 => exe = value.text()?,
            _ => return Err(Odd),
        }
    }
    let uid = id("process.ancestry.uid", uid, ProcessUid::from_slice)?;
    Ok(Ancestor { uid, pid, exe })
}

pub(super) fn verdict(bytes: &[u8]) -> Read<Verdict> {
    let mut fields = Fields::of(bytes, &[]);
    if let Some((2, value)) = fields.next()?
        && fields.is_at_end()
    {
        return score(value.bytes()?).map(Verdict::Scorer);
    }
    // A rule's: rarer, and it is checked more.
    let wire = v1::Verdict::decode(bytes).map_err(|_wrong| Odd)?;
    Ok(wire.try_into()?)
}

fn score(bytes: &[u8]) -> Read<ScorerVerdict> {
    let mut score = ScorerVerdict {
        bits: 0.0,
        p: 0.0,
        reasons: Vec::new(),
        alert: false,
    };
    let mut fields = Fields::of(bytes, &[3]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => score.bits = value.real()?,
            2 => score.p = value.real()?,
            3 => score.reasons.push(reason(value.bytes()?)?),
            4 => score.alert = value.flag()?,
            _ => return Err(Odd),
        }
    }
    Ok(score)
}

fn reason(bytes: &[u8]) -> Read<Reason> {
    let mut reason = Reason::default();
    let mut fields = Fields::of(bytes, &[10]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => reason.factor = value.word()?.to_owned().into(),
            2 => reason.context = value.text()?,
            3 => reason.value = value.text()?,
            4 => reason.bits = value.real()?,
            5 => reason.usual = value.real()?,
            6 => reason.seen = value.number()?,
            7 => reason.context_seen = value.number()?,
            8 => reason.days = value.small()?,
            9 => reason.distinct = value.small()?,
            10 => reason.backoff.push(level(value.bytes()?)?),
            _ => return Err(Odd),
        }
    }
    Ok(reason)
}

fn level(bytes: &[u8]) -> Read<BackoffLevel> {
    let mut level = BackoffLevel {
        context: Cow::Borrowed(""),
        seen: 0,
        context_seen: 0,
        distinct: 0,
    };
    let mut fields = Fields::of(bytes, &[]);
    while let Some((tag, value)) = fields.next()? {
        match tag {
            1 => level.context = value.word()?.to_owned().into(),
            2 => level.seen = value.number()?,
            3 => level.context_seen = value.number()?,
            4 => level.distinct = value.small()?,
            _ => return Err(Odd),
        }
    }
    Ok(level)
}

/// The fields of a message, in the order of their numbers.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    last: u32,
    /// Those that may come more than once.
    repeated: &'static [u32],
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Number(u64),
    Real(f64),
    Bytes {
        bytes: &'a [u8],
        /// With their length before them.
        sized: &'a [u8],
    },
}

impl<'a> Fields<'a> {
    pub(super) const fn of(bytes: &'a [u8], repeated: &'static [u32]) -> Self {
        Self {
            rest: bytes,
            last: 0,
            repeated,
        }
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn next(&mut self) -> Read<Option<(u32, Value<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_large| Odd)?;
        let tag = key >> 3;
        if tag < self.last || (tag == self.last && !self.repeated.contains(&tag)) {
            return Err(Odd);
        }
        self.last = tag;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => {
                let (bytes, rest) = self.rest.split_first_chunk().ok_or(Odd)?;
                self.rest = rest;
                Value::Real(f64::from_le_bytes(*bytes))
            }
            2 => {
                let sized = self.rest;
                let length = usize::try_from(self.varint()?).map_err(|_large| Odd)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Odd)?;
                self.rest = rest;
                Value::Bytes { bytes, sized }
            }
            _ => return Err(Odd),
        };
        Ok(Some((tag, value)))
    }

    fn varint(&mut self) -> Read<u64> {
        if let Some((byte @ 0..=0x7f, rest)) = self.rest.split_first() {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        decode_varint(&mut self.rest).map_err(|_wrong| Odd)
    }
}

impl<'a> Value<'a> {
    pub(super) const fn number(self) -> Read<u64> {
        match self {
            Self::Number(number) => Ok(number),
            _ => Err(Odd),
        }
    }

    pub(super) fn small(self) -> Read<u32> {
        self.number()?.try_into().map_err(|_large| Odd)
    }

    pub(super) fn signed(self) -> Read<i32> {
        let number = self.number()?.cast_signed();
        number.try_into().map_err(|_large| Odd)
    }

    pub(super) const fn flag(self) -> Read<bool> {
        match self {
            Self::Number(0) => Ok(false),
            Self::Number(1) => Ok(true),
            _ => Err(Odd),
        }
    }

    pub(super) const fn real(self) -> Read<f64> {
        match self {
            Self::Real(real) => Ok(real),
            _ => Err(Odd),
        }
    }

    pub(super) const fn bytes(self) -> Read<&'a [u8]> {
        match self {
            Self::Bytes { bytes, .. } => Ok(bytes),
            _ => Err(Odd),
        }
    }

    fn text(self) -> Read<Text> {
        self.bytes().map(Text::from)
    }

    pub(super) fn word(self) -> Read<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_wrong| Odd)
    }
}
