//! Joins in SQL: what they find, whether the store is asked for each row or one side is held in memory.

use picket_event::{Detail, Event, Kind, Network, ProcessUid, Text};

use crate::collector::Collector;
use crate::host::{Host, exec};
use crate::query::rows;

/// Each of so many processes starts; three of four connect, and two of three have a session.
fn lives(processes: u32) -> Vec<Event> {
    let mut events = Vec::new();
    for number in 0..processes {
        let mut start = exec(&format!("/bin/{}", number % 5));
        let process = start.process.as_mut().unwrap();
        let mut uid = [3; 16];
        uid[..4].copy_from_slice(&number.to_le_bytes());
        process.uid = ProcessUid::new(uid);
        process.pid = number;
        process.session = (!number.is_multiple_of(3)).then_some(number % 7);
        let mut connect = start.clone();
        connect.kind = Kind::NetConnect;
        connect.detail = Some(Detail::Network(Network {
            proto: "tcp".to_owned(),
            direction: "outbound".to_owned(),
            local_ip: None,
            local_port: 1,
            remote_ip: None,
            remote_port: 443,
            bytes_in: None,
            bytes_out: None,
            result: Some(0),
        }));
        events.push(start);
        if !number.is_multiple_of(4) {
            events.push(connect);
        }
    }
    events
}

async fn with(events: Vec<Event>) -> (Collector, Host) {
    let collector = Collector::start().await;
    let mut host = Host::enrolled(&collector).await;
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let batch = host.batch(events.by_ref().take(50).collect());
        assert_eq!(host.send_one(&collector, batch).await.refused, "");
    }
    (collector, host)
}

async fn number(collector: &Collector, sql: &str) -> u32 {
    let rows = rows(collector, sql).await;
    rows[0][0].parse().unwrap()
}

#[tokio::test]
async fn a_join_finds_each_pair_once_however_many_rows_ask() {
    const PROCESSES: u32 = 600;
    let (collector, _host) = with(lives(PROCESSES)).await;
    let connections = PROCESSES / 4 * 3;
    let inner = "FROM network AS n JOIN process AS p ON p.process_uid = n.process_uid";
    for (sql, expected) in [
        (format!("SELECT count(*) {inner} WHERE p.kind = 'exec'"), connections),
        (format!("SELECT count(DISTINCT n.process_uid) {inner}"), connections),
        (format!("SELECT count(*) {inner} AND p.host = n.host AND p.process_pid = n.process_pid"), connections),
        (format!("SELECT sum(p.process_exe = n.process_exe AND p.process_pid = n.process_pid) {inner}"), connections),
        (format!("SELECT count(*) {inner} WHERE p.process_exe = '/bin/3'"), connections / 5),
        // Without a partner, and with nothing to look for one by.
        ("SELECT count(*) FROM process AS p LEFT JOIN network AS n ON n.process_uid = p.process_uid".to_owned(), PROCESSES ),
        ("SELECT count(n.seq) FROM process AS p LEFT JOIN network AS n ON n.process_uid = p.process_uid".to_owned(), connections),
        ("SELECT count(*) FROM process AS p JOIN network AS n ON n.file_path = p.file_path".to_owned(), 0),
        ("SELECT count(*) FROM process AS p JOIN network AS n ON n.process_session IS p.process_session AND n.process_uid = p.process_uid".to_owned(), connections),
        ("SELECT count(*) FROM process AS p WHERE EXISTS (SELECT 1 FROM network AS n WHERE n.process_uid = p.process_uid)".to_owned(), connections),
        // Text against numbers, as SQLite compares them.
        ("SELECT count(*) FROM network AS n JOIN process AS p ON p.process_pid = n.process_pid || ''".to_owned(), connections),
        ("SELECT count(*) FROM network AS n JOIN process AS p ON p.process_pid = n.process_pid + 0.0".to_owned(), connections),
        // Bounds that move with the outer row.
        ("SELECT count(*) FROM network AS n JOIN process AS p ON p.process_uid = n.process_uid AND p.time <= n.time AND p.process_exe GLOB n.process_exe".to_owned(), connections),
        ("SELECT count(*) FROM network AS n JOIN process AS p ON p.process_uid = n.process_uid AND p.time < n.time".to_owned(), 0),
        // Three tables.
        ("SELECT count(*) FROM network AS n JOIN process AS p ON p.process_uid = n.process_uid JOIN events AS e ON e.process_uid = p.process_uid AND e.kind = n.kind".to_owned(), connections),
    ] {
        assert_eq!(number(&collector, &sql).await, expected, "{sql}");
    }
    let by_session = "SELECT count(*) FROM network AS n JOIN process AS p ON p.host_id = n.host_id AND p.process_session = n.process_session";
    let expected = (0..PROCESSES)
        .filter(|n| n % 3 != 0 && n % 4 != 0)
        .map(|n| {
            let same = (0..PROCESSES).filter(|m| m % 3 != 0 && m % 7 == n % 7);
            u32::try_from(same.count()).unwrap()
        });
    assert_eq!(number(&collector, by_session).await, expected.sum::<u32>());
}

#[tokio::test]
async fn a_side_that_does_not_fit_is_asked_for_row_by_row() {
    let mut events = lives(3_000);
    for (number, event) in events.iter_mut().enumerate() {
        let process = event.process.as_mut().unwrap();
        process.argv = vec![Text::from(format!("{number:04000}"))];
    }
    let (collector, _host) = with(events).await;
    let sql = "SELECT count(p.event) FROM network AS n JOIN process AS p ON p.process_uid = n.process_uid WHERE n.process_pid < 40";
    assert_eq!(number(&collector, sql).await, 30);
}
