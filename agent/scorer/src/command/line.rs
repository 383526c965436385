//! The command lines of a host, scored as [`super::CommandModel`] does it, learned as they come.
//!
//! # Invariants
//!
//! - A line counts once a day, however often it comes. A new line that is rare (p below 1 %) on a mature host
//!   counts from the next day on, and only [`MOST_HELD`] in a day: to repeat one on its day lowers nothing,
//!   and whoever writes a thousand variants teaches little.
//! - Marks are counted in the scorer's table: a new one weighs at most 8 on its first day.
//! - The bits of a line follow from its levels alone: [`bits`] takes nothing else.

use std::borrow::Cow;

use picket_event::Text;

use super::days::{Before, Days};
use super::marks::{self, Mark};
use super::{MOST_BYTES, bounded, symbols, weigh};
use crate::factor::Level;
use crate::keys::{Keys, LevelKeys};
use crate::ngrams::{Ngrams, Surprise};
use crate::surprise::{Bits, Counts};
use crate::table::{Newcomer, Table};

/// What a host knows of command lines, beside its table.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) text: Ngrams,
    pub(crate) days: Days,
    /// Rare lines of the day that was noted last, which count from the next day on.
    pub(crate) held: Vec<Vec<u8>>,
    read: Read,
}

/// What the text of some lines said when it was last read. Hosts run the same few lines over and over, and what a line says
/// changes only when a new one is learned.
#[derive(Clone, Debug)]
struct Read {
    /// How often something was learned.
    learned: u64,
    lines: Vec<ReadLine>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ReadLine {
    hash: u64,
    /// What had been learned then, plus 1; 0: nothing is here.
    when: u64,
    said: Surprise,
}

/// A command line, cut up.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    bytes: Vec<u8>,
    hash: u64,
    symbols: Vec<u16>,
    words: u32,
    marks: Vec<Mark>,
    /// What its text says, as of when it was read.
    said: Surprise,
}

impl Lines {
    /// A model that knows nothing.
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        Self {
            text: Ngrams::new(ORDER, ALPHABET, STRINGS, secret),
            days: Days::new(),
            held: Vec::new(),
            read: Read::new(),
        }
    }

    /// The line of these arguments, with what its text says now; `None` if there are none.
    pub(crate) fn read(&mut self, argv: &[Text], keys: &Keys) -> Option<Line> {
        let mut line = Line::of(argv, keys)?;
        line.said = self.read.of(&line, &self.text);
        Some(line)
    }

    /// What is known of when the line was seen.
    pub(crate) fn before(&self, line: &Line, day: u16) -> Before {
        self.days.look_up(line.hash, day)
    }

    /// Counts the line, unless it came today already or is `rare`; whether it counted.
    pub(crate) fn learn(&mut self, line: &Line, day: u16, rare: bool) -> bool {
        let new = !self.before(line, day).today;
        self.days.note(line.hash, day);
        if new && rare && self.held.len() < MOST_HELD {
            self.held.push(line.bytes.clone());
        }
        let counts = new && !rare;
        if counts {
            self.learn_text(line);
        }
        counts
    }

    /// The rare lines of an earlier day, which now count.
    pub(crate) fn learn_held(&mut self, day: u16, keys: &Keys) -> Vec<Line> {
        if self.held.is_empty() || self.days.day() == day {
            return Vec::new();
        }
        let held = std::mem::take(&mut self.held).into_iter();
        let lines: Vec<Line> = held.map(|line| Line::of_bytes(line, keys)).collect();
        for line in &lines {
            self.learn_text(line);
        }
        lines
    }

    fn learn_text(&mut self, line: &Line) {
        self.text.learn(&line.symbols);
        self.read.learned = self.read.learned.wrapping_add(1);
    }

    /// Bytes that the state takes.
    pub(crate) fn state_bytes(&self) -> usize {
        self.text.state_bytes() + Days::state_bytes() + MOST_HELD * MOST_BYTES + Read::state_bytes()
    }
}

impl Read {
    fn new() -> Self {
        Self {
            learned: 0,
            lines: vec![ReadLine::default(); MOST_READ],
        }
    }

    /// The surprise of the line's text. The hash is keyed, so that nobody outside finds two lines that share it.
    fn of(&mut self, line: &Line, text: &Ngrams) -> Surprise {
        let when = self.learned.wrapping_add(1);
        let place = usize::try_from(line.hash % MOST_READ as u64).unwrap_or_default();
        let known = &mut self.lines[place];
        if known.hash != line.hash || known.when != when {
            *known = ReadLine {
                hash: line.hash,
                when,
                said: text.surprise(&line.symbols),
            };
        }
        known.said
    }

    const fn state_bytes() -> usize {
        MOST_READ * size_of::<ReadLine>()
    }
}

impl Line {
    /// The line of these arguments; `None` if there are none.
    pub(crate) fn of(argv: &[Text], keys: &Keys) -> Option<Self> {
        let mut line = joined(argv)?;
        line.truncate(MOST_BYTES);
        Some(Self::of_bytes(line, keys))
    }

    fn of_bytes(bytes: Vec<u8>, keys: &Keys) -> Self {
        let mut symbols = symbols(&bytes);
        let folded: Vec<u8> = symbols
            .iter()
            .map(|symbol| symbol.to_le_bytes()[0])
            .collect();
        symbols.truncate(MOST_SYMBOLS);
        let (words, marks) = marks::of(&bytes);
        Self {
            hash: keys.name(&folded),
            bytes,
            symbols,
            words,
            marks,
            said: Surprise::default(),
        }
    }

    /// What is known of the line, as levels of its factor; `commands` is how many lines counted.
    pub(crate) fn levels(
        &self,
        commands: u32,
        mark: impl Fn(&Mark) -> [Counts; 2],
    ) -> Vec<Level<'static>> {
        let surprise = self.said;
        let mut levels = Vec::with_capacity(5);
        levels.push(Level {
            name: Cow::Borrowed(TEXT),
            counts: Counts {
                seen: u32::try_from(surprise.units).unwrap_or(u32::MAX),
                context_seen: u32::try_from(surprise.plain).unwrap_or(u32::MAX),
                distinct: u32::try_from(self.symbols.len()).unwrap_or(u32::MAX),
            },
        });
        levels.push(Level {
            name: Cow::Borrowed(WORDS),
            counts: Counts {
                distinct: self.words,
                ..Counts::default()
            },
        });
        let known = self.marks.iter().map(|found| {
            let [mut kind, within] = mark(found);
            kind.context_seen = commands;
            (worth(found.kind, kind, within), found, kind, within)
        });
        let strongest = known.max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, found, kind, within)) = strongest.filter(|(worth, ..)| *worth > 0.0) {
            levels.push(Level {
                name: format!("{KIND}{}", found.kind).into(),
                counts: kind,
            });
            levels.push(Level {
                name: format!("{MARK}{}", found.name).into(),
                counts: within,
            });
        }
        levels
    }

    /// Counts its marks and their kinds, each once.
    pub(crate) fn learn_marks(&self, table: &mut Table, keys: &Keys, day: u16, newcomer: Newcomer) {
        let mut counted: Option<&str> = None;
        for mark in &self.marks {
            let [kind, within] = mark_keys(keys, mark);
            if counted.replace(mark.kind) != Some(mark.kind) {
                table.learn(kind, day, newcomer);
            }
            table.learn(within, day, newcomer);
        }
    }
}

/// The arguments with spaces between, at most as long as counts; of `sh -c COMMAND` the command alone, so that
/// it is the same however it was started.
pub(crate) fn joined(argv: &[Text]) -> Option<Vec<u8>> {
    let argv = match argv {
        [shell, flag, command @ ..]
            if shell.as_bytes().ends_with(b"sh")
                && flag.as_bytes() == b"-c"
                && !command.is_empty() =>
        {
            command
        }
        all => all,
    };
    let mut line = Vec::with_capacity(128);
    for argument in argv {
        if line.len() > MOST_BYTES {
            break;
        }
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(bounded(argument.as_bytes()));
    }
    (!line.is_empty()).then_some(line)
}

/// Where a kind and, within it, a mark are counted.
pub(crate) fn mark_keys(keys: &Keys, mark: &Mark) -> [LevelKeys; 2] {
    [
        keys.of_parts(KINDS, b"", mark.kind.as_bytes()),
        keys.of_parts(MARKS, mark.kind.as_bytes(), mark.name.as_bytes()),
    ]
}

/// The surprise of a line from its levels.
pub(crate) fn bits(levels: &[Level<'_>]) -> Bits {
    let find = |name: &str| levels.iter().find(|level| level.name == name);
    let text = find(TEXT).map_or_else(Counts::default, |level| level.counts);
    let words = find(WORDS).map_or(0, |level| level.counts.distinct);
    let kind = levels
        .iter()
        .find_map(|level| Some((level.name.strip_prefix(KIND)?, level.counts)));
    let mark = levels
        .iter()
        .find(|level| level.name.starts_with(MARK))
        .map_or_else(Counts::default, |level| level.counts);
    let strongest = kind.map_or(0.0, |(kind, counts)| worth(kind, counts, mark));
    let parts = [text.seen, text.context_seen].map(|units| Bits(units).to_f64());
    let score = weigh(parts, text.distinct, strongest, words);
    Bits::from_f64((score * SCALE).clamp(0.0, MOST_BITS))
}

/// What a mark counts for: its surprise less what it costs.
fn worth(kind: &str, of_kind: Counts, within: Counts) -> f64 {
    let surprise = super::surprise_of_mark(
        [of_kind.seen, of_kind.context_seen],
        [within.seen, within.context_seen, within.distinct],
    );
    surprise.to_f64() - marks::cost(kind)
}

/// Levels of the factor: 1/1024 bit of the text with what stood before each character (`seen`) and with one
/// character alone (`context_seen`), and its characters (`distinct`).
pub(crate) const TEXT: &str = "text of command lines";
/// Words of the line (`distinct`).
pub(crate) const WORDS: &str = "words of the line";
/// Lines with a mark of the strongest one's kind (`seen`), of so many (`context_seen`).
pub(crate) const KIND: &str = "kind of mark: ";
/// The strongest mark, within its kind.
pub(crate) const MARK: &str = "mark: ";
/// What a point of the score is worth in bits.
const SCALE: f64 = 6.0;
const MOST_BITS: f64 = 63.0;
/// Longest strings of characters.
const ORDER: usize = 6;
const ALPHABET: u32 = 128;
/// Strings remembered: 3.1 MB.
const STRINGS: usize = 3 << 17;
/// Lines of which is remembered what their text said.
const MOST_READ: usize = 256;
/// Rare new lines of a day that count later.
const MOST_HELD: usize = 8;
/// Characters of a line whose text is scored.
const MOST_SYMBOLS: usize = 96;
/// Numbers of the questions whose counts are those of kinds and of marks.
const KINDS: usize = 1;
const MARKS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        let argv: Vec<Text> = text.split(' ').map(Text::from).collect();
        Line::of(&argv, &Keys::new([3; 16])).unwrap()
    }

    #[test]
    fn numbers_do_not_make_another_line_and_words_do() {
        assert_eq!(line("sleep 10").hash, line("sleep 7").hash);
        assert_ne!(line("sleep 10").hash, line("sleep ten").hash);
        assert!(Line::of(&[], &Keys::new([3; 16])).is_none());
    }

    #[test]
    fn a_line_counts_once_a_day_and_eight_rare_ones_the_day_after() {
        let mut lines = Lines::new([3; 16]);
        let one = line("tar -x");
        assert!(lines.learn(&one, 1, false) && !lines.learn(&one, 1, false));
        for variant in b'a'..=b'z' {
            let rare = line(&format!("nc {}", char::from(variant)));
            assert!(!lines.learn(&rare, 2, true));
        }
        let keys = Keys::new([3; 16]);
        assert_eq!(lines.learn_held(2, &keys).len(), 0);
        assert_eq!(lines.learn_held(3, &keys).len(), 8);
        assert_eq!(lines.learn_held(3, &keys).len(), 0);
        assert!(lines.learn(&one, 3, false));
    }

    #[test]
    fn what_a_line_said_is_remembered_until_something_is_learned() {
        let mut lines = Lines::new([3; 16]);
        let keys = Keys::new([3; 16]);
        let said = |lines: &mut Lines, text: &str| {
            let argv: Vec<Text> = text.split(' ').map(Text::from).collect();
            let line = lines.read(&argv, &keys).unwrap();
            let told = line.levels(0, |_| [Counts::default(); 2])[0].counts;
            let fresh = lines.text.surprise(&line.symbols);
            assert_eq!(u64::from(told.seen), fresh.units, "{text}");
            assert_eq!(u64::from(told.context_seen), fresh.plain, "{text}");
            fresh.units
        };
        let strange = said(&mut lines, "tar -x");
        assert_eq!(said(&mut lines, "tar -x"), strange);
        lines.learn(&line("tar -x"), 1, false);
        assert!(said(&mut lines, "tar -x") < strange);
        for number in 0..2_000 {
            said(&mut lines, &format!("tar -{number:x}"));
        }
    }

    #[test]
    fn a_command_is_the_same_through_a_shell() {
        let argv = ["/bin/sh", "-c", "tar -x"].map(Text::from);
        assert_eq!(joined(&argv), joined(&["tar".into(), "-x".into()]));
        assert_eq!(joined(&["sh".into(), "-c".into()]), Some(b"sh -c".to_vec()));
    }

    #[test]
    fn hostile_levels_give_finite_bits() {
        let level = |name: &str, counts| Level {
            name: Cow::Owned(name.to_owned()),
            counts,
        };
        let most = Counts {
            seen: u32::MAX,
            context_seen: u32::MAX,
            distinct: u32::MAX,
        };
        for counts in [Counts::default(), most] {
            let levels =
                [TEXT, WORDS, "kind of mark: ?", "mark: ?"].map(|name| level(name, counts));
            assert!((0.0..=63.0).contains(&bits(&levels).to_f64()));
        }
        assert_eq!(bits(&[]), Bits(0));
    }
}
