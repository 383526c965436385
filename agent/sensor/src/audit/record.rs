//! One record of the audit log: when, and its fields.
//!
//! ```text
//! audit(1604994496.155:92733): argc=2 a0="arp" a1=2D61 a2_len=9000 a2[0]=6162...
//! ```
//!
//! # Invariants
//!
//! - A value in quotes is those bytes; a value of a text field without quotes is hexadecimal.
//! - No bytes make the reading panic; what cannot be read is left out, never guessed.

use picket_event::Text;

/// When a record was made and which records belong together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Stamp {
    /// The number that all records of one event share.
    pub serial: u64,
    /// Milliseconds since 1970.
    pub millis: u64,
}

/// A record that an exec event is joined from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// The system call, who called it, and what it gave.
    Syscall(Box<Syscall>),
    /// Some of the arguments.
    Execve(Vec<Argument>),
    /// The working directory.
    Cwd(Text),
    /// A path that was looked up, and its place in the order of look-ups.
    Path {
        /// Its place.
        item: u32,
        /// As it was given.
        name: Text,
    },
    /// The event's last record.
    End,
    /// Anything else.
    Other,
}

/// What a SYSCALL record tells.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Syscall {
    /// Whether it succeeded.
    pub success: bool,
    /// The caller.
    pub pid: u32,
    /// Its parent.
    pub ppid: Option<u32>,
    /// Real user.
    pub uid: Option<u32>,
    /// Effective user.
    pub euid: Option<u32>,
    /// Real group.
    pub gid: Option<u32>,
    /// The user who logged in.
    pub login_uid: Option<u32>,
    /// Audit session.
    pub session: Option<u32>,
    /// The kernel's short name.
    pub comm: Text,
    /// The executable.
    pub exe: Text,
}

/// An argument or a part of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Argument {
    /// Which argument.
    pub index: u32,
    /// Which part of it; whole ones are part 0.
    pub part: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads a record as the kernel sends it.
pub fn parse(kind: u16, text: &[u8]) -> Option<(Stamp, Record)> {
    let (stamp, fields) = stamp_and_rest(text)?;
    let record = match kind {
        SYSCALL => Record::Syscall(Box::new(syscall(fields)?)),
        EXECVE => Record::Execve(arguments(fields)),
        CWD => Record::Cwd(text_field(fields, b"cwd")),
        PATH => Record::Path {
            item: number_field(fields, b"item")?,
            name: text_field(fields, b"name"),
        },
        EOE => Record::End,
        _ => Record::Other,
    };
    Some((stamp, record))
}

/// Reads a line as auditd writes it: `type=EXECVE msg=audit(...`.
pub fn parse_line(line: &[u8]) -> Option<(Stamp, Record)> {
    let at = memchr::memmem::find(line, b"type=")?;
    let rest = line.get(at.checked_add(5)?..)?;
    let end = rest.iter().position(|byte| *byte == b' ')?;
    let kind = kind_of(rest.get(..end)?);
    let message = rest.get(end.checked_add(1)?..)?;
    parse(kind, message.strip_prefix(b"msg=")?)
}

/// The fields of a record, as they are written.
pub fn fields(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let start = rest.iter().position(|byte| !SPACES.contains(byte))?;
            rest = rest.get(start..)?;
            let end = end_of_field(rest);
            let field = rest.get(..end)?;
            rest = rest.get(end..)?;
            if let Some(at) = field.iter().position(|byte| *byte == b'=') {
                return Some((field.get(..at)?, field.get(at.checked_add(1)?..)?));
            }
        }
    })
}

/// Behind a value in quotes, else at the first space.
fn end_of_field(text: &[u8]) -> usize {
    let mut quote = None;
    let mut before = b' ';
    for (at, byte) in text.iter().copied().enumerate() {
        match quote {
            Some(open) if byte == open => return at.saturating_add(1),
            None if before == b'=' && matches!(byte, b'"' | b'\'') => quote = Some(byte),
            None if SPACES.contains(&byte) => return at,
            Some(_) | None => {}
        }
        before = byte;
    }
    text.len()
}

pub(crate) fn stamp_and_rest(text: &[u8]) -> Option<(Stamp, &[u8])> {
    let rest = text.strip_prefix(b"audit(")?;
    let close = rest.iter().position(|byte| *byte == b')')?;
    let stamp = std::str::from_utf8(rest.get(..close)?).ok()?;
    let (time, serial) = stamp.split_once(':')?;
    let (seconds, millis) = time.split_once('.')?;
    let millis_of = |text: &str| text.parse::<u64>().ok();
    let millis = millis_of(seconds)?
        .checked_mul(1_000)?
        .checked_add(millis_of(millis)?)?;
    let stamp = Stamp {
        serial: serial.parse().ok()?,
        millis,
    };
    let fields = rest.get(close.checked_add(1)?..)?;
    Some((stamp, fields.strip_prefix(b":").unwrap_or(fields)))
}

fn syscall(text: &[u8]) -> Option<Syscall> {
    let mut call = Syscall::default();
    let mut has_pid = false;
    for (key, value) in fields(text) {
        match key {
            b"success" => call.success = value == b"yes",
            b"pid" => {
                call.pid = number(value)?;
                has_pid = true;
            }
            b"ppid" => call.ppid = number(value),
            b"uid" => call.uid = number(value),
            b"euid" => call.euid = number(value),
            b"gid" => call.gid = number(value),
            b"auid" => call.login_uid = number(value).filter(|id| *id != UNSET),
            b"ses" => call.session = number(value).filter(|id| *id != UNSET),
            b"comm" => call.comm = text_of(value),
            b"exe" => call.exe = text_of(value),
            _ => {}
        }
    }
    has_pid.then_some(call)
}

fn arguments(text: &[u8]) -> Vec<Argument> {
    let argument = |(key, value): (&[u8], &[u8])| {
        let (index, part) = place(key)?;
        let bytes = decoded(value)?;
        Some(Argument { index, part, bytes })
    };
    fields(text).filter_map(argument).collect()
}

/// `a12` or `a12[3]`; `a12_len` and `argc` are no arguments.
pub(crate) fn place(key: &[u8]) -> Option<(u32, u32)> {
    let key = key.strip_prefix(b"a")?;
    let Some(open) = key.iter().position(|byte| *byte == b'[') else {
        return Some((number(key)?, 0));
    };
    let part = key.get(open.checked_add(1)?..)?.strip_suffix(b"]")?;
    Some((number(key.get(..open)?)?, number(part)?))
}

fn text_field(text: &[u8], name: &[u8]) -> Text {
    fields(text)
        .find(|(key, _)| *key == name)
        .map_or(Text::NONE, |(_, value)| text_of(value))
}

fn number_field(text: &[u8], name: &[u8]) -> Option<u32> {
    fields(text)
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| number(value))
}

pub(crate) fn text_of(value: &[u8]) -> Text {
    decoded(value).map_or(Text::NONE, |bytes| bytes.as_slice().into())
}

/// The bytes of a text value; `None` for `(null)` and for what is neither quoted nor hexadecimal.
fn decoded(value: &[u8]) -> Option<Vec<u8>> {
    if let Some(inner) = value.strip_prefix(b"\"") {
        return inner.strip_suffix(b"\"").map(<[u8]>::to_vec);
    }
    let (pairs, odd) = value.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    pairs.iter().map(|pair| byte_of(*pair)).collect()
}

fn byte_of([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(high)?.checked_mul(16)?.checked_add(digit(low)?)?;
    u8::try_from(value).ok()
}

pub(crate) fn number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn kind_of(name: &[u8]) -> u16 {
    match name {
        b"SYSCALL" => SYSCALL,
        b"EXECVE" => EXECVE,
        b"CWD" => CWD,
        b"PATH" => PATH,
        b"EOE" => EOE,
        _ => 0,
    }
}

const SPACES: &[u8] = b" \n\0\x1d";
/// What the kernel writes for a login that there is not.
const UNSET: u32 = u32::MAX;
// linux/audit.h
const SYSCALL: u16 = 1300;
const PATH: u16 = 1302;
const CWD: u16 = 1307;
const EXECVE: u16 = 1309;
const EOE: u16 = 1320;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(line: &str) -> Record {
        parse_line(line.as_bytes()).unwrap().1
    }

    #[test]
    fn arguments_are_quoted_hexadecimal_or_in_parts() {
        let line = "type=EXECVE msg=audit(1.002:3): argc=4 a0=\"two words\" a1=0AFF a2_len=4 \
                    a2[0]=6162 a2[1]=6364 a3=\"\"";
        let Record::Execve(arguments) = one(line) else {
            panic!("no arguments");
        };
        let told: Vec<_> = arguments
            .iter()
            .map(|argument| (argument.index, argument.part, argument.bytes.as_slice()))
            .collect();
        let expected: [(u32, u32, &[u8]); 5] = [
            (0, 0, b"two words"),
            (1, 0, b"\n\xff"),
            (2, 0, b"ab"),
            (2, 1, b"cd"),
            (3, 0, b""),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn an_unset_login_is_none_and_a_null_text_is_empty() {
        let line = "type=SYSCALL msg=audit(1.002:3): success=no pid=7 auid=4294967295 ses=5 \
                    comm=(null) exe=2F6120622F63";
        let Record::Syscall(call) = one(line) else {
            panic!("no call");
        };
        assert_eq!((call.login_uid, call.session), (None, Some(5)));
        assert_eq!(call.exe.as_bytes(), b"/a b/c");
        assert!(call.comm.is_empty() && !call.success);
    }

    #[test]
    fn a_stamp_is_time_and_serial() {
        let (stamp, record) = parse(EOE, b"audit(1604994496.155:92733): ").unwrap();
        let expected = Stamp {
            serial: 92_733,
            millis: 1_604_994_496_155,
        };
        assert_eq!((stamp, record), (expected, Record::End));
        assert_eq!(parse(EOE, b"audit(1604994496:92733): "), None);
        assert_eq!(parse(EOE, b""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _any = parse_line(&bytes);
            for kind in [SYSCALL, PATH, CWD, EXECVE, EOE] {
                let mut text = b"audit(1.2:3):".to_vec();
                text.extend_from_slice(&bytes);
                let _any = parse(kind, &text);
            }
        }

        #[test]
        fn what_looks_like_fields_makes_no_panic(text in "(a[0-9]{0,11}(\\[[0-9]{0,3}\\]?)?=[\"'0-9A-Fx(]{0,9} ?){0,9}") {
            let _any = parse(EXECVE, format!("audit(1.2:3): {text}").as_bytes());
        }
    }
}
