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

/// The ends of the runs before this one: what of them never came to the collector and is not here any more.
#[derive(Debug)]
pub(super) struct Ends {
    own: StreamId,
    /// The oldest first.
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    stream: StreamId,
    clean: bool,
    ends: Vec<End>,
    /// Whether the collector said of each class where it stands.
    told: bool,
}

#[derive(Debug)]
struct End {
    to: ClassHead,
    stands: ClassHead,
    /// What was acknowledged, as far as the spool knows.
    acked: u64,
    asked: bool,
}

impl Ends {
    /// Of the runs before `own`, the oldest first, by what the collector says when it welcomes us; `acked` is what the spool knows
    /// to be acknowledged.
    pub(super) fn new(
        own: StreamId,
        runs: &[PreviousStream],
        welcome: &[v1::EventAck],
        acked: impl Fn(StreamId, Class) -> u64,
    ) -> Self {
        let runs = runs.iter().map(|run| {
            let ends = run.heads.iter().filter_map(|to| {
                Some(End {
                    to: *to,
                    stands: stands_of(run.stream, to.class, welcome)?,
                    acked: acked(run.stream, to.class),
                    asked: false,
                })
            });
            let ends: Vec<End> = ends.collect();
            Run {
                stream: run.stream,
                clean: run.clean,
                told: ends.len() == run.heads.len(),
                ends,
            }
        });
        Self {
            own,
            runs: runs.collect(),
        }
    }

    /// The collector's chain has moved.
    pub(super) fn moved(&mut self, stream: StreamId, head: ClassHead) {
        let runs = self.runs.iter_mut().filter(|run| run.stream == stream);
        for end in runs.flat_map(|run| &mut run.ends) {
            if end.to.class == head.class {
                end.stands = head;
            }
        }
    }

    /// The runs of which the collector has everything, or knows what is lost.
    pub(super) fn whole(&self) -> Vec<StreamId> {
        let has = |end: &End| end.stands.next_seq >= end.to.next_seq;
        let whole = |run: &&Run| run.told && run.ends.iter().all(has);
        let runs = self.runs.iter().filter(whole);
        runs.map(|run| run.stream).collect()
    }

    /// The next hole at the end of a class, each once; `next` is the run of the next batch of the class.
    ///
    /// Only runs before that one have nothing left here. Of a run that is not known, older ones may follow.
    pub(super) fn take(&mut self, class: Class, next: Option<[u8; 16]>) -> Option<Range> {
        let next = next.filter(|next| next != self.own.as_bytes());
        let sent = next.map_or(self.runs.len(), |next| {
            let at = self
                .runs
                .iter()
                .position(|run| *run.stream.as_bytes() == next);
            at.unwrap_or_default()
        });
        self.runs
            .iter_mut()
            .take(sent)
            .find_map(|run| run.take(class))
    }
}

impl Run {
    fn take(&mut self, class: Class) -> Option<Range> {
        let mut open = self.ends.iter_mut().filter(|end| !end.asked);
        let end = open.find(|end| end.to.class == class)?;
        end.asked = true;
        let End {
            to, stands, acked, ..
        } = *end;
        let why = if self.clean {
            GapReason::Corrupt
        } else {
            GapReason::Crash
        };
        hole(self.stream, stands, to, acked, why)
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

    const OWN: StreamId = StreamId::new([9; 16]);

    fn run(stream: u8, next_seq: u64, clean: bool) -> PreviousStream {
        PreviousStream {
            stream: StreamId::new([stream; 16]),
            heads: vec![head(next_seq)],
            clean,
        }
    }

    fn ends(runs: &[PreviousStream], welcome: &[v1::EventAck]) -> Ends {
        Ends::new(OWN, runs, welcome, |_, _| 0)
    }

    #[test]
    fn the_end_of_the_run_before_is_asked_for_once_and_only_when_nothing_of_it_is_left() {
        let mut ends = ends(&[run(5, 10, false)], &[]);
        assert_eq!(ends.take(Class::Alert, None), None);
        assert_eq!(ends.take(Class::Bulk, Some([5; 16])), None);
        ends.moved(STREAM, head(6));
        let range = ends.take(Class::Bulk, Some([9; 16])).unwrap();
        assert_eq!(parts(&range), [(6, Some(4), GapReason::Crash)]);
        assert_eq!((range.from, range.to), (head(6), head(10)));
        assert_eq!(ends.take(Class::Bulk, None), None);
    }

    // Two runs that never met the collector, each with batches in the spool: a hole was told over the later one while the batches of the
    // earlier were still to be sent, and its own were then a second history (`make test-faults SEED=5003 ROUNDS=13`).
    #[test]
    fn a_run_whose_batches_come_behind_those_of_another_is_not_taken_for_lost() {
        let mut ends = ends(&[run(4, 7, false), run(5, 10, true)], &[]);
        assert_eq!(ends.take(Class::Bulk, Some([4; 16])), None);
        assert_eq!(
            ends.take(Class::Bulk, Some([3; 16])),
            None,
            "older than is known"
        );
        ends.moved(StreamId::new([4; 16]), head(5));
        let range = ends.take(Class::Bulk, Some([5; 16])).unwrap();
        assert_eq!(ends.whole(), []);
        ends.moved(range.stream, head(7));
        assert_eq!(ends.whole(), [range.stream]);
        assert_eq!(range.stream, StreamId::new([4; 16]));
        assert_eq!(parts(&range), [(5, Some(2), GapReason::Crash)]);
        assert_eq!(ends.take(Class::Bulk, Some([5; 16])), None);
        ends.moved(STREAM, head(10));
        assert_eq!(ends.take(Class::Bulk, Some([9; 16])), None);
        assert_eq!(ends.whole().len(), 2);
    }

    #[test]
    fn what_was_acknowledged_of_an_earlier_run_is_the_collectors_loss() {
        let runs = [run(4, 7, true)];
        let mut ends = Ends::new(OWN, &runs, &[], |_, _| 6);
        let range = ends.take(Class::Bulk, None).unwrap();
        let expected = [
            (0, Some(6), GapReason::CollectorLoss),
            (6, Some(1), GapReason::Corrupt),
        ];
        assert_eq!(parts(&range), expected);
    }

    #[test]
    fn a_collector_that_has_everything_is_asked_for_nothing() {
        let previous = run(5, 10, true);
        let ack = v1::EventAck {
            stream: STREAM.as_bytes().to_vec(),
            class: Class::Bulk.to_wire(),
            durable_seq: 10,
            head: head(10).head.as_bytes().to_vec(),
            ..v1::EventAck::default()
        };
        let runs = std::slice::from_ref(&previous);
        let mut has_all = ends(runs, std::slice::from_ref(&ack));
        assert_eq!(has_all.take(Class::Bulk, None), None);
        // It has some and cannot say yet where its chain ends: a hole from the beginning would be a second history.
        let unsettled = v1::EventAck {
            durable_seq: 4,
            head: Vec::new(),
            ..ack
        };
        let mut has_some = ends(runs, &[unsettled]);
        assert_eq!(has_some.take(Class::Bulk, None), None);
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
            let mut ends = ends(&[previous], std::slice::from_ref(&ack));
            if let Some((stream, head)) = stands(&ack) {
                ends.moved(stream, head);
                ends.take(Class::Bulk, None);
            } else if let Some(range) = ends.take(Class::Bulk, None) {
                proptest::prop_assert!(range.from.next_seq < range.to.next_seq);
                let sum: u64 = range.gaps.iter().filter_map(|gap| gap.count).sum();
                proptest::prop_assert_eq!(sum, range.to.next_seq - range.from.next_seq);
            }
        }
    }
}
