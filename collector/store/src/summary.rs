//! What a record or a segment holds, in a few bytes, so that a search can pass it by.

use picket_event::{Event, Glance, Kind, Severity, UnixNanos};

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KindSet(u64);

impl KindSet {
    /// No kind.
    pub const NONE: Self = Self(0);

    /// With this kind.
    #[must_use]
    pub fn with(self, kind: Kind) -> Self {
        Self(self.0 | bit(kind))
    }

    /// Whether it holds the kind.
    pub fn holds(self, kind: Kind) -> bool {
        self.0 & bit(kind) != 0
    }

    /// Whether the two have a kind in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

impl FromIterator<Kind> for KindSet {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

/// The bit of a kind is its wire number; a number beyond 63 shares the last bit, which only costs
/// a search some time.
fn bit(kind: Kind) -> u64 {
    let number = u32::try_from(kind.to_wire()).unwrap_or(0).min(63);
    1_u64.checked_shl(number).unwrap_or(0)
}

/// Times, kinds and severity of some events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Summary {
    /// The earliest event's time.
    pub first: UnixNanos,
    /// The latest event's time.
    pub last: UnixNanos,
    /// Their kinds.
    pub kinds: KindSet,
    /// The worst verdict among them.
    pub worst: Option<Severity>,
}

impl Summary {
    /// Of no event.
    pub const EMPTY: Self = Self {
        first: UnixNanos(i64::MAX),
        last: UnixNanos(i64::MIN),
        kinds: KindSet::NONE,
        worst: None,
    };

    /// Of these events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        events.into_iter().fold(Self::EMPTY, |so_far, event| {
            so_far.and(Self {
                first: event.time,
                last: event.time,
                kinds: KindSet::NONE.with(event.kind),
                worst: event.severity(),
            })
        })
    }

    /// Of one event.
    pub fn of_glance(glance: &Glance) -> Self {
        Self {
            first: glance.time,
            last: glance.time,
            kinds: KindSet::NONE.with(glance.kind),
            worst: glance.severity,
        }
    }

    /// Of the events of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            kinds: KindSet(self.kinds.0 | other.kinds.0),
            worst: self.worst.max(other.worst),
        }
    }
}
