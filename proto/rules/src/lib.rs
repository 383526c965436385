//! Sigma rules: parse, compile, evaluate one event.
//!
//! ```text
//! YAML -> tree with lines -> rule (searches, condition) -> boolean program, cheap tests first
//!                                                      \-> the rarest text it needs -> index
//! event -> index -> candidates -> programs -> hits -> verdicts
//! ```
//!
//! # Invariants
//!
//! - Sigma files are read unchanged. What is not built is refused by name, never left out.
//! - No input makes it panic; text, nesting, tests and regular expressions are bounded.
//! - The cost of an event depends on its text and its candidates, not on the number of rules.
//! - No clock, no disk, no socket: the same rules and events give the same hits.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

mod check;
mod collection;
mod condition;
mod correlation;
mod date;
mod encode;
mod expression;
mod filter;
mod first_seen;
mod grams;
mod hash;
mod index;
mod logsource;
mod modifier;
mod pattern;
mod program;
mod record;
mod refusal;
mod rule;
mod ruleset;
mod scratch;
mod search;
mod sequence;
mod span;
mod view;
mod yaml;

pub use check::{Checked, Examples, check, check_beside, examples, names};
pub use correlation::{Correlations, Forgotten, MOST_GROUPS, MOST_SEEN};
pub use first_seen::{MOST_VALUES, MOST_VALUES_OF_ONE};
pub use record::{FieldId, Record, Values};
pub use refusal::{Reason, Refusal};
pub use rule::RuleInfo;
pub use ruleset::{Figures, Loaded, Note, Remark, RuleHit, RuleSet, Source};
pub use scratch::Scratch;
pub use sequence::{MOST_OPEN, MOST_OPEN_OF_ONE};
pub use view::written::Written;
