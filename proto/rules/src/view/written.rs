//! Records of audit and lines of logs as they were written.
//!
//! What stays true: a field is what the record says under that name; of a name that the record does
//! not have nothing is said.

use picket_event::Kind;

use crate::record::{FieldId, Record, Values};
use crate::search::TEXT;

/// A record of audit as a daemon wrote it, with its fields by the bytes they stand for.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// Its type, as `EXECVE`.
    pub kind: &'a str,
    /// The name of the system call, where it has one, also if only its number was written.
    pub syscall: Option<&'a str>,
    /// Names and values in their order.
    pub fields: &'a [(String, picket_event::Text)],
    /// The line as it stands in the log.
    pub line: &'a [u8],
}

/// A record for a set with these names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenRecord<'a> {
    pub(crate) written: Written<'a>,
    pub(crate) names: &'a [String],
}

impl Record for WrittenRecord<'_> {
    fn kind(&self) -> Kind {
        Kind::Finding
    }

    fn visit(&self, field: FieldId, values: &mut Values<'_>) {
        let Some(name) = self.names.get(field.index()) else {
            return;
        };
        match name.as_str() {
            TEXT => return values.bytes(self.written.line),
            "type" => return values.bytes(self.written.kind.as_bytes()),
            "SYSCALL" | "syscall" => {
                let call = self.written.syscall.into_iter();
                call.for_each(|call| values.bytes(call.as_bytes()));
            }
            _ => {}
        }
        let of_name = self
            .written
            .fields
            .iter()
            .filter(|(known, _)| known == name);
        for (_, value) in of_name {
            values.bytes(value.as_bytes());
        }
    }
}

/// The field that says which program wrote a line.
pub(crate) const PROGRAM: &str = "log.program";
/// The field that is the line.
pub(crate) const LINE: &str = "log.text";

/// A line of a log, for a set with these names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineRecord<'a> {
    pub(crate) program: &'a [u8],
    pub(crate) line: &'a [u8],
    pub(crate) names: &'a [String],
}

impl Record for LineRecord<'_> {
    fn kind(&self) -> Kind {
        Kind::Finding
    }

    fn visit(&self, field: FieldId, values: &mut Values<'_>) {
        match self.names.get(field.index()).map(String::as_str) {
            None => {}
            Some(TEXT | LINE) => values.bytes(self.line),
            Some(PROGRAM) => {
                let name = self.program.rsplit(|byte| *byte == b'/').next();
                values.bytes(name.unwrap_or_default());
            }
            Some(name) => {
                if let Some(value) = named(self.line, name.as_bytes()) {
                    values.bytes(value);
                }
            }
        }
    }
}

/// The value of `NAME=value`. It ends where the next field begins: at ` ;` where the line has such ends, as those of sudo
/// do, else at a space or a comma.
fn named<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut from = 0;
    loop {
        let at = from + memchr::memmem::find(line.get(from..)?, name)?;
        let after = at + name.len();
        let begins = at == 0 || line.get(at - 1).is_some_and(|byte| b" ;,([".contains(byte));
        let rest = line.get(after..)?;
        match rest.strip_prefix(b"=").filter(|_| begins) {
            Some(value) => return Some(until_end(line, value)),
            None => from = at + 1,
        }
    }
}

fn until_end<'a>(line: &[u8], value: &'a [u8]) -> &'a [u8] {
    let apart = memchr::memmem::find(line, b" ; ").is_some();
    let end = if apart {
        memchr::memmem::find(value, b" ;")
    } else {
        value.iter().position(|byte| b" ,;)]".contains(byte))
    };
    value.get(..end.unwrap_or(value.len())).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_where_the_next_field_begins() {
        let sudo = b"sudo: al : TTY=pts/0 ; PWD=/a b ; USER=#-1 ; COMMAND=/bin/sh -c USER=x";
        assert_eq!(named(sudo, b"USER"), Some(&b"#-1"[..]));
        assert_eq!(named(sudo, b"PWD"), Some(&b"/a b"[..]));
        assert_eq!(named(sudo, b"COMMAND"), Some(&b"/bin/sh -c USER=x"[..]));
        let pam = b"authentication failure; logname= uid=0 euid=0 user=root";
        assert_eq!(named(pam, b"uid"), Some(&b"0"[..]));
        assert_eq!(named(pam, b"user"), Some(&b"root"[..]));
        assert_eq!(named(pam, b"name"), None);
    }
}
