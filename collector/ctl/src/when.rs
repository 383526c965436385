//! Times as people type them: `90s`, `10m`, `24h`, `7d`, or RFC 3339.

use std::time::Duration;

use picket_event::UnixNanos;

/// Why a text is no duration or time.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum WhenError {
    /// Not a number with a unit.
    #[error("`{0}` is not a duration such as 90s, 10m, 24h or 7d")]
    Duration(String),
    /// Neither a duration nor a time.
    #[error("`{0}` is neither a duration such as 10m nor a time such as 2026-01-05T10:00:00Z")]
    Time(String),
}

/// A point in time, absolute or before now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum When {
    /// So long before now.
    Ago(Duration),
    /// Then.
    At(UnixNanos),
}

impl When {
    /// As an instant, seen from `now`.
    pub(crate) fn from(self, now: UnixNanos) -> UnixNanos {
        match self {
            Self::Ago(duration) => now.minus(duration),
            Self::At(instant) => instant,
        }
    }
}

/// As [`picket_event::parse_duration`].
pub(crate) fn parse_duration(text: &str) -> Result<Duration, WhenError> {
    picket_event::parse_duration(text).ok_or_else(|| WhenError::Duration(text.to_owned()))
}

/// A duration before now, or an instant in RFC 3339.
pub(crate) fn parse_when(text: &str) -> Result<When, WhenError> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(When::Ago(ago));
    }
    let instant = UnixNanos::parse(text.trim()).filter(|instant| instant.0 > 0);
    instant
        .map(When::At)
        .ok_or_else(|| WhenError::Time(text.to_owned()))
}

/// How long, for people: its two largest units.
pub(crate) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..172_800 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// How long before `now` it was; `never` for 0.
pub(crate) fn ago(instant: i64, now: UnixNanos) -> String {
    if instant == 0 {
        return "never".to_owned();
    }
    format!("{} ago", spoken(now.since(UnixNanos(instant))))
}

/// RFC 3339; `None` for 0, which stands for never.
pub(crate) fn stamp(instant: i64) -> Option<String> {
    (instant != 0).then(|| UnixNanos(instant).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        let read = |text| parse_duration(text).unwrap().as_millis();
        assert_eq!(read("90s"), 90_000);
        assert_eq!(read("10m"), 600_000);
        assert_eq!(read("24h"), 86_400_000);
        assert_eq!(read("1h30m"), 5_400_000);
        assert_eq!(read("250ms"), 250);
    }

    #[test]
    fn a_duration_without_unit_or_beyond_counting_is_refused() {
        let huge = format!("{}w", u64::MAX);
        for bad in [
            "",
            "10",
            "m",
            "-5m",
            "10 m",
            "1.5h",
            "10y",
            "10mm",
            "é",
            huge.as_str(),
        ] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_time_is_a_duration_before_now_or_rfc_3339() {
        let now = UnixNanos(1_767_607_200_000_000_000);
        let ago = parse_when("10m").unwrap().from(now);
        assert_eq!(ago.to_string(), "2026-01-05T09:50:00.000000000Z");
        let at = parse_when("2026-01-05T10:00:00+01:00").unwrap().from(now);
        assert_eq!(at.to_string(), "2026-01-05T09:00:00.000000000Z");
        assert!(parse_when("yesterday").is_err());
        assert!(parse_when("2026-01-05").is_err());
    }

    #[test]
    fn a_duration_is_spoken_in_its_two_largest_units() {
        let spoken_of = |seconds| spoken(Duration::from_secs(seconds));
        assert_eq!(spoken_of(0), "0ms");
        assert_eq!(spoken_of(61), "1m01s");
        assert_eq!(spoken_of(90_000), "25h00m");
        assert_eq!(spoken_of(200_000), "2d07h");
    }
}
