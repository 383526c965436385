//! Rows of columns are the events of a search, in whatever order, sealed or not, here or in another process.

use std::collections::{BTreeSet, HashSet};

use picket_event::{Kind, UnixNanos};
use picket_store::{
    KindSet, Query, Reader, RowAt, RowCell, RowOrder, RowQuery, RowTest, Sealer, Store, StoredEvent,
};

use crate::host::SMALL;
use crate::sealing::{EAGER, Fleet};

const COLUMNS: [&str; 6] = [
    "time",
    "kind",
    "process_exe",
    "network_remote_ip",
    "process_memfd",
    "event",
];

/// A part is sealed, a part is in the log alone.
fn filled(folder: &std::path::Path) -> (Store, Sealer) {
    let (mut store, _) = Store::open(&folder.join("wal"), SMALL).unwrap();
    let (mut sealer, _) = Sealer::open(&store.reader(), &folder.join("sealed"), EAGER).unwrap();
    let mut fleet = Fleet::new();
    fleet.fill(&mut store, 160);
    while sealer.seal().unwrap().events > 0 {}
    sealer.compact().unwrap();
    fleet.fill(&mut store, 60);
    (store, sealer)
}

fn rows(reader: &Reader, query: Query, order: RowOrder, tests: &[(&str, RowTest)]) -> Vec<RowAt> {
    let tests = tests
        .iter()
        .map(|(name, test)| ((*name).to_owned(), test.clone()));
    let mut scan = reader.rows(RowQuery {
        query,
        tests: tests.collect(),
        columns: COLUMNS.map(str::to_owned).to_vec(),
        order,
    });
    let mut rows = Vec::new();
    while let Some(row) = scan.next_row().unwrap() {
        rows.push(row);
    }
    rows
}

type Name = (String, String, u64);

fn name(stored: &StoredEvent) -> Name {
    (
        stored.class.to_string(),
        stored.stream.to_string(),
        stored.event.seq,
    )
}

fn names(rows: &[RowAt]) -> BTreeSet<Name> {
    rows.iter().map(|row| name(&row.event().unwrap())).collect()
}

fn found(reader: &Reader, query: &Query) -> BTreeSet<Name> {
    let found = reader.newest(query, 100_000).unwrap();
    found.iter().map(name).collect()
}

fn time(row: &RowAt) -> Option<UnixNanos> {
    match row.cell(0) {
        RowCell::Time(time) => Some(time),
        _ => None,
    }
}

fn queries(reader: &Reader) -> Vec<Query> {
    let host = reader.newest(&Query::default(), 1).unwrap()[0].host;
    let kinds: KindSet = [Kind::Login, Kind::Fork].into_iter().collect();
    vec![
        Query::default(),
        Query {
            kinds,
            ..Query::default()
        },
        Query {
            hosts: Some(HashSet::from([host])),
            ..Query::default()
        },
        Query {
            hosts: Some(HashSet::new()),
            ..Query::default()
        },
        Query {
            since: Some(UnixNanos(2_000_000_000_000)),
            until: Some(UnixNanos(4_000_000_000_000)),
            ..Query::default()
        },
        Query {
            min_severity: Some(picket_event::Severity::High),
            ..Query::default()
        },
    ]
}

#[test]
fn rows_are_the_events_of_a_search_in_every_order() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _sealer) = filled(folder.path());
    let reader = store.reader();
    for query in queries(&reader) {
        let expected = found(&reader, &query);
        for order in [
            RowOrder::AsStored,
            RowOrder::OldestFirst,
            RowOrder::NewestFirst,
        ] {
            let rows = rows(&reader, query.clone(), order, &[]);
            assert_eq!(names(&rows), expected, "{query:?} {order:?}");
            assert_eq!(rows.len(), expected.len(), "{query:?} {order:?}");
            let times: Vec<_> = rows.iter().map(time).collect();
            match order {
                RowOrder::AsStored => {}
                RowOrder::OldestFirst => assert!(times.is_sorted()),
                RowOrder::NewestFirst => assert!(times.iter().rev().is_sorted()),
            }
        }
    }
}

#[test]
fn a_row_has_the_columns_of_its_event_sealed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _sealer) = filled(folder.path());
    for row in rows(&store.reader(), Query::default(), RowOrder::AsStored, &[]) {
        let stored = row.event().unwrap();
        assert_eq!(time(&row), Some(stored.event.time));
        assert_eq!(row.cell(1), RowCell::Text(stored.event.kind.name()));
        let process = stored.event.process.unwrap();
        let exe = String::from_utf8_lossy(process.exe.as_bytes()).into_owned();
        assert_eq!(row.cell(2), RowCell::Text(&exe));
        assert_eq!(row.cell(4), RowCell::Flag(process.memfd));
        assert_eq!(row.class(), Some(stored.class));
    }
}

#[test]
fn a_test_keeps_every_row_that_meets_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _sealer) = filled(folder.path());
    let reader = store.reader();
    let text = |text: &str| RowTest::Texts(HashSet::from([text.to_owned()]));
    let tests = [
        ("process_exe", text("/bin/3")),
        ("process_exe", text("/bin/\u{fffd}\u{fffd}")),
        ("process_exe", RowTest::Begins("/bin/".to_owned())),
        ("process_exe", RowTest::Ends("/4".to_owned())),
        ("process_exe", RowTest::Contains("in/5".to_owned())),
        ("network_remote_ip", text("192.0.2.20")),
    ];
    let all = rows(&reader, Query::default(), RowOrder::AsStored, &[]);
    for (column, test) in tests {
        let at = COLUMNS.iter().position(|one| *one == column).unwrap();
        let meets = |row: &&RowAt| match (row.cell(at), &test) {
            (RowCell::Text(found), RowTest::Texts(wanted)) => wanted.contains(found),
            (RowCell::Text(found), RowTest::Begins(wanted)) => found.starts_with(wanted),
            (RowCell::Text(found), RowTest::Ends(wanted)) => found.ends_with(wanted),
            (RowCell::Text(found), RowTest::Contains(wanted)) => found.contains(wanted),
            _ => false,
        };
        let expected: Vec<RowAt> = all.iter().filter(meets).cloned().collect();
        assert!(!expected.is_empty(), "{column} {test:?}");
        let asked = [(column, test.clone())];
        let rows = rows(&reader, Query::default(), RowOrder::AsStored, &asked);
        assert!(
            names(&rows).is_superset(&names(&expected)),
            "{column} {test:?}"
        );
        // What stands in every row passes nothing by.
        assert!(
            rows.len() < all.len() || expected.len() > 150,
            "{column} {test:?}"
        );
    }
}

#[test]
fn a_view_is_the_store_of_its_moment_as_long_as_it_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut sealer) = filled(folder.path());
    let expected = found(&store.reader(), &Query::default());
    let view = store.reader().view();
    let other = Reader::of_view(view.bytes()).unwrap();
    assert_eq!(other.folders().len(), 2);
    // The store goes on, and replaces files.
    Fleet::new().fill(&mut store, 100);
    while sealer.seal().unwrap().events > 0 {}
    sealer.compact().unwrap();
    assert_eq!(found(&other, &Query::default()), expected);
    let rows = rows(&other, Query::default(), RowOrder::NewestFirst, &[]);
    assert_eq!(names(&rows), expected);
}

#[test]
fn what_is_no_view_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _sealer) = filled(folder.path());
    let view = store.reader().view();
    assert!(Reader::of_view(b"\xff").is_err());
    assert!(Reader::of_view(b"").is_err());
    for end in (0..view.bytes().len()).step_by(7) {
        // Cut off anywhere it is refused or a smaller store, and never a panic.
        drop(Reader::of_view(&view.bytes()[..end]));
    }
}
