//! `DuckDB` over the sealed files of a store, for tests that compare answers.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The rows of each query, each row's values joined by tabs. `None`: the engine is not here.
pub(crate) fn duckdb(sealed: &Path, queries: &[&str]) -> Option<Vec<BTreeSet<String>>> {
    let modules = std::env::var_os("PICKET_DUCKDB").unwrap_or_default();
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT]).arg(sealed);
    python.env("PYTHONPATH", modules);
    python.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = match python.spawn() {
        Ok(python) => python,
        Err(error) => {
            eprintln!("SKIPPED: no python3: {error}");
            return None;
        }
    };
    let mut input = python.stdin.take().unwrap();
    input.write_all(queries.join("\n").as_bytes()).unwrap();
    drop(input);
    let done = python.wait_with_output().unwrap();
    if done.status.code() == Some(77) {
        eprintln!("SKIPPED: no module duckdb for python3 (make deps-test fetches it)");
        return None;
    }
    assert!(done.status.success());
    let printed = String::from_utf8(done.stdout).unwrap();
    let answers = printed.split_terminator("--\n");
    let answers: Vec<_> = answers
        .map(|rows| rows.lines().map(str::to_owned).collect())
        .collect();
    assert_eq!(answers.len(), queries.len());
    Some(answers)
}

const SCRIPT: &str = r#"
import sys
try:
    import duckdb
except ImportError:
    sys.exit(77)
files = f"{sys.argv[1]}/*/*/*/*.parquet"
connection = duckdb.connect()
connection.execute(f"CREATE VIEW events AS SELECT * FROM read_parquet('{files}', hive_partitioning = true)")
for query in sys.stdin.read().splitlines():
    for row in connection.execute(query).fetchall():
        print("\t".join("" if value is None else str(value) for value in row))
    print("--")
"#;
