//! Files that hosts sent because signed commands asked for them.
//!
//! # Invariants
//!
//! - A file is taken only from a host that a signed `collect` names, up to the size that was signed.
//! - What is acknowledged as received is durable; a file has its name only once it is whole and its hash was
//!   compared.
//!
//! # The directory
//!
//! ```text
//! collected/HOST/COMMAND        whole
//! collected/HOST/COMMAND.part   under way
//! ```

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use picket_event::command::{Action, Command};
use picket_event::{Clock, CommandId, HostId};
use picket_proto::v1;
use picket_seal::Digest;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::calls::Parts;
use crate::database::{Database, DatabaseError, audit, commands};
use crate::failure::chain;
use crate::refusal::Refusal;

/// Largest data of one chunk, in bytes.
const CHUNK: usize = 256 << 10;

/// Where collected files are kept.
#[derive(Clone, Debug)]
pub struct Collected {
    directory: PathBuf,
    quota: u64,
    database: Database,
    clock: Arc<dyn Clock>,
    open: Arc<Mutex<HashSet<Name>>>,
}

/// A file's name: from where and because of what.
type Name = (HostId, CommandId);

/// A file that is being received by one call only.
#[derive(Debug)]
struct Open<'a> {
    all: &'a Collected,
    name: Name,
    most: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut open = self.all.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.name);
    }
}

impl Collected {
    /// In this directory, which is made when it is needed; at most `quota` bytes.
    pub fn new(directory: PathBuf, quota: u64, database: Database, clock: Arc<dyn Clock>) -> Self {
        Self {
            directory,
            quota,
            database,
            clock,
            open: Arc::default(),
        }
    }

    /// Takes what a host sends until it ends or is refused.
    pub async fn receive(
        self,
        host: HostId,
        mut chunks: Streaming<v1::Chunk>,
        answers: mpsc::Sender<Result<v1::ChunkAck, Status>>,
    ) {
        let mut open: Option<Open<'_>> = None;
        while let Ok(Some(chunk)) = chunks.message().await {
            let answer = match self.begun(&mut open, host, &chunk).await {
                Ok(()) => open.as_ref().map_or_else(
                    || Err(Refusal::Internal.status()),
                    |open| tokio::task::block_in_place(|| open.take(&chunk)),
                ),
                Err(refused) => Err(refused),
            };
            let (answer, goes_on) = match answer {
                Ok(ack) if ack.complete => {
                    self.note(host, &ack.command_id, chunk.total).await;
                    (Ok(ack), false)
                }
                Ok(ack) => {
                    let goes_on = ack.refused.is_empty();
                    (Ok(ack), goes_on)
                }
                Err(status) => (Err(status), false),
            };
            if answers.send(answer).await.is_err() || !goes_on {
                return;
            }
        }
    }

    /// Opens the file with the first chunk; the others must be of the same.
    async fn begun<'a>(
        &'a self,
        open: &mut Option<Open<'a>>,
        host: HostId,
        chunk: &v1::Chunk,
    ) -> Result<(), Status> {
        let id = CommandId::from_slice(&chunk.command_id);
        let id = id.map_err(|_malformed| Refusal::BadRequest.status())?;
        if chunk.data.len() > CHUNK {
            return Err(Refusal::TooLarge.status());
        }
        if let Some(open) = open {
            let same = open.name == (host, id);
            return if same {
                Ok(())
            } else {
                Err(Refusal::BadRequest.status())
            };
        }
        let most = self.wanted(host, id).await?;
        let most = most.ok_or_else(|| Refusal::NotFound.saying("no command asks for this file"))?;
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.insert((host, id)) {
            return Err(Refusal::TooManyCalls.status());
        }
        drop(all);
        *open = Some(Open {
            all: self,
            name: (host, id),
            most,
        });
        Ok(())
    }

    /// How many bytes a signed command asks this host for.
    async fn wanted(&self, host: HostId, id: CommandId) -> Result<Option<u64>, Status> {
        let find = move |t: &rusqlite::Transaction<'_>| -> Result<_, DatabaseError> {
            let is_for = commands::is_for(t, &id, &host)?;
            Ok(commands::find(t, &id)?.filter(|_| is_for))
        };
        let found = self.database.call(find).await.map_err(failed)?;
        let command = found.and_then(|row| Command::decode(&row.signed.body).ok());
        Ok(command.and_then(|command| match command.action {
            Action::Collect(what) => Some(what.max_bytes),
            Action::Triage(most) => Some(most),
            _ => None,
        }))
    }

    async fn note(&self, host: HostId, id: &[u8], total: u64) {
        let object = CommandId::from_slice(id).map(|id| id.to_string());
        let (time, object) = (self.clock.now(), object.unwrap_or_default());
        let noted = self.database.call(move |t| -> Result<(), DatabaseError> {
            audit::add(
                t,
                audit::Entry {
                    time,
                    who: &host.to_string(),
                    action: "file.collected",
                    object: &object,
                    detail: &format!("{total} bytes"),
                    proof: &[],
                },
            )
        });
        if let Err(error) = noted.await {
            tracing::error!(
                error = chain(&error),
                "a collected file is not in the audit"
            );
        }
    }

    fn path(&self, (host, command): Name) -> PathBuf {
        self.directory
            .join(host.to_string())
            .join(command.to_string())
    }

    /// Sends a whole file to an operator.
    pub fn read(&self, host: HostId, command: CommandId) -> Result<(File, u64, Digest), Status> {
        let path = self.path((host, command));
        let opened = File::open(&path).and_then(|mut file| {
            let (digest, total) = Digest::of_reader(&mut file)?;
            Ok((File::open(&path)?, total, digest))
        });
        opened.map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                return Refusal::NotFound
                    .saying("no file has come from this host for this command");
            }
            tracing::error!(%error, path = %path.display(), "a collected file cannot be read");
            Refusal::Storage.status()
        })
    }

    /// Bytes that are here, parts included.
    fn used(&self) -> u64 {
        let hosts = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let files =
            hosts.flat_map(|host| fs::read_dir(host.path()).into_iter().flatten().flatten());
        let sizes = files.filter_map(|file| Some(file.metadata().ok()?.len()));
        sizes.fold(0, u64::saturating_add)
    }
}

/// Gives the parts of an open file to a caller.
pub async fn give(
    (mut file, total, digest): (File, u64, Digest),
    command: CommandId,
    parts: Parts<v1::Chunk>,
) -> Result<(), Status> {
    let mut offset = 0;
    loop {
        let data = tokio::task::block_in_place(|| {
            let mut data = Vec::with_capacity(CHUNK);
            (&mut file).take(CHUNK as u64).read_to_end(&mut data)?;
            io::Result::Ok(data)
        });
        let data = data.map_err(|_unreadable| Refusal::Storage.status())?;
        let length = data.len() as u64;
        if length == 0 && offset > 0 {
            return Ok(());
        }
        parts
            .send(v1::Chunk {
                command_id: command.as_bytes().to_vec(),
                offset,
                total,
                sha256: digest.as_bytes().to_vec(),
                data,
            })
            .await?;
        if length == 0 {
            return Ok(());
        }
        offset = offset.saturating_add(length);
    }
}

impl Open<'_> {
    fn take(&self, chunk: &v1::Chunk) -> Result<v1::ChunkAck, Status> {
        self.put(chunk).map_err(|error| {
            tracing::error!(%error, "a collected file cannot be written");
            match error.kind() {
                io::ErrorKind::StorageFull => Refusal::DiskFull.status(),
                _ => Refusal::Storage.status(),
            }
        })
    }

    fn put(&self, chunk: &v1::Chunk) -> io::Result<v1::ChunkAck> {
        let whole = self.all.path(self.name);
        if whole.exists() {
            return Ok(self.ack(chunk.total, true, String::new()));
        }
        if chunk.total > self.most {
            let words = format!(
                "too_large: more than the {} bytes that were signed",
                self.most
            );
            return Ok(self.ack(0, false, words));
        }
        let part = whole.with_extension("part");
        let mut file = open(&part)?;
        let received = file.metadata()?.len();
        if received == 0 && self.all.used().saturating_add(chunk.total) > self.all.quota {
            drop(fs::remove_file(&part));
            let words = "quota: the collector keeps no more collected files".to_owned();
            return Ok(self.ack(0, false, words));
        }
        let length = chunk.data.len() as u64;
        let end = received.saturating_add(length);
        if end > chunk.total {
            return Ok(self.ack(
                received,
                false,
                "too_large: more than was announced".to_owned(),
            ));
        }
        if chunk.offset == received && length > 0 {
            file.write_all(&chunk.data)?;
            file.sync_data()?;
        } else if received < chunk.total {
            return Ok(self.ack(received, false, String::new()));
        }
        if end < chunk.total {
            return Ok(self.ack(end, false, String::new()));
        }
        self.finish(&part, &whole, chunk)
    }

    fn finish(&self, part: &Path, whole: &Path, chunk: &v1::Chunk) -> io::Result<v1::ChunkAck> {
        let (digest, _) = Digest::of_reader(&mut File::open(part)?)?;
        if digest.as_bytes().as_slice() != chunk.sha256.as_slice() {
            fs::remove_file(part)?;
            let words = "hash: the file is not the one that was announced".to_owned();
            return Ok(self.ack(0, false, words));
        }
        fs::rename(part, whole)?;
        if let Some(parent) = whole.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(self.ack(chunk.total, true, String::new()))
    }

    fn ack(&self, received: u64, complete: bool, refused: String) -> v1::ChunkAck {
        v1::ChunkAck {
            command_id: self.name.1.as_bytes().to_vec(),
            received,
            complete,
            refused,
        }
    }
}

/// Opens a part to append to it, and makes its directory.
fn open(part: &Path) -> io::Result<File> {
    if let Some(parent) = part.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(part)
}

fn failed(error: DatabaseError) -> Status {
    crate::ingest::internal(&error).status()
}
