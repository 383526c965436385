//! `x-sequence`: steps of one rule that follow each other within a span of time, in one process, process tree, login
//! session, for one user or on the host.
//!
//! ```text
//! hits of steps -> key (whose, and the value of `same`) -> for each step: the youngest chain that ends with it
//! ```
//!
//! # Invariants
//!
//! - Time is that of the events; the clock is never asked. The same events in the same order give the same hits.
//! - At most [`MOST_OPEN`] sequences are open, and [`MOST_OPEN_OF_ONE`] of one rule. When full, the one touched least
//!   recently goes; one whose span was not over is counted as forgotten.
//! - One event is one step of a chain at most.
//! - A step that arrives up to [`LATE`] before the step that it follows still counts, for the last [`MOST_EARLY`] of a rule.
//! - A sequence that is complete begins anew.

mod document;
mod open;

use std::collections::VecDeque;

use picket_event::{Event, Evidence, ProcessUid, UnixNanos};

pub(crate) use document::parse;

use open::{Advance, Key, OpenSequences, Seen};

/// Most sequences that are open, of all rules together.
pub const MOST_OPEN: usize = 4_096;
/// Most sequences that are open, of one rule.
pub const MOST_OPEN_OF_ONE: usize = 1_024;
/// How much later than its successor a step may arrive, in nanoseconds of event time.
const LATE: i64 = 5_000_000_000;
/// Steps of one rule that wait for the step before them to arrive.
const MOST_EARLY: usize = 64;

/// A sequence as a rule writes it.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    by: By,
    /// Field by step, whose values must be the same; empty: none.
    same: Vec<String>,
    steps: usize,
    /// In nanoseconds.
    span: i64,
    until: bool,
}

/// Whose events belong together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum By {
    /// One process.
    Process,
    /// The process of the first step and what descends from it.
    ProcessTree,
    /// The parent of that process and what descends from it; never the tree of process 1.
    ParentTree,
    Session,
    User,
    Host,
}

/// One of those whom events belong to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Whose {
    Process(ProcessUid),
    Session(u32),
    User(Vec<u8>),
    Host,
}

/// What an event is to a sequence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Step(usize),
    Until,
}

impl Sequence {
    pub(crate) const fn steps(&self) -> usize {
        self.steps
    }

    /// The field whose value must be the same in this step.
    pub(crate) fn same(&self, step: usize) -> Option<&str> {
        self.same.get(step).map(String::as_str)
    }

    /// What an answer to its question of this number means.
    pub(crate) fn part(&self, ask: usize) -> Part {
        if self.until && ask == self.steps {
            Part::Until
        } else {
            Part::Step(ask)
        }
    }
}

/// The sequences of a rule set, and how far each has come.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    plans: Vec<Sequence>,
    early: Vec<VecDeque<Early>>,
    open: OpenSequences,
}

/// A step that came before the step it follows.
#[derive(Clone, Debug)]
struct Early {
    step: usize,
    seen: Seen,
    keys: Vec<Key>,
}

/// An event as a part of a sequence.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    /// Which sequence.
    pub(crate) number: usize,
    pub(crate) part: Part,
    pub(crate) event: &'a Event,
    /// The value that must be the same; of a step without one, nothing.
    pub(crate) same: Option<Vec<u8>>,
    /// The number of the event, as it arrived.
    pub(crate) arrival: u64,
}

impl Sequences {
    /// Its number.
    pub(crate) fn add(&mut self, plan: Sequence) -> usize {
        self.plans.push(plan);
        self.early.push(VecDeque::new());
        self.plans.len().saturating_sub(1)
    }

    /// Goes on counting what was forgotten.
    pub(crate) const fn count_from(&mut self, forgotten: u64) {
        self.open.count_from(forgotten);
    }

    pub(crate) fn plan(&self, number: usize) -> Option<&Sequence> {
        self.plans.get(number)
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// How many were forgotten for want of room before their span was over.
    pub(crate) const fn forgotten(&self) -> u64 {
        self.open.forgotten()
    }

    /// Forgets what happened so far.
    pub(crate) fn forget(&mut self) {
        let forgotten = self.open.forgotten();
        self.open = OpenSequences::default();
        self.open.count_from(forgotten);
        self.early.iter_mut().for_each(VecDeque::clear);
    }

    /// Takes one step, and gives the events of the sequence if it is complete with it.
    pub(crate) fn step(&mut self, taken: &Taken<'_>) -> Option<Vec<Evidence>> {
        let plan = self.plans.get(taken.number)?.clone();
        let seen = Seen {
            arrival: taken.arrival,
            event: Evidence::of(taken.event),
        };
        let key = |whose| Key {
            sequence: taken.number,
            whose,
            same: taken.same.clone(),
        };
        match taken.part {
            Part::Until => {
                for whose in plan.by.goes_on(taken.event) {
                    self.open.close(taken.number, &whose, seen.event.time);
                }
                None
            }
            Part::Step(0) => {
                let whose = plan.by.begins(taken.event)?;
                self.open.begin(key(whose), &plan, seen);
                self.catch_up(taken.number, &plan, seen)
            }
            Part::Step(step) => {
                let keys = plan.by.goes_on(taken.event).into_iter().map(key).collect();
                let early = Early { step, seen, keys };
                let (moved, complete) = self.advance(&plan, &early);
                if !moved {
                    self.wait(taken.number, early);
                    return None;
                }
                complete.or_else(|| self.catch_up(taken.number, &plan, seen))
            }
        }
    }

    /// Whether any open sequence took the step, and the events of the first that is complete with it.
    fn advance(&mut self, plan: &Sequence, early: &Early) -> (bool, Option<Vec<Evidence>>) {
        let (mut moved, mut complete) = (false, None);
        for key in &early.keys {
            match self.open.advance(key, plan, early.step, early.seen) {
                Advance::No => continue,
                Advance::Open => {}
                Advance::Complete(events) => {
                    complete.get_or_insert(events);
                }
            }
            moved = true;
        }
        (moved, complete)
    }

    /// Keeps a step for a moment: what it follows may be late.
    fn wait(&mut self, number: usize, early: Early) {
        let Some(waiting) = self.early.get_mut(number) else {
            return;
        };
        let UnixNanos(now) = early.seen.event.time;
        waiting.retain(|other| now.saturating_sub(other.seen.event.time.0) <= LATE);
        if waiting.len() >= MOST_EARLY {
            waiting.pop_front();
        }
        waiting.push_back(early);
    }

    /// Steps that came early go on from a step that came late.
    fn catch_up(&mut self, number: usize, plan: &Sequence, late: Seen) -> Option<Vec<Evidence>> {
        let waiting = self.early.get_mut(number)?;
        // Of one time, events are in the order in which they came.
        let follows = |early: &Early| early.seen.event.time > late.event.time;
        if !waiting.iter().any(follows) {
            return None;
        }
        let mut waiting: Vec<Early> = std::mem::take(waiting).into();
        waiting.sort_by_key(|early| (early.seen.event.time, early.seen.arrival));
        let mut complete = None;
        let mut left = VecDeque::new();
        for early in waiting {
            let (moved, done) = if follows(&early) {
                self.advance(plan, &early)
            } else {
                (false, None)
            };
            complete = complete.or(done);
            if !moved {
                left.push_back(early);
            }
        }
        if let Some(waiting) = self.early.get_mut(number) {
            *waiting = left;
        }
        complete
    }
}

/// Sessions that the kernel has not set.
const NO_SESSION: u32 = u32::MAX;

impl By {
    /// Whose sequence this event begins.
    fn begins(self, event: &Event) -> Option<Whose> {
        match self {
            Self::ParentTree => parent(event).or_else(|| process(event)),
            Self::Process | Self::ProcessTree => process(event),
            Self::Session => session(event),
            Self::User => user(event),
            Self::Host => Some(Whose::Host),
        }
    }

    /// Whose sequences this event may go on with, the nearest first.
    fn goes_on(self, event: &Event) -> Vec<Whose> {
        match self {
            Self::ProcessTree | Self::ParentTree => tree(event),
            Self::Process | Self::Session | Self::User | Self::Host => {
                self.begins(event).into_iter().collect()
            }
        }
    }
}

fn process(event: &Event) -> Option<Whose> {
    let process = event.process.as_ref()?;
    Some(Whose::Process(process.uid))
}

/// The parent, if it is known and not process 1, from which everything descends.
fn parent(event: &Event) -> Option<Whose> {
    let process = event.process.as_ref()?;
    let nearest = process.ancestry.first();
    let first = process.ppid == 1 || nearest.is_some_and(|parent| parent.pid == 1);
    let uid = process
        .parent_uid
        .or_else(|| nearest.map(|parent| parent.uid));
    uid.filter(|_| !first).map(Whose::Process)
}

/// The process, its parent, its parent's parent and so on, each once.
fn tree(event: &Event) -> Vec<Whose> {
    let mut uids: Vec<ProcessUid> = Vec::new();
    let Some(process) = &event.process else {
        return Vec::new();
    };
    let above = process.ancestry.iter().map(|ancestor| ancestor.uid);
    let line = [Some(process.uid), process.parent_uid]
        .into_iter()
        .flatten();
    for uid in line.chain(above) {
        if !uids.contains(&uid) {
            uids.push(uid);
        }
    }
    uids.into_iter().map(Whose::Process).collect()
}

/// The login session by the number that audit gives it.
fn session(event: &Event) -> Option<Whose> {
    let of_process = event.process.as_ref().and_then(|process| process.session);
    let of_login = event.login().and_then(|login| login.session);
    let session = of_process.into_iter().chain(of_login);
    session
        .filter(|session| *session != NO_SESSION)
        .map(Whose::Session)
        .next()
}

/// The user by name, or by number where no name is known.
pub(crate) fn user(event: &Event) -> Option<Whose> {
    let login = event.login().map(|login| login.user.as_bytes());
    let login = login.filter(|name| !name.is_empty()).map(<[u8]>::to_vec);
    let of_process = || {
        let user = event.process.as_ref()?.user.as_ref()?;
        let name = user.name.as_bytes();
        let number = || user.uid.to_string().into_bytes();
        Some(if name.is_empty() {
            number()
        } else {
            name.to_vec()
        })
    };
    login.or_else(of_process).map(Whose::User)
}
