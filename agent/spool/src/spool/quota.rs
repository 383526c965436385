//! What goes when the quota is used up.
//!
//! - A record never pushes out one of a more important class: its own payload goes instead.
//! - Oldest first, whole segments at a time: BULK payloads, then SECURITY, then ALERT. Headers
//!   stay.
//! - Only when headers without payloads take more than a quarter of the quota, or nothing else is
//!   left, the oldest of them fold: of a segment, and in the end of a whole stream, the first and
//!   the last header stay.

use std::ops::RangeInclusive;

use super::Spool;
use super::rewrite::Keep;
use crate::error::SpoolError;
use crate::loss::{LossReason, Lost};
use crate::record::{Class, Record};
use crate::segment::{HEADER_LEN, size};

impl Spool {
    /// Frees what the record needs, or takes its payload, or refuses it.
    pub(super) fn make_room(&mut self, mut record: Record) -> Result<Record, SpoolError> {
        let class = record.class;
        if self.is_over(&record) {
            self.remove_all_done()?;
        }
        while self.is_over(&record) && self.free_some(class)? {}
        let own = self.is_over(&record) && !record.payload.is_empty();
        if own {
            record.payload.clear();
            record.payload_dropped = true;
        }
        while self.is_over(&record) {
            if !self.fold_oldest(class)? {
                let quota_bytes = self.limits.quota_bytes;
                return Err(SpoolError::Full {
                    bytes: self.bytes(),
                    quota_bytes,
                });
            }
        }
        if own {
            self.lost.push(Lost {
                stream: record.stream,
                class,
                seq_first: record.seq_first,
                count: Some(record.count),
                reason: LossReason::Quota,
            });
        }
        Ok(record)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.lanes
            .iter()
            .map(|(_, lane)| lane.bytes())
            .fold(0, u64::saturating_add)
    }

    fn is_over(&self, record: &Record) -> bool {
        let headers_to_come = size(HEADER_LEN).saturating_mul(3);
        let more = size(record.encoded_len()).saturating_add(headers_to_come);
        self.bytes().saturating_add(more) > self.limits.quota_bytes
    }

    fn remove_all_done(&mut self) -> Result<(), SpoolError> {
        Class::ALL
            .into_iter()
            .try_for_each(|class| self.remove_done(class, true))
    }

    /// One step for a record of `class`; false when there is nothing that should go for it.
    fn free_some(&mut self, class: Class) -> Result<bool, SpoolError> {
        let many_headers = self.bytes_of_headers(class) > self.limits.quota_bytes / 4;
        Ok((many_headers && self.fold_oldest(class)?) || self.drop_oldest_payloads(class)?)
    }

    fn drop_oldest_payloads(&mut self, class: Class) -> Result<bool, SpoolError> {
        for other in not_above(class) {
            if self.lanes.of(other).pending.has_payload() && self.with_payload(other).is_none() {
                self.flush(other)?;
            }
            if let Some(at) = self.with_payload(other) {
                self.rewrite(other, at..=at, Keep::Headers)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn fold_oldest(&mut self, class: Class) -> Result<bool, SpoolError> {
        for other in not_above(class) {
            if let Some(span) = self.foldable(other) {
                self.rewrite(other, span, Keep::Ends)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The oldest segment whose headers can fold, or else the oldest two neighbours that can become
    /// one.
    fn foldable(&self, class: Class) -> Option<RangeInclusive<usize>> {
        let segments = &self.lanes.of(class).segments;
        let single = segments
            .iter()
            .position(|s| s.payload_bytes == 0 && s.records > 2);
        let pairs = segments.iter().zip(segments.iter().skip(1));
        let pair = || {
            pairs.enumerate().find(|(_, (a, b))| {
                a.stream == b.stream && a.payload_bytes == 0 && b.payload_bytes == 0
            })
        };
        single
            .map(|at| at..=at)
            .or_else(|| pair().map(|(at, _)| at..=at.saturating_add(1)))
    }

    fn with_payload(&self, class: Class) -> Option<usize> {
        self.lanes
            .of(class)
            .segments
            .iter()
            .position(|segment| segment.payload_bytes > 0)
    }

    fn bytes_of_headers(&self, class: Class) -> u64 {
        let segments = not_above(class).flat_map(|other| &self.lanes.of(other).segments);
        let bare = segments.filter(|segment| segment.payload_bytes == 0);
        bare.map(|segment| segment.bytes)
            .fold(0, u64::saturating_add)
    }
}

/// Least important first, down to `class` itself.
fn not_above(class: Class) -> impl Iterator<Item = Class> {
    Class::ALL
        .into_iter()
        .rev()
        .take_while(move |other| *other >= class)
}
