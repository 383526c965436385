//! Arguments: what was passed against what `watch` tells of it.
//!
//! # Invariants
//!
//! - A case is made of its number alone, so it is made once to be passed and again to be compared.
//! - Arguments that differ from those passed are wrong, unless they are said to be cut: then their number and length must be
//!   the true ones, and what stands before and after the cut must have been passed there.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use picket_event::{Event, Kind, Process, Text};

use super::Measured;
use super::subject::{Bench, Standing};
use crate::bench::figure::Figure;
use crate::failure::Failure;
use crate::programs::finish;

/// Passes every case, then compares.
pub(super) fn measure(bench: &Bench, _: &mut Standing<'_>) -> Result<Measured, Failure> {
    let count = bench.pick(500, 10_000);
    let prefix = format!("--case={}-", std::process::id());
    let watch = bench.start_watch("exec", "argv")?;
    for number in 0..count {
        let mut command = Command::new(bench.load.tiny());
        command.arg(format!("{prefix}{number}"));
        command.args(
            case(number)
                .iter()
                .map(|argument| OsStr::from_bytes(argument)),
        );
        finish("a case", command)?.success("a case")?;
    }
    watch.settle()?;
    let mut seen = Seen::default();
    let program = bench.load.tiny();
    watch.finish(|event| seen.take(&event, program.as_os_str().as_bytes(), &prefix))?;
    Ok(judge(&seen, count))
}

/// What `watch` told.
#[derive(Debug, Default)]
struct Seen {
    numbers: HashSet<u64>,
    wrong: u64,
    cut: u64,
}

impl Seen {
    fn take(&mut self, event: &Event, program: &[u8], prefix: &str) {
        let Some(process) = event.process.as_ref().filter(|_| event.kind == Kind::Exec) else {
            return;
        };
        let mark = process.argv.get(1).and_then(Text::as_str);
        let number = mark.and_then(|mark| mark.strip_prefix(prefix)?.parse().ok());
        let Some(number) = number else { return };
        let mark = format!("{prefix}{number}");
        let mut passed = vec![program.to_vec(), mark.into_bytes()];
        passed.extend(case(number));
        self.numbers.insert(number);
        self.cut += u64::from(process.argv_truncated);
        self.wrong += u64::from(!is_told(&passed, process));
    }
}

fn judge(seen: &Seen, count: u64) -> Measured {
    let mut measured = Measured::default();
    let told = u64::try_from(seen.numbers.len()).unwrap_or(u64::MAX);
    let conditions = format!(
        "{count} cases: empty, blanks, newlines, no UTF-8, 20,000 arguments, one of 128 KiB, padding; {} said to be cut",
        seen.cut
    );
    measured.none(
        "arguments, cases missed",
        count.saturating_sub(told),
        "cases",
        &conditions,
    );
    measured.none(
        "arguments wrong or cut in silence",
        seen.wrong,
        "cases",
        &conditions,
    );
    measured.figures.push(Figure {
        name: "arguments said to be cut".to_owned(),
        value: seen.cut.to_string(),
        unit: "cases",
        goal: "-",
        reached: true,
        anchor: "",
        conditions: "longer than 128 KiB together; argc and true length right".to_owned(),
    });
    measured
}

/// Whether the event tells these arguments, or says truly what it lacks.
fn is_told(passed: &[Vec<u8>], process: &Process) -> bool {
    let bytes: usize = passed.iter().map(|argument| argument.len() + 1).sum();
    let told: Vec<&[u8]> = process.argv.iter().map(Text::as_bytes).collect();
    let is_counted = usize::try_from(process.argc) == Ok(passed.len())
        && u64::try_from(bytes) == Ok(process.argv_bytes);
    if !process.argv_truncated {
        return is_counted && told == passed;
    }
    let cut = usize::try_from(process.argv_omitted_at).unwrap_or(usize::MAX);
    let Some((head, tail)) = told.split_at_checked(cut) else {
        return false;
    };
    is_counted && is_head(passed, head) && is_tail(passed, tail)
}

/// Whether the arguments begin so; the last of them may lack its end.
fn is_head(passed: &[Vec<u8>], head: &[&[u8]]) -> bool {
    let Some((last, whole)) = head.split_last() else {
        return true;
    };
    let rest = passed.get(whole.len());
    passed
        .iter()
        .zip(whole)
        .all(|(passed, told)| passed == told)
        && rest.is_some_and(|rest| rest.starts_with(last))
}

/// Whether the arguments end so; the first of them may lack its beginning.
fn is_tail(passed: &[Vec<u8>], tail: &[&[u8]]) -> bool {
    let Some((first, whole)) = tail.split_first() else {
        return true;
    };
    let Some((before, end)) = passed
        .len()
        .checked_sub(whole.len())
        .map(|at| passed.split_at(at))
    else {
        return false;
    };
    end.iter().zip(whole).all(|(passed, told)| passed == told)
        && before.last().is_some_and(|passed| passed.ends_with(first))
}

/// The arguments of a case. Every hundredth is one of the large ones.
fn case(number: u64) -> Vec<Vec<u8>> {
    let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    match number % 500 {
        100 => (0..20_000).map(|_| dice.word(8)).collect(),
        200 => vec![vec![b'x'; 128 * 1024 - 1]],
        300 => padded(b"payload".to_vec(), &mut dice),
        400 => padded(dice.word(2_000), &mut dice),
        _ => (0..dice.below(12)).map(|_| dice.argument()).collect(),
    }
}

/// What matters, far behind what does not.
fn padded(payload: Vec<u8>, dice: &mut Dice) -> Vec<Vec<u8>> {
    let length = 70_000 + dice.below(30_000);
    let blank = vec![b' '; usize::try_from(length).unwrap_or_default()];
    vec![blank.clone(), blank, payload]
}

/// Numbers that look random and are the same every time (xorshift).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Up to so many bytes, all but NUL.
    fn word(&mut self, limit: u64) -> Vec<u8> {
        let length = self.below(limit + 1);
        (0..length)
            .map(|_| u8::try_from(1 + self.below(255)).unwrap_or(1))
            .collect()
    }

    fn argument(&mut self) -> Vec<u8> {
        match self.below(8) {
            0 => Vec::new(),
            1 => b" ".to_vec(),
            2 => b"two\nlines\n".to_vec(),
            3 => b"\xff\xfe\xc3\x28".to_vec(),
            4 => self.word(3_000),
            5 => "\u{202e}\u{1f9ea}\"\\\t".as_bytes().to_vec(),
            _ => self.word(40),
        }
    }
}
