//! What must come together in a group, and whether it has.

use super::CorrelationKind;
use crate::condition::{self, Condition};
use crate::refusal::Reason;

/// A group would hold as many times or values: more is not waited for.
pub(super) const MOST_WANTED: u32 = 10_000;
/// Most chains of rules in order that a group remembers.
const MOST_CHAINS: usize = 256;

/// The condition of a correlation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// A number that all of these hold for.
    Number(Vec<Bound>),
    /// These rules, by their places.
    Rules(Condition),
}

/// `gte: 3`
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) operator: Operator,
    pub(super) limit: f64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Operator {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "lt" => Self::Less,
            "lte" => Self::LessOrEqual,
            "gt" => Self::Greater,
            "gte" => Self::GreaterOrEqual,
            "eq" => Self::Equal,
            "neq" => Self::NotEqual,
            _ => return None,
        })
    }
}

impl Bound {
    fn holds(self, number: f64) -> bool {
        let Self { operator, limit } = self;
        match operator {
            Operator::Less => number < limit,
            Operator::LessOrEqual => number <= limit,
            Operator::Greater => number > limit,
            Operator::GreaterOrEqual => number >= limit,
            Operator::Equal => number.total_cmp(&limit).is_eq(),
            Operator::NotEqual => number.total_cmp(&limit).is_ne(),
        }
    }
}

impl Wanted {
    /// Every one of so many rules.
    pub(super) fn all(rules: usize) -> Self {
        let operator = Operator::GreaterOrEqual;
        let limit = real(rules);
        Self::Number(vec![Bound { operator, limit }])
    }

    /// Reads `a and (b or c)` over the rules of a correlation, by what it calls them.
    pub(super) fn of_rules(text: &str, rules: &[String]) -> Result<Self, Reason> {
        let condition = condition::parse(text, rules)?;
        if negates(&condition) {
            let detail = "what must not happen would be known only when the time is over".into();
            return Err(Reason::Condition { detail });
        }
        Ok(Self::Rules(condition))
    }

    pub(super) fn number_holds(&self, number: f64) -> bool {
        match self {
            Self::Number(bounds) => bounds.iter().all(|bound| bound.holds(number)),
            Self::Rules(_) => false,
        }
    }

    /// Whether the rules that happened are those that are waited for.
    pub(super) fn rules_hold(&self, happened: &[bool]) -> bool {
        match self {
            Self::Number(_) => {
                let count = happened.iter().filter(|happened| **happened).count();
                self.number_holds(real(count))
            }
            Self::Rules(condition) => holds(condition, happened),
        }
    }

    /// Why no event will ever be the one that completes it.
    pub(super) fn never(&self, kind: CorrelationKind, rules: usize) -> Option<&'static str> {
        let most = match kind {
            CorrelationKind::Metric(_) => return None,
            CorrelationKind::Events | CorrelationKind::Values => MOST_WANTED,
            CorrelationKind::Together | CorrelationKind::InOrder => {
                u32::try_from(rules).unwrap_or(u32::MAX)
            }
        };
        let met = |wanted: &Self| (1..=most).any(|count| wanted.number_holds(f64::from(count)));
        match (kind, self) {
            (CorrelationKind::InOrder, _) => match self.skipped(rules) {
                None => Some("in order, all rules are waited for, or at least so many of them"),
                Some(skipped) => (rules.saturating_mul(skipped + 1) > MOST_CHAINS)
                    .then_some("too many orders of so many rules"),
            },
            (_, Self::Number(_)) if !met(self) => Some("no count that there may be fits"),
            _ => None,
        }
    }

    /// In order: how many of the rules may be missing.
    pub(super) fn skipped(&self, rules: usize) -> Option<usize> {
        match self {
            Self::Rules(Condition::All(parts)) => {
                let all = (0..rules).all(|rule| parts.contains(&Condition::Search(rule)));
                all.then_some(0)
            }
            Self::Rules(condition) => {
                (rules == 1 && *condition == Condition::Search(0)).then_some(0)
            }
            Self::Number(_) => {
                let least = (1..=rules).find(|count| self.number_holds(real(*count)))?;
                let more = (least..=rules).all(|count| self.number_holds(real(count)));
                more.then_some(rules - least)
            }
        }
    }
}

fn negates(condition: &Condition) -> bool {
    match condition {
        Condition::Search(_) => false,
        Condition::All(parts) | Condition::Any(parts) => parts.iter().any(negates),
        Condition::Not(_) => true,
    }
}

fn holds(condition: &Condition, happened: &[bool]) -> bool {
    match condition {
        Condition::Search(rule) => happened.get(*rule).copied().unwrap_or(false),
        Condition::All(parts) => parts.iter().all(|part| holds(part, happened)),
        Condition::Any(parts) => parts.iter().any(|part| holds(part, happened)),
        Condition::Not(part) => !holds(part, happened),
    }
}

/// Counts here are far below what a float holds exactly.
pub(super) fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
