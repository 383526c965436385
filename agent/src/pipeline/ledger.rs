//! The sensors' ledgers, put together, with what the agent itself left out and what it made.
//!
//! What stays true: for each kind `generated = filtered + aggregated + submitted + lost`, if it is true
//! of each sensor.

use std::collections::BTreeMap;

use picket_event::{Kind, KindCounts, Source};

use crate::enrich::counts::Counts;

/// The newest ledger of each sensor.
#[derive(Debug, Default)]
pub(crate) struct Ledgers {
    by_source: BTreeMap<Source, BTreeMap<Kind, KindCounts>>,
}

impl Ledgers {
    /// Takes a sensor's newest ledger. Returns what was lost since the one before, by kind.
    pub(crate) fn update(&mut self, source: Source, counts: Vec<KindCounts>) -> Vec<(Kind, u64)> {
        let lines = self.by_source.entry(source).or_default();
        let mut lost = Vec::new();
        for line in counts {
            let before = lines
                .insert(line.kind, line)
                .map_or(0, |before| before.lost);
            let more = line.lost.saturating_sub(before);
            if more > 0 {
                lost.push((line.kind, more));
            }
        }
        lost
    }

    /// All sensors together. What the agent left out or told by another event is taken from `submitted`, what it made from events of
    /// sensors is added.
    pub(crate) fn combined(&self, own: &Counts) -> Vec<KindCounts> {
        let mut sums: BTreeMap<Kind, KindCounts> = BTreeMap::new();
        for line in self.by_source.values().flat_map(BTreeMap::values) {
            sums.entry(line.kind)
                .or_insert_with(|| KindCounts::zero(line.kind))
                .add(line);
        }
        for (kind, count) in &own.filtered {
            let sum = sums.entry(*kind).or_insert_with(|| KindCounts::zero(*kind));
            sum.hold_back(*count);
        }
        for (kind, count) in &own.aggregated {
            let sum = sums.entry(*kind).or_insert_with(|| KindCounts::zero(*kind));
            sum.tell_otherwise(*count);
        }
        for (kind, count) in &own.derived {
            let made = KindCounts {
                generated: *count,
                submitted: *count,
                ..KindCounts::zero(*kind)
            };
            sums.entry(*kind)
                .or_insert_with(|| KindCounts::zero(*kind))
                .add(&made);
        }
        sums.into_values()
            .filter(|line| line.generated > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: Kind, submitted: u64, lost: u64) -> KindCounts {
        KindCounts {
            generated: submitted + lost,
            submitted,
            lost,
            ..KindCounts::zero(kind)
        }
    }

    #[test]
    fn losses_are_told_once_and_by_kind() {
        let mut ledgers = Ledgers::default();
        assert!(
            ledgers
                .update(Source::Ebpf, vec![line(Kind::Exec, 5, 0)])
                .is_empty()
        );
        let lost = ledgers.update(Source::Ebpf, vec![line(Kind::Exec, 5, 2)]);
        assert_eq!(lost, [(Kind::Exec, 2)]);
        assert!(
            ledgers
                .update(Source::Ebpf, vec![line(Kind::Exec, 9, 2)])
                .is_empty()
        );
    }

    #[test]
    fn sensors_add_up_and_what_was_left_out_stays_in_balance() {
        let mut ledgers = Ledgers::default();
        ledgers.update(
            Source::Ebpf,
            vec![line(Kind::Exec, 5, 1), line(Kind::Exit, 0, 0)],
        );
        ledgers.update(Source::LoginRecord, vec![line(Kind::Login, 2, 0)]);
        let own = Counts {
            filtered: BTreeMap::from([(Kind::Exec, 2)]),
            aggregated: BTreeMap::from([(Kind::Exec, 1)]),
            derived: BTreeMap::from([(Kind::Script, 4)]),
        };
        let combined = ledgers.combined(&own);
        assert!(combined.iter().all(KindCounts::balances));
        assert_eq!(combined.len(), 3);
        let exec = combined[0];
        assert_eq!((exec.submitted, exec.filtered, exec.aggregated), (2, 2, 1));
        assert_eq!((combined[2].kind, combined[2].submitted), (Kind::Script, 4));
    }
}
