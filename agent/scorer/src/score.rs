//! One observation with what was found about it, and the reason that it becomes.

use picket_event::{BackoffLevel, CHANGE_WINDOW, Reason, ScorerVerdict};

use crate::explain::{PROBATION, calibration_of, is_mature_reason};
use crate::factor::{Factor, Level};
use crate::feature::Observation;
use crate::fleet::Asked;
use crate::keys::Levels;
use crate::surprise::{Bits, Part, Rank};
use crate::table::Known;
use crate::windows::Inside;

/// One observation with what was found about it.
pub(crate) struct Score<'o, 'e> {
    pub(crate) observation: &'o Observation<'e>,
    /// Where it is counted.
    pub(crate) levels: Levels,
    /// What its own context knows.
    pub(crate) special: Known,
    /// What the levels below know.
    pub(crate) general: Vec<Level<'static>>,
    /// What the fleet knows of it, where hosts compare such things.
    pub(crate) shared: Option<Asked>,
    /// How much is known of its context: sightings here, or hosts that have it.
    pub(crate) known: u32,
    pub(crate) excess: Bits,
    pub(crate) rank: Rank,
    pub(crate) part: Part,
}

impl Score<'_, '_> {
    /// Whether it alone is worth an alert: not while learning, and not again on the
    /// same day or while its value is on probation, and a command line only when it is seen first.
    pub(crate) fn stands_out(&self, alert_bits: f64) -> bool {
        let line_again =
            self.observation.factor == Factor::CommandLine && self.special.counts.seen > 0;
        let again = self.special.value_today || self.special.on_probation > 0 || line_again;
        self.part.mature && !again && self.excess.to_f64() >= alert_bits
    }

    /// Whether enough other hosts have the value in its context.
    pub(crate) fn is_known_to_the_fleet(&self) -> bool {
        let counts = self.shared.and_then(|shared| shared.counts);
        counts.is_some_and(|counts| counts.seen > 0)
    }

    pub(crate) fn reason(&self) -> Reason {
        let counts = self.special.counts;
        let mut backoff = Vec::with_capacity(self.general.len() + 2);
        backoff.extend(self.general.iter().map(|level| BackoffLevel {
            context: level.name.clone(),
            seen: u64::from(level.counts.seen),
            context_seen: u64::from(level.counts.context_seen),
            distinct: level.counts.distinct,
        }));
        if self.special.on_probation > 0 {
            backoff.push(BackoffLevel {
                context: PROBATION.into(),
                seen: u64::from(self.special.on_probation),
                context_seen: 0,
                distinct: 0,
            });
        }
        backoff.push(self.calibration());
        Reason {
            factor: self.observation.factor.facts().name.into(),
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

    fn calibration(&self) -> BackoffLevel {
        BackoffLevel {
            context: calibration_of(usize::try_from(self.part.of).unwrap_or_default()).into(),
            seen: u64::from(self.rank.at_least),
            context_seen: u64::from(self.rank.total),
            distinct: self.rank.highest,
        }
    }
}

/// The score that is furthest beyond its usual, then those of mature contexts with the smallest p, at most
/// [`REASONS`] altogether; where too few are mature, those furthest beyond their usual.
///
/// A flood of strangeness in young contexts cannot hide what a mature one knows.
pub(crate) fn strongest<'o, 'e>(mut scores: Vec<Score<'o, 'e>>) -> Vec<Score<'o, 'e>> {
    scores.sort_by_key(|score| std::cmp::Reverse(score.excess));
    let mut rest = scores.split_off(scores.len().min(1));
    rest.sort_by(|a, b| {
        let mature = b.part.mature.cmp(&a.part.mature);
        let by_p = if a.part.mature && b.part.mature {
            a.part.p.total_cmp(&b.part.p)
        } else {
            std::cmp::Ordering::Equal
        };
        mature.then(by_p)
    });
    scores.extend(rest.into_iter().take(REASONS - 1));
    scores
}

/// The reason that says that an event was in a change window.
pub(crate) fn window_reason(inside: Inside) -> Reason {
    remark(CHANGE_WINDOW, CHANGE_WINDOW, inside.name())
}

/// A reason that only says something. It has no bits, so that no score rests on it.
pub(crate) fn remark(factor: &'static str, context: &str, value: &str) -> Reason {
    Reason {
        factor: factor.into(),
        context: context.into(),
        value: value.into(),
        ..Reason::default()
    }
}

/// Whether an event is so strange, in two ways of which the host knows enough, that nothing may hide it.
pub(crate) fn is_urgent(verdict: &ScorerVerdict) -> bool {
    let strange = verdict
        .reasons
        .iter()
        .filter(|reason| is_mature_reason(reason) && reason.bits - reason.usual >= URGENT_BITS);
    verdict.p <= URGENT_P && strange.count() >= 2
}

/// An event is urgent below this probability,
pub(crate) const URGENT_P: f64 = 1e-6;
/// with two factors that are so far beyond their usual.
const URGENT_BITS: f64 = 16.0;

/// Host text as it goes into an explanation: bounded.
fn shown(text: &[u8]) -> &[u8] {
    text.get(..MOST_SHOWN).unwrap_or(text)
}

/// Reasons in a verdict.
const REASONS: usize = 4;
/// Bytes of a context or value that are shown.
const MOST_SHOWN: usize = 512;
