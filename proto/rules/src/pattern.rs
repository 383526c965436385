//! Text patterns: what one value of a rule accepts, and a list of them as one test.
//!
//! # Invariants
//!
//! - Without `cased`, patterns are kept in ASCII lower case and meet values in ASCII lower case.
//! - Matching is linear in the value for all but wildcards in the middle of a pattern, where it is
//!   bounded by the product of both lengths.

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use memchr::memmem::Finder;

use crate::hash::TextSet;
use crate::modifier::Relation;

/// A part of a value: `*` and `?` are wildcards, a backslash takes their meaning away.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    Literal(Vec<u8>),
    /// Any text.
    Any,
    /// One character.
    One,
    /// One of [`DASHES`].
    Dash,
}

/// What Windows programs take for the beginning of an option.
pub(crate) const DASHES: [&str; 5] = ["-", "/", "\u{2013}", "\u{2014}", "\u{2015}"];

/// One value, sorted by how it can be looked up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Pattern {
    Exact(Vec<u8>),
    /// Ends with a slash and this name, which has no slash: a file of this name.
    Name(Vec<u8>),
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
    Contains(Vec<u8>),
    /// Any value at all.
    Anything,
    Glob(Vec<Piece>),
}

/// Reads the wildcards of `text`.
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        let wildcard = match byte {
            b'*' => Piece::Any,
            b'?' => Piece::One,
            b'\\' => {
                literal.push(bytes.next_if(|next| b"*?\\".contains(next)).unwrap_or(byte));
                continue;
            }
            _ => {
                literal.push(byte);
                continue;
            }
        };
        flush(&mut literal, &mut pieces);
        if !(wildcard == Piece::Any && pieces.last() == Some(&Piece::Any)) {
            pieces.push(wildcard);
        }
    }
    flush(&mut literal, &mut pieces);
    pieces
}

fn flush(literal: &mut Vec<u8>, pieces: &mut Vec<Piece>) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal)));
    }
}

impl Pattern {
    /// The pattern that `pieces` make under `relation`.
    pub(crate) fn new(mut pieces: Vec<Piece>, relation: Relation, cased: bool) -> Self {
        if matches!(relation, Relation::Contains | Relation::EndsWith)
            && pieces.first() != Some(&Piece::Any)
        {
            pieces.insert(0, Piece::Any);
        }
        if matches!(relation, Relation::Contains | Relation::StartsWith)
            && pieces.last() != Some(&Piece::Any)
        {
            pieces.push(Piece::Any);
        }
        if !cased {
            pieces.iter_mut().for_each(Piece::lower);
        }
        Self::sorted(pieces)
    }

    fn sorted(mut pieces: Vec<Piece>) -> Self {
        match pieces.as_mut_slice() {
            [] => Self::Exact(Vec::new()),
            [Piece::Any] => Self::Anything,
            [Piece::Literal(text)] => Self::Exact(std::mem::take(text)),
            [Piece::Literal(text), Piece::Any] => Self::Prefix(std::mem::take(text)),
            [Piece::Any, Piece::Literal(text)] => Self::suffix(std::mem::take(text)),
            [Piece::Any, Piece::Literal(text), Piece::Any] => Self::Contains(std::mem::take(text)),
            _ => Self::Glob(pieces),
        }
    }

    fn suffix(text: Vec<u8>) -> Self {
        match text.split_first() {
            Some((b'/', name)) if !name.contains(&b'/') => Self::Name(name.to_vec()),
            _ => Self::Suffix(text),
        }
    }
}

impl Piece {
    fn lower(&mut self) {
        if let Self::Literal(text) = self {
            text.make_ascii_lowercase();
        }
    }
}

/// Patterns of which one must match.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patterns {
    /// Kept for the index of a rule set, which chooses what to look up.
    all: Vec<Pattern>,
    exact: TextSet,
    names: TextSet,
    /// Few of them: searched one by one.
    contains: Vec<Finder<'static>>,
    /// Many of them: searched at once.
    many: Option<AhoCorasick>,
    rest: Vec<Pattern>,
}

/// From so many substrings on, one automaton is faster than one search each.
const MANY: usize = 5;

impl Patterns {
    pub(crate) fn new(all: Vec<Pattern>) -> Self {
        let mut patterns = Self::default();
        let mut substrings = Vec::new();
        for pattern in &all {
            match pattern {
                Pattern::Exact(text) => drop(patterns.exact.insert(text.clone())),
                Pattern::Name(name) => drop(patterns.names.insert(name.clone())),
                Pattern::Contains(text) => substrings.push(text.clone()),
                other => patterns.rest.push(other.clone()),
            }
        }
        patterns.search_for(substrings);
        patterns.all = all;
        patterns
    }

    /// An automaton that cannot be built (too large) is replaced by single searches.
    fn search_for(&mut self, substrings: Vec<Vec<u8>>) {
        if substrings.len() >= MANY {
            let kind = Some(AhoCorasickKind::ContiguousNFA);
            self.many = AhoCorasick::builder().kind(kind).build(&substrings).ok();
        }
        if self.many.is_none() {
            self.contains = substrings
                .iter()
                .map(|text| Finder::new(text).into_owned())
                .collect();
        }
    }

    pub(crate) fn all(&self) -> &[Pattern] {
        &self.all
    }

    /// How dear a match is, in units of one comparison.
    pub(crate) fn cost(&self) -> u32 {
        let searches = 4 * self.contains.len() + 8 * usize::from(self.many.is_some());
        u32::try_from(1 + searches + 2 * self.rest.len()).unwrap_or(u32::MAX)
    }

    /// Whether one of them accepts `value`.
    pub(crate) fn accept(&self, value: &[u8]) -> bool {
        (!self.exact.is_empty() && self.exact.contains(value))
            || (!self.names.is_empty() && name(value).is_some_and(|name| self.names.contains(name)))
            || self
                .contains
                .iter()
                .any(|finder| finder.find(value).is_some())
            || self.many.as_ref().is_some_and(|many| many.is_match(value))
            || self.rest.iter().any(|pattern| pattern.accepts(value))
    }
}

/// What follows the last slash, if there is a slash.
pub(crate) fn name(value: &[u8]) -> Option<&[u8]> {
    memchr::memrchr(b'/', value).and_then(|slash| value.get(slash + 1..))
}

impl Pattern {
    fn accepts(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == text,
            Self::Name(text) => name(value) == Some(text),
            Self::Prefix(text) => value.starts_with(text),
            Self::Suffix(text) => value.ends_with(text),
            Self::Contains(text) => memchr::memmem::find(value, text).is_some(),
            Self::Anything => true,
            Self::Glob(pieces) => glob(pieces, value),
        }
    }
}

/// Matches left to right; after a failure it goes on behind the last `*`, one byte further.
fn glob(pieces: &[Piece], value: &[u8]) -> bool {
    let (mut at, mut rest) = (0, value);
    let mut retry: Option<(usize, &[u8])> = None;
    loop {
        let next = match pieces.get(at) {
            None if rest.is_empty() => return true,
            None => None,
            Some(Piece::Any) => {
                retry = Some((at, rest));
                Some(rest)
            }
            Some(Piece::One) => after_character(rest),
            Some(Piece::Literal(text)) => rest.strip_prefix(text.as_slice()),
            Some(Piece::Dash) => after_dash(rest),
        };
        if let Some(next) = next {
            at += 1;
            rest = next;
            continue;
        }
        let Some((star, from)) = retry else {
            return false;
        };
        let Some((_, from)) = from.split_first() else {
            return false;
        };
        retry = Some((star, from));
        at = star + 1;
        rest = from;
    }
}

fn after_dash(text: &[u8]) -> Option<&[u8]> {
    DASHES
        .iter()
        .find_map(|dash| text.strip_prefix(dash.as_bytes()))
}

/// What follows the first character: one byte and the continuation bytes of UTF-8 behind it.
fn after_character(text: &[u8]) -> Option<&[u8]> {
    let (_, rest) = text.split_first()?;
    let continued = rest.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
    rest.get(continued..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str, relation: Relation, value: &str) -> bool {
        let pattern = Pattern::new(pieces(text), relation, false);
        Patterns::new(vec![pattern]).accept(value.to_ascii_lowercase().as_bytes())
    }

    #[test]
    fn wildcards_stand_for_any_text_and_for_one_character() {
        assert!(accepts(
            "/home/*/.ssh/*",
            Relation::Equals,
            "/home/a/b/.ssh/key"
        ));
        assert!(!accepts(
            "/home/*/.ssh/*",
            Relation::Equals,
            "/root/.ssh/key"
        ));
        assert!(accepts("a?c", Relation::Equals, "aéc"));
        assert!(!accepts("a?c", Relation::Equals, "ac"));
        assert!(accepts("*a*b*c", Relation::Equals, "xxaybaybc"));
        assert!(!accepts("*a*b*c", Relation::Equals, "xxaybayb"));
    }

    #[test]
    fn a_backslash_takes_the_meaning_of_a_wildcard_away() {
        assert!(accepts(r"a\*b", Relation::Equals, "a*b"));
        assert!(!accepts(r"a\*b", Relation::Equals, "axb"));
        assert!(accepts(r"\\*", Relation::Equals, r"\x"));
        assert!(accepts(r"\bash", Relation::EndsWith, r"c:\BASH"));
        assert!(accepts(r"\", Relation::Equals, r"\"));
    }

    #[test]
    fn a_file_name_is_looked_up_and_not_searched() {
        let pattern = Pattern::new(pieces("/Bash"), Relation::EndsWith, false);
        assert_eq!(pattern, Pattern::Name(b"bash".to_vec()));
        assert!(accepts("/bash", Relation::EndsWith, "/usr/bin/bash"));
        assert!(!accepts("/bash", Relation::EndsWith, "bash"));
        assert!(!accepts("/bash", Relation::EndsWith, "/usr/bin/rbash"));
    }

    #[test]
    fn many_substrings_and_few_say_the_same() {
        let pattern = |text: &str| Pattern::new(pieces(text), Relation::Contains, false);
        let words = ["aa", "bb", "cc", "dd", "ee", "ff"];
        let many = Patterns::new(words.iter().map(|word| pattern(word)).collect());
        let few = Patterns::new(vec![pattern("ff")]);
        for value in ["xffx", "x", "", "aab"] {
            let expected = words.iter().any(|word| value.contains(word));
            assert_eq!(many.accept(value.as_bytes()), expected);
            assert_eq!(few.accept(value.as_bytes()), value.contains("ff"));
        }
    }

    #[test]
    fn a_pattern_of_nothing_but_stars_takes_everything() {
        assert!(accepts("*", Relation::Equals, ""));
        assert!(accepts("", Relation::Contains, "x"));
        assert!(!accepts("", Relation::Equals, "x"));
    }
}
