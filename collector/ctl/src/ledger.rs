//! Both ledgers of a host, as far as the collector and the host's last heartbeat know them.
//!
//! # Invariants
//!
//! - `BALANCED` is said only if every number is accounted for, exactly.
//! - What is on its way when the heartbeat is older than the store is called so, and never a difference.

use std::collections::BTreeMap;

use picket_event::{Class, KindCounts, StreamId};
use picket_proto::v1;
use picket_seal::KeyId;

/// One line of the transport ledger: `numbered = stored + spooled + gaps`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TransportLine {
    /// Which run.
    pub(crate) stream: StreamId,
    /// Which class.
    pub(crate) class: Class,
    /// Numbers that the host has given.
    pub(crate) numbered: u64,
    /// Events at the collector.
    pub(crate) stored: u64,
    /// Numbers that the host still keeps.
    pub(crate) spooled: u64,
    /// Numbers that are gaps.
    pub(crate) gaps: u64,
    /// Gaps of unknown size.
    pub(crate) unknown_gaps: u64,
    /// Whether it adds up.
    pub(crate) balance: Balance,
    /// The branch of event keys that it is of, if that is not the host.
    pub(crate) branch: Option<KeyId>,
}

/// Whether a ledger adds up.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Balance {
    /// Exactly.
    Balanced,
    /// So many numbers arrived after the heartbeat was made.
    Moving(u64),
    /// So many too many (positive) or too few (negative) are accounted for.
    Difference(i128),
}

/// One line of the sensor's ledger: `generated = filtered + aggregated + submitted + lost`.
pub(crate) fn sensor_lines(host: &v1::Host) -> Vec<KindCounts> {
    let heartbeat = host.heartbeat.as_ref();
    let kinds = heartbeat.map(|beat| beat.kinds.as_slice());
    kinds
        .unwrap_or_default()
        .iter()
        .filter_map(counts)
        .collect()
}

/// The transport ledger, one line per run and class that either side knows.
pub(crate) fn transport_lines(host: &v1::Host) -> Vec<TransportLine> {
    let mut sides: BTreeMap<(StreamId, Class), Sides<'_>> = BTreeMap::new();
    for stored in &host.stored {
        if let Some(key) = key_of(&stored.stream, stored.class) {
            sides.entry(key).or_default().stored = Some(stored);
        }
    }
    let heartbeat = host.heartbeat.as_ref();
    for told in heartbeat
        .map(|beat| beat.classes.as_slice())
        .unwrap_or_default()
    {
        if let Some(key) = key_of(&told.stream, told.class) {
            sides.entry(key).or_default().told = Some(told);
        }
    }
    // What others that speak for the host say of their own runs; of a run that the host knows too, its own word counts.
    for branch in &host.branches {
        for told in &branch.classes {
            if let Some(key) = key_of(&told.stream, told.class) {
                let side = sides.entry(key).or_default();
                if side.told.is_none() {
                    (side.told, side.branch) = (Some(told), KeyId::from_slice(&branch.name).ok());
                }
            }
        }
    }
    let lines = sides.into_iter();
    lines
        .map(|((stream, class), sides)| sides.line(stream, class))
        .collect()
}

/// The worst line of the transport ledger; `None` if nothing is known.
pub(crate) fn transport(host: &v1::Host) -> Option<Balance> {
    transport_lines(host).iter().map(|line| line.balance).max()
}

/// Whether every line of the sensor's ledger adds up; `None` if nothing is known.
pub(crate) fn sensor(host: &v1::Host) -> Option<bool> {
    let lines = sensor_lines(host);
    (!lines.is_empty()).then(|| lines.iter().all(KindCounts::balances))
}

/// Whether both ledgers add up; `None` if nothing is known of one of them.
pub(crate) fn balanced(host: &v1::Host) -> Option<bool> {
    Some(sensor(host)? && transport(host)?.holds())
}

impl Balance {
    /// The word for people.
    pub(crate) fn word(self) -> String {
        match self {
            Self::Balanced => "BALANCED".to_owned(),
            Self::Moving(count) => format!("BALANCED +{count} moving"),
            Self::Difference(difference) => format!("DIFFERENCE {difference:+}"),
        }
    }

    /// Whether nothing went missing in silence.
    pub(crate) const fn holds(self) -> bool {
        !matches!(self, Self::Difference(_))
    }

    /// What is accounted for beyond what was numbered.
    pub(crate) fn difference(self) -> i64 {
        match self {
            Self::Balanced | Self::Moving(_) => 0,
            Self::Difference(difference) => {
                let least = i128::from(i64::MIN);
                i64::try_from(difference.clamp(least, i128::from(i64::MAX))).unwrap_or(i64::MAX)
            }
        }
    }
}

/// What each side says of one run and class.
#[derive(Clone, Copy, Debug, Default)]
struct Sides<'a> {
    stored: Option<&'a v1::StoredLedger>,
    told: Option<&'a v1::ClassLedger>,
    /// Who told it, if not the host.
    branch: Option<KeyId>,
}

impl Sides<'_> {
    fn line(self, stream: StreamId, class: Class) -> TransportLine {
        let stored = self.stored.cloned().unwrap_or_default();
        let told = self.told.cloned().unwrap_or_default();
        // Everything that the heartbeat knew has arrived: the collector's books are the newer ones.
        let newer = stored.next_seq >= told.numbered;
        let (numbered, spooled, gaps) = if newer {
            (stored.next_seq, 0, stored.gaps)
        } else {
            (told.numbered, told.spooled, told.gaps.max(stored.gaps))
        };
        let accounted = sum(&[stored.stored, spooled, gaps]);
        TransportLine {
            stream,
            class,
            numbered,
            stored: stored.stored,
            spooled,
            gaps,
            unknown_gaps: stored.unknown_gaps,
            balance: balance(accounted - i128::from(numbered), spooled),
            branch: KeyId::from_slice(&stored.branch).ok().or(self.branch),
        }
    }
}

/// A number that was in the spool at the heartbeat and has been stored since is accounted for twice.
fn balance(difference: i128, spooled: u64) -> Balance {
    match u64::try_from(difference) {
        Ok(0) => Balance::Balanced,
        Ok(moved) if moved <= spooled => Balance::Moving(moved),
        _ => Balance::Difference(difference),
    }
}

fn sum(parts: &[u64]) -> i128 {
    parts.iter().copied().map(i128::from).sum()
}

fn key_of(stream: &[u8], class: i32) -> Option<(StreamId, Class)> {
    Some((StreamId::from_slice(stream).ok()?, Class::from_wire(class)?))
}

fn counts(wire: &v1::KindCounts) -> Option<KindCounts> {
    KindCounts::try_from(*wire).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(told: Option<[u64; 3]>, stored: [u64; 3]) -> v1::Host {
        let (stream, class) = (vec![1; 16], v1::Class::Bulk as i32);
        let classes = told.map(|[numbered, spooled, gaps]| v1::ClassLedger {
            stream: stream.clone(),
            class,
            numbered,
            spooled,
            gaps,
            durable_seq: 0,
        });
        let [next_seq, events, gaps] = stored;
        v1::Host {
            heartbeat: Some(v1::Heartbeat {
                classes: classes.into_iter().collect(),
                ..v1::Heartbeat::default()
            }),
            stored: vec![v1::StoredLedger {
                stream,
                class,
                next_seq,
                stored: events,
                gaps,
                unknown_gaps: 0,
                branch: Vec::new(),
            }],
            ..v1::Host::default()
        }
    }

    fn balance_of(told: Option<[u64; 3]>, stored: [u64; 3]) -> Balance {
        transport_lines(&host(told, stored))[0].balance
    }

    #[test]
    fn a_quiet_host_balances() {
        assert_eq!(
            balance_of(Some([100, 0, 10]), [100, 90, 10]),
            Balance::Balanced
        );
        assert_eq!(
            balance_of(Some([100, 30, 10]), [70, 60, 10]),
            Balance::Balanced
        );
        assert_eq!(balance_of(None, [50, 45, 5]), Balance::Balanced);
    }

    #[test]
    fn a_heartbeat_older_than_the_store_is_no_difference() {
        assert_eq!(
            balance_of(Some([100, 0, 0]), [120, 120, 0]),
            Balance::Balanced
        );
        assert_eq!(
            balance_of(Some([100, 30, 0]), [90, 90, 0]),
            Balance::Moving(20)
        );
    }

    #[test]
    fn a_number_that_nobody_accounts_for_is_a_difference() {
        assert_eq!(
            balance_of(Some([100, 0, 0]), [100, 97, 0]),
            Balance::Difference(-3)
        );
        assert_eq!(
            balance_of(Some([100, 5, 0]), [90, 90, 0]),
            Balance::Difference(-5)
        );
        assert_eq!(balance_of(None, [50, 60, 0]), Balance::Difference(10));
        assert_eq!(Balance::Difference(-3).word(), "DIFFERENCE -3");
    }

    #[test]
    fn nothing_known_is_not_called_balanced() {
        assert_eq!(balanced(&v1::Host::default()), None);
        assert_eq!(transport(&v1::Host::default()), None);
        assert_eq!(transport(&host(None, [5, 5, 0])), Some(Balance::Balanced));
    }

    #[test]
    fn figures_that_a_host_made_up_do_not_overflow() {
        let huge = u64::MAX;
        assert!(!balance_of(Some([huge, huge, huge]), [0, huge, 0]).holds());
        assert_eq!(balance_of(None, [0, huge, huge]).difference(), i64::MAX);
    }
}
