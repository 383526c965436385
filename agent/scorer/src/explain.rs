//! Explanations: a score from its reasons alone, and a reason in words.

use picket_event::{BackoffLevel, CHANGE_WINDOW, Reason, ScorerVerdict, Text};

use crate::alerts::DENSE_INCIDENT;
use crate::command::line::{KIND, MARK, TEXT};
use crate::factor::{Factor, Facts, Level};
use crate::fleet::FLEET;
use crate::surprise::{Bits, Counts, Part, Rank, combine, is_mature, is_mature_in_fleet, tail};

/// What a verdict must say, computed from its reasons alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Recomputed {
    /// Surprise in bits.
    pub bits: f64,
    /// Calibrated probability.
    pub p: f64,
    /// Surprise of each reason, in their order.
    pub reasons: Vec<f64>,
}

impl Recomputed {
    /// Whether the verdict says exactly this.
    pub fn agrees_with(&self, verdict: &ScorerVerdict) -> bool {
        let stated = verdict.reasons.iter().map(|reason| reason.bits.to_bits());
        self.bits.to_bits() == verdict.bits.to_bits()
            && self.p.to_bits() == verdict.p.to_bits()
            && self.reasons.iter().map(|bits| bits.to_bits()).eq(stated)
    }
}

/// Computes a verdict again, from its reasons alone: the counts, the backoff levels, the usual bits
/// and the calibration. For a verdict of [`crate::Scorer::step`] it agrees bit for bit, also after
/// the verdict went over the wire or through JSON.
pub fn recompute(verdict: &ScorerVerdict) -> Recomputed {
    let parts: Vec<Part> = verdict.reasons.iter().map(part).collect();
    let (bits, p) = combine(&parts);
    Recomputed {
        bits: bits.to_f64(),
        p,
        reasons: parts.iter().map(|part| part.bits.to_f64()).collect(),
    }
}

/// Whether the context of this reason knew enough to raise an alert.
pub fn is_mature_reason(reason: &Reason) -> bool {
    is_mature(at_most(reason.context_seen), reason.days) || is_mature_in_fleet(hosts(reason))
}

/// What the fleet knew of the context, where it was asked.
fn by_fleet(reason: &Reason) -> Option<&BackoffLevel> {
    reason.backoff.iter().find(|level| level.context == FLEET)
}

/// On how many hosts of the fleet the context is.
fn hosts(reason: &Reason) -> u32 {
    by_fleet(reason).map_or(0, |level| at_most(level.context_seen))
}

/// One reason as a sentence for people; what the host wrote is escaped for a terminal.
///
/// `/usr/sbin/nginx has started 4 different programs in 61 days (81,204 starts); never /bin/sh.
/// 17.3 bits (usual 0.1), p = 3e-6.`
pub fn sentence(reason: &Reason) -> String {
    if reason.factor == CHANGE_WINDOW {
        let value = short(&reason.value);
        return format!("In a change window ({value}): told only if urgent. 0.0 bits (usual 0.0).");
    }
    if reason.factor == DENSE_INCIDENT {
        let value = short(&reason.value);
        return format!(
            "Most of what belongs together here is new to this host ({value}). 0.0 bits (usual 0.0)."
        );
    }
    let figures = figures(reason);
    match Factor::from_name(&reason.factor) {
        Some(Factor::CommandLine) => format!("{}. {figures}", command_line(reason)),
        Some(factor) if reason.context_seen > 0 => format!("{}. {figures}", habit(factor, reason)),
        Some(_) => format!("{}. {figures}", first_time(reason)),
        None => format!("{}: {}. {figures}", reason.context, reason.value),
    }
}

/// How the name of the last entry of a reason's backoff begins: where the score stands among the earlier
/// scores of its factor. `seen`: how many were at least as far beyond their usual; `context_seen`: how many
/// there were; `distinct`: the highest, in half bits. Behind it stands how many factors the event has.
pub(crate) const CALIBRATION: &str = "earlier scores of this factor";

/// The name of the entry that says on how many days (`seen`) a value on probation was seen. The other counts
/// of its reason are those without it.
pub(crate) const PROBATION: &str = "days seen on probation";

/// On how many days a value on probation was seen; 0: it is on none.
pub(crate) fn on_probation(reason: &Reason) -> u64 {
    let level = reason
        .backoff
        .iter()
        .find(|level| level.context == PROBATION);
    level.map_or(0, |level| level.seen)
}

/// The name of that entry where an event has so many factors.
pub(crate) const fn calibration_of(factors: usize) -> &'static str {
    match factors {
        0 | 1 => "earlier scores of this factor, the only one",
        2 => "earlier scores of this factor, one of 2",
        3 => "earlier scores of this factor, one of 3",
        4 => "earlier scores of this factor, one of 4",
        5 => "earlier scores of this factor, one of 5",
        6 => "earlier scores of this factor, one of 6",
        7 => "earlier scores of this factor, one of 7",
        8 => "earlier scores of this factor, one of 8",
        9 => "earlier scores of this factor, one of 9",
        _ => "earlier scores of this factor, one of 10",
    }
}

/// The most factors that a name of [`calibration_of`] says.
pub(crate) const MOST_FACTORS: usize = 10;

/// How many factors an event has by that name; `None` in explanations that do not say so yet.
fn factors(name: &str) -> Option<u32> {
    let of = name.strip_prefix(CALIBRATION)?.strip_prefix(", ")?;
    if of == "the only one" {
        return Some(1);
    }
    of.strip_prefix("one of ")?.parse().ok()
}

fn part(reason: &Reason) -> Part {
    let factor = Factor::from_name(&reason.factor);
    let special = counts(reason.seen, reason.context_seen, reason.distinct);
    let levels: Vec<Level<'_>> = general(reason)
        .map(|level| Level {
            name: (&*level.context).into(),
            counts: counts(level.seen, level.context_seen, level.distinct),
        })
        .collect();
    let bits = factor.map_or(Bits(0), |factor| factor.bits(special, &levels));
    let excess = bits.beyond(Bits::from_f64(reason.usual));
    let calibration = calibration(&reason.backoff);
    let of = calibration.and_then(|level| factors(&level.context));
    Part {
        bits,
        p: tail(excess, calibration.map_or_else(Rank::default, rank)),
        mature: is_mature_reason(reason),
        of: of.unwrap_or_else(|| factor.map_or(1, |factor| factor.facts().of)),
    }
}

/// The levels below the reason's own context.
fn general(reason: &Reason) -> impl DoubleEndedIterator<Item = &BackoffLevel> {
    let stated = |level: &&BackoffLevel| !is_calibration(level) && level.context != PROBATION;
    reason.backoff.iter().filter(stated)
}

fn is_calibration(level: &BackoffLevel) -> bool {
    level.context.starts_with(CALIBRATION)
}

fn calibration(backoff: &[BackoffLevel]) -> Option<&BackoffLevel> {
    backoff.iter().find(|level| is_calibration(level))
}

fn counts(seen: u64, context_seen: u64, distinct: u32) -> Counts {
    Counts {
        seen: at_most(seen),
        context_seen: at_most(context_seen),
        distinct,
    }
}

fn rank(level: &BackoffLevel) -> Rank {
    Rank {
        at_least: at_most(level.seen),
        total: at_most(level.context_seen),
        highest: level.distinct,
    }
}

/// No count of the scorer's is larger; of others only this much is believed.
fn at_most(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn habit(factor: Factor, reason: &Reason) -> String {
    let Facts {
        verb,
        noun,
        sighting,
        ..
    } = factor.facts();
    let (context, value) = (short(&reason.context), short(&reason.value));
    let different = match (reason.distinct, noun) {
        (1, [one, _]) => format!("1 {one}"),
        (several, [_, word]) => format!("{several} different {word}"),
    };
    let days = counted(u64::from(reason.days), &["day", "days"]);
    let sightings = counted(reason.context_seen, sighting);
    let how_often = match reason.seen {
        0 if on_probation(reason) > 0 => {
            let days = counted(on_probation(reason), &["day", "days"]);
            format!("{value} of late on {days}, which does not count yet")
        }
        0 => format!("never {value}"),
        1 => format!("{value} once"),
        times => format!("{value} {} times", thousands(times)),
    };
    let fleet = in_fleet(reason);
    format!("{context} {verb} {different} in {days} ({sightings}); {how_often}{fleet}")
}

/// On how many hosts of the fleet it is so, where they were asked.
fn in_fleet(reason: &Reason) -> String {
    by_fleet(reason).map_or_else(String::new, |level| {
        let (seen, of) = (thousands(level.seen), thousands(level.context_seen));
        format!("; {FLEET}: {seen} of {of}")
    })
}

/// What is strange about a command line: its mark, and the order of its characters.
fn command_line(reason: &Reason) -> String {
    let line = short(&reason.value);
    let known = counted(reason.context_seen, &["command line", "command lines"]);
    let days = counted(u64::from(reason.days), &["day", "days"]);
    let seen = if reason.seen == 0 { "never" } else { "before" };
    let find = |prefix: &str| {
        let mut levels = general(reason);
        levels.find_map(|level| Some((level.context.strip_prefix(prefix)?, level)))
    };
    let text = find(TEXT).map_or_else(String::new, |(_, level)| {
        let bits = Bits(at_most(level.seen)).to_f64() / f64::from(level.distinct.max(1));
        format!("; {bits:.1} bits a character")
    });
    let mark = find(KIND).zip(find(MARK));
    let mark = mark.map_or_else(String::new, |((kind, of_kind), (mark, within))| {
        format!(
            "; {} ({}), such marks in {}, this one in {}",
            Text::from(mark).for_terminal(),
            Text::from(kind).for_terminal(),
            thousands(of_kind.seen),
            thousands(within.seen),
        )
    });
    format!("this host has run {known} in {days}; {seen} {line}{text}{mark}")
}

/// For a context of which nothing is known: what the most general one knew of the value.
fn first_time(reason: &Reason) -> String {
    let (context, value) = (short(&reason.context), short(&reason.value));
    let start = format!(
        "{context} is seen for the first time ({}): {value}",
        reason.factor
    );
    match general(reason).next_back() {
        Some(BackoffLevel {
            context,
            seen,
            context_seen,
            ..
        }) => {
            let (fleet, seen) = (in_fleet(reason), thousands(*seen));
            format!(
                "{start}; {context}: {seen} of {}{fleet}",
                thousands(*context_seen)
            )
        }
        None => start,
    }
}

fn figures(reason: &Reason) -> String {
    let p = part(reason).p;
    let p = if p < 0.01 {
        format!("{p:.0e}")
    } else {
        format!("{p:.2}")
    };
    format!(
        "{:.1} bits (usual {:.1}), p = {p}.",
        reason.bits, reason.usual
    )
}

fn counted(count: u64, [one, several]: &[&str; 2]) -> String {
    format!(
        "{} {}",
        thousands(count),
        if count == 1 { one } else { several }
    )
}

/// With commas between groups of three digits.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Safe for a terminal and not longer than a sentence bears.
fn short(text: &Text) -> String {
    let shown = text.for_terminal();
    match shown.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}...", shown.get(..end).unwrap_or_default()),
        None => shown,
    }
}

/// Characters of a context or value in a sentence.
const MOST_CHARACTERS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(seen: u64, context_seen: u64) -> Reason {
        let level = |context: &str, seen, context_seen, distinct| BackoffLevel {
            context: context.to_owned().into(),
            seen,
            context_seen,
            distinct,
        };
        let mut reason = Reason {
            factor: "child of parent".into(),
            context: "/usr/sbin/nginx".into(),
            value: "/bin/sh".into(),
            bits: 0.0,
            usual: 0.125,
            seen,
            context_seen,
            days: 61,
            distinct: if context_seen > 0 { 4 } else { 0 },
            backoff: vec![
                level("any parent", 10_400, 83_000, 120),
                level(CALIBRATION, 0, 40_000, 20),
            ],
        };
        reason.bits = part(&reason).bits.to_f64();
        reason
    }

    #[test]
    fn a_sentence_says_what_is_usual_and_what_came() {
        assert_eq!(
            sentence(&reason(0, 81_204)),
            "/usr/sbin/nginx has started 4 different programs in 61 days (81,204 starts); never \
             /bin/sh. 17.3 bits (usual 0.1), p = 2e-7."
        );
        assert!(sentence(&reason(1, 81_204)).contains("; /bin/sh once. "));
        assert!(sentence(&reason(1_234, 81_204)).contains("; /bin/sh 1,234 times. "));
    }

    #[test]
    fn a_sentence_about_a_new_context_says_what_the_host_knows() {
        assert_eq!(
            sentence(&reason(0, 0)),
            "/usr/sbin/nginx is seen for the first time (child of parent): /bin/sh; any parent: \
             10,400 of 83,000. 3.0 bits (usual 0.1), p = 2e-5."
        );
    }

    #[test]
    fn hostile_reasons_are_recomputed_without_a_panic() {
        let mut hostile = reason(u64::MAX, u64::MAX);
        for usual in [f64::NAN, f64::INFINITY, -1e300] {
            hostile.usual = usual;
            hostile.factor.to_mut().push('?');
            hostile.backoff.push(hostile.backoff[1].clone());
            let verdict = ScorerVerdict {
                bits: f64::NAN,
                p: f64::NAN,
                reasons: vec![hostile.clone(); 9],
                alert: true,
            };
            let again = recompute(&verdict);
            assert!(again.bits.is_finite() && again.p > 0.0 && again.p <= 1.0);
            assert!(!again.agrees_with(&verdict) && !sentence(&hostile).is_empty());
        }
    }
}
