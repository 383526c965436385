//! The log of a run: one line of JSON for each test that was given to a machine, and the events that the agent told meanwhile.
//!
//! ```text
//! FOLDER/run.json                conditions: kernel, programs, pack, list
//! FOLDER/steps.jsonl             one Step a line
//! FOLDER/events/NUMBER.VARIANT   one event a line: arrival in ns since 1970 by the guest's clock, blank, event as `watch --json` prints it
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use picket_event::{Event, UnixNanos, json};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// How a test is played.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// As it stands in the list.
    #[default]
    Plain,
    /// The programs that it names lie under other names and are called by these.
    Renamed,
    /// No test: the machine is left alone for a while.
    Idle,
}

impl Variant {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Renamed => "renamed",
            Self::Idle => "idle",
        }
    }
}

/// One test in one machine.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Step {
    /// The test's guid.
    pub guid: String,
    /// Its place in the list.
    pub number: usize,
    /// How it was played.
    pub variant: Variant,
    /// What its machine was at the end.
    pub guest: Guest,
    /// What the machine said of it.
    pub played: Played,
    /// How long the machine was busy with it, in ms of this host.
    pub took_ms: u64,
}

/// What became of a machine.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Guest {
    /// It answered to the end.
    #[default]
    Alive,
    /// It went away: the test switched it off, started it anew or broke it.
    Ended,
    /// It said nothing more within the time.
    Silent,
}

/// What the machine says of a test.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Played {
    /// Home of the user it ran as.
    pub home: String,
    /// Words of the command that are programs there, and where they lie.
    pub programs: BTreeMap<String, PathBuf>,
    /// Those that lie under another name: the old and the new name.
    pub renamed: BTreeMap<String, String>,
    /// What had to be there.
    pub dependencies: Vec<Met>,
    /// The process of the test's shell.
    pub root: Option<String>,
    /// Processes that the runner started for other purposes, and why.
    pub others: BTreeMap<String, String>,
    /// When the test began, in ns since 1970 by the guest's clock; 0: it did not.
    pub began: i64,
    /// When it had ended.
    pub ended: i64,
    /// How.
    pub outcome: Outcome,
    /// Whether the agent had told all that it saw when the machine said this.
    pub settled: bool,
    /// Events that were not written down, because there were too many of them.
    pub dropped: u64,
    /// How the agent ended, if it did.
    pub agent_ended: Option<String>,
    /// How what undoes it ended.
    pub cleanup: Option<Outcome>,
}

/// Whether one thing that a test needs was there.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Met {
    /// What.
    pub description: String,
    /// Whether it was there in the end.
    pub met: bool,
    /// Who got it: nobody had to, the test's user, root.
    pub by: String,
}

/// How a shell ended.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Outcome {
    /// Its exit code.
    pub exit: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether its time was over.
    pub timed_out: bool,
    /// Commands that a shell did not find.
    pub missing: Vec<String>,
    /// The end of what it said on the side.
    pub said: String,
}

/// An event, and when the reader of the agent's output had it.
#[derive(Clone, Debug)]
pub struct Told {
    /// The event.
    pub event: Event,
    /// When it was read.
    pub arrived: UnixNanos,
}

/// A run on disk.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    /// Its steps, in the order in which they ended.
    pub steps: Vec<Step>,
    /// The conditions.
    pub conditions: serde_json::Value,
}

impl Run {
    /// Reads what a run left.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("steps.jsonl");
        let text = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
        let steps: Result<_, _> = text.lines().map(|line| parsed(&path, line)).collect();
        let path = folder.join("run.json");
        let text = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
        Ok(Self {
            folder: folder.to_owned(),
            steps: steps?,
            conditions: parsed(&path, &text)?,
        })
    }

    /// The events of a step, and how many lines were none.
    pub fn events(&self, step: &Step) -> Result<(Vec<Told>, usize), Failure> {
        let path = events_file(&self.folder, step.number, step.variant);
        let file = File::open(&path).map_err(Failure::file(&path))?;
        let mut told = Vec::new();
        let mut unread = 0;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(Failure::file(&path))?;
            match event(&String::from_utf8_lossy(&line)) {
                Some(event) => told.push(event),
                None => unread += 1,
            }
        }
        Ok((told, unread))
    }
}

/// Where the events of a step are.
pub fn events_file(folder: &Path, number: usize, variant: Variant) -> PathBuf {
    folder
        .join("events")
        .join(format!("{number:03}.{}", variant.name()))
}

fn event(line: &str) -> Option<Told> {
    let (arrived, text) = line.split_once(' ')?;
    Some(Told {
        arrived: UnixNanos(arrived.parse().ok()?),
        event: json::from_str(text).ok()?.event,
    })
}

fn parsed<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Unexpected {
        what: path.display().to_string(),
        text: error.to_string(),
    })
}
