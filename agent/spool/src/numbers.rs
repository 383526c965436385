//! Sets of sequence numbers as ranges: sorted, disjoint, merged where they touch.

/// Numbers that records cover; normally one range.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Numbers(Vec<(u64, u64)>);

impl Numbers {
    /// Adds `first..end`. Ranges come in ascending order; what is there already is left out.
    pub(crate) fn add(&mut self, first: u64, end: u64) {
        let first = first.max(self.end().unwrap_or(0));
        match self.0.last_mut() {
            _ if first >= end => {}
            Some(last) if last.1 == first => last.1 = end,
            _ => self.0.push((first, end)),
        }
    }

    /// Leaves only what is below `end`.
    pub(crate) fn cut(&mut self, end: u64) {
        self.0.retain(|range| range.0 < end);
        if let Some(last) = self.0.last_mut() {
            last.1 = last.1.min(end);
        }
    }

    /// The number after the last.
    pub(crate) fn end(&self) -> Option<u64> {
        self.0.last().map(|range| range.1)
    }

    /// The lowest number at or above `floor`.
    pub(crate) fn first_from(&self, floor: u64) -> Option<u64> {
        self.0
            .iter()
            .find(|range| range.1 > floor)
            .map(|range| range.0.max(floor))
    }

    /// How many are at or above `floor`.
    pub(crate) fn count_from(&self, floor: u64) -> u64 {
        let above = |&(first, end): &(u64, u64)| end.saturating_sub(first.max(floor));
        self.0.iter().map(above).fold(0, u64::saturating_add)
    }

    /// The ranges of `self` that `other` lacks.
    pub(crate) fn minus(&self, other: &Self) -> Vec<(u64, u64)> {
        let mut left = Self::default();
        for &(first, end) in &self.0 {
            let mut from = first;
            for &(taken, taken_end) in other.0.iter().filter(|range| range.1 > first) {
                left.add(from, end.min(taken));
                from = from.max(taken_end);
            }
            left.add(from, end);
        }
        left.0
    }

    pub(crate) fn ranges(&self) -> &[(u64, u64)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(ranges: &[(u64, u64)]) -> Numbers {
        let mut numbers = Numbers::default();
        for &(first, end) in ranges {
            numbers.add(first, end);
        }
        numbers
    }

    #[test]
    fn ranges_that_touch_become_one() {
        assert_eq!(of(&[(1, 3), (3, 5), (7, 8)]).ranges(), [(1, 5), (7, 8)]);
        assert_eq!(of(&[(1, 3), (2, 6), (0, 4)]).ranges(), [(1, 6)]);
    }

    proptest! {
        #[test]
        fn minus_counts_number_by_number(a in ranges(), b in ranges()) {
            let (a, b) = (of(&a), of(&b));
            let holds = |numbers: &Numbers, n| numbers.0.iter().any(|r| r.0 <= n && n < r.1);
            let left = Numbers(a.minus(&b));
            for n in 0..200 {
                prop_assert_eq!(holds(&left, n), holds(&a, n) && !holds(&b, n), "{}", n);
            }
            let above = (50..200).filter(|n| holds(&a, *n)).count() as u64;
            prop_assert_eq!(a.count_from(50), above);
            prop_assert_eq!(a.first_from(50), (50..200).find(|n| holds(&a, *n)));
        }
    }

    fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0u64..12, 1u64..12), 0..8).prop_map(|steps| {
            let mut at = 0;
            steps
                .into_iter()
                .map(|(gap, len)| {
                    let first = gap.saturating_add(at);
                    at = first.saturating_add(len);
                    (first, at)
                })
                .collect()
        })
    }
}
