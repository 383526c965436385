//! Checkpoints: every hour the collector signs what it has taken so far, and can prove each header to be in it.
//! Each also names the head of the audit.
//!
//! # Invariants
//!
//! - A checkpoint holds all of the one before it, in the same order: leaves are only ever added.
//! - The tree is on disk before the checkpoint that names it, and the checkpoint before anybody hears of it.
//! - When tree and checkpoints do not fit any more, nothing is signed: a person has to look.

pub mod tiles;

use std::fs;
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use picket_event::Clock;
use picket_event::checkpoint::{Checkpoint, CheckpointError};
use picket_event::fleet::Prior;
use picket_proto::v1;
use picket_seal::tree::{self, leaf_hash};
use picket_seal::{Digest, PublicKey, SealError, SigningKey, header_hash};
use picket_store::{Cursor, Query, Reader, StoreError};
use tokio::sync::{Mutex, watch};

use crate::data::{self, DataDir, DataError};
use crate::database::checkpoints::{self, CheckpointRow};
use crate::database::{Database, DatabaseError, audit};
use tiles::Tiles;

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key cannot be read or made.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The key is none.
    #[error("the checkpoint key cannot be used")]
    Key(#[source] SealError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store cannot be read.
    #[error("failed to read the store for a checkpoint")]
    Store(#[from] StoreError),
    /// The tree's files failed.
    #[error("failed to keep the tree of checkpoints")]
    Tree(#[from] io::Error),
    /// The last checkpoint is not one of ours.
    #[error("the last checkpoint cannot be believed")]
    Last(#[source] CheckpointError),
    /// The headers are not those that were signed.
    #[error("the stored headers are not those of checkpoint {number}")]
    OtherHistory {
        /// Which one.
        number: u64,
    },
    /// The thread ended.
    #[error("the thread that signs checkpoints ended")]
    Ended,
}

/// Signs and proves. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Checkpoints(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tree: PathBuf,
    key: SigningKey,
    database: Database,
    reader: Reader,
    clock: Arc<dyn Clock>,
    newest: watch::Sender<Option<Digest>>,
    signing: Mutex<()>,
}

impl Checkpoints {
    /// Opens what is there; a key is made where there is none yet.
    pub fn open(
        data: &DataDir,
        database: Database,
        reader: Reader,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SignError> {
        let inner = Inner {
            tree: data.tree(),
            key: key(data)?,
            database,
            reader,
            clock,
            newest: watch::Sender::new(None),
            signing: Mutex::new(()),
        };
        let last = inner.last()?;
        inner.newest.send_replace(last.map(|last| last.hash));
        Ok(Self(Arc::new(inner)))
    }

    /// Hears of each new checkpoint's hash.
    pub fn newest(&self) -> watch::Receiver<Option<Digest>> {
        self.0.newest.subscribe()
    }

    /// The key that the checkpoints are signed by.
    pub fn public_key(&self) -> PublicKey {
        self.0.key.public_key()
    }

    /// Signs what is new since the last checkpoint, if anything.
    pub async fn sign(&self) -> Result<(), SignError> {
        let _one = self.0.signing.lock().await;
        let inner = Arc::clone(&self.0);
        let signed = tokio::task::spawn_blocking(move || inner.sign());
        signed.await.map_err(|_ended| SignError::Ended)?
    }

    /// Signs again and again. What could not be signed is tried again at the next time.
    pub async fn keep(self, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            if let Err(error) = self.sign().await {
                let error = crate::failure::chain(&error);
                tracing::error!(error, "no checkpoint signed");
            }
        }
    }

    /// The fleet's prior as it is given to hosts, signed by the same key.
    pub fn sign_prior(&self, prior: &Prior) -> v1::SignedPrior {
        prior.sign(&self.0.key)
    }

    /// All checkpoints with what leads from each to the next, and a prover for the last. Blocks.
    pub fn evidence(&self) -> Result<Shown, SignError> {
        let rows = self.0.database.run(checkpoints::all)?;
        let key = self.0.key.public_key();
        let read = |row: &CheckpointRow| Checkpoint::read(&row.signed, &key);
        let sizes = rows.iter().map(|row| read(row).map(|(one, _)| one.size));
        let sizes = sizes
            .collect::<Result<Vec<_>, _>>()
            .map_err(SignError::Last)?;
        let size = sizes.last().copied().unwrap_or(0);
        let tiles = Tiles::read(&self.0.tree, size)?;
        let end = rows.last().map_or(Cursor::START, |row| row.cursor);
        let mut evidence = Vec::with_capacity(rows.len());
        let mut before = 0;
        for (row, size) in rows.into_iter().zip(sizes) {
            let path = tree::consistency(&tiles, before, size)?;
            evidence.push(v1::EvidenceCheckpoint {
                signed: Some(row.signed),
                consistency: bytes(&path),
                public_key: match before {
                    0 => key.as_bytes().to_vec(),
                    _ => Vec::new(),
                },
            });
            before = size;
        }
        Ok(Shown {
            checkpoints: evidence,
            prover: Prover::new(tiles),
            end,
        })
    }
}

/// What shows that batches are in the last checkpoint.
#[derive(Debug)]
pub struct Shown {
    /// All checkpoints, the first one first.
    pub checkpoints: Vec<v1::EvidenceCheckpoint>,
    /// Of the last one.
    pub prover: Prover,
    /// The place in the log behind the last batch that it holds.
    pub end: Cursor,
}

/// The last checkpoint, read.
#[derive(Clone, Copy, Debug)]
struct Last {
    checkpoint: Checkpoint,
    hash: Digest,
    cursor: Cursor,
}

impl Inner {
    fn last(&self) -> Result<Option<Last>, SignError> {
        let Some(row) = self.database.run(checkpoints::last)? else {
            return Ok(None);
        };
        let read = Checkpoint::read(&row.signed, &self.key.public_key());
        let (checkpoint, hash) = read.map_err(SignError::Last)?;
        Ok(Some(Last {
            checkpoint,
            hash,
            cursor: row.cursor,
        }))
    }

    fn sign(&self) -> Result<(), SignError> {
        let last = self.last()?;
        let size = last.map_or(0, |last| last.checkpoint.size);
        let from = self.known(last.map_or(Cursor::START, |last| last.cursor));
        let end = self.reader.end();
        let mut tiles = self.tiles(last)?;
        let cursor = self.add(&mut tiles, from..end, u64::MAX)?;
        let audit = self.database.run(audit::head)?;
        let same = last.is_some_and(|last| last.checkpoint.audit == audit);
        if tiles.size() == 0 || tiles.size() == size && same {
            return Ok(());
        }
        tiles.sync()?;
        let checkpoint = Checkpoint {
            number: last.map_or(1, |last| last.checkpoint.number.saturating_add(1)),
            size: tiles.size(),
            root: tree::root(&tiles, tiles.size())?,
            wall: self.clock.now(),
            previous: last.map_or(Digest::ZERO, |last| last.hash),
            audit,
        };
        let signed = checkpoint.sign(&self.key);
        let hash = picket_event::checkpoint::hash(&signed);
        let row = CheckpointRow { signed, cursor };
        self.database
            .run(|t| checkpoints::add(t, checkpoint.number, &row))?;
        let Checkpoint { number, size, .. } = checkpoint;
        tracing::info!(number, size, %hash, "signed a checkpoint");
        self.newest.send_replace(Some(hash));
        Ok(())
    }

    /// The tree of the last checkpoint. Built anew from the store where its files are gone; it must come out the same.
    fn tiles(&self, last: Option<Last>) -> Result<Tiles, SignError> {
        let Some(last) = last else {
            return Ok(Tiles::open(&self.tree, 0)?);
        };
        let Checkpoint {
            number, size, root, ..
        } = last.checkpoint;
        match Tiles::open(&self.tree, size) {
            Ok(tiles) if tree::root(&tiles, size)? == root => return Ok(tiles),
            Ok(_) => tracing::error!(
                number,
                "the tree of checkpoints is damaged, building it anew"
            ),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::error!(number, "the tree of checkpoints is gone, building it anew");
            }
            Err(error) => return Err(error.into()),
        }
        let mut tiles = Tiles::open(&self.tree, 0)?;
        self.add(&mut tiles, Cursor::START..last.cursor, size)?;
        let same = tiles.size() == size && tree::root(&tiles, size)? == root;
        if !same {
            return Err(SignError::OtherHistory { number });
        }
        tiles.sync()?;
        Ok(tiles)
    }

    /// A store that was restored without its database may end before the last checkpoint's place.
    fn known(&self, cursor: Cursor) -> Cursor {
        let end = self.reader.end();
        if cursor > end {
            tracing::error!("the store ends before the last checkpoint: what came between is lost");
        }
        cursor.min(end)
    }

    /// Adds the headers of a part of the store until there are `most`, and says how far it came: what arrived behind
    /// the part meanwhile may be in it.
    fn add(&self, tiles: &mut Tiles, part: Range<Cursor>, most: u64) -> Result<Cursor, SignError> {
        let _whole = self.reader.pin();
        let mut cursor = part.start;
        while cursor < part.end && tiles.size() < most {
            let room = most.saturating_sub(tiles.size()).min(GROUP as u64);
            let mut leaves = Vec::with_capacity(GROUP);
            cursor = self
                .reader
                .follow_batches(cursor, &Query::default(), &mut |stored| {
                    leaves.push(leaf_hash(&header_hash(&stored.batch.header)));
                    if (leaves.len() as u64) < room {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                })?;
            tiles.append(&leaves)?;
        }
        Ok(cursor)
    }
}

/// Proves headers to be in the tree of one checkpoint; asked for in the order of their arrival.
#[derive(Debug)]
pub struct Prover {
    tiles: Tiles,
    next: u64,
    leaves: Vec<Digest>,
}

impl Prover {
    fn new(tiles: Tiles) -> Self {
        Self {
            tiles,
            next: 0,
            leaves: Vec::new(),
        }
    }

    /// The proof for this header; `None` if it came after the checkpoint.
    pub fn prove(&mut self, header: &[u8]) -> io::Result<Option<v1::Inclusion>> {
        let leaf = leaf_hash(&header_hash(header));
        loop {
            let first = self.next.saturating_sub(self.leaves.len() as u64);
            if let Some(at) = self.leaves.iter().position(|known| *known == leaf) {
                self.leaves.drain(..=at);
                let index = first.saturating_add(at as u64);
                let path = tree::inclusion(&self.tiles, index, self.tiles.size())?;
                let path = bytes(&path);
                return Ok(Some(v1::Inclusion { index, path }));
            }
            self.leaves = self.tiles.leaves(self.next, GROUP)?;
            self.next = self.next.saturating_add(self.leaves.len() as u64);
            if self.leaves.is_empty() {
                return Ok(None);
            }
        }
    }
}

fn bytes(path: &[Digest]) -> Vec<Vec<u8>> {
    path.iter().map(|hash| hash.as_bytes().to_vec()).collect()
}

fn key(data: &DataDir) -> Result<SigningKey, SignError> {
    let path = data.checkpoint_key();
    if !fs::exists(&path).map_err(SignError::Tree)? {
        let new = SigningKey::generate().map_err(SignError::Key)?;
        data::write_new(&path, new.to_pkcs8(), 0o600)?;
    }
    SigningKey::from_pkcs8(&data::read(&path)?).map_err(SignError::Key)
}

/// Headers that are read at once.
const GROUP: usize = 4096;
