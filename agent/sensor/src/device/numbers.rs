//! How many announcements went missing, by their numbers.
//!
//! # Invariants
//!
//! - Without an overrun a hole in the numbers is no loss: the kernel numbers also what it tells to other
//!   network namespaces.
//! - What an overrun took lies in the holes up to the first announcement that came when everything before it
//!   had been read; that is at most counted, and at least one.

/// The numbers that were heard.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    last: Option<u64>,
    overrun: Option<Overrun>,
}

#[derive(Debug)]
struct Overrun {
    /// Counted as lost already.
    counted: u64,
    /// Whether everything that came before it was read.
    is_emptied: bool,
}

impl Numbers {
    /// The kernel had no room for one or more. How many are to be counted as lost now.
    pub(super) fn overrun(&mut self) -> u64 {
        let counted = self.overrun.take().map_or(0, |before| before.counted);
        self.overrun = Some(Overrun {
            counted: counted.saturating_add(1),
            is_emptied: false,
        });
        1
    }

    /// Nothing waits any more.
    pub(super) fn emptied(&mut self) {
        if let Some(overrun) = &mut self.overrun {
            overrun.is_emptied = true;
        }
    }

    /// An announcement came. How many are to be counted as lost now.
    pub(super) fn heard(&mut self, number: Option<u64>) -> u64 {
        let Some(number) = number else {
            return 0;
        };
        let expected = self.last.map_or(number, |last| last.saturating_add(1));
        self.last = Some(number);
        let Some(overrun) = &mut self.overrun else {
            return 0;
        };
        let missing = number.saturating_sub(expected);
        let more = missing.saturating_sub(overrun.counted);
        overrun.counted = overrun.counted.saturating_sub(missing);
        if overrun.is_emptied {
            self.overrun = None;
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_without_an_overrun_are_somebody_elses() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.heard(Some(5)), 0);
        assert_eq!(numbers.heard(Some(9)), 0);
    }

    #[test]
    fn an_overrun_is_counted_up_to_what_comes_after_it() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.heard(Some(1)), 0);
        assert_eq!(numbers.overrun(), 1);
        assert_eq!(numbers.heard(Some(2)), 0);
        numbers.emptied();
        assert_eq!(numbers.heard(Some(13)), 9);
        assert_eq!(numbers.heard(Some(20)), 0, "it is over");
    }

    #[test]
    fn numbers_that_go_back_or_are_missing_count_nothing() {
        let mut numbers = Numbers::default();
        numbers.heard(Some(u64::MAX));
        numbers.overrun();
        assert_eq!(numbers.heard(Some(0)), 0);
        assert_eq!(numbers.heard(None), 0);
    }
}
