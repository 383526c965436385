//! How unusual an access is: who, from where, to where, by what kind of login.
//!
//! Ten questions of the same shape as those of [`crate::Scorer`], with two differences that matter
//! where little is known yet. First, *a name that was never seen at all is one value, not a new one
//! each time*: where new users and machines keep coming, one more costs little, but a known user on a
//! known machine of others is dear. Second, the surprises are added as squares, so that one large one
//! counts for more than several middling ones, and two large ones for more than one.
//!
//! # Invariants
//!
//! - Pure, deterministic, of fixed size. Scored first, learned afterwards.
//! - The score follows from its explanation: [`AccessScore::recompute`] takes nothing else.
//! - Days count as in [`crate::Scorer`]: a value new to its context weighs at most 8 on its first day.

use std::borrow::Cow;

use picket_event::UnixNanos;

use crate::calendar::Calendar;
use crate::keys::{Keys, LevelKeys};
use crate::surprise::{Bits, Counts, probability};
use crate::table::{Newcomer, Table};
use crate::tail::Tail;

/// One access. What is not known is empty, and nothing is asked about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access<'a> {
    /// Who.
    pub user: &'a [u8],
    /// Whose account was taken.
    pub account: &'a [u8],
    /// From which machine.
    pub source: &'a [u8],
    /// To which machine.
    pub destination: &'a [u8],
    /// What kind of login: protocol, kind, direction.
    pub kind: &'a [u8],
    /// The hour of the day, from 0 to 23.
    pub hour: Option<u8>,
}

/// Learns accesses as they come.
#[derive(Debug)]
pub struct AccessModel {
    keys: Keys,
    calendar: Calendar,
    table: Table,
    tail: Tail,
}

/// How unusual an access is, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessScore {
    /// The surprises of the questions as a length: the root of the sum of their squares, in bits.
    pub bits: f64,
    /// How rare so much is among all earlier accesses, in bits.
    pub rarity: f64,
    /// The questions that were asked, in their order.
    pub reasons: Vec<AccessReason>,
}

/// One question about an access.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessReason {
    /// The question, as `source of user`.
    pub factor: &'static str,
    /// Counts from the special to the general: how often the value was seen in the context, how often
    /// the context was, and how many different values it had.
    pub levels: Vec<[u32; 3]>,
    /// The surprise in bits.
    pub bits: f64,
}

impl AccessModel {
    /// A model that knows nothing; `secret` keys its table of 6.3 MB.
    pub fn new(secret: [u8; 16]) -> Self {
        Self {
            keys: Keys::new(secret),
            calendar: Calendar::new(),
            table: Table::new(crate::Settings::MAX_SLOTS),
            tail: Tail::default(),
        }
    }

    /// Scores an access, then learns from it.
    pub fn step(&mut self, now: UnixNanos, access: &Access<'_>) -> AccessScore {
        let day = self.calendar.advance(now);
        let asked = ask(access);
        let mut reasons = Vec::with_capacity(asked.len());
        let mut places: Vec<LevelKeys> = Vec::with_capacity(asked.len() * 3);
        for question in &asked {
            let from = places.len();
            for (level, context) in question.contexts.iter().enumerate() {
                let number = question.number * 4 + level;
                places.push(self.keys.of_parts(number, context, question.value));
            }
            let known = places[from..]
                .iter()
                .map(|keys| self.table.look_up(*keys, day).counts);
            reasons.push(AccessReason::of(
                FACTORS[question.number],
                &known.collect::<Vec<_>>(),
            ));
        }
        for keys in places {
            self.table.learn(keys, day, Newcomer::Ratified);
        }
        let bits = length(&reasons);
        let rarity = self.tail.rarity(bits);
        self.tail.learn(bits);
        AccessScore {
            bits: bits.to_f64(),
            rarity,
            reasons,
        }
    }

    /// Bytes that the state takes.
    pub fn state_bytes(&self) -> usize {
        size_of::<Self>() + self.table.len() * size_of::<crate::table::Slot>() + Tail::state_bytes()
    }
}

impl AccessScore {
    /// The bits from the reasons' counts alone: the same number, bit for bit.
    pub fn recompute(&self) -> f64 {
        let again = self.reasons.iter().map(|reason| {
            let counts: Vec<Counts> = reason.levels.iter().map(counts).collect();
            AccessReason::of(reason.factor, &counts)
        });
        length(&again.collect::<Vec<_>>()).to_f64()
    }
}

impl AccessReason {
    fn of(factor: &'static str, known: &[Counts]) -> Self {
        Self {
            factor,
            levels: known
                .iter()
                .map(|level| [level.seen, level.context_seen, level.distinct])
                .collect(),
            bits: Bits::of(probability(known.iter().copied(), ONE_UNSEEN)).to_f64(),
        }
    }
}

fn counts(&[seen, context_seen, distinct]: &[u32; 3]) -> Counts {
    Counts {
        seen,
        context_seen,
        distinct,
    }
}

fn length(reasons: &[AccessReason]) -> Bits {
    let squares: f64 = reasons.iter().map(|reason| reason.bits * reason.bits).sum();
    Bits::from_f64(squares.sqrt())
}

struct Question<'a> {
    /// Its place in [`FACTORS`].
    number: usize,
    /// From the special to the general.
    contexts: Vec<Cow<'a, [u8]>>,
    value: &'a [u8],
}

/// What is asked of an access.
fn ask<'a>(access: &Access<'a>) -> Vec<Question<'a>> {
    let Access {
        user,
        account,
        source,
        destination,
        kind,
        hour,
    } = *access;
    let mut asked = Asked(Vec::with_capacity(FACTORS.len()));
    asked.pair(0, user, source);
    asked.pair(1, source, user);
    asked.pair(2, user, destination);
    asked.pair(3, source, destination);
    asked.pair(4, destination, source);
    asked.pair(5, destination, user);
    let same_machine = relation(source, destination);
    asked.of_kind(6, source, kind, same_machine);
    asked.of_kind(7, destination, kind, same_machine);
    asked.pair(8, kind, relation(user, account));
    if let Some(hour) = hour {
        asked.pair(9, user, hour_value(hour));
    }
    asked.0
}

struct Asked<'a>(Vec<Question<'a>>);

impl<'a> Asked<'a> {
    fn pair(&mut self, number: usize, context: &'a [u8], value: &'a [u8]) {
        if !context.is_empty() && !value.is_empty() {
            self.0.push(Question {
                number,
                contexts: vec![context.into(), ANY.into()],
                value,
            });
        }
    }

    fn of_kind(&mut self, number: usize, context: &'a [u8], kind: &'a [u8], value: &'a [u8]) {
        if !context.is_empty() && !value.is_empty() {
            let special = [context, b"\0", kind].concat();
            self.0.push(Question {
                number,
                contexts: vec![special.into(), kind.into(), ANY.into()],
                value,
            });
        }
    }
}

fn hour_value(hour: u8) -> &'static [u8] {
    let hour = usize::from(hour);
    HOURS.get(hour..=hour).unwrap_or_default()
}

fn relation(a: &[u8], b: &[u8]) -> &'static [u8] {
    match (a.is_empty() || b.is_empty(), a == b) {
        (true, _) => b"",
        (_, true) => b"the same",
        (_, false) => b"another",
    }
}

/// The context of the most general level.
const ANY: &[u8] = b"\0any";
/// Values below all levels: what was never seen is one.
const ONE_UNSEEN: u32 = 1;
/// The questions, context last.
const FACTORS: [&str; 10] = [
    "source of user",
    "user of source",
    "destination of user",
    "destination of source",
    "source of destination",
    "user of destination",
    "own machine, by source and kind",
    "own machine, by destination and kind",
    "own account, by kind",
    "hour of user",
];
/// The hours as values.
const HOURS: [u8; 24] = *b"0123456789abcdefghijklmn";

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000_000;

    fn access<'a>(user: &'a str, source: &'a str, destination: &'a str) -> Access<'a> {
        Access {
            user: user.as_bytes(),
            account: user.as_bytes(),
            source: source.as_bytes(),
            destination: destination.as_bytes(),
            kind: b"ssh",
            hour: Some(9),
        }
    }

    fn grown() -> AccessModel {
        let mut model = AccessModel::new([5; 16]);
        for day in 0..5 {
            for n in 0..200_u32 {
                let (user, host) = (format!("u{}", n % 20), format!("c{}", n % 20));
                model.step(UnixNanos(day * DAY), &access(&user, &host, "server"));
            }
        }
        model
    }

    #[test]
    fn a_score_is_its_explanation() {
        let mut model = grown();
        for (user, source, destination) in [("u1", "c2", "server"), ("new", "", "c3"), ("", "", "")]
        {
            let score = model.step(UnixNanos(5 * DAY), &access(user, source, destination));
            assert_eq!(score.bits.to_bits(), score.recompute().to_bits());
        }
    }

    #[test]
    fn a_known_user_on_the_machine_of_another_is_dearer_than_one_on_their_own() {
        let mut model = grown();
        let own = model.step(UnixNanos(5 * DAY), &access("u1", "c1", "server"));
        let other = model.step(UnixNanos(5 * DAY), &access("u1", "c2", "server"));
        assert!(other.bits > own.bits + 5.0, "{other:?} {own:?}");
        assert!(other.rarity > 8.0 && own.rarity < 2.0);
    }

    #[test]
    fn where_new_users_come_every_day_one_more_is_cheaper_than_a_known_one_elsewhere() {
        let mut model = grown();
        for n in 0..200 {
            let (user, host) = (format!("n{n}"), format!("m{n}"));
            model.step(UnixNanos(5 * DAY), &access(&user, &host, "server"));
        }
        let new = model.step(UnixNanos(6 * DAY), &access("one more", "its own", "server"));
        let stray = model.step(UnixNanos(6 * DAY), &access("u1", "c2", "server"));
        assert!(stray.bits > new.bits + 3.0, "{stray:?} {new:?}");
    }

    #[test]
    fn a_login_at_night_is_dearer_than_one_at_the_usual_hour() {
        let mut model = grown();
        let usual = model.step(UnixNanos(5 * DAY), &access("u1", "c1", "server"));
        let mut night = access("u1", "c1", "server");
        night.hour = Some(3);
        let night = model.step(UnixNanos(5 * DAY), &night);
        assert!(night.bits > usual.bits + 8.0, "{night:?} {usual:?}");
    }

    #[test]
    fn nothing_is_asked_about_what_is_not_known() {
        let mut model = AccessModel::new([5; 16]);
        let score = model.step(UnixNanos(0), &Access::default());
        assert_eq!(
            (score.reasons.len(), score.bits.to_bits()),
            (0, 0.0_f64.to_bits())
        );
    }
}
