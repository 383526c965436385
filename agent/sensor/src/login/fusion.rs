//! Several lines and records about one login become one event.
//!
//! # Invariants
//!
//! - Each word is counted once: in the event it makes, or as a further word about one.
//! - An event takes at most one word of each kind of witness from each source, so two logins that look alike
//!   stay two.
//! - An event is held for [`HOLD`] after its first full word, [`PATIENCE`] where only a preliminary word is there,
//!   and a refused switch while its process still asks, for [`ASKING`] at most. At most [`MAX_ENTRIES`] are
//!   remembered; beyond, the oldest is given early.
//! - Pure but for what it is handed: the instants, and whether a process runs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use picket_event::{Detail, Event, Kind, KindCounts, Login, Process, Source, Text, UnixNanos};

use super::fact::{Fact, Witness};
use super::passed::Passed;
use super::sessions::Sessions;
use crate::tally::Tally;

/// Where a line or record stands: in which opened file, at which offset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Origin {
    pub(super) file: u64,
    pub(super) offset: u64,
}

/// Which source a word comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SeenBy {
    AuthLog,
    Journal,
    Wtmp,
    Btmp,
    Lastlog,
    Wtmpdb,
    Lastlog2,
    Pam,
    Audit,
    Kernel,
}

impl SeenBy {
    const ALL: [Self; 10] = [
        Self::AuthLog,
        Self::Journal,
        Self::Wtmp,
        Self::Btmp,
        Self::Lastlog,
        Self::Wtmpdb,
        Self::Lastlog2,
        Self::Pam,
        Self::Audit,
        Self::Kernel,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AuthLog => "auth_log",
            Self::Journal => "journal",
            Self::Wtmp => "wtmp",
            Self::Btmp => "btmp",
            Self::Lastlog => "lastlog",
            Self::Wtmpdb => "wtmpdb",
            Self::Lastlog2 => "lastlog2",
            Self::Pam => "pam",
            Self::Audit => "audit",
            Self::Kernel => "kernel",
        }
    }

    /// What an event is said to come from that only this source told.
    const fn source(self) -> Source {
        match self {
            Self::AuthLog | Self::Journal => Source::AuthLog,
            Self::Wtmp | Self::Btmp | Self::Lastlog | Self::Wtmpdb | Self::Lastlog2 => {
                Source::LoginRecord
            }
            Self::Pam | Self::Kernel => Source::Ebpf,
            Self::Audit => Source::Audit,
        }
    }
}

/// Which kinds of witness each source has been.
#[derive(Clone, Copy, Debug, Default)]
struct Witnesses([u32; SeenBy::ALL.len()]);

impl Witnesses {
    fn add(&mut self, word: &Word) {
        if let Some(of_source) = self.0.get_mut(word.seen_by as usize) {
            *of_source |= word.fact.witness.bit();
        }
    }

    fn has(&self, word: &Word) -> bool {
        let of_source = self.0.get(word.seen_by as usize);
        of_source.is_some_and(|seen| seen & word.fact.witness.bit() != 0)
    }

    /// Whether nobody has said anything but this.
    fn are_only(&self, these: u32) -> bool {
        self.0.iter().all(|seen| seen & !these == 0)
    }

    fn are_only_either(&self, these: u32, those: u32) -> bool {
        self.are_only(these) || self.are_only(those)
    }

    fn sources(&self) -> impl Iterator<Item = SeenBy> {
        let all = SeenBy::ALL.into_iter().zip(self.0);
        all.filter_map(|(source, seen)| (seen != 0).then_some(source))
    }
}

impl Origin {
    /// Of what comes from no file.
    pub(super) const LIVE: Self = Self {
        file: u64::MAX,
        offset: 0,
    };
}

/// One word about a login.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) origin: Origin,
    pub(super) seen_by: SeenBy,
    pub(super) time: UnixNanos,
    pub(super) pid: Option<u32>,
    /// The parent, where it is known: a program may leave asking PAM to a child.
    pub(super) ppid: Option<u32>,
    pub(super) fact: Fact,
    pub(super) process: Option<Process>,
    /// Whether its event was given in an earlier run or before the start: it only reminds.
    pub(super) old: bool,
}

/// Whether a word is done with, or part of an event that is still held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Held,
    Done,
}

/// What was said lately, and what is still held.
#[derive(Debug)]
pub(super) struct Fusion {
    entries: VecDeque<Entry>,
    held: usize,
    sessions: Sessions,
    passed: Passed,
    tally: Tally,
    ready: Vec<Event>,
    settled: Vec<Origin>,
    /// Whether what only confirms may stand alone: in a recording nobody else may tell it.
    takes_confirmations: bool,
    /// Events given, and of how many of them each source told in time.
    given: u64,
    told: [u64; SeenBy::ALL.len()],
}

impl Fusion {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            held: 0,
            sessions: Sessions::default(),
            passed: Passed::default(),
            tally: Tally::of(&KINDS),
            ready: Vec::new(),
            settled: Vec::new(),
            takes_confirmations: false,
            given: 0,
            told: [0; SeenBy::ALL.len()],
        }
    }

    /// For a recording, of which a part may be all there is.
    pub(super) fn of_recording() -> Self {
        Self {
            takes_confirmations: true,
            ..Self::new()
        }
    }

    /// Of how many events this source told in time, and of how many any did.
    pub(super) fn share(&self, source: SeenBy) -> (u64, u64) {
        let told = self.told.get(source as usize).copied();
        (told.unwrap_or_default(), self.given)
    }

    /// Takes one word.
    pub(super) fn hear(&mut self, mut word: Word, now: Instant) -> Fate {
        self.heed(&word, now);
        self.correct(&mut word);
        let Some(kind) = word.fact.kind else {
            return Fate::Done;
        };
        if word.fact.witness == Witness::SessionBegan
            && self.sessions.knows(word.fact.login.session)
        {
            self.count(&word, |tally| tally.aggregated(kind));
            return Fate::Done;
        }
        if !self.sessions.complete(&mut word.fact, word.pid) {
            self.count(&word, |tally| tally.filtered(kind));
            return Fate::Done;
        }
        let fate = match self.best(&word) {
            Some(at) => self.join(at, &word, now),
            None if word.fact.witness == Witness::Confirmed && !self.takes_confirmations => {
                self.count(&word, |tally| tally.filtered(kind));
                Fate::Done
            }
            None => self.begin(kind, &word, now),
        };
        self.shed();
        fate
    }

    /// Appends what has been held long enough, and the words that are done with by that.
    pub(super) fn give(
        &mut self,
        now: Instant,
        runs: impl Fn(u32) -> bool,
        out: &mut Vec<Event>,
        settled: &mut Vec<Origin>,
    ) {
        if self.held > 0 {
            for at in 0..self.entries.len() {
                self.finish_if(at, |entry| entry.is_ripe(now, &runs));
            }
        }
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.is_forgotten(now))
        {
            self.entries.pop_front();
        }
        out.append(&mut self.ready);
        settled.append(&mut self.settled);
    }

    /// As [`Fusion::give`], without waiting any longer.
    pub(super) fn give_all(&mut self, out: &mut Vec<Event>, settled: &mut Vec<Origin>) {
        for at in 0..self.entries.len() {
            self.finish_if(at, |_| true);
        }
        out.append(&mut self.ready);
        settled.append(&mut self.settled);
    }

    pub(super) fn ledger(&self) -> Vec<KindCounts> {
        self.tally.lines()
    }

    /// A line was given as it stands.
    pub(super) fn tell_line(&mut self) {
        self.tally.submitted(Kind::Finding);
    }

    /// A session that was open before anybody listened is told as it is.
    pub(super) fn list(&mut self, session: &Event) {
        self.tally.submitted(session.kind);
        if let Some(login) = session.login() {
            let pid = session.process.as_ref().map(|process| process.pid);
            let outcome = "success".to_owned();
            let login = Login {
                outcome,
                seen_by: Vec::new(),
                ..login.clone()
            };
            self.sessions.note(pid, session.kind, &login);
        }
    }

    /// Something of a source could not be read.
    pub(super) fn lose(&mut self, kind: Kind) {
        self.tally.lost(kind, 1);
    }

    /// What the words before say about this one.
    fn correct(&mut self, word: &mut Word) {
        let announces = word.seen_by == SeenBy::Btmp && word.fact.witness == Witness::Announced;
        let again = |entry: &Entry| entry.pid == word.pid && entry.witnesses.has(word);
        if announces && self.entries.iter().any(again) {
            word.fact.witness = Witness::RecordFailure;
        }
        if word.fact.witness == Witness::SwitchRefused
            && word.pid.is_none()
            && let Some(passed) = self.passed.take(word)
        {
            (word.pid, word.ppid, word.process) = passed;
        }
    }

    /// What a word says about those before it.
    fn heed(&mut self, word: &Word, now: Instant) {
        let Some(pid) = word.pid else {
            return;
        };
        if word.fact.witness == Witness::PamPassed {
            self.passed.note(word);
        }
        match word.fact.witness {
            Witness::PamPassed | Witness::Accepted => self.withdraw(pid),
            Witness::ConnectionEnded => self.hasten(pid, now),
            _ => {}
        }
    }

    /// One PAM module refused, and another let the same attempt in: there was no failure.
    fn withdraw(&mut self, pid: u32) {
        let only_pam = Witness::PamFailed.bit() | Witness::PamAlso.bit();
        let alone = if self.takes_confirmations {
            Witness::Confirmed.bit()
        } else {
            0
        };
        let Self {
            entries,
            tally,
            settled,
            held,
            ..
        } = self;
        entries.retain_mut(|entry| {
            let taken_back = entry.held
                && entry.pid == Some(pid)
                && entry.witnesses.are_only_either(only_pam, alone);
            if taken_back {
                entry
                    .origins
                    .iter()
                    .for_each(|_| tally.filtered(entry.kind));
                settled.append(&mut entry.origins);
                *held = held.saturating_sub(1);
            }
            !taken_back
        });
    }

    /// No better word will come from this process.
    fn hasten(&mut self, pid: u32, now: Instant) {
        let soon = after(now, HOLD);
        for entry in self
            .entries
            .iter_mut()
            .filter(|entry| entry.held && entry.pid == Some(pid))
        {
            entry.due = entry.due.min(soon);
        }
    }

    /// The event this word belongs to: one still held before one given, then the nearest in time,
    /// then the oldest.
    fn best(&self, word: &Word) -> Option<usize> {
        let fits = self.entries.iter().enumerate().filter_map(|(at, entry)| {
            let apart = entry.seconds_to(word)?;
            Some((!entry.held, apart, at))
        });
        fits.min().map(|(_, _, at)| at)
    }

    fn join(&mut self, at: usize, word: &Word, now: Instant) -> Fate {
        let Some(entry) = self.entries.get_mut(at) else {
            return Fate::Done;
        };
        entry.take(word, now);
        let (kind, held) = (entry.kind, entry.held);
        self.sessions
            .note(word.pid.or(entry.pid), entry.kind, &entry.login);
        if held && !word.old {
            entry.origins.push(word.origin);
            return Fate::Held;
        }
        self.count(word, |tally| tally.aggregated(kind));
        Fate::Done
    }

    fn begin(&mut self, kind: Kind, word: &Word, now: Instant) -> Fate {
        let entry = Entry::new(kind, word, now);
        self.sessions.note(word.pid, kind, &entry.login);
        let fate = if entry.held { Fate::Held } else { Fate::Done };
        self.held = self.held.saturating_add(usize::from(entry.held));
        self.entries.push_back(entry);
        fate
    }

    fn finish_if(&mut self, at: usize, ripe: impl Fn(&Entry) -> bool) {
        let Some(entry) = self
            .entries
            .get_mut(at)
            .filter(|entry| entry.held && ripe(entry))
        else {
            return;
        };
        self.held = self.held.saturating_sub(1);
        for further in 0..entry.origins.len() {
            match further {
                0 => self.tally.submitted(entry.kind),
                _ => self.tally.aggregated(entry.kind),
            }
        }
        self.given = self.given.saturating_add(1);
        for source in entry.witnesses.sources() {
            if let Some(told) = self.told.get_mut(source as usize) {
                *told = told.saturating_add(1);
            }
        }
        self.settled.append(&mut entry.origins);
        self.ready.push(entry.event());
    }

    fn shed(&mut self) {
        while self.entries.len() > MAX_ENTRIES {
            self.finish_if(0, |_| true);
            self.entries.pop_front();
        }
    }

    fn count(&mut self, word: &Word, counted: impl Fn(&mut Tally)) {
        if !word.old {
            counted(&mut self.tally);
        }
    }
}

/// One event, held or given.
#[derive(Debug)]
struct Entry {
    kind: Kind,
    time: UnixNanos,
    pid: Option<u32>,
    login: Login,
    process: Option<Process>,
    ppid: Option<u32>,
    /// When the last word was said.
    last: UnixNanos,
    witnesses: Witnesses,
    held: bool,
    /// Only preliminary words so far.
    announced: bool,
    begun: Instant,
    due: Instant,
    origins: Vec<Origin>,
}

impl Entry {
    fn new(kind: Kind, word: &Word, now: Instant) -> Self {
        let announced = word.fact.witness.is_preliminary();
        let patience = if announced { PATIENCE } else { HOLD };
        let mut witnesses = Witnesses::default();
        witnesses.add(word);
        Self {
            kind,
            time: word.time,
            last: word.time,
            pid: word.process_number(),
            ppid: word.ppid,
            login: word.fact.login.clone(),
            process: word.process.clone(),
            witnesses,
            held: !word.old,
            announced,
            begun: now,
            due: after(now, patience),
            origins: if word.old {
                Vec::new()
            } else {
                vec![word.origin]
            },
        }
    }

    /// How many seconds lie between, if the word can be about this event.
    fn seconds_to(&self, word: &Word) -> Option<u64> {
        let same_process = self.is_of(word)?;
        let window = match (same_process, word.fact.witness.is_a_sum()) {
            (true, _) => PROCESS_WINDOW,
            (false, true) => ASKING.as_secs(),
            (false, false) => WINDOW,
        };
        let apart = self
            .time
            .0
            .abs_diff(word.time.0)
            .min(self.last.0.abs_diff(word.time.0));
        let apart = apart.checked_div(NANOS_PER_SECOND)?;
        let again = word.fact.witness.repeats() || (same_process && self.is_refused_switch());
        let fits = (again || !self.witnesses.has(word))
            && apart <= window
            && (self.is_recorded_by(word, same_process)
                || (word.fact.kind == Some(self.kind)
                    && agree(&self.login, &word.fact.login, same_process)));
        fits.then_some(apart)
    }

    /// su records a refusal as that of whom it would have become.
    fn is_recorded_by(&self, word: &Word, same_process: bool) -> bool {
        let (mine, its) = (&self.login, &word.fact.login);
        let is_same = same_process || (!mine.tty.is_empty() && mine.tty == its.tty);
        self.is_refused_switch()
            && word.fact.witness == Witness::RecordFailure
            && same_text(&mine.target_user, &its.user)
            && is_same
    }

    /// Whether both are of one process; `None`: of two.
    fn is_of(&self, word: &Word) -> Option<bool> {
        let (Some(mine), Some(its)) = (self.pid, word.process_number()) else {
            return Some(false);
        };
        // sshd leaves asking PAM to a child.
        let divided = self.login.service == "sshd" && word.fact.login.service == "sshd";
        let child_of = |child: Option<u32>, parent| divided && child == Some(parent);
        let same = mine == its || child_of(self.ppid, its) || child_of(word.ppid, mine);
        same.then_some(true)
    }

    /// One run of sudo or su asks several times and is refused once.
    fn is_refused_switch(&self) -> bool {
        self.kind == Kind::AccountSwitch && self.login.outcome == "failure"
    }

    fn is_ripe(&self, now: Instant, runs: impl Fn(u32) -> bool) -> bool {
        let asks = self.is_refused_switch()
            && self.pid.is_some_and(runs)
            && now < after(self.begun, ASKING);
        self.due <= now && !asks
    }

    fn take(&mut self, word: &Word, now: Instant) {
        self.witnesses.add(word);
        self.pid = self.pid.or_else(|| word.process_number());
        self.ppid = self.ppid.or(word.ppid);
        self.last = self.last.max(word.time);
        if self.process.is_none() {
            self.process.clone_from(&word.process);
        }
        if word.fact.kind == Some(self.kind) {
            fill(&mut self.login, &word.fact.login);
        }
        if !word.fact.witness.is_preliminary() {
            self.due = self.due.min(after(now, HOLD));
            if std::mem::take(&mut self.announced) {
                self.time = word.time;
            }
        }
        self.sharpen(word.time);
    }

    /// Takes the finer of two times within the same second.
    fn sharpen(&mut self, time: UnixNanos) {
        let second = |instant: UnixNanos| instant.0.div_euclid(NANOS_PER_SECOND_SIGNED);
        let whole = self.time.0.rem_euclid(NANOS_PER_SECOND_SIGNED) == 0;
        if whole && second(time) == second(self.time) {
            self.time = time;
        }
    }

    fn event(&mut self) -> Event {
        self.held = false;
        let seen_by: Vec<String> = self
            .witnesses
            .sources()
            .map(|source| source.name().to_owned())
            .collect();
        let first = self.witnesses.sources().next();
        let source = first.map_or(Source::AuthLog, SeenBy::source);
        let login = Login {
            seen_by,
            ..self.login.clone()
        };
        let mut event = Event::new(self.kind, self.time, source).with(Detail::Login(login));
        event.process = self.process.take();
        event
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        !self.held && after(self.due, MEMORY) <= now
    }
}

impl Word {
    fn process_number(&self) -> Option<u32> {
        self.pid.filter(|_| self.fact.witness.names_the_process())
    }
}

/// Whether two accounts can be of one login. Without a common process they must have somebody or the terminal in common.
fn agree(one: &Login, other: &Login, same_process: bool) -> bool {
    let common = |one: &Text, other: &Text| !one.is_empty() && one == other;
    let known = same_process
        || common(&one.user, &other.user)
        || common(&one.target_user, &other.target_user)
        || common(&one.tty, &other.tty);
    known
        && one.outcome == other.outcome
        && same_text(&one.user, &other.user)
        && same_text(&one.target_user, &other.target_user)
        && same_text(&one.tty, &other.tty)
        && same_word(&one.source_ip, &other.source_ip)
        && same_word(&one.service, &other.service)
        && one
            .source_port
            .zip(other.source_port)
            .is_none_or(|(one, other)| one == other)
}

fn same_text(one: &Text, other: &Text) -> bool {
    one.is_empty() || other.is_empty() || one == other
}

fn same_word(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}

/// Takes from `more` what `login` does not know.
pub(super) fn fill(login: &mut Login, more: &Login) {
    let texts = [
        (&mut login.user, &more.user),
        (&mut login.target_user, &more.target_user),
        (&mut login.tty, &more.tty),
        (&mut login.command, &more.command),
        (&mut login.source_host, &more.source_host),
    ];
    for (mine, its) in texts {
        if mine.is_empty() {
            mine.clone_from(its);
        }
    }
    let words = [
        (&mut login.service, &more.service),
        (&mut login.method, &more.method),
        (&mut login.source_ip, &more.source_ip),
        (&mut login.key_fingerprint, &more.key_fingerprint),
    ];
    for (mine, its) in words {
        if mine.is_empty() {
            mine.clone_from(its);
        }
    }
    login.source_port = login.source_port.or(more.source_port);
    login.session = login.session.or(more.session);
}

fn after(instant: Instant, duration: Duration) -> Instant {
    instant.checked_add(duration).unwrap_or(instant)
}

/// How long an event waits for other sources after its first full word.
const HOLD: Duration = Duration::from_millis(500);
/// How long it waits for the first full word: longer than PAM's delay after a wrong password.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long one program may go on asking before its refusal is told.
const ASKING: Duration = Duration::from_mins(1);
/// How long a given event is remembered, so that a late word does not make a second one.
const MEMORY: Duration = Duration::from_mins(3);
/// Most events remembered.
const MAX_ENTRIES: usize = 4_096;
/// How far apart two words of one process about one attempt may be, in seconds: sshd's grace time.
const PROCESS_WINDOW: u64 = 120;
/// The same without a common process.
const WINDOW: u64 = 5;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_SECOND_SIGNED: i64 = 1_000_000_000;
/// The kinds that logins make.
const KINDS: [Kind; 6] = [
    Kind::Login,
    Kind::Logoff,
    Kind::LoginFailed,
    Kind::AccountSwitch,
    Kind::Session,
    Kind::Finding,
];

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails"
)]
mod tests;
