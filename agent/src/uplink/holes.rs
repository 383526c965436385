//! Finds the holes in what the collector has: numbers that were sealed here and can never be sent again.
//!
//! # Invariants
//!
//! - A hole begins where the collector says that its chain ends, and ends where ours goes on.
//! - What was acknowledged before is the collector's loss; the rest was lost here.

use picket_event::batch::{ClassHead, Header, PreviousStream};
use picket_event::{Class, Gap, GapReason, StreamId};
use picket_proto::v1;
use picket_seal::Digest;
use picket_spool::{LossReason, SpoolError};
use prost::Message;

use crate::seal::Range;
use crate::store::{Shared, spool_class};

/// Where the collector's chain stands, if the acknowledgement says so.
pub(super) fn stands(ack: &v1::EventAck) -> Option<(StreamId, ClassHead)> {
    let stream = StreamId::from_slice(&ack.stream).ok()?;
    let head = ClassHead {
        class: Class::from_wire(ack.class)?,
        next_seq: ack.durable_seq,
        head: Digest::from_slice(&ack.head).ok()?,
    };
    Some((stream, head))
}

/// The hole between where the collector's chain stands and the first batch of it that is still here.
pub(super) fn before_the_first(
    store: &Shared,
    stream: StreamId,
    from: ClassHead,
) -> Result<Option<Range>, SpoolError> {
    let class = spool_class(from.class);
    let mut spool = store.spool();
    let first = spool.next(class, None)?.map(|(_, record)| record);
    let Some(first) = first.filter(|first| first.stream == *stream.as_bytes()) else {
        return Ok(None);
    };
    let header = v1::BatchHeader::decode(first.header.as_slice()).ok();
    let Some(header) = header.and_then(|header| Header::try_from(header).ok()) else {
        return Ok(None);
    };
    let lines = spool.status().lines;
    let line = lines
        .iter()
        .find(|line| line.stream == first.stream && line.class == class);
    let acked = line.map_or(0, |line| line.durable_seq);
    let why = match spool.why_missing(first.stream, class) {
        LossReason::Folded | LossReason::Quota => GapReason::SpoolFull,
        LossReason::Corrupt | LossReason::Torn => GapReason::Corrupt,
    };
    let to = ClassHead {
        class: from.class,
        next_seq: header.seq_first,
        head: header.prev_hash,
    };
    Ok(hole(stream, from, to, acked, why))
}

/// The ends of the run before this one: what of it never came to the collector and is not here any more.
#[derive(Debug)]
pub(super) struct Ends {
    stream: StreamId,
    clean: bool,
    open: Vec<End>,
}

#[derive(Debug)]
struct End {
    to: ClassHead,
    stands: ClassHead,
}

impl Ends {
    /// Of the run before, by what the collector says when it welcomes us.
    pub(super) fn new(previous: Option<&PreviousStream>, welcome: &[v1::EventAck]) -> Option<Self> {
        let previous = previous?;
        let open = previous.heads.iter().filter_map(|to| {
            let stands = stands_of(previous.stream, to.class, welcome)?;
            Some(End { to: *to, stands })
        });
        Some(Self {
            stream: previous.stream,
            clean: previous.clean,
            open: open.collect(),
        })
    }

    /// The collector's chain has moved.
    pub(super) fn moved(&mut self, stream: StreamId, head: ClassHead) {
        for end in &mut self.open {
            if stream == self.stream && end.to.class == head.class {
                end.stands = head;
            }
        }
    }

    /// The hole at the end of a class, once; `next` is the run of the next batch of the class.
    pub(super) fn take(&mut self, class: Class, next: Option<[u8; 16]>) -> Option<Range> {
        if next == Some(*self.stream.as_bytes()) {
            return None;
        }
        let at = self.open.iter().position(|end| end.to.class == class)?;
        let End { to, stands } = self.open.swap_remove(at);
        let why = if self.clean {
            GapReason::Corrupt
        } else {
            GapReason::Crash
        };
        hole(self.stream, stands, to, 0, why)
    }
}

/// Where a chain stands at the collector; at its beginning if the collector knows nothing of it. `None` if that cannot be
/// said: it lists others only, or batches of this one are still on their way to its disk.
fn stands_of(stream: StreamId, class: Class, welcome: &[v1::EventAck]) -> Option<ClassHead> {
    let is_it = |ack: &&v1::EventAck| {
        ack.stream == stream.as_bytes() && Class::from_wire(ack.class) == Some(class)
    };
    match welcome.iter().find(is_it) {
        Some(listed) => stands(listed).map(|(_, head)| head),
        None => (welcome.len() < LISTED).then_some(ClassHead {
            class,
            next_seq: 0,
            head: Digest::ZERO,
        }),
    }
}

/// Numbers below `acked` were the collector's.
fn hole(
    stream: StreamId,
    from: ClassHead,
    to: ClassHead,
    acked: u64,
    why: GapReason,
) -> Option<Range> {
    let border = acked.clamp(from.next_seq, to.next_seq.max(from.next_seq));
    let parts = [
        (from.next_seq, border, GapReason::CollectorLoss),
        (border, to.next_seq, why),
    ];
    let gaps: Vec<Gap> = parts
        .into_iter()
        .filter(|(first, end, _)| first < end)
        .map(|(first, end, reason)| Gap {
            seq_first: first,
            count: Some(end.saturating_sub(first)),
            reason,
            kinds: Vec::new(),
            stream: None,
        })
        .collect();
    (!gaps.is_empty()).then_some(Range {
        stream,
        from,
        to,
        gaps,
    })
}

/// A collector that lists fewer chains than this when it welcomes has no others.
const LISTED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId::new([5; 16]);

    fn head(next_seq: u64) -> ClassHead {
        ClassHead {
            class: Class::Bulk,
            next_seq,
            head: Digest::of(&next_seq.to_le_bytes()),
        }
    }

    fn parts(range: &Range) -> Vec<(u64, Option<u64>, GapReason)> {
        let gaps = range.gaps.iter();
        gaps.map(|gap| (gap.seq_first, gap.count, gap.reason))
            .collect()
    }

    #[test]
    fn what_was_acknowledged_is_the_collectors_loss_and_the_rest_ours() {
        let range = hole(STREAM, head(4), head(10), 7, GapReason::Corrupt).unwrap();
        let expected = [
            (4, Some(3), GapReason::CollectorLoss),
            (7, Some(3), GapReason::Corrupt),
        ];
        assert_eq!(parts(&range), expected);
        let all = hole(STREAM, head(4), head(10), 12, GapReason::Corrupt).unwrap();
        assert_eq!(parts(&all), [(4, Some(6), GapReason::CollectorLoss)]);
        assert_eq!(
            hole(STREAM, head(10), head(10), 3, GapReason::Corrupt),
            None
        );
        assert_eq!(
            hole(STREAM, head(11), head(10), 3, GapReason::Corrupt),
            None
        );
    }

    #[test]
    fn the_end_of_the_run_before_is_asked_for_once_and_only_when_nothing_of_it_is_left() {
        let previous = PreviousStream {
            stream: STREAM,
            heads: vec![head(10)],
            clean: false,
        };
        let mut ends = Ends::new(Some(&previous), &[]).unwrap();
        assert_eq!(ends.take(Class::Alert, None), None);
        assert_eq!(ends.take(Class::Bulk, Some([5; 16])), None);
        ends.moved(STREAM, head(6));
        let range = ends.take(Class::Bulk, Some([6; 16])).unwrap();
        assert_eq!(parts(&range), [(6, Some(4), GapReason::Crash)]);
        assert_eq!((range.from, range.to), (head(6), head(10)));
        assert_eq!(ends.take(Class::Bulk, None), None);
    }

    #[test]
    fn a_collector_that_has_everything_is_asked_for_nothing() {
        let previous = PreviousStream {
            stream: STREAM,
            heads: vec![head(10)],
            clean: true,
        };
        let ack = v1::EventAck {
            stream: STREAM.as_bytes().to_vec(),
            class: Class::Bulk.to_wire(),
            durable_seq: 10,
            head: head(10).head.as_bytes().to_vec(),
            ..v1::EventAck::default()
        };
        let mut ends = Ends::new(Some(&previous), std::slice::from_ref(&ack)).unwrap();
        assert_eq!(ends.take(Class::Bulk, None), None);
        // It has some and cannot say yet where its chain ends: a hole from the beginning would be a second history.
        let unsettled = v1::EventAck {
            durable_seq: 4,
            head: Vec::new(),
            ..ack
        };
        let mut ends = Ends::new(Some(&previous), &[unsettled]).unwrap();
        assert_eq!(ends.take(Class::Bulk, None), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_of_an_acknowledgement_make_a_hole_that_is_none(
            stream in proptest::collection::vec(0_u8..7, 15..18),
            (class, durable_seq) in proptest::prelude::any::<(i32, u64)>(),
            head in proptest::collection::vec(0_u8..3, 31..34),
            named: bool,
            known: u64,
        ) {
            let stream = if named { STREAM.as_bytes().to_vec() } else { stream };
            let ack = v1::EventAck { stream, class: class % 5, durable_seq, head, ..v1::EventAck::default() };
            let previous = PreviousStream { stream: STREAM, heads: vec![self::head(known)], clean: named };
            let ends = Ends::new(Some(&previous), std::slice::from_ref(&ack));
            if let Some((stream, head)) = stands(&ack) {
                ends.map(|mut ends| {
                    ends.moved(stream, head);
                    ends.take(Class::Bulk, None)
                });
            } else if let Some(range) = ends.and_then(|mut ends| ends.take(Class::Bulk, None)) {
                proptest::prop_assert!(range.from.next_seq < range.to.next_seq);
                let sum: u64 = range.gaps.iter().filter_map(|gap| gap.count).sum();
                proptest::prop_assert_eq!(sum, range.to.next_seq - range.from.next_seq);
            }
        }
    }
}
