//! Queries in SQL: what they answer, what they may not do, and that the collector outlives all of them.

use std::path::Path;
use std::time::{Duration, Instant};

use picket_proto::v1;
use picket_proto::v1::query_cell::Value;
use picket_proto::v1::query_reply::Reply;
use tonic::{Code, Status, Streaming};

use crate::collector::{Collector, all, eventually};
use crate::host::{Host, exec};

async fn ask(collector: &Collector, sql: &str) -> Result<Streaming<v1::QueryReply>, Status> {
    let request = v1::QueryRequest {
        sql: sql.to_owned(),
        limit: 0,
    };
    Ok(collector
        .operators()
        .await
        .query(request)
        .await?
        .into_inner())
}

/// The answer's cells as text, and whether it was cut.
async fn answer(collector: &Collector, sql: &str) -> Result<(Vec<Vec<String>>, bool), Status> {
    let (mut rows, mut cut) = (Vec::new(), false);
    for reply in all(ask(collector, sql).await?).await? {
        match reply.reply.unwrap() {
            Reply::Rows(some) => rows.extend(some.rows.into_iter().map(texts)),
            Reply::End(end) => cut = end.cut,
            _ => {}
        }
    }
    Ok((rows, cut))
}

fn texts(row: v1::QueryRow) -> Vec<String> {
    let text = |cell: v1::QueryCell| match cell.value {
        None => "null".to_owned(),
        Some(Value::Text(text)) => text,
        Some(Value::Integer(integer)) => integer.to_string(),
        Some(Value::Real(real)) => real.to_string(),
        Some(Value::Blob(blob)) => format!("{blob:?}"),
    };
    row.cells.into_iter().map(text).collect()
}

pub(crate) async fn rows(collector: &Collector, sql: &str) -> Vec<Vec<String>> {
    answer(collector, sql).await.unwrap().0
}

async fn refusal(collector: &Collector, sql: &str) -> Status {
    match answer(collector, sql).await {
        Ok(rows) => panic!("`{sql}` was answered: {rows:?}"),
        Err(status) => status,
    }
}

/// A collector with some events of one host.
async fn with_events() -> (Collector, Host) {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    for exe in ["/often", "/often", "/rare", "/often"] {
        let batch = host.batch(vec![exec(exe)]);
        assert_eq!(host.send_one(&collector, batch).await.refused, "");
    }
    (collector, host)
}

#[tokio::test]
async fn an_event_is_a_row_as_soon_as_it_is_acknowledged() {
    let (collector, _host) = with_events().await;
    let counts =
        "SELECT process_exe, count(*), host FROM process WHERE kind = 'exec' GROUP BY 1 ORDER BY 2";
    assert_eq!(
        rows(&collector, counts).await,
        [["/rare", "1", "web-1"], ["/often", "3", "web-1"]]
    );
    assert!(rows(&collector, "SELECT * FROM login").await.is_empty());
    let either = "SELECT count(*) FROM events WHERE process_exe = '/rare' OR kind = 'exec' OR process_pid = 5";
    assert_eq!(rows(&collector, either).await, [["4"]]);
    let hosts = "SELECT name, revoked FROM hosts JOIN process USING (host_id) GROUP BY host_id";
    assert_eq!(rows(&collector, hosts).await, [["web-1", "0"]]);
    let json = "SELECT DISTINCT json_extract(event, '$.process.exe') FROM events WHERE process_exe GLOB '/ra*'";
    assert_eq!(rows(&collector, json).await, [["/rare"]]);
}

#[tokio::test]
async fn an_answer_has_no_more_rows_than_asked_for_and_says_so() {
    let (collector, _host) = with_events().await;
    let many = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n";
    let (rows, cut) = answer(&collector, many).await.unwrap();
    assert_eq!((rows.len(), cut), (1_000, true));
    let (rows, cut) = answer(&collector, "SELECT 1").await.unwrap();
    assert_eq!((rows.len(), cut), (1, false));
}

#[tokio::test]
async fn what_is_no_query_is_said_with_its_place_and_what_was_meant() {
    let (collector, _host) = with_events().await;
    for (sql, said) in [
        ("SELEC 1", "near \"SELEC\": syntax error at character 1"),
        ("SELECT proces_exe FROM process", "(near: `process_exe`)"),
        (
            "SELECT * FROM proces",
            "no such table: proces (near: `process`)",
        ),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("SELECT ?", "write the values out"),
        ("", "only SELECT is allowed"),
        ("-- nothing", "only SELECT is allowed"),
    ] {
        let status = refusal(&collector, sql).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(said), "{sql}: {status:?}");
    }
}

#[tokio::test]
async fn nothing_but_reading_tables_is_allowed() {
    let (collector, _host) = with_events().await;
    let file = collector.folder.path().join("made");
    let file = file.display();
    for sql in [
        format!("ATTACH '{file}' AS x"),
        format!("VACUUM INTO '{file}'"),
        format!("SELECT writefile('{file}', 'x')"),
        "SELECT readfile('/etc/passwd')".to_owned(),
        "SELECT load_extension('x')".to_owned(),
        "SELECT fts3_tokenizer('simple')".to_owned(),
        "PRAGMA hard_heap_limit = 0".to_owned(),
        "SELECT * FROM pragma_table_info('hosts')".to_owned(),
        "CREATE TABLE x(y)".to_owned(),
        "CREATE TEMP TABLE x AS SELECT 1".to_owned(),
        "CREATE VIRTUAL TABLE x USING fts5(y)".to_owned(),
        "INSERT INTO hosts(name) VALUES ('x')".to_owned(),
        "INSERT INTO events(time) VALUES ('x')".to_owned(),
        "UPDATE hosts SET name = 'x' RETURNING name".to_owned(),
        "DELETE FROM hosts".to_owned(),
        "DROP TABLE hosts".to_owned(),
        "BEGIN".to_owned(),
        "REINDEX".to_owned(),
        "ANALYZE".to_owned(),
    ] {
        let status = refusal(&collector, &sql).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{sql}: {status:?}");
    }
    assert!(!Path::new(&file.to_string()).exists());
    assert_eq!(
        rows(&collector, "SELECT count(*) FROM hosts").await,
        [["1"]]
    );
}

#[tokio::test]
async fn a_hostile_query_ends_at_its_bounds_and_the_collector_goes_on() {
    let (collector, mut host) = with_events().await;
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)";
    for sql in [
        format!("{endless} SELECT count(*) FROM n"),
        format!("{endless} SELECT x FROM n ORDER BY x DESC"),
        format!("{endless} SELECT hex(randomblob(100)), count(*) FROM n GROUP BY 1"),
        format!("{endless} SELECT group_concat(x) FROM n"),
        format!("{endless} SELECT json_group_array(x) FROM n"),
        format!("{endless} SELECT count(*) FROM n a, n b, events c, events d"),
        "WITH RECURSIVE n(x) AS (SELECT 'xxxxxxxxxxxxxxxx' UNION ALL SELECT x || x FROM n) SELECT max(length(x)) FROM n".to_owned(),
        "SELECT zeroblob(1000000000)".to_owned(),
        "SELECT length(randomblob(1000000000))".to_owned(),
        "SELECT length(printf('%1000000000d', 1))".to_owned(),
        "SELECT replace(hex(zeroblob(1000000)), '0', hex(zeroblob(1000000)))".to_owned(),
        format!("SELECT {}", "zeroblob(1900000), ".repeat(20) + "1"),
    ] {
        let began = Instant::now();
        let status = refusal(&collector, &sql).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{sql}: {status:?}");
        assert!(status.message().starts_with("query_bounds: "), "{status:?}");
        assert!(began.elapsed() < Duration::from_secs(9), "{sql}");
    }
    // Too long a pattern, too deep an expression, too many tables: not even begun.
    for sql in [
        format!("SELECT 'x' LIKE '{}'", "%a".repeat(4_000)),
        format!("SELECT {} 1", "NOT ".repeat(2_000)),
        format!("SELECT 1 FROM {}", vec!["hosts"; 70].join(",")),
    ] {
        assert_eq!(
            refusal(&collector, &sql).await.code(),
            Code::InvalidArgument,
            "{sql}"
        );
    }
    let batch = host.batch(vec![exec("/after")]);
    assert_eq!(host.send_one(&collector, batch).await.refused, "");
    assert_eq!(
        rows(&collector, "SELECT count(*) FROM process").await,
        [["5"]]
    );
}

#[tokio::test]
async fn a_query_whose_reader_leaves_is_killed_and_makes_room() {
    let (collector, _host) = with_events().await;
    let endless =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    let first = ask(&collector, endless).await.unwrap();
    let second = ask(&collector, endless).await.unwrap();
    let third = refusal(&collector, "SELECT 1").await;
    assert_eq!(third.code(), Code::ResourceExhausted, "{third:?}");
    assert!(
        third.message().contains("2 queries are running already"),
        "{third:?}"
    );
    assert_eq!(workers().len(), 2);
    drop(first);
    eventually(async || answer(&collector, "SELECT 1").await.is_ok()).await;
    drop(second);
    eventually(async || workers().is_empty()).await;
}

/// The processes that this one started and that still run.
fn workers() -> Vec<String> {
    let own = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stat = |path: std::path::PathBuf| std::fs::read_to_string(path.join("stat")).ok();
    let children = processes.filter_map(|entry| {
        let stat = stat(entry.path())?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut words = rest.split(' ');
        let (state, parent) = (words.next()?, words.next()?);
        (parent == own && state != "Z").then_some(stat.clone())
    });
    children.collect()
}

#[tokio::test]
async fn a_reader_that_is_slow_holds_its_worker_and_nobody_else() {
    let (collector, mut host) = with_events().await;
    let large = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT hex(zeroblob(900000)) FROM n LIMIT 900";
    let mut unread = ask(&collector, large).await.unwrap();
    let batch = host.batch(vec![exec("/meanwhile")]);
    assert_eq!(host.send_one(&collector, batch).await.refused, "");
    assert_eq!(
        rows(&collector, "SELECT count(*) FROM process").await,
        [["5"]]
    );
    // Its time goes on, and ends.
    tokio::time::sleep(Duration::from_secs(6)).await;
    eventually(async || workers().is_empty()).await;
    let mut last = Ok(());
    while let Some(reply) = unread.message().await.transpose() {
        last = reply.map(|_| ());
    }
    assert_eq!(last.unwrap_err().code(), Code::ResourceExhausted);
}
