//! How much of what intruders do is seen and judged: tests of a list, run one by one in a throw-away machine, and what became of each.
//!
//! Three parts: [`drive`] (on this host: boots the machine, hands it one test at a time), [`guest`] (in the machine: runs the test beside
//! the agent), [`judge`] (pure: list, log and events give the report).
//!
//! # Invariants
//!
//! - Each test begins in the same machine, as it was when the agent had been ready: nothing of an earlier test is left.
//! - The text of a test is never in an argument of a process that the guest's runner starts: shells read it from standard input.
//! - Only what the test's own process tree did counts for it, never what its shell's start or the runner gave away.
//! - Nothing here looks at who a test is (guid, name): the list can be any list of this form.

pub mod attack;
pub mod drive;
pub mod guest;
pub mod judge;
pub mod launch;
pub mod list;
mod machine;
pub mod record;
pub mod report;
mod table;
pub(crate) mod tree;
mod words;
