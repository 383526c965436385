//! Pairs of runs, one without and one with a sensor, and what they say together.
//!
//! The machine's mood changes from minute to minute: only runs beside each other are compared. The order
//! within a pair alternates (off, on, on, off ...), so that a steady drift cancels out. What is told is the
//! middle of the pairs with an interval that asks nothing of their distribution, because others use the machine too.

use crate::failure::Failure;

/// The middle of some values, and between which of them it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub(super) middle: f64,
    low: f64,
    high: f64,
    pairs: usize,
}

/// One load, without and with a sensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<T> {
    pub(super) off: T,
    pub(super) on: T,
}

/// How a sensor is switched, and what is run without (`None`) and with it.
pub(super) struct Turns<Start, Run, Stop> {
    pub(super) start: Start,
    pub(super) run: Run,
    pub(super) stop: Stop,
}

/// Runs `count` pairs: off, on, on, off ... A sensor that is on stays on for the next run with it.
pub(super) fn pairs<Sensor, T>(
    count: usize,
    turns: Turns<
        impl Fn() -> Result<Sensor, Failure>,
        impl Fn(Option<&Sensor>) -> Result<T, Failure>,
        impl Fn(Sensor) -> Result<(), Failure>,
    >,
) -> Result<Vec<Pair<T>>, Failure> {
    let mut done = Vec::with_capacity(count);
    while done.len() < count {
        let off = (turns.run)(None)?;
        let sensor = (turns.start)()?;
        done.push(Pair {
            off,
            on: (turns.run)(Some(&sensor))?,
        });
        let second = (done.len() < count).then(|| (turns.run)(Some(&sensor)));
        (turns.stop)(sensor)?;
        if let Some(on) = second.transpose()? {
            done.push(Pair {
                on,
                off: (turns.run)(None)?,
            });
        }
    }
    Ok(done)
}

/// The middle of independent values.
///
/// The interval is that between two values of the ordered ones, as far outside as 95 % need: whether a value is above or
/// below the true middle is the toss of a coin. Fewer than six values cannot give so much; theirs is from least to most.
pub(super) fn estimate(values: impl IntoIterator<Item = f64>) -> Estimate {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let pairs = values.len();
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let outside = outside(pairs);
    Estimate {
        middle: f64::midpoint(at((pairs.max(1) - 1) / 2), at(pairs / 2)),
        low: at(outside),
        high: at((pairs.max(1) - 1).saturating_sub(outside)),
        pairs,
    }
}

/// By how many per cent `on` is more than `off`.
pub(super) fn increase(pairs: impl IntoIterator<Item = Pair<f64>>) -> Estimate {
    let ratios = pairs
        .into_iter()
        .map(|pair| (pair.on / pair.off - 1.0) * 100.0);
    estimate(ratios)
}

impl Estimate {
    /// The interval in words.
    pub(super) fn interval(&self, digits: usize) -> String {
        let (low, high, pairs) = (self.low, self.high, self.pairs);
        let what = match pairs {
            0..LEAST => "from least to most",
            _ => "95 % interval",
        };
        format!("{what} {low:.digits$} to {high:.digits$} over {pairs} pairs")
    }
}

/// How many values may lie outside at each end so that the rest holds the middle with 95 %.
fn outside(pairs: usize) -> usize {
    let Ok(coins) = i32::try_from(pairs) else {
        return 0;
    };
    let mut ways = 1.0;
    let mut below = 0.0;
    for heads in 0..coins {
        below += ways * 0.5_f64.powi(coins);
        if below > 0.025 {
            return usize::try_from(heads - 1).unwrap_or_default();
        }
        ways *= f64::from(coins - heads) / f64::from(heads + 1);
    }
    0
}

/// Fewer pairs give no interval of 95 %.
const LEAST: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn equal_pairs_show_no_increase_and_no_doubt() {
        let pair = Pair { off: 2.0, on: 2.0 };
        let estimate = increase([pair; 8]);
        assert!(estimate.middle.abs() < 1e-9 && (estimate.high - estimate.low).abs() < 1e-9);
    }

    #[test]
    fn the_interval_leaves_out_what_a_coin_rarely_does() {
        // The ranks in tables of the sign test.
        let known = [(5, 0), (6, 0), (8, 0), (9, 1), (10, 1), (12, 2), (20, 5)];
        for (pairs, left_out) in known {
            assert_eq!(outside(pairs), left_out, "{pairs} pairs");
        }
    }

    #[test]
    fn one_run_that_others_disturbed_changes_little() {
        let values = [1.0, 1.1, 0.9, 1.0, 1.0, 1.1, 0.9, 1.0, 1.0, 50.0];
        let estimate = estimate(values);
        assert!((estimate.middle - 1.0).abs() < 1e-9 && estimate.high < 2.0);
    }

    #[test]
    fn the_order_within_pairs_alternates_and_the_sensor_stays_on_between() {
        for (count, expected) in [(4, "a(bb)aa(bb)a"), (3, "a(bb)aa(b)")] {
            let order = RefCell::new(String::new());
            let note = |letter: char| {
                order.borrow_mut().push(letter);
                Ok(())
            };
            let turns = Turns {
                start: || note('('),
                run: |sensor: Option<&()>| note(sensor.map_or('a', |()| 'b')),
                stop: |()| note(')'),
            };
            assert_eq!(pairs(count, turns).unwrap().len(), count);
            assert_eq!(order.into_inner(), expected);
        }
    }
}
