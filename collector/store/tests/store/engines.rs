//! Another engine reads the sealed files as they are, and answers alike.
//!
//! The other engine is `DuckDB`'s Python module, from the folder that `PICKET_DUCKDB` names (`make` sets it).

use std::collections::BTreeSet;
use std::path::Path;

use picket_event::field::Field;
use picket_event::filter::Filter;
use picket_event::{Detail, Kind, Severity, UnixNanos};
use picket_store::{KindSet, Query, Reader, Sealer, Stack, Stacking, Store, StoredEvent};

use crate::duckdb::duckdb;
use crate::host::SMALL;
use crate::sealing::{EAGER, Fleet};

/// An event by its name for ever, and what its columns must say of it, taken from the event itself.
fn names(reader: &Reader, query: &Query) -> BTreeSet<String> {
    let found = reader.newest(query, 100_000).unwrap();
    found.iter().map(name).collect()
}

fn name(stored: &StoredEvent) -> String {
    let event = &stored.event;
    let process = event.process.as_ref().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fork = match &event.detail {
        Some(Detail::Fork(fork)) => fork.child_uid.to_string(),
        _ => String::new(),
    };
    let file = event.file();
    let network = event.network();
    let cells = [
        stored.class.to_string(),
        stored.host.to_string(),
        stored.boot.to_string(),
        stored.stream.to_string(),
        event.seq.to_string(),
        event.time.0.to_string(),
        stored.received.0.to_string(),
        event.kind.name().to_owned(),
        process.uid.to_string(),
        process
            .parent_uid
            .map(|uid| uid.to_string())
            .unwrap_or_default(),
        process.pid.to_string(),
        text(process.exe.as_bytes()),
        text(&process.command_line()),
        text(file.map_or(&[], |file| file.path.as_bytes())),
        file.and_then(|file| file.size)
            .map(|size| size.to_string())
            .unwrap_or_default(),
        network
            .and_then(|network| network.remote_ip)
            .map(|ip| ip.to_string())
            .unwrap_or_default(),
        fork,
    ];
    cells.join("\t")
}

/// As [`name`] has it. What makes an event again stands in one of two columns, never in both.
const CELLS: &str = "class, host_id, boot_id, stream, seq, epoch_ns(time), epoch_ns(received), kind, process_uid, process_parent_uid, \
                     process_pid, process_exe, process_cmd_line, file_path, file_size, network_remote_ip, fork_child_uid";

fn whole(filter: &str) -> Query {
    Query {
        filter: Some(Filter::parse(filter).unwrap()),
        ..Query::default()
    }
}

#[test]
fn duckdb_finds_the_same_events_with_the_same_values() {
    let folder = tempfile::tempdir().unwrap();
    let (store, sealed) = filled(folder.path());
    let kinds = [Kind::Login, Kind::Fork];
    let asked = [
        ("true", Query::default()),
        ("process_exe = '/bin/3'", whole("process.exe = '/bin/3'")),
        (
            "process_exe LIKE '/bin/%' AND process_user_name = 'user-2'",
            whole("process.exe ^= '/bin/' and process.user.name = 'user-2'"),
        ),
        (
            "kind IN ('login', 'fork')",
            Query {
                kinds: kinds.into_iter().collect::<KindSet>(),
                ..Query::default()
            },
        ),
        (
            "severity_id >= 3",
            Query {
                min_severity: Some(Severity::Medium),
                ..Query::default()
            },
        ),
        (
            "epoch_ns(time) BETWEEN 2000000000000 AND 4000000000000",
            Query {
                since: Some(UnixNanos(2_000_000_000_000)),
                until: Some(UnixNanos(4_000_000_000_000)),
                ..Query::default()
            },
        ),
        (
            "network_remote_ip = '192.0.2.20' AND network_remote_port = 443",
            whole("network.remote_ip = '192.0.2.20' and network.remote_port = 443"),
        ),
        (
            "process_cmd_line LIKE '%job=7%'",
            whole("process.argv ~ 'job=7'"),
        ),
        (
            "list_contains(verdicts_attack, 'T1105')",
            whole("verdicts.attack = T1105"),
        ),
        ("process_memfd", whole("process.memfd = true")),
        (
            "login_user = 'ada' AND login_session = 1",
            whole("login.user = 'ada' and login.session = 1"),
        ),
        (
            "file_size > 500 AND NOT process_memfd",
            whole("file.size > 500 and process.memfd = false"),
        ),
    ];
    let sql: Vec<String> = asked
        .iter()
        .map(|(condition, _)| {
            format!(
                "SELECT {CELLS} FROM events WHERE ({condition}) AND (event IS NULL) <> (event_rest IS NULL)"
            )
        })
        .collect();
    let sql: Vec<&str> = sql.iter().map(String::as_str).collect();
    let Some(answers) = duckdb(&sealed, &sql) else {
        return;
    };
    for ((condition, query), rows) in asked.iter().zip(answers) {
        let expected = names(&store.reader(), query);
        assert!(!expected.is_empty(), "{condition}");
        assert_eq!(rows, expected, "{condition}");
    }
}

#[test]
fn duckdb_counts_the_same_values() {
    let folder = tempfile::tempdir().unwrap();
    let (store, sealed) = filled(folder.path());
    let columns = [
        "process_exe",
        "process_user_uid",
        "network_remote_ip",
        "kind",
    ];
    let sql = columns.map(|column| {
        format!(
            "SELECT {column}, count(*), count(DISTINCT host_id), epoch_ns(min(time)), epoch_ns(max(time)) FROM events WHERE {column} IS NOT NULL GROUP BY {column}"
        )
    });
    let Some(answers) = duckdb(&sealed, &sql.each_ref().map(String::as_str)) else {
        return;
    };
    let paths = [
        "process.exe",
        "process.user.uid",
        "network.remote_ip",
        "kind",
    ];
    for (path, rows) in paths.iter().zip(answers) {
        let what = Stacking {
            field: Field::named(path).unwrap(),
            by: None,
            limit: 10_000,
        };
        let stack: Stack = store.reader().stack(&Query::default(), what).unwrap();
        let expected = stack.rows.into_iter().map(|row| {
            let (count, hosts) = (row.count, row.hosts);
            format!(
                "{}\t{count}\t{hosts}\t{}\t{}",
                row.value, row.first.0, row.last.0
            )
        });
        assert_eq!(rows, expected.collect(), "{path}");
    }
}

fn filled(folder: &Path) -> (Store, std::path::PathBuf) {
    let sealed = folder.join("sealed");
    let (mut store, _) = Store::open(&folder.join("wal"), SMALL).unwrap();
    let (mut sealer, _) = Sealer::open(&store.reader(), &sealed, EAGER).unwrap();
    Fleet::new().fill(&mut store, 160);
    while sealer.seal().unwrap().events > 0 {}
    sealer.compact().unwrap();
    (store, sealed)
}
