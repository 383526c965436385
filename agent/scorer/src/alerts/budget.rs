//! How many notifications there may be.
//!
//! The times of the last notifications are kept, as many as are allowed; a new one is allowed when the
//! oldest of them is a period old. That makes the promise hold for every period, not for calendar days.
//! One place is kept for the notice of a flood and a quarter for urgent incidents.
//!
//! The *bar* spreads the others over the day: with each ordinary notification it rises by a bit, and it
//! falls back at the rate at which the budget allows them.

use std::collections::VecDeque;

use picket_event::UnixNanos;

use super::PERIOD;

/// The budget.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    pub(super) most: usize,
    pub(super) now: i64,
    /// When somebody was told, the oldest first, at most `most`.
    pub(super) told: VecDeque<i64>,
    /// When the last flood was told.
    pub(super) flood: Option<i64>,
    /// Since when incidents are withheld, and how many.
    pub(super) withheld: Option<(i64, u64)>,
    pub(super) withheld_so_far: u64,
    /// How much the bar is raised, in bits, and when that was right.
    pub(super) raised: f64,
    pub(super) raised_at: i64,
}

/// The answer about an incident.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Grant {
    Notify,
    Withhold,
    Flood,
}

impl Budget {
    pub(super) fn new(most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self {
            most,
            now: i64::MIN,
            told: VecDeque::with_capacity(most),
            flood: None,
            withheld: None,
            withheld_so_far: 0,
            raised: 0.0,
            raised_at: 0,
        }
    }

    /// The time, which does not go back by less than a period; also forgets what is a period old.
    ///
    /// A clock that goes back further was wrong before: everything is then taken as having happened
    /// just now, so that it gives nothing away and yet does not block the budget for ever.
    pub(super) fn time(&mut self, now: UnixNanos) -> i64 {
        if self.now.saturating_sub(now.0) >= PERIOD {
            self.told.iter_mut().for_each(|time| *time = now.0);
            self.flood = self.flood.map(|_| now.0);
            self.withheld = self.withheld.map(|(_, number)| (now.0, number));
            (self.now, self.raised_at) = (now.0, now.0);
        }
        self.now = self.now.max(now.0);
        let old = |time: i64| self.now.saturating_sub(time) >= PERIOD;
        while self.told.front().is_some_and(|time| old(*time)) {
            self.told.pop_front();
        }
        self.flood = self.flood.filter(|time| !old(*time));
        self.withheld = self.withheld.filter(|(since, _)| !old(*since));
        self.now
    }

    /// Whether somebody is told of an incident of so many bits. `again`: it was withheld before and
    /// is not counted twice.
    pub(super) fn ask(&mut self, bits: f64, urgent: bool, again: bool) -> Grant {
        let kept = if urgent {
            FOR_FLOODS
        } else {
            FOR_FLOODS + self.for_urgent()
        };
        let room = self.told.len() + kept < self.most + usize::from(self.flood.is_some());
        let high = urgent || bits >= BASE + self.raised();
        if room && high {
            if !urgent {
                (self.raised, self.raised_at) = (self.raised() + STEP, self.now);
            }
            self.told.push_back(self.now);
            return Grant::Notify;
        }
        self.withhold(room, again)
    }

    pub(super) const fn withheld_so_far(&self) -> u64 {
        self.withheld_so_far
    }

    fn withhold(&mut self, room: bool, again: bool) -> Grant {
        let (since, mut number) = self.withheld.unwrap_or((self.now, 0));
        if !again {
            number += 1;
            self.withheld_so_far = self.withheld_so_far.saturating_add(1);
        }
        self.withheld = Some((since, number));
        let many = !room || number >= self.most as u64;
        if many && self.tell_flood() {
            Grant::Flood
        } else {
            Grant::Withhold
        }
    }

    /// Takes the place of a flood's notice; `false`: it was told in this period.
    pub(super) fn tell_flood(&mut self) -> bool {
        let free = self.flood.is_none() && self.told.len() < self.most;
        if free {
            self.flood = Some(self.now);
            self.told.push_back(self.now);
        }
        free
    }

    /// Places that ordinary incidents cannot take.
    fn for_urgent(&self) -> usize {
        (self.most / 4).max(1)
    }

    fn raised(&self) -> f64 {
        let ordinary = self.most - FOR_FLOODS - self.for_urgent();
        let periods = seconds(self.now.saturating_sub(self.raised_at)) / seconds(PERIOD);
        let fallen = periods * f64::from(u32::try_from(ordinary).unwrap_or(u32::MAX)) * STEP;
        (self.raised - fallen).max(0.0)
    }
}

fn seconds(nanos: i64) -> f64 {
    f64::from(u32::try_from(nanos / 1_000_000_000).unwrap_or(u32::MAX))
}

/// Places kept for the notice of a flood.
const FOR_FLOODS: usize = 1;
/// Where the bar lies when nobody was told for long, in bits of an incident.
pub(super) const BASE: f64 = 16.0;
/// How far it rises with each notification.
const STEP: f64 = 1.0;
