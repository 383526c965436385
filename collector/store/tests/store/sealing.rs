//! Sealed files answer as the log does: everything once, whatever happens in between.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use picket_event::field::Field;
use picket_event::filter::Filter;
use picket_event::{
    Class, Detail, Event, File, Fork, HostId, Kind, Login, Network, RuleVerdict, Severity, Text,
    UnixNanos, User, Verdict,
};
use picket_store::{
    Cancel, KindSet, Limit, Order, Query, Reader, Retention, SealOptions, Sealer, Stack, StackRow,
    Stacking, Store, StoreError, StoredEvent,
};

use crate::host::{Host, SMALL, exec, uid};

/// Small steps and early merging, so that a test has several of everything.
pub(crate) const EAGER: SealOptions = SealOptions {
    batch_bytes: 9_000,
    merged_bytes: 1 << 20,
    merge_at: 3,
};

/// Events of all shapes, spread over some hours; some text is not UTF-8.
fn event(number: u64) -> Event {
    let second = i64::try_from(number).unwrap() * 9;
    let mut event = exec(&format!("/bin/{}", number % 7), second);
    let process = event.process.as_mut().unwrap();
    process.parent_uid = Some(uid(number / 3));
    process.argv = vec![Text::from("x"), Text::from(format!("--job={number}"))];
    process.user = Some(User {
        uid: u32::try_from(number % 5).unwrap(),
        name: Text::from(format!("user-{}", number % 5)),
    });
    process.session = Some(u32::try_from(number % 4).unwrap());
    process.memfd = number.is_multiple_of(10);
    if number.is_multiple_of(11) {
        process.exe = Text::from(&b"/bin/\xff\xfe"[..]);
    }
    match number % 6 {
        0 => {}
        1 => {
            event.kind = Kind::FileModify;
            event.detail = Some(Detail::File(File {
                path: Text::from(format!("/etc/{number}")),
                size: Some(number),
                ..File::default()
            }));
        }
        2 => {
            event.kind = Kind::NetConnect;
            event.detail = Some(Detail::Network(Network {
                proto: "tcp".to_owned(),
                direction: "outbound".to_owned(),
                local_ip: None,
                local_port: 1,
                remote_ip: Some(IpAddr::V4(Ipv4Addr::new(
                    192,
                    0,
                    2,
                    u8::try_from(number % 50).unwrap(),
                ))),
                remote_port: 443,
                bytes_in: None,
                bytes_out: None,
                result: Some(0),
            }));
        }
        3 => {
            event.kind = Kind::Login;
            event.detail = Some(Detail::Login(Login {
                user: Text::from("ada"),
                source_ip: "192.0.2.7".to_owned(),
                session: Some(u32::try_from(number % 4).unwrap()),
                ..Login::default()
            }));
        }
        4 => {
            event.kind = Kind::Fork;
            event.detail = Some(Detail::Fork(Fork {
                child_uid: uid(number + 1_000),
                child_pid: 9,
            }));
        }
        _ => event.verdicts.push(Verdict::Rule(RuleVerdict {
            id: "r".to_owned(),
            title: "t".to_owned(),
            severity: Severity::High,
            attack: vec!["T1105".to_owned()],
            author: String::new(),
            license: String::new(),
            rests_on: Vec::new(),
        })),
    }
    event
}

/// Two hosts with two classes each.
pub(crate) struct Fleet {
    hosts: Vec<Host>,
    number: u64,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let mut hosts: Vec<Host> = (0..4).map(|_| Host::new()).collect();
        for host in hosts.iter_mut().skip(2) {
            host.class = Class::Bulk;
        }
        Self { hosts, number: 0 }
    }

    /// So many events, some to a batch, in some order of time.
    pub(crate) fn fill(&mut self, store: &mut Store, events: u64) {
        for _ in 0..events / 5 {
            let host = usize::try_from(self.number % 4).unwrap();
            let numbers = (self.number..).take(5).map(|n| (n * 37) % 1_009);
            let batch = self.hosts[host].batch(numbers.map(event).collect());
            store.append(batch).unwrap();
            self.number += 5;
        }
        store.sync().unwrap();
    }
}

pub(crate) fn queries(reader: &Reader) -> Vec<Query> {
    let all = reader.newest(&Query::default(), 10_000).unwrap();
    let one = all.first().map(|stored| stored.host);
    let kinds = |kinds: &[Kind]| kinds.iter().copied().collect::<KindSet>();
    let mut queries = vec![
        Query::default(),
        Query {
            hosts: Some(one.into_iter().collect()),
            ..Query::default()
        },
        Query {
            hosts: Some(HashSet::new()),
            ..Query::default()
        },
        Query {
            kinds: kinds(&[Kind::Login, Kind::Fork]),
            ..Query::default()
        },
        Query {
            since: Some(UnixNanos(2_000_000_000_000)),
            until: Some(UnixNanos(4_000_000_000_000)),
            ..Query::default()
        },
        Query {
            min_severity: Some(Severity::Medium),
            ..Query::default()
        },
    ];
    for text in EXPRESSIONS {
        let filter = Some(Filter::parse(text).unwrap());
        let mut query = Query {
            filter,
            ..Query::default()
        };
        if query.needs_sessions() {
            query.sessions = Some(reader.sessions(None).unwrap().into());
        }
        queries.push(query);
    }
    queries
}

const EXPRESSIONS: &[&str] = &[
    "process.exe = '/bin/3'",
    "process.exe = '/bin/\\xff\\xfe'",
    "process.exe ~ '\\xff'",
    "process.exe ^= '/bin/' and process.user.name = 'user-2'",
    "process.exe $= '4' or kind = fork",
    "not process.exe ~ 'bin'",
    "process.argv ~ 'job=7'",
    "process.argv = '--job=77'",
    "process.argv ^= '--job' and process.user.uid = 3",
    "process.user.uid in (1, 4)",
    "process.user.uid = 1.0",
    "process.user.uid > 3 and file.size < 500",
    "process.memfd = true",
    "process.memfd = false and severity >= medium",
    "network.remote_ip = '192.0.2.20'",
    "verdicts.attack = T1105 and kind = exec",
    "login.user = 'ada' and kind = exec",
    "login.source_ip = '192.0.2.7'",
    "time > '1970-01-01T00:30:00Z' and process.session = 1",
    "kind in (login, net_connect) and not network.remote_ip ~ '20'",
];

/// What the log alone says.
pub(crate) fn log_alone(folder: &Path) -> Reader {
    Store::open(&folder.join("wal"), SMALL).unwrap().0.reader()
}

pub(crate) fn key(stored: &StoredEvent) -> (UnixNanos, String, String, u64) {
    let (host, stream) = (stored.host.to_string(), stored.stream.to_string());
    (stored.event.time, host, stream, stored.event.seq)
}

/// Both answer every query alike, whatever its limit and order.
pub(crate) fn same(reader: &Reader, log: &Reader) {
    for (number, query) in queries(log).iter().enumerate() {
        for limit in [number % 9, 100_000] {
            let (here, there) = (reader.newest(query, limit), log.newest(query, limit));
            assert_eq!(here.unwrap(), there.unwrap(), "query {number}, {limit}");
        }
        let order = [Order::OldestFirst, Order::NewestFirst][number % 2];
        let all = |reader: &Reader| {
            let mut seen = Vec::new();
            let walked = reader.scan(query, order, &mut |stored| {
                seen.push(stored);
                ControlFlow::Continue(())
            });
            assert_eq!(walked.unwrap().unreadable, 0);
            seen.sort_by_key(key);
            seen
        };
        assert_eq!(all(reader), all(log), "query {number}, {order:?}");
    }
}

pub(crate) fn wal(folder: &Path) -> Store {
    Store::open(&folder.join("wal"), SMALL).unwrap().0
}

pub(crate) fn sealer(store: &Store, folder: &Path) -> (Sealer, u64) {
    Sealer::open(&store.reader(), &folder.join("sealed"), EAGER).unwrap()
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "parquet") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_query_is_answered_alike_while_the_log_is_sealed_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut fleet) = (wal(folder.path()), Fleet::new());
    let (mut sealer, _) = sealer(&store, folder.path());
    fleet.fill(&mut store, 160);
    let reader = store.reader();
    same(&reader, &log_alone(folder.path()));
    for round in 0..2 {
        let report = sealer.seal().unwrap();
        assert!(report.events > 0 && report.more, "{report:?}");
        same(&reader, &log_alone(folder.path()));
        fleet.fill(&mut store, 60 + round * 5);
    }
    while sealer.seal().unwrap().events > 0 {}
    assert_eq!(sealer.waiting_bytes(), 0);
    same(&reader, &log_alone(folder.path()));
}

#[test]
fn small_files_are_merged_and_replaced_ones_go_when_no_reader_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut fleet) = (wal(folder.path()), Fleet::new());
    let (mut sealer, _) = sealer(&store, folder.path());
    fleet.fill(&mut store, 160);
    while sealer.seal().unwrap().events > 0 {}
    let sealed = folder.path().join("sealed");
    let before = files(&sealed).len();
    let mut merged = 0;
    loop {
        let report = sealer.compact().unwrap();
        if report.files == 0 {
            break;
        }
        merged += report.replaced;
        same(&store.reader(), &log_alone(folder.path()));
    }
    assert!(merged > 0);
    let after = files(&sealed).len();
    assert!(after < before, "{after} of {before}");
    drop((store, sealer));
    let store = wal(folder.path());
    let (_sealer, leftovers) = self::sealer(&store, folder.path());
    assert_eq!((leftovers, files(&sealed).len()), (0, after));
    same(&store.reader(), &log_alone(folder.path()));
}

#[test]
fn what_columns_take_adds_up_to_what_the_files_take() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut fleet) = (wal(folder.path()), Fleet::new());
    let (mut sealer, _) = sealer(&store, folder.path());
    fleet.fill(&mut store, 100);
    while sealer.seal().unwrap().events > 0 {}
    let columns = sealer.column_sizes().unwrap();
    let all = columns.iter().map(|one| one.pages + one.filters);
    assert_eq!(all.sum::<u64>(), sealer.sealed_bytes());
    for one in &columns {
        let is_key = [
            "_uid",
            "user_name",
            "sha256",
            "after",
            "_ip",
            "login_user",
            "host_id",
        ];
        let is_key = is_key.iter().any(|end| one.name.ends_with(end));
        assert!(is_key || one.filters == 0, "{}", one.name);
    }
}

#[test]
fn what_a_crash_left_is_removed_and_nothing_is_lost_or_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut fleet) = (wal(folder.path()), Fleet::new());
    let (mut sealer, _) = sealer(&store, folder.path());
    fleet.fill(&mut store, 200);
    sealer.seal().unwrap();
    let catalogue = folder.path().join("sealed/catalogue");
    let old = fs::read(&catalogue).unwrap();
    sealer.seal().unwrap();
    drop((sealer, store));
    // As if the power had gone before the catalogue came into its place.
    fs::write(&catalogue, old).unwrap();
    fs::write(folder.path().join("sealed/catalogue.new"), b"PKT").unwrap();
    fs::write(folder.path().join("sealed/notes.txt"), b"mine").unwrap();
    let store = wal(folder.path());
    let (mut sealer, leftovers) = self::sealer(&store, folder.path());
    assert!(leftovers > 0);
    assert!(!folder.path().join("sealed/catalogue.new").exists());
    assert!(folder.path().join("sealed/notes.txt").exists());
    same(&store.reader(), &log_alone(folder.path()));
    while sealer.seal().unwrap().events > 0 {}
    same(&store.reader(), &log_alone(folder.path()));
}

/// A collector's log was put back from a copy, the sealed files were not: hosts send again what the log no longer has, and a
/// search must not show it twice.
#[test]
fn a_log_that_was_put_back_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::new();
    let batches: Vec<_> = (0..40).map(|n| host.batch(vec![event(n)])).collect();
    let mut store = wal(folder.path());
    for batch in &batches[..20] {
        store.append(batch.clone()).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(folder.path().join("wal")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let mut store = wal(folder.path());
    for batch in &batches[20..] {
        store.append(batch.clone()).unwrap();
    }
    store.sync().unwrap();
    let (mut sealer, _) = sealer(&store, folder.path());
    while sealer.seal().unwrap().events > 0 {}
    let expected = store.reader().newest(&Query::default(), 100).unwrap();
    drop((sealer, store));
    fs::remove_dir_all(folder.path().join("wal")).unwrap();
    fs::rename(copy, folder.path().join("wal")).unwrap();
    let mut store = wal(folder.path());
    let (mut sealer, _) = self::sealer(&store, folder.path());
    assert_eq!(
        store.reader().newest(&Query::default(), 100).unwrap(),
        expected
    );
    for batch in &batches[20..] {
        store.append(batch.clone()).unwrap();
    }
    store.append(host.batch(vec![event(40)])).unwrap();
    store.sync().unwrap();
    for _ in 0..2 {
        let found = store.reader().newest(&Query::default(), 100).unwrap();
        assert_eq!(found.len(), 41);
        while sealer.seal().unwrap().events > 0 {}
    }
}

#[test]
fn a_damaged_catalogue_or_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut fleet) = (wal(folder.path()), Fleet::new());
    let (mut sealer, _) = sealer(&store, folder.path());
    fleet.fill(&mut store, 100);
    sealer.seal().unwrap();
    let file = files(&folder.path().join("sealed")).pop().unwrap();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 9]).unwrap();
    let error = store.reader().newest(&Query::default(), 100).unwrap_err();
    assert!(matches!(&error, StoreError::Sealed { path, .. } if *path == file));
    fs::write(folder.path().join("sealed/catalogue"), b"rubbish").unwrap();
    let opened = Sealer::open(&store.reader(), &folder.path().join("sealed"), EAGER);
    assert!(matches!(
        opened.unwrap_err(),
        StoreError::BadCatalogue { .. }
    ));
}

#[test]
fn a_search_ends_when_nobody_waits_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut fleet) = (wal(folder.path()), Fleet::new());
    let (mut sealer, _) = sealer(&store, folder.path());
    fleet.fill(&mut store, 200);
    sealer.seal().unwrap();
    let cancel = Cancel::default();
    let reader = store.reader().until(cancel.clone());
    reader.newest(&Query::default(), 10).unwrap();
    cancel.cancel();
    let ended = reader.newest(&Query::default(), 10);
    assert!(matches!(ended, Err(StoreError::Cancelled)));
}

#[test]
fn stacking_counts_alike_in_columns_and_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut fleet) = (wal(folder.path()), Fleet::new());
    let (mut sealer, _) = sealer(&store, folder.path());
    fleet.fill(&mut store, 160);
    sealer.seal().unwrap();
    let log = log_alone(folder.path());
    let field = |path: &str| Field::named(path).unwrap();
    let fields = [
        ("process.exe", None),
        ("process.exe", Some("process.user.name")),
        ("process.user.uid", Some("network.remote_ip")),
        ("process.memfd", None),
        ("file.size", None),
        ("verdicts.attack", None),
        ("process.argv", Some("kind")),
    ];
    for (path, by) in fields {
        let what = |limit| Stacking {
            field: field(path),
            by: by.map(field),
            limit,
        };
        for query in queries(&log) {
            let there = log.stack(&query, what(1_000)).unwrap();
            let here = store.reader().stack(&query, what(1_000)).unwrap();
            let plain = |stack: &Stack| {
                let rows = stack.rows.iter();
                let rows = rows.map(|row| StackRow {
                    host: HostId::new([0; 32]),
                    ..row.clone()
                });
                (rows.collect::<Vec<_>>(), stack.values, stack.events)
            };
            assert_eq!(plain(&here), plain(&there), "{path} by {by:?}");
            let few = store.reader().stack(&query, what(3)).unwrap();
            assert_eq!(few.rows.len(), there.rows.len().min(3));
        }
    }
}

#[test]
fn the_rarest_comes_first_with_its_hosts_and_times() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = wal(folder.path());
    let mut hosts = [Host::new(), Host::new()];
    for (exe, second) in [("/often", 1), ("/often", 2), ("/rare", 3)] {
        store
            .append(hosts[0].batch(vec![exec(exe, second)]))
            .unwrap();
    }
    store
        .append(hosts[1].batch(vec![exec("/often", 9)]))
        .unwrap();
    store.sync().unwrap();
    let what = Stacking {
        field: Field::named("process.exe").unwrap(),
        by: None,
        limit: 9,
    };
    let stack = store.reader().stack(&Query::default(), what).unwrap();
    let seen: Vec<_> = stack
        .rows
        .iter()
        .map(|row| {
            (
                row.value.as_str(),
                row.count,
                row.hosts,
                row.first.0,
                row.last.0,
            )
        })
        .collect();
    let second = 1_000_000_000;
    let expected = [
        ("/rare", 1, 1, 3 * second, 3 * second),
        ("/often", 3, 2, second, 9 * second),
    ];
    assert_eq!(seen, expected);
    assert_eq!(stack.rows[0].host, hosts[0].id());
    assert_eq!((stack.values, stack.events, stack.cut), (2, 4, false));
}

#[test]
fn what_is_too_old_or_too_much_goes_by_class_and_the_log_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, mut fleet) = (wal(folder.path()), Fleet::new());
    let (mut sealer, _) = sealer(&store, folder.path());
    fleet.fill(&mut store, 160);
    while sealer.seal().unwrap().events > 0 {}
    let sealed = folder.path().join("sealed");
    let of_class = |class: &str| {
        let files = files(&sealed).into_iter();
        files
            .filter(|path| path.to_string_lossy().contains(class))
            .count()
    };
    let (security, bulk) = (of_class("class=security"), of_class("class=bulk"));
    let now = UnixNanos(9_000_000_000_000);
    let nothing = sealer.retire(&Retention::default(), now).unwrap();
    assert_eq!(nothing.replaced, 0);
    let half = Limit {
        age: Some(std::time::Duration::from_secs(2_500)),
        bytes: None,
    };
    let retention = Retention {
        bulk: half,
        ..Retention::default()
    };
    assert!(sealer.retire(&retention, now).unwrap().replaced > 0);
    assert_eq!(of_class("class=security"), security);
    assert!((1..bulk).contains(&of_class("class=bulk")));
    let oldest = Query {
        until: Some(UnixNanos(1_000_000_000_000)),
        ..Query::default()
    };
    let found = store.reader().newest(&oldest, 1_000).unwrap();
    assert!(!found.is_empty());
    assert!(found.iter().all(|stored| stored.class == Class::Security));
    let none = Limit {
        age: None,
        bytes: Some(0),
    };
    let all = Retention {
        alert: none,
        security: none,
        bulk: none,
    };
    sealer.retire(&all, now).unwrap();
    assert!(files(&sealed).is_empty());
    assert!(
        store
            .reader()
            .newest(&Query::default(), 9)
            .unwrap()
            .is_empty()
    );
    // What was signed is still there, and what comes is found.
    assert!(
        !log_alone(folder.path())
            .newest(&Query::default(), 9)
            .unwrap()
            .is_empty()
    );
    fleet.fill(&mut store, 20);
    assert_eq!(
        store.reader().newest(&Query::default(), 99).unwrap().len(),
        20
    );
}

// Who seals reads what others write at the same moment.
#[test]
fn who_stores_and_who_seals_never_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(&folder.path().join("wal"), SMALL).unwrap();
    let (mut sealer, _) = sealer(&store, folder.path());
    let mut fleet = Fleet::new();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                sealer.seal().unwrap();
            }
        });
        for _ in 0..60 {
            fleet.fill(&mut store, 100);
        }
        ended.store(true, Ordering::Release);
    });
    let all = store.reader().newest(&Query::default(), 100_000).unwrap();
    let once: HashSet<_> = all.iter().map(key).collect();
    assert_eq!((all.len(), once.len()), (6_000, 6_000));
}
