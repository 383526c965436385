//! DNS messages (RFC 1035), as far as an event tells of them: the first question, and the answers.
//!
//! # Invariants
//!
//! - Any bytes give something and nothing panics; what cannot be read is left out.
//! - A name has at most [`MOST_LABELS`] labels and pointers, so that pointers in a circle end.

use std::net::{Ipv4Addr, Ipv6Addr};

use picket_event::{Dns, Text};

/// What the message asks or answers. Who was asked is not in it.
pub(super) fn read(message: &[u8]) -> Dns {
    let mut dns = Dns::default();
    let Some((header, _)) = message.split_first_chunk::<12>() else {
        return dns;
    };
    let [_, _, flags, code, q1, q2, a1, a2, ..] = *header;
    let questions = u16::from_be_bytes([q1, q2]);
    let answers = usize::from(u16::from_be_bytes([a1, a2])).min(MOST_ANSWERS);
    let is_response = flags & RESPONSE != 0;
    dns.rcode = is_response.then_some(u32::from(code & RCODE));
    let mut reader = Reader {
        message,
        at: header.len(),
    };
    for number in 0..questions {
        let Some((name, kind)) = reader.question() else {
            return dns;
        };
        if number == 0 {
            dns.query = name.into();
            dns.record_type = type_name(kind);
        }
    }
    for _ in 0..answers {
        match reader.answer() {
            Some(answer) if answer.is_empty() => {}
            Some(answer) => dns.answers.push(answer),
            None => break,
        }
    }
    dns
}

/// Reads from `at` on.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn question(&mut self) -> Option<(Vec<u8>, u16)> {
        let name = self.name()?;
        let kind = self.u16()?;
        self.u16()?; // class
        Some((name, kind))
    }

    /// One answer; empty if it is of a type that is not told.
    fn answer(&mut self) -> Option<String> {
        self.name()?;
        let kind = self.u16()?;
        self.take(6)?; // class and time to live
        let length = usize::from(self.u16()?);
        let start = self.at;
        let data = self.take(length)?;
        let text = match kind {
            A => <[u8; 4]>::try_from(data)
                .ok()
                .map(|bytes| Ipv4Addr::from(bytes).to_string()),
            AAAA => <[u8; 16]>::try_from(data)
                .ok()
                .map(|bytes| Ipv6Addr::from(bytes).to_string()),
            NS | CNAME | PTR => self.elsewhere(start).name().map(shown),
            TXT => Some(shown(strings(data))),
            _ => None,
        };
        Some(text.unwrap_or_default())
    }

    /// A name, through the pointers in it. What comes next is what follows where the name begins.
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut reader = self.elsewhere(self.at);
        let mut has_jumped = false;
        for _ in 0..MOST_LABELS {
            let length = reader.u8()?;
            match length & POINTER {
                0 if length == 0 => {
                    if !has_jumped {
                        self.at = reader.at;
                    }
                    return Some(name);
                }
                0 => push_label(&mut name, reader.take(usize::from(length))?),
                POINTER => {
                    let low = reader.u8()?;
                    if !has_jumped {
                        self.at = reader.at;
                    }
                    has_jumped = true;
                    let target = u16::from_be_bytes([length & !POINTER, low]);
                    reader = self.elsewhere(usize::from(target));
                }
                _ => return None,
            }
        }
        None
    }

    const fn elsewhere(&self, at: usize) -> Self {
        Self {
            message: self.message,
            at,
        }
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }
}

/// A dot inside a label is not one between labels.
fn push_label(name: &mut Vec<u8>, label: &[u8]) {
    if !name.is_empty() {
        name.push(b'.');
    }
    for byte in label {
        if *byte == b'.' {
            name.push(b'\\');
        }
        name.push(*byte);
    }
}

/// The strings of a TXT record, one after the other.
fn strings(data: &[u8]) -> Vec<u8> {
    let mut reader = Reader {
        message: data,
        at: 0,
    };
    let mut text = Vec::new();
    while let Some(length) = reader.u8() {
        match reader.take(usize::from(length)) {
            Some(part) => text.extend_from_slice(part),
            None => break,
        }
    }
    text
}

fn shown(bytes: Vec<u8>) -> String {
    Text::from(bytes).lossy().into_owned()
}

fn type_name(kind: u16) -> String {
    let known = TYPES.iter().find(|(number, _)| *number == kind);
    known.map_or_else(|| format!("TYPE{kind}"), |(_, name)| (*name).to_owned())
}

const RESPONSE: u8 = 0x80;
const RCODE: u8 = 0x0f;
const POINTER: u8 = 0xc0;
const MOST_LABELS: usize = 128;
const MOST_ANSWERS: usize = 64;
const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;
/// Types of records by the numbers that IANA keeps.
const TYPES: &[(u16, &str)] = &[
    (A, "A"),
    (NS, "NS"),
    (CNAME, "CNAME"),
    (6, "SOA"),
    (PTR, "PTR"),
    (15, "MX"),
    (TXT, "TXT"),
    (AAAA, "AAAA"),
    (33, "SRV"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (255, "ANY"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x01\x00\x01";

    #[test]
    fn a_question_has_its_name_and_type() {
        let dns = read(QUESTION);
        assert_eq!(dns.query.as_str(), Some("www.example.org"));
        assert_eq!(
            (dns.record_type.as_str(), dns.rcode, dns.answers.len()),
            ("A", None, 0)
        );
    }

    #[test]
    fn an_answer_is_read_through_its_pointers() {
        let mut message = QUESTION.to_vec();
        message[2] = 0x81;
        message[7] = 2;
        message
            .extend_from_slice(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x06\x03cdn\xc0\x10");
        message
            .extend_from_slice(b"\xc0\x2d\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x09");
        let dns = read(&message);
        assert_eq!(dns.rcode, Some(0));
        assert_eq!(dns.answers, ["cdn.example.org", "127.0.0.9"]);
    }

    #[test]
    fn pointers_in_a_circle_end() {
        let mut message = QUESTION[..12].to_vec();
        message.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01");
        assert!(read(&message).query.is_empty());
    }

    #[test]
    fn a_dot_in_a_label_is_marked() {
        let mut message = QUESTION[..12].to_vec();
        message.extend_from_slice(b"\x03a.b\x00\x00\x10\x00\x01");
        let dns = read(&message);
        assert_eq!(dns.query.as_str(), Some("a\\.b"));
        assert_eq!(dns.record_type, "TXT");
    }

    #[test]
    fn no_beginning_and_no_altered_byte_panics() {
        for end in 0..QUESTION.len() {
            read(&QUESTION[..end]);
            for byte in [0, 1, 0x3f, 0xc0, 0xff] {
                let mut altered = QUESTION.to_vec();
                altered[end] = byte;
                read(&altered);
            }
        }
    }
}
