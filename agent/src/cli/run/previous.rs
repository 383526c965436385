//! How the run before this one ended, from its state file and from what it left in the spool.

use picket_event::batch::{ClassHead, PreviousStream};
use picket_event::{Class, StreamId};
use picket_seal::header_hash;
use picket_spool::{Record, Spool};

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
                advance(&mut previous.heads, &record);
            }
        }
        previous
    }))
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

/// The file may be some seconds old; the spool is not.
fn advance(heads: &mut Vec<ClassHead>, record: &Record) {
    let class = event_class(record.class);
    let next_seq = record.seq_first.saturating_add(record.count);
    let known = heads.iter().find(|head| head.class == class);
    if known.is_none_or(|known| known.next_seq < next_seq) {
        heads.retain(|head| head.class != class);
        heads.push(ClassHead {
            class,
            next_seq,
            head: header_hash(&record.header),
        });
    }
}

#[cfg(test)]
mod tests {
    use picket_seal::Digest;

    use super::*;

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
        advance(&mut heads, &record);
        assert_eq!(
            (heads[0].next_seq, heads[0].head),
            (15, header_hash(b"header"))
        );
        heads[0].next_seq = 99;
        advance(&mut heads, &record);
        assert_eq!((heads.len(), heads[0].next_seq), (1, 99));
    }
}
