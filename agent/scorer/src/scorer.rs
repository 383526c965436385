//! One step: score the event by what is known, then learn from it.

use picket_event::fleet::{FleetSecret, Prior, Sketch};
use picket_event::{Event, Kind, Login, ScorerVerdict, UnixNanos};

use crate::Settings;
use crate::calendar::{Calendar, wall_day, wall_hour};
use crate::calibration::Calibration;
use crate::command::line::{Line, Lines, mark_keys};
use crate::drift::{Drift, Shares};
use crate::explain::MOST_FACTORS;
use crate::factor::{Factor, Level};
use crate::feature::{Observation, observe, past};
use crate::fleet::{Asked, FLEET, Fleet, FleetKnowledge};
use crate::keys::{Keys, LevelKeys, Levels};
use crate::late::Late;
use crate::refusals::Refusals;
use crate::score::{Score, is_urgent, strongest, window_reason};
use crate::sessions::Sessions;
use crate::surprise::{Part, combine, is_mature, is_mature_in_fleet, tail};
use crate::table::{Known, Newcomer, Table};
use crate::windows::{Changes, Inside, Windows};

/// Learns what is usual on one host and says how unusual each event is.
#[derive(Clone, Debug)]
pub struct Scorer {
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) calendar: Calendar,
    pub(crate) calibration: Calibration,
    pub(crate) table: Table,
    pub(crate) refusals: Refusals,
    pub(crate) lines: Lines,
    pub(crate) windows: Windows,
    pub(crate) late: Late,
    pub(crate) shares: Shares,
    pub(crate) fleet: Fleet,
    pub(crate) sessions: Sessions,
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
            lines: Lines::new(settings.host_secret),
            windows: Windows::default(),
            late: Late::default(),
            shares: Shares::default(),
            fleet: Fleet::new(),
            sessions: Sessions::new(),
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
        let inside = self.windows.step(now, event, &self.keys);
        let mut observations = observe(event);
        if observations.is_empty() {
            return None;
        }
        let day = self.calendar.advance(now);
        self.add_past(&mut observations, now, event);
        self.events = self.events.saturating_add(1);
        self.late.turn(&mut self.calibration, day);
        let line = self.line(event, &observations);
        let scores = self.scores(&observations, day, line.as_ref());
        let session = self.session(event);
        for score in &scores {
            if inside.is_some() || self.may_teach(score, day, session) {
                self.learn(score, day, line.as_ref(), inside.is_some());
            }
        }
        let mut verdict = self.verdict(strongest(scores));
        self.shares.take(day, &verdict);
        if let Some(inside) = inside {
            self.hold_back(&mut verdict, inside);
        }
        if let Some(login) = past::login(event) {
            let presence = self.presence(login);
            self.table.learn(presence, day, Newcomer::Ratified);
        }
        Some(verdict)
    }

    /// Whose login session the event is of; `None`: of none, as what a service does.
    fn session(&self, event: &Event) -> Option<u64> {
        let process = event.process.as_ref()?;
        let session = process.session.filter(|session| *session != u32::MAX)?;
        let user = process.user.as_ref()?.uid;
        Some(self.keys.name(format!("{user} {session}").as_bytes()))
    }

    /// Whether a session may teach this: what is known it may, and so much a day that is new.
    fn may_teach(&mut self, score: &Score<'_, '_>, day: u16, session: Option<u64>) -> bool {
        let special = score.special;
        let new = special.counts.seen == 0 && special.on_probation == 0 && !special.value_today;
        match session {
            Some(session) if new => self.sessions.take(session, day),
            _ => true,
        }
    }

    /// The command line of an event that asks about it.
    fn line(&mut self, event: &Event, observations: &[Observation<'_>]) -> Option<Line> {
        let asked = |observation: &Observation<'_>| observation.factor == Factor::CommandLine;
        let process = event.process.as_ref()?;
        let asked = observations.iter().any(asked);
        if !asked {
            return None;
        }
        self.lines.read(&process.argv, &self.keys)
    }

    fn scores<'o, 'e>(
        &self,
        observations: &'o [Observation<'e>],
        day: u16,
        line: Option<&Line>,
    ) -> Vec<Score<'o, 'e>> {
        let scores = observations
            .iter()
            .map(|observation| self.score(observation, day, line));
        let mut scores: Vec<_> = scores.collect();
        let of = u32::try_from(scores.len().min(MOST_FACTORS)).unwrap_or(1);
        for score in &mut scores {
            score.part.of = of;
        }
        scores
    }

    /// In a change window nobody is told of anything but what is urgent. The window becomes the last reason.
    fn hold_back(&mut self, verdict: &mut ScorerVerdict, inside: Inside) {
        if verdict.alert && !is_urgent(verdict) {
            verdict.alert = false;
            self.windows.note_untold();
        }
        verdict.reasons.push(window_reason(inside));
    }

    /// Counts what it tells the fleet under this secret from now on. A prior under another secret is forgotten, and
    /// so is what was counted for it.
    pub fn join_fleet(&mut self, secret: FleetSecret) {
        self.fleet.join(secret);
    }

    /// Asks what the fleet knows where this host is still learning. `false`: the prior is under another secret than the
    /// one that was joined, and is not taken.
    pub fn take_prior(&mut self, prior: &Prior) -> bool {
        self.fleet.take(prior)
    }

    /// What this host tells the fleet of itself; `None`: it joined none.
    pub fn sketch(&self) -> Option<Sketch> {
        self.fleet.sketch(self.calendar.day)
    }

    /// What the fleet's prior holds, and how much this host tells.
    pub fn fleet(&self) -> FleetKnowledge {
        self.fleet.knowledge(self.calendar.day)
    }

    /// How much is new of late, how much usually is, and what was not learned of sessions that brought too much.
    pub const fn drift(&self) -> Drift {
        Drift {
            unlearned: self.sessions.unlearned(),
            ..self.shares.drift()
        }
    }

    /// What change windows have done.
    pub const fn changes(&self) -> Changes {
        self.windows.changes()
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
            + self.lines.state_bytes()
            + Windows::state_bytes()
            + Late::state_bytes()
            + Fleet::state_bytes()
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
        to.push(past::hour(login, wall_hour(now)));
    }

    /// Where the days are on which a user logged in.
    fn presence(&self, login: &Login) -> LevelKeys {
        self.keys.of_parts(PRESENCE, login.user.as_bytes(), b"")
    }

    fn score<'o, 'e>(
        &self,
        observation: &'o Observation<'e>,
        day: u16,
        line: Option<&Line>,
    ) -> Score<'o, 'e> {
        let levels = self.keys.levels(observation);
        let found = levels.iter().map(|keys| self.table.look_up(*keys, day));
        let mut known: Vec<Known> = found.collect();
        if observation.factor == Factor::HourOfUser {
            self.smooth(observation, &mut known, day);
        }
        let special = known.first().copied().unwrap_or_default();
        let shared = self.fleet.ask(observation);
        if let Some(line) = line.filter(|_| observation.factor == Factor::CommandLine) {
            return self.score_line(observation, levels, special, (line, day));
        }
        let names = observation.factor.facts().backoff.iter();
        let general = names.zip(known.iter().skip(1)).map(|(name, known)| Level {
            name: (*name).into(),
            counts: known.counts,
        });
        let learning = !is_mature(special.counts.context_seen, special.days);
        let by_fleet = shared.and_then(|shared| shared.counts.filter(|_| learning));
        let by_fleet = by_fleet.map(|counts| Level {
            name: FLEET.into(),
            counts,
        });
        let general = by_fleet.into_iter().chain(general).collect();
        let score = self.weigh(observation, levels, special, general);
        Score { shared, ..score }
    }

    /// A command line: when it was seen is known by itself, how strange it is by its text and its marks.
    fn score_line<'o, 'e>(
        &self,
        observation: &'o Observation<'e>,
        levels: Levels,
        mut special: Known,
        (line, day): (&Line, u16),
    ) -> Score<'o, 'e> {
        let before = self.lines.before(line, day);
        special.value_today = before.today;
        special.value_new = before.today && !before.earlier;
        special.on_probation = 0;
        special.counts.seen = u32::from(before.today || before.earlier);
        let general = line.levels(special.counts.context_seen, |mark| {
            mark_keys(&self.keys, mark).map(|keys| self.table.look_up(keys, day).counts)
        });
        self.weigh(observation, levels, special, general)
    }

    /// An hour counts half for each of its neighbours, so that nobody is strange for being early.
    fn smooth(&self, observation: &Observation<'_>, known: &mut [Known], day: u16) {
        let hours = (0..24).find(|hour| past::hour_name(*hour).as_bytes() == &*observation.value);
        let Some(hour) = hours else { return };
        let beside = [hour + 23, hour + 1].map(|hour| Observation {
            value: past::hour_name(hour).as_bytes().into(),
            ..observation.clone()
        });
        let [before, after] = beside.map(|beside| self.keys.levels(&beside));
        let places = before.iter().zip(after.iter());
        for (known, (before, after)) in known.iter_mut().zip(places) {
            let [before, after] =
                [before, after].map(|keys| self.table.look_up(*keys, day).counts.seen);
            let own = known.counts.seen.saturating_mul(2);
            let sum = own.saturating_add(before).saturating_add(after);
            known.counts.seen = sum.div_ceil(4);
        }
    }

    fn weigh<'o, 'e>(
        &self,
        observation: &'o Observation<'e>,
        levels: Levels,
        special: Known,
        general: Vec<Level<'static>>,
    ) -> Score<'o, 'e> {
        let bits = observation.factor.bits(special.counts, &general);
        let excess = bits.beyond(special.usual);
        let by_fleet = general.first().filter(|level| level.name == FLEET);
        let hosts = by_fleet.map_or(0, |level| level.counts.context_seen);
        let seen = special.counts.context_seen;
        let known = seen.max(hosts);
        let rank = self.calibration.rank(observation.factor, known, excess);
        let part = Part {
            bits,
            p: tail(excess, rank),
            mature: is_mature(seen, special.days) || is_mature_in_fleet(hosts),
            of: 1,
        };
        Score {
            observation,
            levels,
            special,
            general,
            shared: None,
            known,
            excess,
            rank,
            part,
        }
    }

    fn learn(&mut self, score: &Score<'_, '_>, day: u16, line: Option<&Line>, ratified: bool) {
        self.calibrate(score, day, ratified);
        self.tell(score, day, ratified);
        match line.filter(|_| score.observation.factor == Factor::CommandLine) {
            Some(line) => self.learn_line(score, day, line, ratified),
            None => self.count(score, day, ratified),
        }
    }

    /// What counts here is told to the fleet; not what is on probation, or new to a context that is known.
    fn tell(&mut self, score: &Score<'_, '_>, day: u16, ratified: bool) {
        let Some(Asked { keys, .. }) = score.shared else {
            return;
        };
        let special = score.special;
        let new = score.part.mature && special.counts.seen == 0;
        if ratified || special.on_probation == 0 && !new {
            self.fleet.learn(keys, day);
        }
    }

    /// Counts a score for the calibration and for what is usual.
    ///
    /// In a mature context what is new or rare counts once a day, and what is rare only days later, or its repetition would make strangeness usual.
    fn calibrate(&mut self, score: &Score<'_, '_>, day: u16, ratified: bool) {
        let (special, part) = (score.special, score.part);
        let rare = part.mature && part.p < RARE_P;
        let new = special.value_new || special.on_probation > 0;
        if part.mature && special.value_today && (new || rare) {
            return;
        }
        let seen = special.counts.context_seen;
        let scored = (score.observation.factor, score.known, score.excess);
        if rare && !ratified {
            self.late.wait(&mut self.calibration, day, scored);
            return;
        }
        self.calibration.learn(scored.0, scored.1, score.excess);
        let context = score.levels.special().context;
        self.table.learn_usual(context, part.bits, seen);
    }

    fn count(&mut self, score: &Score<'_, '_>, day: u16, ratified: bool) {
        let newcomer = if ratified || score.is_known_to_the_fleet() {
            Newcomer::Ratified
        } else {
            Newcomer::Judged
        };
        for keys in score.levels.iter() {
            self.table.learn(*keys, day, newcomer);
        }
    }

    /// A line counts once a day, rare new ones from the next day on unless they are ratified. A mark that is
    /// new to a mature host is on probation.
    fn learn_line(&mut self, score: &Score<'_, '_>, day: u16, line: &Line, ratified: bool) {
        let rare = score.part.mature && score.part.p < RARE_P;
        let rare = rare && !ratified && score.special.counts.seen == 0;
        for held in self.lines.learn_held(day, &self.keys) {
            held.learn_marks(&mut self.table, &self.keys, day, Newcomer::OnProbation);
        }
        if self.lines.learn(line, day, rare) {
            self.count(score, day, ratified);
            let newcomer = match (ratified, score.part.mature) {
                (true, _) => Newcomer::Ratified,
                (false, true) => Newcomer::OnProbation,
                (false, false) => Newcomer::Judged,
            };
            line.learn_marks(&mut self.table, &self.keys, day, newcomer);
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

/// Number of the question whose counts are days on which a user was there.
const PRESENCE: usize = 0;
/// What has a smaller p is rare.
const RARE_P: f64 = 0.01;
