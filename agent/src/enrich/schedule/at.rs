//! Jobs of at: the name says when, the file who and what.
//!
//! ```text
//! a 0000f 01c2b3d4     queue, number of the job, minutes since 1970, both in hexadecimal
//! ```

use picket_event::UnixNanos;

use super::Entry;

/// Whether at would run a file of this name; while it runs the job the first letter is `=`.
pub(super) fn is_name(name: &[u8]) -> bool {
    name.len() == 14
        && name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().skip(1).all(u8::is_ascii_hexdigit)
}

/// The job of a file. `None` while it is not complete.
pub(super) fn job(name: &[u8], bytes: &[u8]) -> Option<Entry> {
    let minutes = std::str::from_utf8(name.get(6..14)?).ok()?;
    let minutes = u32::from_str_radix(minutes, 16).ok()?;
    if bytes.is_empty() {
        return None;
    }
    let text = after(bytes, b"# atrun uid=");
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    Some(Entry {
        schedule: moment(minutes).into_bytes(),
        user: digits.copied().collect(),
        command: command(bytes).to_vec(),
    })
}

/// What the user typed comes after the environment and the change to the folder.
fn command(bytes: &[u8]) -> &[u8] {
    let body = after(bytes, b"exit 1\n}\n");
    let body = if body.is_empty() { bytes } else { body };
    unwrapped(body).unwrap_or(body).trim_ascii()
}

/// Newer versions hand it to the shell between two lines with the same word.
fn unwrapped(body: &[u8]) -> Option<&[u8]> {
    let rest = body.strip_prefix(b"${SHELL:-/bin/sh} << '")?;
    let end = rest.iter().position(|byte| *byte == b'\'')?;
    let (word, rest) = rest.split_at_checked(end)?;
    let rest = rest.strip_prefix(b"'\n")?;
    let last = find(rest, word)?;
    rest.get(..last)
}

fn after<'a>(bytes: &'a [u8], mark: &[u8]) -> &'a [u8] {
    let found = find(bytes, mark).map(|at| at.saturating_add(mark.len()));
    found.and_then(|at| bytes.get(at..)).unwrap_or_default()
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    if mark.is_empty() {
        return None;
    }
    bytes.windows(mark.len()).position(|part| part == mark)
}

/// As RFC 3339 has it, to the second.
fn moment(minutes: u32) -> String {
    let text = UnixNanos(i64::from(minutes).saturating_mul(60_000_000_000)).to_string();
    let second = text.split('.').next().unwrap_or(&text);
    format!("{second}Z")
}
