//! One step: score the event by what is known, then learn from it.

use picket_event::{BackoffLevel, Event, Kind, Login, Reason, ScorerVerdict, UnixNanos};

use crate::Settings;
use crate::calendar::{Calendar, wall_day};
use crate::calibration::Calibration;
use crate::explain::CALIBRATION;
use crate::feature::{Observation, observe, past};
use crate::keys::{Keys, LevelKeys, Levels, MOST_LEVELS};
use crate::refusals::Refusals;
use crate::surprise::{Bits, Counts, Part, Rank, combine, is_mature, probability, tail};
use crate::table::{Known, Table};

/// Learns what is usual on one host and says how unusual each event is.
#[derive(Debug)]
pub struct Scorer {
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) calendar: Calendar,
    pub(crate) calibration: Calibration,
    pub(crate) table: Table,
    pub(crate) refusals: Refusals,
    pub(crate) events: u64,
}

/// How much a scorer has learned.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Maturity {
    /// Events scored so far.
    pub events: u64,
    /// Different days on which there were any.
    pub days: u32,
    /// Contexts remembered, the host as a whole included.
    pub contexts: u64,
    /// Those of them that know enough to raise an alert.
    pub contexts_mature: u64,
}

impl Scorer {
    /// A scorer that knows nothing. Takes all the memory that it will ever have.
    pub fn new(settings: Settings) -> Self {
        Self {
            keys: Keys::new(settings.host_secret),
            calendar: Calendar::new(),
            calibration: Calibration::new(),
            table: Table::new(settings.table_slots()),
            refusals: Refusals::new(),
            events: 0,
            settings,
        }
    }

    /// Scores the event, then learns from it. `None`: events of this kind are not scored, or it says
    /// nothing that could be.
    ///
    /// `now` tells the day, in UTC. It may go back; see `docs/scorer.md` for what then happens.
    pub fn step(&mut self, now: UnixNanos, event: &Event) -> Option<ScorerVerdict> {
        if event.kind == Kind::LoginFailed {
            self.note_refused(now, event);
        }
        let mut observations = observe(event);
        if observations.is_empty() {
            return None;
        }
        let day = self.calendar.advance(now);
        self.add_past(&mut observations, now, event);
        self.events = self.events.saturating_add(1);
        let scores: Vec<Score<'_, '_>> = observations
            .iter()
            .map(|observation| self.score(observation, day))
            .collect();
        for score in &scores {
            self.learn(score, day);
        }
        let verdict = self.verdict(strongest(scores));
        if let Some(login) = past::login(event) {
            let presence = self.presence(login);
            self.table.learn(presence, day);
        }
        Some(verdict)
    }

    /// How much it has learned. Walks through the whole table: milliseconds.
    pub fn maturity(&self) -> Maturity {
        let (contexts, contexts_mature) = self.table.contexts(self.calendar.day);
        Maturity {
            events: self.events,
            days: self.calendar.active,
            contexts,
            contexts_mature,
        }
    }

    /// Bytes that the state takes in memory, from the first event to the last.
    pub fn state_bytes(&self) -> usize {
        size_of::<Self>()
            + size_of::<crate::table::Slot>() * self.table.len()
            + size_of::<u32>() * Calibration::LEN
            + Refusals::state_bytes()
    }

    /// Remembers a refused login for the next successful one of its source.
    fn note_refused(&mut self, now: UnixNanos, event: &Event) {
        let Some(login) = event.login() else { return };
        if let Some(source) = past::source(login) {
            let source = self.keys.name(source.as_bytes());
            let user = self.keys.name(login.user.as_bytes());
            self.refusals.note(source, user, wall_day(now));
        }
    }

    /// What is asked of a login by what went before it.
    fn add_past<'e>(&self, to: &mut Vec<Observation<'e>>, now: UnixNanos, event: &'e Event) {
        let Some(login) = past::login(event) else {
            return;
        };
        if let Some(source) = past::source(login) {
            let source = self.keys.name(source.as_bytes());
            let before = self.refusals.of(source, wall_day(now));
            to.extend(past::refusals(login, before));
        }
        let days = self
            .table
            .days_since(self.presence(login).context, self.calendar.day);
        to.push(past::absence(login, days));
    }

    /// Where the days are on which a user logged in.
    fn presence(&self, login: &Login) -> LevelKeys {
        self.keys.of_parts(PRESENCE, login.user.as_bytes(), b"")
    }

    fn score<'o, 'e>(&self, observation: &'o Observation<'e>, day: u16) -> Score<'o, 'e> {
        let levels = self.keys.levels(observation);
        let known: Vec<Known> = levels
            .iter()
            .map(|keys| self.table.look_up(*keys, day))
            .collect();
        let special = known.first().copied().unwrap_or_default();
        let facts = observation.factor.facts();
        let bits = Bits::of(probability(
            known.iter().map(|level| level.counts),
            facts.alphabet,
        ));
        let excess = bits.beyond(special.usual);
        let rank = self
            .calibration
            .rank(observation.factor, special.counts.context_seen, excess);
        let part = Part {
            bits,
            p: tail(excess, rank),
            mature: is_mature(special.counts.context_seen, special.days),
            of: facts.of,
        };
        let general = known.iter().skip(1).map(|level| level.counts).collect();
        Score {
            observation,
            levels,
            special,
            general,
            excess,
            rank,
            part,
        }
    }

    fn learn(&mut self, score: &Score<'_, '_>, day: u16) {
        let seen = score.special.counts.context_seen;
        // In a mature context a value counts once on its first day, or its repetition would make
        // strangeness usual.
        let again = score.special.value_new && score.part.mature;
        if !again {
            self.calibration
                .learn(score.observation.factor, seen, score.excess);
        }
        for keys in score.levels.iter() {
            self.table.learn(*keys, day);
        }
        if !again {
            self.table
                .learn_usual(score.levels.special().context, score.part.bits, seen);
        }
    }

    fn verdict(&self, scores: Vec<Score<'_, '_>>) -> ScorerVerdict {
        let parts: Vec<Part> = scores.iter().map(|score| score.part).collect();
        let (bits, p) = combine(&parts);
        let alert = p <= self.settings.alert_p
            && scores
                .iter()
                .any(|score| score.stands_out(self.settings.alert_bits));
        ScorerVerdict {
            bits: bits.to_f64(),
            p,
            reasons: scores.iter().map(Score::reason).collect(),
            alert,
        }
    }
}

/// One observation with what was found about it.
struct Score<'o, 'e> {
    observation: &'o Observation<'e>,
    levels: Levels,
    special: Known,
    general: Vec<Counts>,
    excess: Bits,
    rank: Rank,
    part: Part,
}

impl Score<'_, '_> {
    /// Whether it alone is worth an alert: not while learning, and not again on the same day.
    fn stands_out(&self, alert_bits: f64) -> bool {
        self.part.mature && !self.special.value_today && self.excess.to_f64() >= alert_bits
    }

    fn reason(&self) -> Reason {
        let facts = self.observation.factor.facts();
        let counts = self.special.counts;
        let general = facts.backoff.iter().zip(&self.general);
        let mut backoff = Vec::with_capacity(MOST_LEVELS);
        backoff.extend(general.map(|(name, counts)| backoff_level(name, *counts)));
        backoff.push(calibration_level(self.rank));
        Reason {
            factor: facts.name.into(),
            context: shown(&self.observation.context).into(),
            value: shown(&self.observation.value).into(),
            bits: self.part.bits.to_f64(),
            usual: self.special.usual.to_f64(),
            seen: u64::from(counts.seen),
            context_seen: u64::from(counts.context_seen),
            days: self.special.days,
            distinct: counts.distinct,
            backoff,
        }
    }
}

/// The three scores that are furthest beyond their usual, and the furthest mature one if it is not
/// among them. A flood of strangeness in young contexts cannot hide what a mature one knows.
fn strongest<'o, 'e>(mut scores: Vec<Score<'o, 'e>>) -> Vec<Score<'o, 'e>> {
    scores.sort_by_key(|score| std::cmp::Reverse(score.excess));
    let rest = scores.split_off(scores.len().min(REASONS));
    if !scores.iter().any(|score| score.part.mature) {
        scores.extend(rest.into_iter().find(|score| score.part.mature));
    }
    scores
}

fn backoff_level(name: &'static str, counts: Counts) -> BackoffLevel {
    BackoffLevel {
        context: name.into(),
        seen: u64::from(counts.seen),
        context_seen: u64::from(counts.context_seen),
        distinct: counts.distinct,
    }
}

fn calibration_level(rank: Rank) -> BackoffLevel {
    BackoffLevel {
        context: CALIBRATION.into(),
        seen: u64::from(rank.at_least),
        context_seen: u64::from(rank.total),
        distinct: rank.highest,
    }
}

/// Host text as it goes into an explanation: bounded.
fn shown(text: &[u8]) -> &[u8] {
    text.get(..MOST_SHOWN).unwrap_or(text)
}

/// Number of the question whose counts are days on which a user was there.
const PRESENCE: usize = 0;
/// Reasons in a verdict, beside a mature one that they would hide.
const REASONS: usize = 3;
/// Bytes of a context or value that are shown.
const MOST_SHOWN: usize = 512;
