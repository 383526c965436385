//! What tests and benchmarks ask a running rig: events, books, figures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Rig, parse};
use crate::failure::Failure;
use crate::service::Service;
use crate::wait;

/// How long a busy machine may take for what it does at once when idle.
pub const PATIENCE: Duration = Duration::from_secs(30);

impl Rig {
    /// Exec events that name `marker` in their arguments, without those of the very questions for it.
    pub fn execs(&self, marker: &str) -> Result<Vec<Value>, Failure> {
        let filter = format!("process.argv ~ '{marker}' and not process.exe $= '/picketctl'");
        let args = ["events", "--kind", "exec", "--limit", "100000"];
        self.ctl_json(&[&args[..], &["--where", &filter]].concat())
    }

    /// Waits until `count` exec events name `marker`, and gives them.
    pub fn wait_for_execs(&self, marker: &str, count: usize) -> Result<Vec<Value>, Failure> {
        let what = format!("{count} exec events of `{marker}`");
        wait::until(&what, PATIENCE, || {
            let found = self.execs(marker)?;
            Ok((found.len() >= count).then_some(found))
        })
    }

    /// Receipts of commands, newest last.
    pub fn receipts(&self) -> Result<Vec<Value>, Failure> {
        let events = self.ctl_json(&["events", "--kind", "containment"])?;
        let receipts = events
            .iter()
            .filter_map(|event| event.get("containment").cloned());
        Ok(receipts.collect())
    }

    /// One host as the collector knows it.
    pub fn host(&self, host: &str) -> Result<Value, Failure> {
        let mut lines = self.ctl_json(&["host", "show", host])?;
        lines.pop().ok_or_else(|| Failure::Unexpected {
            what: "picketctl host show".to_owned(),
            text: "nothing".to_owned(),
        })
    }

    /// The ids of all enrolled hosts.
    pub fn hosts(&self) -> Result<Vec<String>, Failure> {
        let hosts = self.ctl_json(&["hosts"])?;
        let ids = hosts.iter().filter_map(|host| host.get("host")?.as_str());
        Ok(ids.map(str::to_owned).collect())
    }

    /// What the running agent of this state says of itself.
    pub fn status(&self, state: &Path) -> Result<Value, Failure> {
        let state = state.display().to_string();
        let args = ["status", "--json", "--state", &state];
        let printed = self.programs.succeed("picket-agent", &args)?;
        parse("picket-agent status", printed.trim())
    }

    /// Waits until the agent has taken in `execs` exec events in all, and longer than events may wait for their
    /// batch: then what happened before the call is in its spool. Gives the books that say so.
    pub fn wait_until_kept(&self, state: &Path, execs: u64) -> Result<Value, Failure> {
        let stale = self.status(state)?;
        let taken = self.wait_for_newer_books(state, &stale, execs)?;
        // The agent renews its books once a second, and seals five times as often.
        self.wait_for_newer_books(state, &taken, execs)?;
        Ok(taken)
    }

    fn wait_for_newer_books(
        &self,
        state: &Path,
        old: &Value,
        execs: u64,
    ) -> Result<Value, Failure> {
        wait::until("newer books of the agent", PATIENCE, || {
            let status = self.status(state)?;
            let newer = status.get("ledger") != old.get("ledger");
            Ok((newer && execs_taken(&status) >= execs).then_some(status))
        })
    }

    /// Checks all evidence, which must hold.
    pub fn verify(&self) -> Result<Vec<Value>, Failure> {
        self.ctl_json(&["verify"])
    }

    /// One figure of the collector, by its whole name, labels included.
    pub fn figure(&self, name: &str) -> Result<u64, Failure> {
        let text = self.get("/metrics")?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.and_then(|value| value.trim().parse().ok());
        value.ok_or_else(|| Failure::Unexpected {
            what: format!("the figure {name}"),
            text,
        })
    }

    /// What the collector answers to a plain HTTP request on its port for metrics.
    pub fn get(&self, path: &str) -> Result<String, Failure> {
        let run = |source| Failure::Run {
            what: format!("GET {path}"),
            source,
        };
        let mut answer = String::new();
        let mut stream = TcpStream::connect(&self.addresses.metrics).map_err(run)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: picket\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(run)?;
        stream.read_to_string(&mut answer).map_err(run)?;
        Ok(answer)
    }
}

/// Exec events that the sensor of this agent or host handed on.
pub fn execs_taken(books: &Value) -> u64 {
    let kinds = books.pointer("/ledger/sensor").and_then(Value::as_array);
    let mut kinds = kinds.map(Vec::as_slice).unwrap_or_default().iter();
    let exec = kinds.find(|line| line.get("kind").is_some_and(|kind| kind == "exec"));
    let submitted = exec.and_then(|line| line.get("submitted")?.as_u64());
    submitted.unwrap_or_default()
}

/// An agent that looks at processes without the kernel's help, as every user can.
pub fn portable_agent(rig: &Rig, state: &Path) -> Result<Service, Failure> {
    let config = rig.path().join("portable.toml");
    super::write_file(&config, "source = \"portable\"\n")?;
    rig.agent(state, Some(&config))
}
