//! Wall-clock instants, and the clock as a thing that tests can hold.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted. Good until the year 2262.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// Later by `duration`; stays at the last instant there is.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)),
        )
    }

    /// Earlier by `duration`; stays at the first instant there is.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// From RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        let stamp: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(stamp.as_nanosecond()).ok().map(Self)
    }
}

/// RFC 3339 in UTC with nine digits after the second.
impl fmt::Display for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(stamp) => write!(f, "{stamp:.9}"),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

/// Tells the time. A trait, so that tests own the clock.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock now.
    fn now(&self) -> UnixNanos;
}

/// The host's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn now(&self) -> UnixNanos {
        let elapsed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = UnixNanos(i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX));
        #[cfg(debug_assertions)]
        let now = stepped::by_the_test(now);
        now
    }
}

/// The clock of a whole program, stepped by a test. A release build has no such thing: a clock that a file can move is a
/// clock that makes old commands and certificates good again.
#[cfg(debug_assertions)]
mod stepped {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use super::UnixNanos;

    /// Later by the nanoseconds that stand in the file which `PICKET_TEST_CLOCK` names, if it names one.
    pub(super) fn by_the_test(now: UnixNanos) -> UnixNanos {
        static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
        let file = FILE.get_or_init(|| std::env::var_os("PICKET_TEST_CLOCK").map(PathBuf::from));
        let text = file
            .as_ref()
            .and_then(|file| std::fs::read_to_string(file).ok());
        let step = text.and_then(|text| text.trim().parse::<i64>().ok());
        UnixNanos(now.0.saturating_add(step.unwrap_or(0)))
    }
}

/// A whole number and a unit: `ms`, `s`, `m`, `h`, `d` or `w`; several may follow each other: `1h30m`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = (!rest.is_empty()).then_some(Duration::ZERO)?;
    while !rest.is_empty() {
        let (part, behind) = first_part(rest)?;
        total = total.checked_add(part)?;
        rest = behind;
    }
    Some(total)
}

fn first_part(text: &str) -> Option<(Duration, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, rest) = text.split_at_checked(digits)?;
    let letters = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    let (unit, behind) = rest.split_at_checked(letters)?;
    let number: u64 = number.parse().ok()?;
    Some((in_units(number, unit)?, behind))
}

fn in_units(number: u64, unit: &str) -> Option<Duration> {
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_in_rfc_3339_and_read_back() {
        let instant = UnixNanos(1_767_607_200_123_456_789);
        assert_eq!(instant.to_string(), "2026-01-05T10:00:00.123456789Z");
        assert_eq!(UnixNanos::parse(&instant.to_string()), Some(instant));
    }
}
