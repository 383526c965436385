//! `where` expressions: `process.exe = '/usr/bin/curl' and not login.user ~ 'ro'`.
//!
//! The language is described for its users in `docs/search.md`.
//!
//! # Invariants
//!
//! - A field that does not exist is an error of the expression; one that an event does not have
//!   makes its comparison false, `!=` included.
//! - Text and depth are bounded, so that no expression exhausts memory or stack.

mod compare;
mod parse;
mod token;

use crate::Event;
use crate::field::Field;

use compare::{Literal, Operator};

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Filter(Expression);

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem} at character {position}")]
pub struct FilterError {
    /// Which character, from 1.
    pub position: usize,
    /// What is wrong there.
    pub problem: String,
}

impl Filter {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(Self)
    }

    /// Whether the event satisfies it.
    pub fn matches(&self, event: &Event) -> bool {
        self.0.holds(event)
    }
}

#[derive(Clone, Debug)]
enum Expression {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    Compare {
        field: Field,
        operator: Operator,
        literals: Vec<Literal>,
    },
}

impl Expression {
    fn holds(&self, event: &Event) -> bool {
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.holds(event)),
            Self::All(parts) => parts.iter().all(|part| part.holds(event)),
            Self::Not(inner) => !inner.holds(event),
            Self::Compare {
                field,
                operator,
                literals,
            } => field
                .of(event)
                .is_some_and(|value| compare::holds(&value, *operator, literals)),
        }
    }
}

#[cfg(test)]
mod tests;
