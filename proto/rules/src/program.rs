//! The boolean program of a rule: a tree of tests, the cheap ones first.

use std::net::IpAddr;
use std::sync::Arc;

use regex::bytes::Regex;

use crate::date::Part;
use crate::modifier::Relation;
use crate::pattern::Patterns;
use crate::record::{FieldId, Record};
use crate::scratch::Scratch;

/// A node of the tree.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// Every part holds; true if there is none.
    All(Vec<Self>),
    /// At least one part holds; false if there is none.
    Any(Vec<Self>),
    Not(Box<Self>),
    Test(Test),
}

/// A question about one field: does one of its values pass?
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) field: FieldId,
    pub(crate) question: Question,
}

#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// Against values in lower case.
    Text(Arc<Patterns>),
    /// Against values as they are.
    CasedText(Arc<Patterns>),
    Regex(Regex),
    Cidr(Vec<Network>),
    Compare(Relation, f64),
    /// The same of a number in a date.
    ComparePart(Part, Relation, f64),
    /// The field has a value.
    Known,
    /// One of its values stands in this relation to a value of the other field.
    Field(FieldId, Relation, Cased),
}

/// Whether letters of both cases are the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cased {
    Yes,
    No,
}

impl Program {
    /// Whether `record` passes.
    pub(crate) fn holds<R: Record>(&self, record: &R, scratch: &mut Scratch) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(record, scratch)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(record, scratch)),
            Self::Not(part) => !part.holds(record, scratch),
            Self::Test(test) => test.holds(record, scratch),
        }
    }

    /// Puts the cheap parts of every node first and gives the cost of the whole.
    pub(crate) fn order(&mut self) -> u32 {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                let mut costs: Vec<(u32, Self)> = parts
                    .drain(..)
                    .map(|mut part| (part.order(), part))
                    .collect();
                costs.sort_by_key(|(cost, _)| *cost);
                let total = costs
                    .iter()
                    .fold(0_u32, |sum, (cost, _)| sum.saturating_add(*cost));
                parts.extend(costs.into_iter().map(|(_, part)| part));
                total
            }
            Self::Not(part) => part.order(),
            Self::Test(test) => test.cost(),
        }
    }

    /// How many tests it has.
    pub(crate) fn tests(&self) -> usize {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::tests).sum(),
            Self::Not(part) => part.tests(),
            Self::Test(_) => 1,
        }
    }

    /// Whether it could hold if only the fields that `has` accepts were ever known.
    pub(crate) fn possible(&self, has: &impl Fn(FieldId) -> bool) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.possible(has)),
            Self::Any(parts) => parts.iter().any(|part| part.possible(has)),
            Self::Not(_) => true,
            Self::Test(test) => has(test.field) && test.other().is_none_or(has),
        }
    }

    /// Calls `each` with every field that is tested.
    pub(crate) fn fields(&self, each: &mut impl FnMut(FieldId)) {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.fields(each)),
            Self::Not(part) => part.fields(each),
            Self::Test(test) => {
                each(test.field);
                test.other().into_iter().for_each(each);
            }
        }
    }
}

impl Test {
    /// The field that its own is compared with.
    fn other(&self) -> Option<FieldId> {
        match &self.question {
            Question::Field(other, ..) => Some(*other),
            _ => None,
        }
    }

    fn holds<R: Record>(&self, record: &R, scratch: &mut Scratch) -> bool {
        let slot = scratch.load(record, self.field);
        match &self.question {
            Question::Known => !slot.is_empty(),
            Question::Text(patterns) => slot.lowered(scratch).any(|value| patterns.accept(value)),
            Question::CasedText(patterns) => slot.raw(scratch).any(|value| patterns.accept(value)),
            Question::Regex(regex) => slot.raw(scratch).any(|value| regex.is_match(value)),
            Question::Cidr(networks) => slot.raw(scratch).any(|value| inside(value, networks)),
            Question::Compare(relation, limit) => slot
                .raw(scratch)
                .filter_map(number)
                .any(|number| compares(number, *relation, *limit)),
            Question::ComparePart(part, relation, limit) => slot
                .raw(scratch)
                .filter_map(|value| part.of(value))
                .any(|number| compares(number, *relation, *limit)),
            Question::Field(other, relation, cased) => {
                let other = scratch.load(record, *other);
                match cased {
                    Cased::Yes => slot.raw(scratch).any(|value| {
                        other
                            .raw(scratch)
                            .any(|other| relates(value, *relation, other))
                    }),
                    Cased::No => slot.lowered(scratch).any(|value| {
                        other
                            .lowered(scratch)
                            .any(|other| relates(value, *relation, other))
                    }),
                }
            }
        }
    }

    fn cost(&self) -> u32 {
        match &self.question {
            Question::Known => 1,
            Question::Text(patterns) | Question::CasedText(patterns) => patterns.cost(),
            Question::Compare(..) | Question::ComparePart(..) => 5,
            Question::Field(..) => 8,
            Question::Cidr(networks) => u32::try_from(networks.len()).unwrap_or(u32::MAX).max(10),
            Question::Regex(_) => 10_000,
        }
    }
}

fn compares(number: f64, relation: Relation, limit: f64) -> bool {
    match relation {
        Relation::Equals => number.total_cmp(&limit).is_eq(),
        Relation::Less => number < limit,
        Relation::LessOrEqual => number <= limit,
        Relation::Greater => number > limit,
        Relation::GreaterOrEqual => number >= limit,
        _ => false,
    }
}

/// The number that `text` writes, if it does.
pub(crate) fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text)
        .ok()?
        .trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

fn relates(value: &[u8], relation: Relation, other: &[u8]) -> bool {
    match relation {
        Relation::Equals => value == other,
        Relation::Contains => memchr::memmem::find(value, other).is_some(),
        Relation::StartsWith => value.starts_with(other),
        Relation::EndsWith => value.ends_with(other),
        _ => false,
    }
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Network {
    bits: u128,
    mask: u128,
    v4: bool,
}

impl Network {
    /// From `address/prefix`, or from an address alone.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.trim().parse().ok()?;
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = if prefix.is_empty() {
            width
        } else {
            prefix.trim().parse().ok()?
        };
        if prefix > width {
            return None;
        }
        let mask = if prefix == 0 {
            0
        } else {
            u128::MAX << (width - prefix)
        };
        let (bits, v4) = bits(address);
        Some(Self {
            bits: bits & mask,
            mask,
            v4,
        })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (bits, v4) = bits(address);
        v4 == self.v4 && bits & self.mask == self.bits
    }
}

fn bits(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), true),
        IpAddr::V6(address) => (u128::from(address), false),
    }
}

/// An IPv4 address inside IPv6 counts as the IPv4 address.
fn inside(value: &[u8], networks: &[Network]) -> bool {
    let address = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse::<IpAddr>().ok());
    address.is_some_and(|address| {
        let address = address.to_canonical();
        networks.iter().any(|network| network.contains(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_its_block_only() {
        let network = Network::parse("10.0.0.0/8").unwrap();
        assert!(inside(b"10.255.0.1", &[network]));
        assert!(inside(b"::ffff:10.0.0.1", &[network]));
        assert!(!inside(b"11.0.0.1", &[network]));
        assert!(!inside(b"::a00:1", &[network]));
        assert!(inside(b"fe80::1", &[Network::parse("fe80::/10").unwrap()]));
        assert!(inside(b"1.2.3.4", &[Network::parse("0.0.0.0/0").unwrap()]));
        for text in ["10.0.0.0/33", "x/8", "10.0.0.0/-1", "", "::1/129"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_finite_numbers_compare() {
        let is = |text: &[u8], relation| {
            number(text).is_some_and(|number| compares(number, relation, 10.0))
        };
        assert!(is(b"10", Relation::GreaterOrEqual));
        assert!(!is(b"nan", Relation::Less));
        assert!(!is(b"ten", Relation::Less));
    }
}
