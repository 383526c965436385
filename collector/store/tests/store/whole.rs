//! A sealed event is the event that was signed, to the byte, whatever of it stands in columns.

use std::path::Path;

use picket_event::{Event, Kind};
use picket_proto::v1;
use picket_store::{Reader, RowCell, RowOrder, RowQuery, SealOptions, Sealer, Store};
use proptest::prelude::*;
use prost::Message;

use crate::arbitrary;
use crate::host::{Host, exec, open};

/// Merging as early as can be.
const MERGING: SealOptions = SealOptions {
    batch_bytes: 1,
    merged_bytes: 8 << 20,
    merge_at: 2,
};

/// Of every event its number and its bytes.
fn bytes(reader: &Reader) -> Vec<(i64, Vec<u8>)> {
    let mut scan = reader.rows(RowQuery {
        columns: vec!["stream".to_owned(), "event".to_owned()],
        order: RowOrder::OldestFirst,
        ..RowQuery::default()
    });
    let mut found = Vec::new();
    while let Some(row) = scan.next_row().unwrap() {
        let bytes = match row.cell(1) {
            RowCell::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        };
        let bytes = bytes.unwrap();
        let seq = v1::Event::decode(bytes.as_slice()).unwrap().seq;
        found.push((i64::try_from(seq).unwrap(), bytes));
    }
    found.sort();
    found
}

/// Seals step by step, then merges, and looks at the bytes each time.
fn sealed_bytes(folder: &Path, store: &Store, expected: &[(i64, Vec<u8>)]) {
    let reader = store.reader();
    let (mut sealer, _) = Sealer::open(&reader, &folder.join("sealed"), MERGING).unwrap();
    while sealer.seal().unwrap().events > 0 {}
    assert_eq!(sealer.waiting_bytes(), 0);
    assert_eq!(bytes(&reader), expected);
    let mut merged = 0;
    loop {
        let report = sealer.compact().unwrap();
        if report.files == 0 {
            break;
        }
        merged += report.replaced;
        assert_eq!(bytes(&reader), expected);
    }
    assert!(merged > 1, "{merged}");
}

fn check(mut events: Vec<Event>) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder.path().join("wal"));
    let mut host = Host::new();
    let mut expected = Vec::new();
    for (event, seq) in events.iter_mut().zip(0..) {
        event.seq = seq;
        // In one folder, so that there is something to merge.
        event.time.0 = event.time.0.rem_euclid(1_000_000_000);
        let bytes = v1::Event::from(event.clone()).encode_to_vec();
        expected.push((i64::try_from(seq).unwrap(), bytes));
    }
    for some in events.chunks(3) {
        store.append(host.batch(some.to_vec())).unwrap();
    }
    store.sync().unwrap();
    sealed_bytes(folder.path(), &store, &expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_event_comes_back_to_the_byte(events in prop::collection::vec(arbitrary::event(), 6..30)) {
        check(events);
    }
}

#[test]
fn an_event_that_is_written_in_another_way_stands_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder.path().join("wal"));
    let mut host = Host::new();
    let mut expected = Vec::new();
    for seq in 0..6_u64 {
        let mut event = exec("/bin/a", 3);
        event.seq = seq;
        let mut bytes = v1::Event::from(event).encode_to_vec();
        match seq {
            // The source comes once more, behind everything else.
            1 | 4 => bytes.extend([0x28, 0x01]),
            // A field that this version does not know.
            2 => bytes.extend([0xfa, 0x07, 0x01, b'x']),
            _ => {}
        }
        expected.push((i64::try_from(seq).unwrap(), bytes.clone()));
        let kinds = [Kind::Exec];
        store.append(host.raw(&[bytes], &kinds)).unwrap();
    }
    store.sync().unwrap();
    sealed_bytes(folder.path(), &store, &expected);
}
