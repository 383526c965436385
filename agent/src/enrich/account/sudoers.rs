//! sudoers(5): each rule, setting, alias and include as one line.

use super::{Note, Record, Subject, lines};

/// The rules of a file, without comments and with one blank between words.
pub(super) fn rules(bytes: &[u8]) -> Note {
    let mut note = Note::new();
    let mut pending: Vec<u8> = Vec::new();
    for line in lines(bytes) {
        let (line, continues) = match line.strip_suffix(b"\\") {
            Some(line) => (line, true),
            None => (line, false),
        };
        pending.extend_from_slice(line);
        pending.push(b' ');
        if continues && pending.len() < MAX_RULE {
            continue;
        }
        let rule = plain(&std::mem::take(&mut pending));
        if !rule.is_empty() {
            let record = Record {
                account: whom(&rule),
                fields: vec![("rule", rule.clone())],
                secret: None,
            };
            let object = "sudo_rule";
            note.insert(Subject { object, key: rule }, record);
        }
    }
    note
}

/// A `#` begins a comment, but for a user's number and the older form of an include.
fn plain(line: &[u8]) -> Vec<u8> {
    let is_comment = |at: usize| {
        let rest = line.get(at..).unwrap_or_default();
        let begins_word = at == 0 || line.get(at - 1).is_some_and(u8::is_ascii_whitespace);
        let names = rest.get(1).is_some_and(u8::is_ascii_digit);
        let includes = rest.starts_with(b"#include");
        rest.first() == Some(&b'#') && begins_word && !names && !includes
    };
    let end = (0..line.len())
        .find(|at| is_comment(*at))
        .unwrap_or(line.len());
    let words = line.get(..end).unwrap_or_default();
    let words = words
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

/// Whom a rule is about: its first word, unless it is no rule.
fn whom(rule: &[u8]) -> Vec<u8> {
    let first = rule.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_rule = !first.starts_with(b"Defaults")
        && !first.ends_with(b"_Alias")
        && !first.starts_with(b"@include")
        && !first.starts_with(b"#include");
    if is_rule { first.to_vec() } else { Vec::new() }
}

/// A longer rule is told in parts.
const MAX_RULE: usize = 64 << 10;
