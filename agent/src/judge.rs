//! What an agent says of a command before it looks at its host, for whoever simulates hosts and wants to verify for real.
//!
//! What stays true: these are the agent's own checks, in its order. What they leave to the caller are the ids that were
//! seen before, which a real agent keeps on disk, and everything about the host itself.

use picket_event::command::Command;
use picket_event::{Containment, ReceiptState, UnixNanos};
use picket_proto::v1;

use crate::respond::check::{self, Checked};

pub use crate::respond::check::Addressee;

/// A command that is for this host and that enough of its operators signed.
#[derive(Clone, Debug)]
pub struct Judged(Checked);

/// Checks size, signatures, host and ring. A no is the receipt that the agent would give.
pub fn judge(
    signed: &v1::SignedCommand,
    start: Option<&v1::SignedStatement>,
    to: Addressee<'_>,
    now: UnixNanos,
) -> Result<Judged, Box<Containment>> {
    let checked = check::addressed(signed, start, to, now);
    checked
        .map(Judged)
        .map_err(|no| Box::new(no.into_receipt()))
}

impl Judged {
    /// What is asked.
    pub const fn command(&self) -> &Command {
        &self.0.command
    }

    /// Checks, after the id, whether it is neither too early nor too late.
    pub fn timely(&self, now: UnixNanos) -> Result<(), Box<Containment>> {
        check::time(&self.0, now).map_err(|no| Box::new(no.into_receipt()))
    }

    /// The same id was used before, for other bytes.
    pub fn replayed(&self) -> Containment {
        self.0
            .refuse("replayed", "this id was used before")
            .into_receipt()
    }

    /// An answer.
    pub fn receipt(&self, state: ReceiptState, effect: &str) -> Containment {
        self.0.receipt(state, effect)
    }
}
