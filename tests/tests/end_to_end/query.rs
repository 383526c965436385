//! `picketctl query` answers as `picketctl events` does, and as another engine does that reads the sealed files itself.

#[path = "../../../collector/store/tests/store/duckdb.rs"]
mod duckdb;

use std::collections::BTreeSet;
use std::path::Path;

use picket_tests::rig::Rig;
use picket_tests::sim::{Filling, fill};
use serde_json::Value;

use duckdb::duckdb;

/// A collector with some thousand events of a few hosts over half a day, sealed.
pub(crate) fn filled() -> Rig {
    let mut rig = Rig::start().unwrap();
    rig.stop_collector().unwrap();
    let filling = Filling {
        hosts: 5,
        days: 0.5,
        events: 20_000,
        seed: 7,
    };
    fill(&rig.data(), &filling).unwrap();
    rig.restart_collector().unwrap();
    rig
}

/// The one column of an answer.
fn column(rig: &Rig, sql: &str) -> Vec<String> {
    let rows = rig.ctl_json(&["query", "--limit", "100000", sql]).unwrap();
    let only = |row: Value| match row.as_object().unwrap().values().next().unwrap() {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    rows.into_iter().map(only).collect()
}

fn set(texts: Vec<String>) -> BTreeSet<String> {
    texts.into_iter().collect()
}

/// An event of a search by what names it.
fn name(event: &Value) -> String {
    let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
    format!(
        "{} {} {} {}",
        text("host"),
        text("boot"),
        text("time"),
        event["seq"]
    )
}

#[test]
fn sql_finds_what_a_search_finds() {
    let rig = filled();
    for (sql, search) in [
        (
            "kind = 'exec' AND process_exe = '/usr/bin/curl'",
            "kind = exec and process.exe = '/usr/bin/curl'",
        ),
        (
            "process_cmd_line GLOB '*/srv/jobs/1*' AND kind = 'exec'",
            "process.argv ~ '/srv/jobs/1' and kind = exec",
        ),
        (
            "kind IN ('login', 'login_failed')",
            "kind in (login, login_failed)",
        ),
        ("network_remote_port = 443", "network.remote_port = 443"),
        (
            "process_user_uid = 0 AND kind <> 'exec'",
            "process.user.uid = 0 and kind != exec",
        ),
        ("severity_id >= 3", "severity >= medium"),
        (
            "process_exe = '/usr/bin/curl' OR process_user_name = 'root' OR kind = 'login'",
            "process.exe = '/usr/bin/curl' or process.user.name = 'root' or kind = login",
        ),
        (
            "file_path LIKE '/srv/data/1%'",
            "file.path ^= '/srv/data/1'",
        ),
        ("process_user_name IS NULL", "not process.user.name ~ ''"),
    ] {
        let named = format!("SELECT event FROM events WHERE {sql}");
        let found = column(&rig, &named);
        let found = found
            .iter()
            .map(|event| name(&serde_json::from_str(event).unwrap()));
        let args = ["events", "--limit", "100000", "--where", search];
        let expected = rig.ctl_json(&args).unwrap();
        assert!(!expected.is_empty() || sql.contains("NULL"), "{sql}");
        let expected: Vec<_> = expected.iter().map(name).collect();
        assert_eq!(found.clone().count(), expected.len(), "{sql}");
        assert_eq!(set(found.collect()), set(expected), "{sql}");
    }
}

#[test]
fn the_events_json_is_that_of_a_search() {
    let rig = filled();
    let sql = "SELECT event FROM events WHERE kind = 'exec' ORDER BY time DESC LIMIT 50";
    let mut found = column(&rig, sql);
    found.reverse();
    let found: Vec<Value> = found
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let args = ["events", "--limit", "50", "--kind", "exec"];
    let mut expected = rig.ctl_json(&args).unwrap();
    for event in &mut expected {
        event.as_object_mut().unwrap().remove("session");
    }
    assert_eq!(found, expected);
}

#[test]
fn duckdb_answers_the_same_questions_alike() {
    let rig = filled();
    let questions = [
        "SELECT kind || ' ' || count(*) FROM events GROUP BY kind",
        "SELECT process_exe || ' ' || count(*) || ' ' || count(DISTINCT host_id) FROM events WHERE kind = 'exec' GROUP BY process_exe",
        "SELECT host_id || ' ' || stream || ' ' || seq || ' ' || class FROM events WHERE process_user_name = 'root'",
        "SELECT network_remote_ip || ' ' || network_remote_port || ' ' || sum(network_bytes_out) FROM events WHERE network_remote_ip IS NOT NULL AND network_bytes_out IS NOT NULL GROUP BY network_remote_ip, network_remote_port",
        "SELECT login_user || ' ' || login_outcome || ' ' || count(*) FROM events WHERE login_user IS NOT NULL AND login_outcome IS NOT NULL GROUP BY login_user, login_outcome",
        "SELECT severity || ' ' || max(severity_id) || ' ' || count(*) FROM events WHERE severity IS NOT NULL GROUP BY severity",
        "SELECT a.process_uid || ' ' || count(*) FROM events a JOIN events b ON b.process_parent_uid = a.process_uid WHERE a.kind = 'exec' AND a.login_user IS NULL AND a.process_exe = '/usr/bin/make' GROUP BY a.process_uid",
        // Joins of every kind: by one value and by two, by text and by number, without a partner, by what is null, to what is wanted twice.
        "SELECT n.kind || ' ' || p.process_exe || ' ' || count(*) FROM events n JOIN events p ON p.process_uid = n.process_uid WHERE n.kind = 'net_connect' AND p.kind = 'exec' GROUP BY n.kind, p.process_exe",
        "SELECT l.login_user || ' ' || count(*) FROM events l JOIN events p ON p.host_id = l.host_id AND p.process_session = l.login_session WHERE l.kind = 'login' AND p.kind = 'exec' GROUP BY l.login_user",
        "SELECT f.host_id || ' ' || count(*) || ' ' || count(p.exit_code) FROM events f LEFT JOIN events p ON p.process_uid = f.process_uid AND p.kind = 'exit' WHERE f.severity_id >= 2 GROUP BY f.host_id",
        "SELECT n.host_id || ' ' || count(*) || ' ' || count(p.seq) FROM events n LEFT JOIN events p ON p.process_parent_uid = n.process_parent_uid AND p.kind = 'exec' AND p.process_exe = '/usr/bin/curl' WHERE n.kind IN ('login', 'net_connect') GROUP BY n.host_id",
        "SELECT p.process_exe || ' ' || count(*) FROM events p WHERE p.kind = 'exec' AND EXISTS (SELECT 1 FROM events n WHERE n.process_uid = p.process_uid AND n.kind = 'net_connect') GROUP BY p.process_exe",
        "SELECT a.process_pid || ' ' || count(*) FROM events a JOIN events b ON b.process_ppid = a.process_pid AND b.host_id = a.host_id JOIN events c ON c.process_uid = b.process_uid WHERE a.kind = 'fork' AND b.kind = 'exec' AND c.kind = 'exit' GROUP BY a.process_pid",
        "SELECT a.process_uid || ' ' || count(*) FROM events a JOIN events b ON b.process_uid = a.process_uid AND b.time >= a.time WHERE a.kind = 'exec' AND b.kind <> 'exec' GROUP BY a.process_uid",
    ];
    let Some(answers) = duckdb(&rig.data().join("sealed"), &questions) else {
        return;
    };
    for (sql, expected) in questions.iter().zip(answers) {
        assert_eq!(set(column(&rig, sql)), expected, "{sql}");
    }
}

#[test]
fn the_documented_queries_run() {
    let rig = filled();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/query.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks = page.split("```sql\n").skip(1);
    let queries: Vec<_> = blocks
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(queries.len() >= 10, "{} queries", queries.len());
    for sql in queries {
        let ended = rig.ctl(&["query", "--json", sql]).unwrap();
        ended.success(sql).unwrap();
    }
    // And the tables are all there.
    for table in column(&rig, "SELECT name FROM tables") {
        assert!(page.contains(&format!("| `{table}` |")), "{table}");
        let described = column(
            &rig,
            &format!("SELECT count(*) FROM columns WHERE table_name = '{table}'"),
        );
        assert_ne!(described, ["0"], "{table}");
        rig.ctl(&["query", &format!("SELECT * FROM {table} LIMIT 1")])
            .unwrap()
            .success(&table)
            .unwrap();
    }
}

#[test]
fn an_answer_is_a_table_json_or_csv() {
    let rig = filled();
    let sql = "SELECT 1 AS n, 'a,\"b\"' AS text, NULL AS absent, x'00ff' AS bytes UNION ALL SELECT 2, '=1+1', 1.5, NULL";
    assert_eq!(
        rig.ctl_prints(&["query", "--csv", sql]).unwrap(),
        "n,text,absent,bytes\r\n1,\"a,\"\"b\"\"\",,00ff\r\n2,'=1+1,1.5,\r\n"
    );
    assert_eq!(
        rig.ctl_prints(&["query", "--json", sql]).unwrap(),
        "{\"n\":1,\"text\":\"a,\\\"b\\\"\",\"absent\":null,\"bytes\":\"00ff\"}\n{\"n\":2,\"text\":\"=1+1\",\"absent\":1.5,\"bytes\":null}\n"
    );
    assert_eq!(
        rig.ctl_prints(&["query", sql]).unwrap(),
        "n  text   absent  bytes\n1  a,\"b\"  -       00ff\n2  =1+1   1.5     -\n"
    );
    let cut = rig
        .ctl(&["query", "--limit", "2", "SELECT kind FROM events"])
        .unwrap();
    assert!(
        cut.stderr.contains("these are the first 2 rows of more"),
        "{cut:?}"
    );
    let wrong = rig.ctl(&["query", "SELECT nothing FROM events"]).unwrap();
    assert!(wrong.stderr.contains("\nhint: tables: "), "{wrong:?}");
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}
