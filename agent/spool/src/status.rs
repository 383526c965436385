//! What the spool holds, for the ledger and for people.

use crate::record::Class;

/// What the spool holds. Records that were appended but not yet synced count as held.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// Bytes on disk and waiting in memory.
    pub bytes: u64,
    /// The most that `bytes` may reach.
    pub quota_bytes: u64,
    /// Of `bytes`, those that wait in memory for `sync`.
    pub pending_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Per class that holds something, most important first.
    pub classes: Vec<ClassStatus>,
    /// Per stream and class, oldest stream first.
    pub lines: Vec<LineStatus>,
    /// The record that has waited longest.
    pub oldest: Option<Oldest>,
}

/// One class over all streams.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClassStatus {
    /// The class.
    pub class: Class,
    /// Records not acknowledged.
    pub records: u64,
    /// Numbers not acknowledged that these records cover.
    pub events: u64,
}

/// One class of one stream: the `spooled` of the ledger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LineStatus {
    /// The stream.
    pub stream: [u8; 16],
    /// The class.
    pub class: Class,
    /// Everything below this number is acknowledged.
    pub durable_seq: u64,
    /// The number that follows the last record appended.
    pub next_seq: u64,
    /// Numbers held: appended, readable and not acknowledged.
    pub spooled: u64,
}

/// Names a record without its content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Oldest {
    /// The stream.
    pub stream: [u8; 16],
    /// The class.
    pub class: Class,
    /// First number of the record.
    pub seq_first: u64,
}
