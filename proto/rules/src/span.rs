//! Lengths of time as rules write them: `30s`, `5m`, `2h`, `1d`.

/// The length that `text` writes, in nanoseconds; `None` if it is none, or nothing, or too long for a clock.
pub(crate) fn nanoseconds(text: &str) -> Option<i64> {
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let span = units.iter().find_map(|(unit, seconds)| {
        let number = text.strip_suffix(*unit)?.parse::<i64>().ok()?;
        number.checked_mul(*seconds)?.checked_mul(1_000_000_000)
    });
    span.filter(|span| *span > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_a_number_and_a_unit() {
        assert_eq!(nanoseconds("90s"), Some(90_000_000_000));
        assert_eq!(nanoseconds("2h"), nanoseconds("120m"));
        for text in ["", "5", "m", "0s", "-1d", "1w", "5 m", "9999999999999d"] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
