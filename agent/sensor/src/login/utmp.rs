//! The records of wtmp and btmp.
//!
//! # On disk
//!
//! ```text
//! 0 type i16 | 4 pid i32 | 8 line [32] | 40 id [4] | 44 user [32] | 76 host [256]
//! 332 exit 2 x i16 | 336 session i32 | 340 seconds u32 | 344 microseconds i32 | 348 address [16]
//! 364 reserved [20]                                    384 bytes, little-endian, on x86-64
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use picket_event::{Text, UnixNanos};

/// Length of one record.
pub const RECORD_LEN: usize = 384;

/// One record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UtmpRecord {
    /// What it says.
    pub kind: UtmpKind,
    /// The process of the session.
    pub pid: u32,
    /// The terminal, without `/dev/`.
    pub line: Text,
    /// The user; for a boot `reboot`.
    pub user: Text,
    /// The remote host's name or address, cut at 256 bytes; for a boot the kernel's version.
    pub host: Text,
    /// When.
    pub time: UnixNanos,
    /// The remote host's address.
    pub address: Option<IpAddr>,
}

/// What a record says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UtmpKind {
    /// Nothing.
    Empty,
    /// The run level changed, or the host went down.
    RunLevel,
    /// The host came up.
    Boot,
    /// The clock was set: the new time.
    NewTime,
    /// The clock was set: the old time.
    OldTime,
    /// A process that init started.
    Init,
    /// A prompt that waits for a user; in btmp a refused login.
    Prompt,
    /// A user's session began.
    User,
    /// A session ended.
    Dead,
    /// Accounting.
    Accounting,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UtmpError {
    /// Not as many bytes as a record has.
    #[error("login record has {got} bytes instead of {RECORD_LEN}")]
    Length {
        /// How many there are.
        got: usize,
    },
    /// A type that does not exist.
    #[error("login record has unknown type {got}")]
    Type {
        /// Which.
        got: i16,
    },
    /// A fraction of a second that is none.
    #[error("login record has {got} microseconds")]
    Microseconds {
        /// How many.
        got: i32,
    },
}

/// Reads one record. Any bytes may be given.
pub fn parse_utmp(record: &[u8]) -> Result<UtmpRecord, UtmpError> {
    let got = record.len();
    let fields: &[u8; RECORD_LEN] = record
        .try_into()
        .map_err(|_wrong_length| UtmpError::Length { got })?;
    let kind = kind(i16::from_le_bytes(field(fields, 0)))?;
    let seconds = u32::from_le_bytes(field(fields, 340));
    let microseconds = i32::from_le_bytes(field(fields, 344));
    Ok(UtmpRecord {
        kind,
        pid: u32::from_le_bytes(field(fields, 4)),
        line: text::<32>(fields, 8),
        user: text::<32>(fields, 44),
        host: text::<256>(fields, 76),
        time: instant(seconds, microseconds)?,
        address: address(field(fields, 348)),
    })
}

fn kind(number: i16) -> Result<UtmpKind, UtmpError> {
    Ok(match number {
        0 => UtmpKind::Empty,
        1 => UtmpKind::RunLevel,
        2 => UtmpKind::Boot,
        3 => UtmpKind::NewTime,
        4 => UtmpKind::OldTime,
        5 => UtmpKind::Init,
        6 => UtmpKind::Prompt,
        7 => UtmpKind::User,
        8 => UtmpKind::Dead,
        9 => UtmpKind::Accounting,
        got => return Err(UtmpError::Type { got }),
    })
}

fn instant(seconds: u32, microseconds: i32) -> Result<UnixNanos, UtmpError> {
    if !(0..1_000_000).contains(&microseconds) {
        return Err(UtmpError::Microseconds { got: microseconds });
    }
    let whole = i64::from(seconds).saturating_mul(1_000_000_000);
    Ok(UnixNanos(whole.saturating_add(
        i64::from(microseconds).saturating_mul(1_000),
    )))
}

/// Sixteen bytes in network order; an IPv4 address fills the first four, and none fills none.
fn address(bytes: [u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, rest @ ..] = bytes;
    match (rest, [a, b, c, d]) {
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0]) => None,
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], v4) => Some(IpAddr::V4(Ipv4Addr::from(v4))),
        _ => Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()),
    }
}

fn field<const N: usize>(record: &[u8; RECORD_LEN], at: usize) -> [u8; N] {
    record
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .expect("every field of the layout above lies within the record")
}

/// Up to the first NUL; a full field has none.
fn text<const N: usize>(record: &[u8; RECORD_LEN], at: usize) -> Text {
    let bytes: [u8; N] = field(record, at);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(N);
    Text::from(bytes.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: i16) -> [u8; RECORD_LEN] {
        let mut record = [0; RECORD_LEN];
        record[..2].copy_from_slice(&kind.to_le_bytes());
        record[4..8].copy_from_slice(&4_242_u32.to_le_bytes());
        record[8..13].copy_from_slice(b"pts/0");
        record[44..49].copy_from_slice(b"alice");
        record[76..85].copy_from_slice(b"192.0.2.7");
        record[340..344].copy_from_slice(&1_767_607_200_u32.to_le_bytes());
        record[344..348].copy_from_slice(&123_456_i32.to_le_bytes());
        record[348..352].copy_from_slice(&[192, 0, 2, 7]);
        record
    }

    #[test]
    fn a_record_says_who_where_and_when() {
        let parsed = parse_utmp(&record(7)).unwrap();
        assert_eq!((parsed.kind, parsed.pid), (UtmpKind::User, 4_242));
        assert_eq!((parsed.user, parsed.line), ("alice".into(), "pts/0".into()));
        assert_eq!(parsed.time.to_string(), "2026-01-05T10:00:00.123456000Z");
        assert_eq!(parsed.address, Some("192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_reason() {
        assert_eq!(parse_utmp(&[0; 383]), Err(UtmpError::Length { got: 383 }));
        assert_eq!(parse_utmp(&record(10)), Err(UtmpError::Type { got: 10 }));
        let mut late = record(7);
        late[344..348].copy_from_slice(&1_000_000_i32.to_le_bytes());
        assert_eq!(
            parse_utmp(&late),
            Err(UtmpError::Microseconds { got: 1_000_000 })
        );
    }
}
