//! Which commands this host has seen, and what it answered: so that each is done at most once.
//!
//! # Invariants
//!
//! - An intent is durable before anything is done; an answer is durable before it is given.
//! - An id is kept for [`KEEP`] beyond its command's end. A full table refuses, it never forgets.
//! - The newest `not_before` that was ever accepted is kept: time does not fall below it.
//!
//! # The file
//!
//! One JSON object per line. A line without its newline was cut off and never counted.
//!
//! ```text
//! {"seen":ID,"body":HEX,"not_before":NS,"expires":NS}    before it is done
//! {"done":ID,"receipt":HEX}                              Containment (picket.v1)
//! ```

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use picket_event::command::Command;
use picket_event::{CommandId, Containment, Detail, UnixNanos};
use picket_proto::v1;
use picket_seal::Digest;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::{StateDir, StateError};

/// How long an id is kept beyond its command's end.
const KEEP: Duration = Duration::from_hours(30 * 24);
/// The most commands that are remembered.
pub(crate) const MAX_SEEN: usize = 10_000;
const NAME: &str = "commands";

/// The table, with its file.
#[derive(Debug)]
pub(crate) struct CommandLog {
    path: PathBuf,
    file: File,
    seen: HashMap<CommandId, Seen>,
    newest_not_before: UnixNanos,
}

/// One command. Its answer stays on disk.
#[derive(Clone, Copy, Debug)]
struct Seen {
    body: Digest,
    intent: Place,
    receipt: Option<Place>,
}

/// Where a line is in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    length: usize,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Intent {
        seen: String,
        body: String,
        not_before: i64,
        expires: i64,
    },
    Receipt {
        done: String,
        receipt: String,
    },
}

/// What is known of an id.
#[derive(Debug)]
pub(crate) enum Known {
    /// Never seen.
    New,
    /// Never seen, and there is no room for it.
    Full,
    /// Seen with the same bytes and answered.
    Answered(Box<Containment>),
    /// Seen with other bytes, or seen and never answered.
    Other,
}

impl CommandLog {
    /// Opens the table, forgets what is old and cuts a line that was written in part.
    pub(crate) fn open(state: &StateDir, now: UnixNanos) -> Result<Self, StateError> {
        let path = state.path(NAME);
        let bytes = super::read(&path)?.unwrap_or_default();
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let kept = forget_old(&path, bytes.get(..whole).unwrap_or_default(), now)?;
        if kept != bytes || bytes.is_empty() {
            super::write(&path, &kept)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(|source| io_error("open", &path, source))?;
        let newest_not_before = UnixNanos(i64::MIN);
        let mut log = Self {
            path,
            file,
            seen: HashMap::new(),
            newest_not_before,
        };
        log.index(&kept)?;
        Ok(log)
    }

    /// What is known of this id with this body.
    pub(crate) fn known(&mut self, id: CommandId, body: &[u8]) -> Result<Known, StateError> {
        let Some(seen) = self.seen.get(&id).copied() else {
            let full = self.seen.len() >= MAX_SEEN;
            return Ok(if full { Known::Full } else { Known::New });
        };
        match seen.receipt {
            Some(place) if seen.body == Digest::of(body) => {
                Ok(Known::Answered(Box::new(self.receipt(place)?)))
            }
            _ => Ok(Known::Other),
        }
    }

    /// Time never falls below this.
    pub(crate) const fn newest_not_before(&self) -> UnixNanos {
        self.newest_not_before
    }

    /// Keeps, durably, that this command is about to be done.
    pub(crate) fn intend(&mut self, command: &Command, body: &[u8]) -> Result<(), StateError> {
        let line = Line::Intent {
            seen: command.id.to_string(),
            body: hex::encode(body),
            not_before: command.not_before.0,
            expires: command.expires.0,
        };
        let intent = self.append(&line)?;
        self.newest_not_before = self.newest_not_before.max(command.not_before);
        let body = Digest::of(body);
        self.seen.insert(
            command.id,
            Seen {
                body,
                intent,
                receipt: None,
            },
        );
        Ok(())
    }

    /// Keeps, durably, what was answered.
    pub(crate) fn answer(&mut self, receipt: &Containment) -> Result<(), StateError> {
        let wire = v1::Containment::from(receipt.clone());
        let line = Line::Receipt {
            done: receipt.command_id.to_string(),
            receipt: hex::encode(wire.encode_to_vec()),
        };
        let place = self.append(&line)?;
        if let Some(seen) = self.seen.get_mut(&receipt.command_id) {
            seen.receipt = Some(place);
        }
        Ok(())
    }

    /// Commands that were begun and never answered: the agent died in between.
    pub(crate) fn unanswered(&mut self) -> Result<Vec<Command>, StateError> {
        let open: Vec<Place> = self
            .seen
            .values()
            .filter(|seen| seen.receipt.is_none())
            .map(|seen| seen.intent)
            .collect();
        open.into_iter().map(|place| self.command(place)).collect()
    }

    fn command(&mut self, place: Place) -> Result<Command, StateError> {
        let Line::Intent { body, .. } = self.line(place)? else {
            return Err(self.damaged("an intent is not where it was"));
        };
        let body = hex::decode(body).map_err(|error| self.damaged(&error.to_string()))?;
        Command::decode(&body).map_err(|error| self.damaged(&crate::failure::chain(&error)))
    }

    fn receipt(&mut self, place: Place) -> Result<Containment, StateError> {
        let Line::Receipt { receipt, .. } = self.line(place)? else {
            return Err(self.damaged("a receipt is not where it was"));
        };
        let bytes = hex::decode(receipt).map_err(|error| self.damaged(&error.to_string()))?;
        decode_receipt(&bytes).map_err(|reason| self.damaged(&reason))
    }

    fn index(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let mut offset = 0;
        for text in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = parse(&self.path, text)?;
            self.take(
                line,
                Place {
                    offset,
                    length: text.len(),
                },
            )?;
            offset = offset.saturating_add(text.len() as u64);
        }
        Ok(())
    }

    fn take(&mut self, line: Line, place: Place) -> Result<(), StateError> {
        match line {
            Line::Intent {
                seen,
                body,
                not_before,
                ..
            } => {
                let id = self.id(&seen)?;
                let body = hex::decode(body).map_err(|error| self.damaged(&error.to_string()))?;
                let body = Digest::of(&body);
                self.newest_not_before = self.newest_not_before.max(UnixNanos(not_before));
                self.seen.insert(
                    id,
                    Seen {
                        body,
                        intent: place,
                        receipt: None,
                    },
                );
            }
            Line::Receipt { done, .. } => {
                let id = self.id(&done)?;
                if let Some(seen) = self.seen.get_mut(&id) {
                    seen.receipt = Some(place);
                }
            }
        }
        Ok(())
    }

    fn id(&self, text: &str) -> Result<CommandId, StateError> {
        CommandId::parse(text).map_err(|error| self.damaged(&error.to_string()))
    }

    fn append(&mut self, line: &Line) -> Result<Place, StateError> {
        let failed = |source| io_error("append to", &self.path, source);
        let mut text = serde_json::to_vec(line).expect("strings and numbers are always JSON");
        text.push(b'\n');
        let offset = self.file.seek(SeekFrom::End(0)).map_err(failed)?;
        let kept = self
            .file
            .write_all(&text)
            .and_then(|()| self.file.sync_all());
        if let Err(source) = kept {
            // Half a line would spoil the next one, and a whole one would say what was never answered for.
            self.file.set_len(offset).map_err(failed)?;
            return Err(failed(source));
        }
        Ok(Place {
            offset,
            length: text.len(),
        })
    }

    fn line(&mut self, place: Place) -> Result<Line, StateError> {
        let failed = |source| io_error("read", &self.path, source);
        let mut text = vec![0; place.length];
        self.file
            .seek(SeekFrom::Start(place.offset))
            .map_err(failed)?;
        self.file.read_exact(&mut text).map_err(failed)?;
        parse(&self.path, &text)
    }

    fn damaged(&self, reason: &str) -> StateError {
        StateError::Damaged {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// The lines of commands that are not over for longer than [`KEEP`].
fn forget_old(path: &Path, bytes: &[u8], now: UnixNanos) -> Result<Vec<u8>, StateError> {
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for text in bytes.split_inclusive(|byte| *byte == b'\n') {
        let old = match parse(path, text)? {
            Line::Intent { seen, expires, .. } => {
                let old = UnixNanos(expires).plus(KEEP) < now;
                if old {
                    gone.push(seen);
                }
                old
            }
            Line::Receipt { done, .. } => gone.contains(&done),
        };
        if !old {
            kept.extend_from_slice(text);
        }
    }
    Ok(kept)
}

fn parse(path: &Path, text: &[u8]) -> Result<Line, StateError> {
    serde_json::from_slice(text).map_err(|error| StateError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn decode_receipt(bytes: &[u8]) -> Result<Containment, String> {
    let wire = v1::Containment::decode(bytes).map_err(|error| error.to_string())?;
    match Detail::try_from(v1::event::Detail::Containment(wire)) {
        Ok(Detail::Containment(receipt)) => Ok(receipt),
        Ok(_) => Err("it is no receipt".to_owned()),
        Err(error) => Err(crate::failure::chain(&error)),
    }
}

fn io_error(operation: &'static str, path: &Path, source: std::io::Error) -> StateError {
    StateError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
