//! How the run before this one ended, from its state file and from what it left in the spool.

use picket_event::batch::{ClassHead, Header, PreviousStream};
use picket_event::{Class, StreamId};
use picket_proto::v1;
use picket_seal::header_hash;
use picket_spool::{Record, Spool};
use prost::Message;

use crate::failure::{Failure, chain};
use crate::state::{StateDir, StateError, stream};
use crate::store::{event_class, spool_class};

/// The run before, as far as it is known. A damaged state file is set aside and the spool asked.
pub(super) fn read(state: &StateDir, spool: &mut Spool) -> Result<Option<PreviousStream>, Failure> {
    let newest = newest(spool);
    let previous = match stream::read(state) {
        Ok(previous) => previous,
        Err(error @ StateError::Damaged { .. }) => {
            let aside = stream::set_aside(state)?.display().to_string();
            tracing::error!(
                reason = chain(&error),
                aside,
                "the run before is known from the spool"
            );
            newest.first().map(|record| PreviousStream {
                stream: StreamId::new(record.stream),
                heads: Vec::new(),
                clean: false,
            })
        }
        Err(error) => return Err(error.into()),
    };
    Ok(previous.map(|mut previous| {
        for record in newest {
            if record.stream == *previous.stream.as_bytes() {
                advance_by(&mut previous.heads, &record);
            }
        }
        previous
    }))
}

/// The runs before this one that the collector may not know the end of, the oldest first; kept for the next run.
///
/// A disk that is full does not keep the agent from starting: then the next run knows less.
pub(super) fn with_earlier(
    state: &StateDir,
    previous: Option<&PreviousStream>,
) -> Result<Vec<PreviousStream>, Failure> {
    let mut runs = match stream::read_earlier(state) {
        Ok(runs) => runs,
        Err(error @ StateError::Damaged { .. }) => {
            let aside = stream::set_earlier_aside(state)?.display().to_string();
            tracing::error!(reason = chain(&error), aside, "earlier runs are not known");
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(previous) = previous {
        runs.retain(|run| run.stream != previous.stream);
        runs.push(previous.clone());
    }
    let old = runs.len().saturating_sub(RUNS);
    runs.drain(..old);
    if let Err(error) = stream::write_earlier(state, &runs) {
        tracing::error!(reason = chain(&error), "earlier runs not kept");
    }
    Ok(runs)
}

fn newest(spool: &mut Spool) -> Vec<Record> {
    let mut newest = Vec::new();
    for class in Class::ALL {
        match spool.last(spool_class(*class)) {
            Ok(last) => newest.extend(last),
            Err(error) => tracing::warn!(reason = chain(&error), "newest batch cannot be read"),
        }
    }
    newest
}

fn advance_by(heads: &mut Vec<ClassHead>, record: &Record) {
    for head in told(record) {
        advance(heads, head);
    }
}

/// What a record tells of its own class and, so that the loss of their last records is known, of the others.
fn told(record: &Record) -> Vec<ClassHead> {
    let own = ClassHead {
        class: event_class(record.class),
        next_seq: record.seq_first.saturating_add(record.count),
        head: header_hash(&record.header),
    };
    let header = v1::BatchHeader::decode(record.header.as_slice()).ok();
    let header = header.and_then(|header| Header::try_from(header).ok());
    let others = header.map_or_else(Vec::new, |header| header.other_heads);
    std::iter::once(own).chain(others).collect()
}

/// The file may be some seconds old; the spool is not.
fn advance(heads: &mut Vec<ClassHead>, head: ClassHead) {
    let known = heads.iter().find(|known| known.class == head.class);
    if known.is_none_or(|known| known.next_seq < head.next_seq) {
        heads.retain(|known| known.class != head.class);
        heads.push(head);
    }
}

/// Runs before this one that are remembered.
const RUNS: usize = 16;

#[cfg(test)]
mod tests {
    use picket_event::{BootId, Event, HostId, Kind, Source, UnixNanos};
    use picket_seal::{Digest, SigningKey};

    use super::*;
    use crate::seal::{Now, Sealer, Signer, Speaker};

    #[test]
    fn the_spool_knows_better_than_an_old_file_and_never_goes_back() {
        let record = Record {
            stream: [1; 16],
            class: picket_spool::Class::Bulk,
            seq_first: 10,
            count: 5,
            header: b"header".to_vec(),
            payload: Vec::new(),
            signature: [0; 64],
            extra: Vec::new(),
            payload_dropped: false,
        };
        let mut heads = vec![ClassHead {
            class: Class::Bulk,
            next_seq: 3,
            head: Digest::ZERO,
        }];
        advance_by(&mut heads, &record);
        assert_eq!(
            (heads[0].next_seq, heads[0].head),
            (15, header_hash(b"header"))
        );
        heads[0].next_seq = 99;
        advance_by(&mut heads, &record);
        assert_eq!((heads.len(), heads[0].next_seq), (1, 99));
    }

    #[test]
    fn each_run_is_remembered_once_and_the_oldest_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let run = |number: u8| PreviousStream {
            stream: StreamId::new([number; 16]),
            heads: vec![ClassHead {
                class: Class::Bulk,
                next_seq: u64::from(number),
                head: Digest::of(&[number]),
            }],
            clean: number.is_multiple_of(2),
        };
        assert_eq!(with_earlier(&state, None).unwrap(), []);
        for number in 0..20 {
            with_earlier(&state, Some(&run(number))).unwrap();
            let again = with_earlier(&state, Some(&run(number))).unwrap();
            assert_eq!(again.last(), Some(&run(number)));
        }
        let kept: Vec<_> = (4..20).map(run).collect();
        assert_eq!(with_earlier(&state, None).unwrap(), kept);
        state.write("streams.json", b"[{").unwrap();
        assert_eq!(with_earlier(&state, Some(&run(1))).unwrap(), [run(1)]);
    }

    // The last records of a class were damaged, and nobody knew that they had been: the collector waited for them for ever.
    #[test]
    fn what_the_headers_of_other_classes_say_counts_too() {
        let speaker = Speaker {
            host: HostId::new([1; 32]),
            stream: StreamId::new([1; 16]),
            boot: BootId::new([3; 16]),
        };
        let now = Now {
            wall: UnixNanos(1),
            mono_ns: 1,
        };
        let key = SigningKey::generate().unwrap();
        let signer = Signer {
            epoch: 0,
            key: &key,
        };
        let mut sealer = Sealer::new(speaker, None).unwrap();
        let event = |kind| Box::new(Event::new(kind, UnixNanos(1), Source::Agent));
        sealer.push(event(Kind::Exec), now, signer).unwrap();
        sealer.flush_all(now, signer).unwrap();
        sealer.push(event(Kind::Fork), now, signer).unwrap();
        let sealed = sealer.flush_all(now, signer).unwrap();
        let last = &sealed[0];
        let record = Record {
            stream: *last.stream.as_bytes(),
            class: spool_class(last.class),
            seq_first: last.seq_first,
            count: last.count,
            header: last.header.clone(),
            payload: Vec::new(),
            signature: [0; 64],
            extra: Vec::new(),
            payload_dropped: false,
        };
        let mut heads = Vec::new();
        advance_by(&mut heads, &record);
        heads.sort_by_key(|head| head.class);
        let mut expected = sealer.heads();
        expected.sort_by_key(|head| head.class);
        assert_eq!(heads, expected);
    }
}
