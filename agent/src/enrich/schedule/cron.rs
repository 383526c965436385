//! The tables of cron and anacron.
//!
//! What stays true: a line that cron would not run is not an entry; a setting of the environment is one,
//! without a time, because it decides what runs.

use super::{Entry, MAX_ENTRIES};

/// The entries of a table; with the user of the table, or a column of users.
pub(super) fn table(bytes: &[u8], user: Option<&[u8]>) -> Vec<Entry> {
    lines(bytes)
        .filter_map(|line| setting(line).or_else(|| job(line, user)))
        .take(MAX_ENTRIES)
        .collect()
}

/// The entries of anacron's table: period in days, delay in minutes, name, command.
pub(super) fn anacron(bytes: &[u8]) -> Vec<Entry> {
    lines(bytes)
        .filter_map(|line| setting(line).or_else(|| periodic(line)))
        .take(MAX_ENTRIES)
        .collect()
}

/// A program in a folder of which all are run.
pub(super) fn part(path: &[u8], period: &str) -> Entry {
    Entry {
        schedule: period.as_bytes().to_vec(),
        user: b"root".to_vec(),
        command: path.to_vec(),
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

/// `NAME = value`. No time begins with a letter or a quote.
fn setting(line: &[u8]) -> Option<Entry> {
    let first = line.first()?;
    let named = first.is_ascii_alphabetic() || matches!(first, b'_' | b'"' | b'\'');
    (named && line.contains(&b'=')).then(|| Entry {
        command: line.to_vec(),
        ..Entry::default()
    })
}

fn job(line: &[u8], user: Option<&[u8]>) -> Option<Entry> {
    // cronie: a job that is not logged.
    let line = line.strip_prefix(b"-").unwrap_or(line);
    let begins = line.first()?;
    if !begins.is_ascii_digit() && !matches!(begins, b'*' | b'@' | b'~') {
        return None;
    }
    let columns = if *begins == b'@' { 1 } else { 5 };
    let (schedule, rest) = columns_of(line, columns)?;
    let (user, command) = match user {
        Some(user) => (user, rest),
        None => word(rest)?,
    };
    (!command.is_empty()).then(|| Entry {
        schedule,
        user: user.to_vec(),
        command: command.to_vec(),
    })
}

fn periodic(line: &[u8]) -> Option<Entry> {
    let (period, rest) = word(line)?;
    let is_period = period.starts_with(b"@") || period.iter().all(u8::is_ascii_digit);
    let (delay, rest) = word(rest)?;
    let (_name, command) = word(rest)?;
    (is_period && !command.is_empty()).then(|| Entry {
        schedule: [period, delay].join(&b' '),
        user: b"root".to_vec(),
        command: command.to_vec(),
    })
}

/// So many words, with single spaces, and what follows them.
fn columns_of(line: &[u8], count: usize) -> Option<(Vec<u8>, &[u8])> {
    let mut words = Vec::with_capacity(count);
    let mut rest = line;
    for _ in 0..count {
        let (first, after) = word(rest)?;
        words.push(first);
        rest = after;
    }
    Some((words.join(&b' '), rest))
}

/// The first word, and what follows it.
fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(u8::is_ascii_whitespace);
    let (word, rest) = line.split_at_checked(end.unwrap_or(line.len()))?;
    (!word.is_empty()).then(|| (word, rest.trim_ascii_start()))
}
