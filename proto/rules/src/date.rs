//! Numbers that are read out of a date, as it is written: nothing is turned into another zone.

/// Which number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Minute,
    Hour,
    /// Of the month.
    Day,
    /// Of the year, as ISO 8601 counts them: the first has the first Thursday.
    Week,
    Month,
    Year,
}

impl Part {
    /// This part of `text`, if it is a date as `2026-01-05`, for hours and minutes with a time behind it as `T10:00` or ` 10:00`.
    pub(crate) fn of(self, text: &[u8]) -> Option<f64> {
        let year = digits(text, 0, 4)?;
        let (month, day) = (digits(text, 5, 2)?, digits(text, 8, 2)?);
        let apart = text.get(4) == Some(&b'-') && text.get(7) == Some(&b'-');
        let is_date = apart && (1..=12).contains(&month) && (1..=31).contains(&day);
        let time = |at| {
            let begins = matches!(text.get(10), Some(b'T' | b't' | b' '));
            let has = begins && text.get(13) == Some(&b':');
            has.then(|| digits(text, at, 2)).flatten()
        };
        let part = match self {
            _ if !is_date => None,
            Self::Minute => time(14).filter(|minute| *minute < 60),
            Self::Hour => time(11).filter(|hour| *hour < 24),
            Self::Day => Some(day),
            Self::Week => Some(week(year, month, day)),
            Self::Month => Some(month),
            Self::Year => Some(year),
        };
        part.map(f64::from)
    }
}

fn digits(text: &[u8], at: usize, count: usize) -> Option<i32> {
    let digits = text.get(at..at + count)?;
    let plain = digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| plain)?;
    text.parse().ok()
}

/// The week that the Thursday of this day's week is in.
fn week(year: i32, month: i32, day: i32) -> i32 {
    let days = days(year, month, day);
    // Day 0, the first of January 1970, was a Thursday.
    let thursday = days - (days + 3).rem_euclid(7) + 3;
    let first = |year| self::days(year, 1, 1);
    let year = if thursday < first(year) {
        year - 1
    } else if thursday >= first(year + 1) {
        year + 1
    } else {
        year
    };
    (thursday - first(year)) / 7 + 1
}

/// Days since the first of January 1970 in the Gregorian calendar, for years of four digits.
fn days(year: i32, month: i32, day: i32) -> i32 {
    /// Days before each month in a year that begins in March.
    const BEFORE: [i32; 12] = [0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337];
    let from_march = (month + 9) % 12;
    let year = if from_march >= 10 { year - 1 } else { year };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let before = usize::try_from(from_march).ok();
    let before = before.and_then(|month| BEFORE.get(month)).copied();
    365 * year + leaps + before.unwrap_or(0) + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(part: Part, text: &str) -> Option<f64> {
        part.of(text.as_bytes())
    }

    #[test]
    fn parts_are_what_is_written() {
        let text = "2026-11-30T19:05:48.5Z";
        assert_eq!(of(Part::Minute, text), Some(5.0));
        assert_eq!(of(Part::Hour, text), Some(19.0));
        assert_eq!(of(Part::Day, text), Some(30.0));
        assert_eq!(of(Part::Month, text), Some(11.0));
        assert_eq!(of(Part::Year, text), Some(2026.0));
        assert_eq!(of(Part::Hour, "2026-11-30 23:59:59"), Some(23.0));
        assert_eq!(of(Part::Hour, "2026-11-30"), None);
        for text in [
            "",
            "2026",
            "30.11.2026 10:00",
            "2026-13-01T10:00",
            "+026-01-01",
        ] {
            assert_eq!(of(Part::Day, text), None, "{text}");
        }
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        let weeks = [
            ("2026-01-01", 1.0),
            ("2025-12-29", 1.0),
            ("2025-12-28", 52.0),
            ("2021-01-03", 53.0),
            ("2021-01-04", 1.0),
            ("2024-02-29", 9.0),
            ("2026-11-30", 49.0),
        ];
        for (text, week) in weeks {
            assert_eq!(of(Part::Week, text), Some(week), "{text}");
        }
    }
}
