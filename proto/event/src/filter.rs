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
mod need;
mod parse;
mod token;

use crate::Event;
use crate::field::Field;

use compare::{Literal, Operator};

pub use need::{Need, Test};

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
        self.0.holds(event, None)
    }

    /// The same for an event of a session that began with this login: a `login` field that the event does not have is the login's.
    pub fn matches_within(&self, event: &Event, login: Option<&Event>) -> bool {
        self.0.holds(event, login)
    }

    /// Whether it has a field whose path begins so.
    pub fn mentions(&self, beginning: &str) -> bool {
        self.0.mentions(beginning)
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
    fn holds(&self, event: &Event, login: Option<&Event>) -> bool {
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.holds(event, login)),
            Self::All(parts) => parts.iter().all(|part| part.holds(event, login)),
            Self::Not(inner) => !inner.holds(event, login),
            Self::Compare {
                field,
                operator,
                literals,
            } => {
                let of_session = || {
                    let login = login.filter(|_| field.path().starts_with("login."))?;
                    field.of(login)
                };
                field
                    .of(event)
                    .or_else(of_session)
                    .is_some_and(|value| compare::holds(&value, *operator, literals))
            }
        }
    }

    fn mentions(&self, beginning: &str) -> bool {
        match self {
            Self::Any(parts) | Self::All(parts) => {
                parts.iter().any(|part| part.mentions(beginning))
            }
            Self::Not(inner) => inner.mentions(beginning),
            Self::Compare { field, .. } => field.path().starts_with(beginning),
        }
    }
}

#[cfg(test)]
mod tests;
