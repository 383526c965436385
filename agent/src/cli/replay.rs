//! `replay`: recordings through enrich and detect, each event printed with its verdicts.
//!
//! What stays true: what this host is plays no part, so a recording of another host is judged as there. Each line that
//! could not be read is counted, and the first ones are named.

use std::fs::File;
use std::path::Path;

use picket_event::{BootId, Origin, UnixNanos};
use picket_scorer::{Scorer, Settings};
use picket_sensor::login::LineClock;
use picket_sensor::recorded::{Form as Recorded, Recording, Told};

use super::form::Form;
use super::output::{Output, Reader};
use super::{Format, ReplayArgs};
use crate::config::DEFAULT_RULES;
use crate::detect::{Detector, RulesFrom, load_rules, scorer_settings};
use crate::enrich::table::ProcessTable;
use crate::failure::{Code, Failure};
use crate::health;

mod lines;
mod summary;

use lines::{Line, Lines};
use summary::Summary;

/// In `--scorer-state DIR`.
const SECRET: &str = "scorer.secret";
const SNAPSHOT: &str = "scorer.snapshot";

/// Replays the files in order.
pub(super) fn replay(arguments: &ReplayArgs) -> Result<(), Failure> {
    health::log_to_stderr("warn");
    let from = match &arguments.rules {
        Some(directory) => RulesFrom::Only(directory),
        None => RulesFrom::Pack(Path::new(DEFAULT_RULES)),
    };
    let scorer = scorer(arguments.scorer_state.as_deref())?;
    let mut walk = Walk {
        format: arguments.format.map(Recorded::from),
        table: ProcessTable::default(),
        detector: Detector::new(load_rules(from, &[])?, scorer),
        out: Output::new(),
        form: Form::new(arguments.json, arguments.ocsf),
        summary: Summary::default(),
    };
    let mut failed: Option<Failure> = None;
    let mut unread = 0;
    for file in &arguments.files {
        match walk.file(file) {
            Ok(Reader::There) => {}
            Ok(Reader::Gone) => return Ok(()),
            Err(failure) => {
                unread += 1;
                if let Some(earlier) = failed.replace(failure) {
                    earlier.print();
                }
            }
        }
    }
    if let Some(directory) = &arguments.scorer_state {
        crate::state::write(&directory.join(SNAPSHOT), &walk.detector.snapshot())?;
    }
    let reader = walk.out.flush()?;
    if reader == Reader::There && unread < arguments.files.len() {
        walk.summary.print(walk.detector.over_several());
    }
    failed.map_or(Ok(()), Err)
}

impl From<Format> for Recorded {
    fn from(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Auditd => Self::Auditd,
            Format::Sysmon => Self::Sysmon,
            Format::Syslog => Self::Syslog,
        }
    }
}

/// The path from a file to standard output.
struct Walk {
    format: Option<Recorded>,
    table: ProcessTable,
    detector: Detector,
    out: Output,
    form: Form,
    summary: Summary,
}

impl Walk {
    fn file(&mut self, path: &Path) -> Result<Reader, Failure> {
        let failed = |source| {
            Failure::new(
                Code::Failed,
                &ReadError {
                    path: path.to_owned(),
                    source,
                },
            )
        };
        let file = File::open(path).map_err(failed)?;
        // Lines without a year are of the last year that fits before the file was written.
        let written = file.metadata().and_then(|about| about.modified()).ok();
        let clock = LineClock::utc(written.map_or(UnixNanos(i64::MAX), unix));
        let mut recording = Recording::new(self.format, clock);
        let mut lines = Lines::new(file);
        while let Some((number, line)) = lines.next().map_err(failed)? {
            match line {
                Line::Whole(line) => {
                    if let Err(reason) = recording.line(line) {
                        self.summary.unread(path, number, &reason.to_string());
                    }
                }
                Line::TooLong => self.summary.unread(path, number, "longer than 16 MiB"),
                Line::Packed => return Err(packed(path)),
            }
            if self.print(recording.take())? == Reader::Gone {
                return Ok(Reader::Gone);
            }
        }
        if let Err(reason) = recording.end() {
            self.summary
                .unread(path, lines.number(), &reason.to_string());
        }
        self.print(recording.take())
    }

    fn print(&mut self, told: Vec<Told>) -> Result<Reader, Failure> {
        for mut told in told {
            self.table.recorded(&mut told.event);
            let event = &mut told.event;
            self.detector
                .judge_written(event.time, event, &told.records);
            if told.only_if_judged && event.verdicts.is_empty() {
                self.summary.passed();
                continue;
            }
            self.summary.event(event);
            let origin = Origin {
                host: told.host,
                boot: told.boot.unwrap_or(BootId::new([0; 16])),
            };
            if self.out.line(&self.form.line(event, &origin))? == Reader::Gone {
                return Ok(Reader::Gone);
            }
        }
        Ok(Reader::There)
    }
}

fn unix(time: std::time::SystemTime) -> UnixNanos {
    let since = time
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    UnixNanos(0).plus(since)
}

fn packed(path: &Path) -> Failure {
    let line = format!("`{}` is compressed", path.display());
    let hint = format!("zcat {} > FILE; picket-agent replay FILE", path.display());
    Failure::line(Code::Failed, line).hint(hint)
}
/// A scorer that goes on from what was learned in the directory, if one is given.
fn scorer(directory: Option<&Path>) -> Result<Scorer, Failure> {
    let Some(directory) = directory else {
        return Ok(Scorer::new(fresh()?));
    };
    std::fs::create_dir_all(directory).map_err(|source| {
        Failure::new(
            Code::Failed,
            &ReadError {
                path: directory.to_owned(),
                source,
            },
        )
    })?;
    let secret = directory.join(SECRET);
    let settings = if let Some(bytes) = crate::state::read(&secret)? {
        let bytes: [u8; 16] = bytes.try_into().map_err(|_wrong: Vec<u8>| {
            Failure::line(
                Code::Failed,
                format!("`{}` has not 16 bytes", secret.display()),
            )
        })?;
        scorer_settings(bytes, None)
    } else {
        let settings = fresh()?;
        crate::state::write(&secret, &settings.host_secret)?;
        settings
    };
    let Some(snapshot) = crate::state::read(&directory.join(SNAPSHOT))? else {
        return Ok(Scorer::new(settings));
    };
    Scorer::restore(settings, &snapshot).map_err(|error| Failure::new(Code::Failed, &error))
}

fn fresh() -> Result<Settings, Failure> {
    let secret = picket_seal::random().map_err(|error| Failure::new(Code::Failed, &error))?;
    Ok(scorer_settings(secret, None))
}

#[derive(Debug, thiserror::Error)]
#[error("failed to read `{}`", path.display())]
struct ReadError {
    path: std::path::PathBuf,
    source: std::io::Error,
}
