//! How many refused starts are told one by one.
//!
//! What stays true: of each content at most [`MOST`] in a minute are told; the others are counted, and the count is told when the
//! minute is over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use picket_seal::Digest;

/// Refused starts of one content that are told one by one in a minute.
pub(super) const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_mins(1);

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Told {
    windows: HashMap<Digest, Window>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    told: u32,
    held: u64,
}

impl Told {
    /// Whether a refused start of this content is told now. If not it is counted.
    pub(super) fn may_tell(&mut self, content: Digest, now: Instant) -> bool {
        let window = self.windows.entry(content).or_insert(Window {
            since: now,
            told: 0,
            held: 0,
        });
        if window.told < MOST {
            window.told = window.told.saturating_add(1);
            return true;
        }
        window.held = window.held.saturating_add(1);
        false
    }

    /// The counts of the minutes that are over, of those contents of which not all were told.
    pub(super) fn over(&mut self, now: Instant) -> Vec<(Digest, u64)> {
        let is_over = |window: &Window| now.saturating_duration_since(window.since) >= WINDOW;
        let over = self.windows.iter().filter(|(_, window)| is_over(window));
        let counts = over.map(|(content, window)| (*content, window.held));
        let counts: Vec<_> = counts.filter(|(_, held)| *held > 0).collect();
        self.windows.retain(|_, window| !is_over(window));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_told_and_the_others_are_counted_until_the_minute_is_over() {
        let (mut told, begun) = (Told::default(), Instant::now());
        let (bad, worse) = (Digest::of(b"bad"), Digest::of(b"worse"));
        let first = (0..MOST).all(|_| told.may_tell(bad, begun));
        assert!(first && !told.may_tell(bad, begun) && !told.may_tell(bad, begun));
        assert!(
            told.may_tell(worse, begun),
            "each content has its own count"
        );
        assert_eq!(told.over(begun + Duration::from_secs(59)), []);
        assert_eq!(told.over(begun + WINDOW), [(bad, 2)]);
        assert_eq!(told.over(begun + WINDOW), []);
        assert!(told.may_tell(bad, begun + WINDOW));
    }
}
