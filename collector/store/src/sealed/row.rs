//! One event on its way into a sealed file: whose it is, and its exact bytes.

use std::cmp::Ordering;

use picket_event::{BootId, Class, HostId, StreamId, UnixNanos};
use prost::bytes::Bytes;

use crate::Summary;

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) time: UnixNanos,
    pub(crate) received: UnixNanos,
    pub(crate) host: HostId,
    pub(crate) boot: BootId,
    pub(crate) stream: StreamId,
    pub(crate) seq: u64,
    /// As it stood in the payload that was signed.
    pub(crate) bytes: Bytes,
    pub(crate) summary: Summary,
}

impl Row {
    /// What it takes in memory, in bytes, roughly.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len().saturating_add(size_of::<Self>())
    }

    /// Where it stands in a file: by time; where that is the same, so that the order never changes.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let by_time = self.time.cmp(&other.time);
        by_time
            .then_with(|| self.host.cmp(&other.host))
            .then_with(|| self.stream.cmp(&other.stream))
            .then_with(|| self.seq.cmp(&other.seq))
    }

    /// In which folder it belongs.
    pub(crate) fn partition(&self, class: Class) -> Partition {
        // A host may say any time at all; that must not make folders without end.
        let ahead = self.time.since(self.received);
        let behind = self.received.since(self.time);
        let is_near = ahead.max(behind) <= NEAR;
        let time = if is_near { self.time } else { self.received };
        Partition {
            class,
            hour: time.0.div_euclid(HOUR_NS),
        }
    }
}

/// A folder of sealed files: one class, one hour.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Partition {
    pub(crate) class: Class,
    /// Hours since 1970.
    pub(crate) hour: i64,
}

impl Partition {
    /// The last instant of its hour.
    pub(crate) fn end(&self) -> UnixNanos {
        UnixNanos(self.hour.saturating_add(1).saturating_mul(HOUR_NS))
    }

    /// Below the folder of all sealed files: `class=security/day=2026-01-05/hour=10`.
    pub(crate) fn folder(&self) -> String {
        let begin = UnixNanos(self.hour.saturating_mul(HOUR_NS)).to_string();
        let day = begin.get(..10).unwrap_or("0000-00-00");
        let hour = begin.get(11..13).unwrap_or("00");
        format!("class={}/day={day}/hour={hour}", self.class)
    }
}

const HOUR_NS: i64 = 3_600_000_000_000;

/// How far an event's time may be from its arrival to decide about its folder.
const NEAR: std::time::Duration = std::time::Duration::from_hours(7 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_by_class_day_and_hour() {
        let partition = Partition {
            class: Class::Security,
            hour: 490_000,
        };
        assert_eq!(partition.folder(), "class=security/day=2025-11-24/hour=16");
    }
}
