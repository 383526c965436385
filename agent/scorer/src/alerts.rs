//! Which of the alerts somebody is told about: one for an incident, and never more than promised.
//!
//! An *incident* is what one process tree, one session or one source of logins did; who calls says which
//! by a number ([`incident_of`]). Its first alert may become a notification, the others only add to it,
//! but for the first urgent one.
//!
//! # Invariants
//!
//! - No day (any 24 hours) holds more notifications than [`Alerts::new`] was told, whatever is
//!   scored. A clock that goes back gives nothing away; one that is set a day ahead makes room.
//! - When incidents are withheld because the budget is used up, or as many as a whole budget because
//!   they were too weak, or when a day has many more strange events than days had, one notification
//!   says so: a flood may be the attack.
//! - What is withheld is counted, and the strongest are kept.
//! - Ordinary incidents cannot use up what is kept for urgent ones.
//! - Pure, deterministic, of fixed size.

mod belonging;
mod budget;
mod density;
mod incidents;
mod rate;
mod snapshot;

use picket_event::{ScorerVerdict, UnixNanos};

pub use belonging::incident_of;
use budget::{BASE, Budget, Grant};
pub(crate) use density::DENSE_INCIDENT;
use density::Densities;
pub use density::Density;
pub use incidents::Incident;
use incidents::{Incidents, Told};
use rate::Rate;

use crate::explain::{is_mature_reason, on_probation};
use crate::score::URGENT_P;

/// Decides about alerts.
#[derive(Clone, Debug)]
pub struct Alerts {
    incidents: Incidents,
    densities: Densities,
    budget: Budget,
    strange: Rate,
}

/// What becomes of an event's score.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// No alert: nothing to tell.
    Quiet,
    /// A new incident: tell somebody.
    Notify,
    /// More of an incident that somebody was told about.
    Update,
    /// An alert that nobody is told about. It is counted and ranked.
    Withheld,
    /// Alerts are being withheld: tell somebody that, with this event as the example.
    Flood,
}

impl Decision {
    /// Whether somebody is told.
    pub const fn notifies(self) -> bool {
        matches!(self, Self::Notify | Self::Flood)
    }
}

impl Alerts {
    /// At most `most` notifications in a period, and at least [`Alerts::LEAST`].
    pub fn new(most: u32) -> Self {
        Self {
            incidents: Incidents::new(),
            densities: Densities::default(),
            budget: Budget::new(most.clamp(Self::LEAST, Self::MOST)),
            strange: Rate::default(),
        }
    }

    /// Fewest notifications that can be promised: one ordinary, one urgent and one of a flood.
    pub const LEAST: u32 = 3;
    /// Most.
    pub const MOST: u32 = 1_000;

    /// Takes the score of an event that belongs to `incident`: its alert stands only where somebody is to be told,
    /// and where it is because much of the incident is new, a last reason says so.
    pub fn judge(
        &mut self,
        now: UnixNanos,
        incident: u64,
        verdict: &mut ScorerVerdict,
    ) -> Decision {
        let by_itself = verdict.alert;
        let (decision, density) = self.take(now, incident, verdict);
        verdict.alert = decision.notifies();
        if decision == Decision::Notify && !by_itself {
            verdict.reasons.push(density.reason());
        }
        decision
    }

    /// Takes the score of an event that belongs to `incident`.
    pub fn step(&mut self, now: UnixNanos, incident: u64, verdict: &ScorerVerdict) -> Decision {
        self.take(now, incident, verdict).0
    }

    fn take(
        &mut self,
        now: UnixNanos,
        incident: u64,
        verdict: &ScorerVerdict,
    ) -> (Decision, Density) {
        let now = self.budget.time(now);
        let density = self.densities.take(now, incident, verdict);
        (self.weigh(now, incident, verdict, density), density)
    }

    fn weigh(
        &mut self,
        now: i64,
        incident: u64,
        verdict: &ScorerVerdict,
        density: Density,
    ) -> Decision {
        self.strange.advance(now);
        let many = is_strange(verdict) && self.strange.take();
        match self.decide(now, incident, verdict, density) {
            Decision::Quiet | Decision::Update | Decision::Withheld
                if many && self.budget.tell_flood() =>
            {
                Decision::Flood
            }
            decision => decision,
        }
    }

    fn decide(
        &mut self,
        now: i64,
        incident: u64,
        verdict: &ScorerVerdict,
        density: Density,
    ) -> Decision {
        let dense = density.is_high() && !verdict.in_change_window();
        let alert = verdict.alert || dense;
        let Some(entry) = self.incidents.take(now, incident, verdict, alert) else {
            return Decision::Quiet;
        };
        if !alert {
            return Decision::Quiet;
        }
        let urgent = verdict.p <= URGENT_P && entry.factors() >= URGENT_FACTORS;
        let level = if urgent { Told::Urgent } else { Told::Ordinary };
        if entry.told >= level {
            return Decision::Update;
        }
        // A bit for each event weighs as two bits of a sum.
        let by_density = if dense {
            BASE + 2.0 * density.beyond()
        } else {
            0.0
        };
        let bits = entry.bits().max(by_density);
        let grant = self.budget.ask(bits, urgent, entry.withheld);
        match grant {
            Grant::Notify => entry.told = level,
            Grant::Withhold | Grant::Flood => entry.withheld = true,
        }
        match grant {
            Grant::Notify => Decision::Notify,
            Grant::Withhold => Decision::Withheld,
            Grant::Flood => Decision::Flood,
        }
    }

    /// Incidents that nobody was told about, the strongest first, at most sixteen.
    pub fn withheld(&self) -> Vec<Incident> {
        self.incidents.withheld()
    }

    /// Incidents withheld since the beginning.
    pub const fn withheld_so_far(&self) -> u64 {
        self.budget.withheld_so_far()
    }
}

/// Whether a mature context had a value for the first time, far beyond its usual, outside change windows.
fn is_strange(verdict: &ScorerVerdict) -> bool {
    !verdict.in_change_window()
        && verdict.reasons.iter().any(|reason| {
            reason.seen == 0
                && on_probation(reason) == 0
                && is_mature_reason(reason)
                && reason.bits - reason.usual >= STRANGE_BITS
        })
}

/// The period of a budget: a day, in nanoseconds.
pub(crate) const PERIOD: i64 = 86_400_000_000_000;
/// What makes a value strange, in bits beyond its usual.
const STRANGE_BITS: f64 = 12.0;
/// An event of an incident is urgent below [`URGENT_P`] and with so many different factors.
const URGENT_FACTORS: usize = 2;

#[cfg(test)]
mod tests {
    use picket_event::Reason;
    use proptest::prelude::*;

    use super::*;

    /// A mature reason so far beyond its usual.
    fn reason(factor: &'static str, bits: f64) -> Reason {
        Reason {
            factor: factor.into(),
            context: "context".into(),
            value: "value".into(),
            bits,
            usual: 0.0,
            seen: 0,
            context_seen: 1_000,
            days: 30,
            distinct: 3,
            backoff: Vec::new(),
        }
    }

    fn alert(bits: f64, p: f64) -> ScorerVerdict {
        ScorerVerdict {
            bits,
            p,
            reasons: vec![
                reason("child of parent", bits),
                reason("user of program", bits / 2.0),
            ],
            alert: true,
        }
    }

    fn hour(n: i64) -> UnixNanos {
        UnixNanos(n * PERIOD / 24)
    }

    #[test]
    fn an_incident_is_told_once_and_then_added_to() {
        let mut alerts = Alerts::new(10);
        assert_eq!(
            alerts.step(hour(0), 7, &alert(18.0, 1e-5)),
            Decision::Notify
        );
        for n in 1..1_000 {
            let again = alerts.step(UnixNanos(n), 7, &alert(18.0, 1e-5));
            assert_eq!(again, Decision::Update);
        }
    }

    #[test]
    fn an_incident_that_becomes_urgent_is_told_once_more() {
        let mut alerts = Alerts::new(10);
        let decisions =
            [5e-5, 1e-5, 1e-8, 1e-9, 5e-5].map(|p| alerts.step(hour(0), 7, &alert(18.0, p)));
        assert_eq!(
            decisions,
            [
                Decision::Notify,
                Decision::Update,
                Decision::Notify,
                Decision::Update,
                Decision::Update
            ]
        );
    }

    #[test]
    fn many_strange_events_that_are_no_alerts_are_told_once_as_a_flood() {
        let mut alerts = Alerts::new(10);
        let mut verdict = alert(14.0, 0.5);
        verdict.alert = false;
        for day in 0..6 {
            alerts.step(UnixNanos(day * PERIOD), 1, &verdict);
        }
        let flood = (0..500_u64).map(|n| alerts.step(UnixNanos(6 * PERIOD), n, &verdict));
        let told: Vec<Decision> = flood.filter(|decision| decision.notifies()).collect();
        assert_eq!(told, [Decision::Flood]);
    }

    #[test]
    fn what_is_no_alert_is_quiet() {
        let mut alerts = Alerts::new(10);
        let mut verdict = alert(18.0, 1e-9);
        verdict.alert = false;
        assert_eq!(alerts.step(hour(0), 1, &verdict), Decision::Quiet);
    }

    #[test]
    fn an_incident_most_of_which_is_new_is_told_once_and_says_why() {
        use Decision::{Notify, Quiet, Update};
        let mut alerts = Alerts::new(10);
        let new = || ScorerVerdict {
            alert: false,
            ..alert(12.0, 0.01)
        };
        let mut told = Vec::new();
        for n in 0..6 {
            let mut verdict = new();
            told.push(alerts.judge(UnixNanos(n), 7, &mut verdict));
            let mut reasons = verdict.reasons.iter();
            let why = reasons.find(|one| one.factor == DENSE_INCIDENT);
            assert_eq!(why.is_some(), n == 1, "{verdict:?}");
            assert_eq!(verdict.alert, n == 1);
        }
        assert_eq!(told, [Quiet, Notify, Update, Update, Update, Update]);
    }

    #[test]
    fn what_is_new_among_what_is_done_every_day_is_not_told() {
        let mut alerts = Alerts::new(10);
        for n in 0..90 {
            let mut verdict = alert(12.0, 0.01);
            verdict.alert = false;
            if n % 3 != 2 {
                verdict.reasons.iter_mut().for_each(|one| one.seen = 40);
            }
            assert_eq!(alerts.step(UnixNanos(n), 7, &verdict), Decision::Quiet);
        }
    }

    #[test]
    fn a_flood_is_told_once_a_day_and_never_more_than_promised() {
        let mut alerts = Alerts::new(10);
        let mut told = Vec::new();
        for n in 0..20_000_u64 {
            let now = UnixNanos(i64::try_from(n).unwrap() * PERIOD / 20_000);
            told.push(alerts.step(now, n, &alert(17.0, 5e-5)));
        }
        let floods = told.iter().filter(|told| **told == Decision::Flood).count();
        let all = told.iter().filter(|told| told.notifies()).count();
        assert_eq!(floods, 1);
        assert!(all <= 10, "{all} notifications");
        assert_eq!(alerts.withheld_so_far(), 20_000 + 1 - all as u64);
        assert_eq!(alerts.withheld().len(), 16);
    }

    #[test]
    fn decoys_do_not_hide_an_urgent_incident() {
        let mut alerts = Alerts::new(10);
        for n in 0..10_000 {
            alerts.step(hour(1), n, &alert(40.0, 5e-5));
        }
        let urgent = alerts.step(hour(2), 999_999, &alert(17.0, 1e-8));
        assert_eq!(urgent, Decision::Notify);
    }

    #[test]
    fn after_a_day_of_silence_there_is_room_again() {
        let mut alerts = Alerts::new(5);
        for n in 0..100 {
            alerts.step(hour(0), n, &alert(30.0, 5e-5));
        }
        assert_eq!(
            alerts.step(hour(25), 500, &alert(17.0, 5e-5)),
            Decision::Notify
        );
    }

    #[test]
    fn a_clock_that_was_years_ahead_blocks_the_budget_for_a_day_only() {
        let mut alerts = Alerts::new(4);
        for n in 0..50 {
            alerts.step(UnixNanos(4_000 * PERIOD), n, &alert(40.0, 5e-5));
        }
        let told = |alerts: &mut Alerts, day: i64, from: u64| {
            let decisions = (from..from + 50)
                .map(|n| alerts.step(UnixNanos(day * PERIOD), n, &alert(40.0, 5e-5)));
            decisions.filter(|decision| decision.notifies()).count()
        };
        assert_eq!(told(&mut alerts, 10, 100), 0);
        assert_eq!(told(&mut alerts, 12, 200), 3);
    }

    proptest! {
        #[test]
        fn no_day_holds_more_notifications_than_promised(
            most in 0_u32..20,
            steps in prop::collection::vec((0_i64..PERIOD / 20, 0_u64..400, 1_u32..60, any::<bool>()), 1..600),
        ) {
            let mut alerts = Alerts::new(most);
            let promised = most.max(Alerts::LEAST) as usize;
            let (mut now, mut told) = (0, Vec::<i64>::new());
            for (gap, incident, bits, rare) in steps {
                now += gap;
                let p = if rare { 1e-9 } else { 1e-4 };
                if alerts.step(UnixNanos(now), incident, &alert(f64::from(bits), p)).notifies() {
                    told.push(now);
                }
            }
            for (place, time) in told.iter().enumerate() {
                let in_a_day = told[place..].iter().filter(|later| **later - time < PERIOD).count();
                prop_assert!(in_a_day <= promised, "{in_a_day} of {promised}");
            }
        }

        #[test]
        fn a_clock_that_goes_back_gives_nothing_away(
            times in prop::collection::vec(-PERIOD / 3..PERIOD / 2, 1..400),
        ) {
            let mut alerts = Alerts::new(6);
            alerts.step(UnixNanos(PERIOD / 2), 0, &alert(20.0, 1e-4));
            let mut told = 0;
            for (incident, time) in times.into_iter().enumerate() {
                let decision = alerts.step(UnixNanos(time), incident as u64 + 1, &alert(60.0, 1e-9));
                told += usize::from(decision.notifies());
            }
            prop_assert!(told <= 6);
        }
    }
}
