//! Cutting byte strings, which `str` does for text only.

use memchr::memmem;

/// What stands before and after the first `separator`.
pub(crate) fn cut<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    split_at(text, separator, memmem::find(text, separator)?)
}

/// What stands before and after the last `separator`.
pub(crate) fn cut_last<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    split_at(text, separator, memmem::rfind(text, separator)?)
}

/// Every way to cut at `separator`, the last place first.
pub(crate) fn cuts_from_the_end<'a>(
    text: &'a [u8],
    separator: &'a [u8],
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    memmem::rfind_iter(text, separator).filter_map(|at| split_at(text, separator, at))
}

/// What stands between `open` and the next `close`.
pub(crate) fn between<'a>(text: &'a [u8], open: &[u8], close: &[u8]) -> Option<&'a [u8]> {
    let (_, rest) = cut(text, open)?;
    Some(cut(rest, close)?.0)
}

/// The text up to the first space, and what follows that space.
pub(crate) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    cut(text, b" ").unwrap_or((text, b""))
}

/// A decimal number and nothing else.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    let all_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| all_digits)?
        .parse()
        .ok()
}

/// A short word of visible ASCII characters, as the names of methods and services are.
pub(crate) fn token(text: &[u8]) -> Option<String> {
    let plain = (1..=MAX_TOKEN).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
    plain.then(|| String::from_utf8_lossy(text).into_owned())
}

fn split_at<'a>(text: &'a [u8], separator: &[u8], at: usize) -> Option<(&'a [u8], &'a [u8])> {
    let after = at.checked_add(separator.len())?;
    Some((text.get(..at)?, text.get(after..)?))
}

/// Longest method, service or fingerprint that is believed.
const MAX_TOKEN: usize = 128;
