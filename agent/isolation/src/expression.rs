//! The expressions of a rule, as the kernel takes them and gives them back.
//!
//! What stays true: every attribute that says something is sent, also where the kernel would take it for
//! granted, so that what comes back can be compared.

use crate::attribute::Attribute;

/// A step of a rule: loads into the only register that is used here, or decides by what is in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Expression {
    name: &'static str,
    data: Vec<Attribute>,
}

/// What a packet says about itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meta {
    InterfaceIn = 4,
    InterfaceOut = 5,
    SocketUser = 10,
    Family = 15,
    Protocol = 16,
}

/// How the register is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compare {
    Equal = 0,
    NotEqual = 1,
    AtMost = 3,
    AtLeast = 5,
}

/// Where a header begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    Network = 1,
    Transport = 2,
}

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Drop = 0,
    Accept = 1,
}

impl Expression {
    pub(crate) fn meta(key: Meta) -> Self {
        let data = vec![
            Attribute::number(1, REGISTER),
            Attribute::number(2, key as u32),
        ];
        Self { name: "meta", data }
    }

    pub(crate) fn payload(base: Base, offset: u32, length: u32) -> Self {
        let data = vec![
            Attribute::number(1, REGISTER),
            Attribute::number(2, base as u32),
            Attribute::number(3, offset),
            Attribute::number(4, length),
        ];
        Self {
            name: "payload",
            data,
        }
    }

    /// The number of the control group at this level to which the packet's socket belongs.
    pub(crate) fn socket_cgroup(level: u32) -> Self {
        let data = vec![
            Attribute::number(1, SOCKET_CGROUP),
            Attribute::number(2, REGISTER),
            Attribute::number(3, level),
        ];
        Self {
            name: "socket",
            data,
        }
    }

    /// How connection tracking sees the packet, as one bit.
    pub(crate) fn tracked_state() -> Self {
        let data = vec![Attribute::number(1, REGISTER), Attribute::number(2, 0)];
        Self { name: "ct", data }
    }

    /// Keeps the bits of the mask.
    pub(crate) fn mask(mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
        let data = vec![
            Attribute::number(1, REGISTER),
            Attribute::number(2, REGISTER),
            Attribute::number(3, length),
            Attribute::nest(4, vec![Attribute::bytes(VALUE, mask)]),
            Attribute::nest(5, vec![Attribute::bytes(VALUE, &vec![0; mask.len()])]),
        ];
        Self {
            name: "bitwise",
            data,
        }
    }

    pub(crate) fn compare(how: Compare, with: &[u8]) -> Self {
        let data = vec![
            Attribute::number(1, REGISTER),
            Attribute::number(2, how as u32),
            Attribute::nest(3, vec![Attribute::bytes(VALUE, with)]),
        ];
        Self { name: "cmp", data }
    }

    /// Goes on only if the register's value is in no element of the set.
    pub(crate) fn not_in(set: &str) -> Self {
        let data = vec![
            Attribute::text(1, set),
            Attribute::number(2, REGISTER),
            Attribute::number(5, INVERTED),
        ];
        Self {
            name: "lookup",
            data,
        }
    }

    pub(crate) fn counter() -> Self {
        Self {
            name: COUNTER,
            data: Vec::new(),
        }
    }

    /// Goes on for so many packets per minute.
    pub(crate) fn per_minute(packets: u32) -> Self {
        let data = vec![
            Attribute::long(1, u64::from(packets)),
            Attribute::long(2, 60),
            Attribute::number(3, packets),
            Attribute::number(4, 0),
            Attribute::number(5, 0),
        ];
        Self {
            name: "limit",
            data,
        }
    }

    pub(crate) fn verdict(verdict: Verdict) -> Self {
        let code = Attribute::number(1, verdict as u32);
        let data = vec![
            Attribute::number(1, 0),
            Attribute::nest(2, vec![Attribute::nest(2, vec![code])]),
        ];
        Self {
            name: "immediate",
            data,
        }
    }

    /// As an element of a rule's list.
    pub(crate) fn attribute(&self) -> Attribute {
        let inner = vec![
            Attribute::text(NAME, self.name),
            Attribute::nest(DATA, self.data.clone()),
        ];
        Attribute::nest(ELEMENT, inner)
    }
}

const REGISTER: u32 = 1;
const VALUE: u16 = 1;
const SOCKET_CGROUP: u32 = 3;
const INVERTED: u32 = 1;
pub(crate) const COUNTER: &str = "counter";
/// An element of a list.
pub(crate) const ELEMENT: u16 = 1;
/// An expression's name.
pub(crate) const NAME: u16 = 1;
/// What an expression says.
pub(crate) const DATA: u16 = 2;
