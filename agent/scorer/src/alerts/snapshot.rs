//! The budget as bytes, so that a restart makes no room.
//!
//! ```text
//! "PKAL" | version u8 = 1
//! now i64 | flood i64 | withheld since i64, number u64, so far u64 | raised f64, at i64
//! rate: day i64, days u32, today u32, average f64
//! number u32, then as many times i64, ascending
//! ```
//!
//! All little-endian; a time that is not there is the least `i64`. Incidents are not kept: one that goes
//! on after a restart is told again, within the budget.

use std::collections::VecDeque;

use super::Alerts;
use super::incidents::Incidents;
use super::rate::Rate;

impl Alerts {
    /// The budget and the rate, to be kept.
    pub fn snapshot(&self) -> Vec<u8> {
        let (budget, rate) = (&self.budget, &self.strange);
        let mut bytes = Vec::with_capacity(128 + 8 * budget.told.len());
        bytes.extend_from_slice(MAGIC);
        let (since, number) = budget.withheld.unwrap_or((NEVER, 0));
        for time in [budget.now, budget.flood.unwrap_or(NEVER), since] {
            bytes.extend_from_slice(&time.to_le_bytes());
        }
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&budget.withheld_so_far.to_le_bytes());
        bytes.extend_from_slice(&budget.raised.to_le_bytes());
        bytes.extend_from_slice(&budget.raised_at.to_le_bytes());
        bytes.extend_from_slice(&rate.day.to_le_bytes());
        bytes.extend_from_slice(&rate.days.to_le_bytes());
        bytes.extend_from_slice(&rate.today.to_le_bytes());
        bytes.extend_from_slice(&rate.average.to_le_bytes());
        let number = u32::try_from(budget.told.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&number.to_le_bytes());
        for time in &budget.told {
            bytes.extend_from_slice(&time.to_le_bytes());
        }
        bytes
    }

    /// Goes on with what [`Alerts::snapshot`] gave; `None` if these bytes cannot be that. More
    /// notifications than `most` are taken as `most`.
    pub fn restore(most: u32, bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes.strip_prefix(MAGIC)?);
        let mut alerts = Self::new(most);
        let budget = &mut alerts.budget;
        budget.now = rest.time()?;
        budget.flood = Some(rest.time()?).filter(|time| *time != NEVER);
        let (since, number) = (rest.time()?, rest.number()?);
        budget.withheld = (since != NEVER).then_some((since, number));
        budget.withheld_so_far = rest.number()?;
        budget.raised = rest.part()?;
        budget.raised_at = rest.time()?;
        alerts.strange = Rate {
            day: rest.time()?,
            days: rest.small()?,
            today: rest.small()?,
            average: rest.part()?,
        };
        let number = usize::try_from(rest.small()?).ok()?;
        let told: Option<VecDeque<i64>> =
            (0..number.min(bytes.len())).map(|_| rest.time()).collect();
        let told = told?;
        let ascends = told.iter().zip(told.iter().skip(1)).all(|(a, b)| a <= b);
        if !ascends || told.back().is_some_and(|last| *last > budget.now) || !rest.0.is_empty() {
            return None;
        }
        let spare = told.len().saturating_sub(budget.most);
        budget.told = told.into_iter().skip(spare).collect();
        alerts.incidents = Incidents::new();
        Some(alerts)
    }
}

struct Rest<'b>(&'b [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn time(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn small(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// A number of bits or events, which is not negative.
    fn part(&mut self) -> Option<f64> {
        let part = self.take().map(f64::from_le_bytes);
        part.filter(|part| part.is_finite() && *part >= 0.0)
    }
}

const MAGIC: &[u8] = b"PKAL\x01";
const NEVER: i64 = i64::MIN;

#[cfg(test)]
mod tests {
    use picket_event::{Reason, ScorerVerdict, UnixNanos};
    use proptest::prelude::*;

    use super::*;
    use crate::alerts::PERIOD;

    fn alert() -> ScorerVerdict {
        ScorerVerdict {
            bits: 40.0,
            p: 5e-5,
            reasons: vec![Reason {
                factor: "child of parent".into(),
                context: "context".into(),
                value: "value".into(),
                bits: 40.0,
                usual: 0.0,
                seen: 0,
                context_seen: 1_000,
                days: 30,
                distinct: 3,
                backoff: Vec::new(),
            }],
            alert: true,
        }
    }

    #[test]
    fn a_restart_makes_no_room() {
        let mut alerts = Alerts::new(10);
        let mut told = 0;
        for n in 0..200_u32 {
            let decision = alerts.step(
                UnixNanos(i64::from(n) * PERIOD / 200),
                u64::from(n),
                &alert(),
            );
            told += usize::from(decision.notifies());
            alerts = Alerts::restore(10, &alerts.snapshot()).unwrap();
        }
        assert!(told > 1 && told <= 10, "{told}");
    }

    #[test]
    fn a_smaller_budget_holds_from_the_restart_on() {
        let mut alerts = Alerts::new(40);
        for n in 0..20 {
            alerts.step(UnixNanos(0), n, &alert());
        }
        let mut alerts = Alerts::restore(3, &alerts.snapshot()).unwrap();
        let told = (100..200_u64).filter(|n| alerts.step(UnixNanos(1), *n, &alert()).notifies());
        assert_eq!(told.count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cut in 0_usize..200,
        ) {
            let mut framed = MAGIC.to_vec();
            framed.extend_from_slice(&bytes);
            for bytes in [bytes.as_slice(), framed.as_slice()] {
                if let Some(mut alerts) = Alerts::restore(5, bytes) {
                    alerts.step(UnixNanos(0), 1, &alert());
                }
            }
            let whole = Alerts::new(5).snapshot();
            prop_assert_eq!(Alerts::restore(5, &whole[..cut.min(whole.len())]).is_some(), cut >= whole.len());
        }
    }
}
