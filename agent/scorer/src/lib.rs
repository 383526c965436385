//! How surprising an event is on this host, and exactly why.
//!
//! The path of an event, one module a step:
//!
//! ```text
//! Event -> feature -> table, command (counts) -> factor (bits) -> calibration (p) -> ScorerVerdict
//! ```
//!
//! # Invariants
//!
//! - Pure: no clock, disk, socket or thread. Time is an argument.
//! - Deterministic: the same events give the same scores, bit for bit, also through a snapshot in the
//!   middle. The state holds integers only; logarithms are taken in integers.
//! - Every score follows from its own explanation: [`recompute`] needs nothing but the reasons.
//! - Scoring comes before learning: an event never makes itself usual.
//! - Memory is fixed when the scorer is made. No event, however large or strange, makes it panic or
//!   grow.
//! - While a context is learning it raises no alert.
//!
//! What is modelled, and what cannot be seen, stands in `docs/scorer.md`.

#![forbid(unsafe_code)]

mod access;
mod alerts;
mod calendar;
mod calibration;
mod command;
mod drift;
mod explain;
mod factor;
mod feature;
mod fleet;
mod keys;
mod late;
mod ngrams;
mod place;
mod refusals;
mod score;
mod scorer;
mod sequence;
mod sessions;
mod settings;
mod snapshot;
mod surprise;
mod table;
mod tail;
mod windows;

pub use access::{Access, AccessModel, AccessReason, AccessScore};
pub use alerts::{Alerts, Decision, Density, Incident, incident_of};
pub use command::{CommandModel, CommandScore, MarkScore};
pub use drift::Drift;
pub use explain::{Recomputed, is_mature_reason, recompute, sentence};
pub use fleet::FleetKnowledge;
pub use scorer::{Maturity, Scorer};
pub use sequence::{SequenceModel, SequenceScore, View, class_of_i386};
pub use settings::Settings;
pub use snapshot::SnapshotError;
pub use windows::Changes;
