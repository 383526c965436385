//! Instants as SQL writes them, and their order.
//!
//! # Invariants
//!
//! - Two texts that name instants are compared as instants, whatever their form; other texts come after all of them, byte by byte.

use std::cmp::Ordering;

use picket_event::UnixNanos;

/// The name of the order in SQL.
pub(crate) const COLLATION: &str = "moment";

/// The order of two instants.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    if is_canonical(one) && is_canonical(other) {
        return one.cmp(other);
    }
    match (parse(one), parse(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => one.cmp(other),
    }
}

/// `2026-01-05T10:00:00.123456789Z`: such texts are in the order of time as they stand.
fn is_canonical(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 30 && bytes.ends_with(b"Z") && bytes.get(10) == Some(&b'T')
}

/// An instant in RFC 3339, or as SQLite's own functions write it (`2026-01-05 10:00:00`, UTC), or its beginning (`2026-01-05`, `2026-01-05T10:00`).
pub(crate) fn parse(text: &str) -> Option<UnixNanos> {
    if !text.is_ascii() || text.len() > 40 {
        return None;
    }
    if let Some(instant) = UnixNanos::parse(text) {
        return Some(instant);
    }
    let (day, time) = match text.split_at_checked(10) {
        Some((day, time)) => (day, time.get(1..).unwrap_or_default()),
        None => return None,
    };
    let time = time.strip_suffix(['Z', 'z']).unwrap_or(time);
    let whole = match time.len() {
        0 => format!("{day}T00:00:00Z"),
        2 => format!("{day}T{time}:00:00Z"),
        5 => format!("{day}T{time}:00Z"),
        _ => format!("{day}T{time}Z"),
    };
    UnixNanos::parse(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_compared_as_instants_whatever_their_form() {
        let canonical = "2026-01-05T10:00:00.500000000Z";
        for earlier in [
            "2026-01-05T10:00:00Z",
            "2026-01-05 10:00:00",
            "2026-01-05T10:00",
            "2026-01-05T10",
            "2026-01-05",
            "2026-01-05T11:00:00+01:00",
        ] {
            assert_eq!(compare(canonical, earlier), Ordering::Greater, "{earlier}");
            assert_eq!(compare(earlier, canonical), Ordering::Less, "{earlier}");
        }
        assert_eq!(compare("2026-01-05 10:00:00.5", canonical), Ordering::Equal);
        assert_eq!(compare(canonical, "yesterday"), Ordering::Less);
    }

    #[test]
    fn the_order_is_the_same_both_ways() {
        let texts = [
            "",
            "x",
            "2026-01-05",
            "2026-01-05T10:00:00.123456789Z",
            "2026-99-99",
            "é",
            "2026-01-05 ",
        ];
        for one in texts {
            for other in texts {
                assert_eq!(compare(one, other), compare(other, one).reverse());
            }
        }
    }
}
