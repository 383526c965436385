//! What the spool lost, in numbers, so that the agent can sign it as a gap.

use crate::record::Class;

/// A range of numbers whose events are gone, or partly gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lost {
    /// The run of the agent.
    pub stream: [u8; 16],
    /// The class inside the stream.
    pub class: Class,
    /// First number of the range.
    pub seq_first: u64,
    /// How many numbers; `None` where that cannot be known.
    pub count: Option<u64>,
    /// Why.
    pub reason: LossReason,
}

/// Why numbers were lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LossReason {
    /// The quota was used up: the payloads are gone, the signed headers stay and will be sent.
    Quota,
    /// The quota was used up by headers alone: the headers between two that stay are gone too.
    /// Their numbers were reported as [`LossReason::Quota`] or had no payload: do not count them
    /// again.
    Folded,
    /// Bytes changed on disk: the whole record is gone.
    Corrupt,
    /// The end of a stream is cut short: records that no `sync` had confirmed, or damage there.
    Torn,
}
