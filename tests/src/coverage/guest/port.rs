//! The guest's end of the port: orders come in, lines go out.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::wait;

/// Who may write a line at a time.
pub(super) type Writer = Arc<Mutex<File>>;

/// The port.
#[derive(Debug)]
pub(super) struct Port {
    reader: File,
    read: Vec<u8>,
    writer: Writer,
}

impl Port {
    /// Opens it, once the kernel has it.
    pub(super) fn open() -> Result<Self, Failure> {
        let path = Path::new("/dev/virtio-ports").join(super::PORT);
        wait::until("the port", Duration::from_mins(2), || {
            Ok(path.exists().then_some(()))
        })?;
        let file = File::options().read(true).write(true).open(&path);
        let reader = file.map_err(Failure::file(&path))?;
        let writer = reader.try_clone().map_err(Failure::file(&path))?;
        Ok(Self {
            reader,
            read: Vec::new(),
            writer: Arc::new(Mutex::new(writer)),
        })
    }

    /// For whoever else writes lines.
    pub(super) fn writer(&self) -> Writer {
        Arc::clone(&self.writer)
    }

    /// One line: a word and a value.
    pub(super) fn say(&self, word: &str, value: &impl Serialize) -> Result<(), Failure> {
        let value = serde_json::to_string(value).map_err(|error| Failure::Unexpected {
            what: "an answer".to_owned(),
            text: error.to_string(),
        })?;
        write_line(&self.writer, &format!("{word} {value}"))
    }

    /// The next order. Waits while nobody is at the other end.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let line = self.line()?;
        serde_json::from_slice(&line).map_err(|error| Failure::Unexpected {
            what: "the host".to_owned(),
            text: error.to_string(),
        })
    }

    fn line(&mut self) -> Result<Vec<u8>, Failure> {
        let mut part = [0; 4096];
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.read.drain(..=end).collect();
                line.pop();
                return Ok(line);
            }
            // Nothing is what the port gives while the host is not there.
            let count = self.reader.read(&mut part).unwrap_or(0);
            if count == 0 {
                wait::pause(Duration::from_millis(100));
            }
            self.read.extend(part.iter().take(count));
        }
    }
}

/// Writes one line.
pub(super) fn write_line(writer: &Writer, line: &str) -> Result<(), Failure> {
    let mut file = writer.lock().unwrap_or_else(PoisonError::into_inner);
    let written = file.write_all(format!("{line}\n").as_bytes());
    written.map_err(Failure::file(super::PORT))
}
