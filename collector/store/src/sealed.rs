//! Sealed files: what the write-ahead log holds, as Parquet that any engine reads.
//!
//! # Invariants
//!
//! - Everything before the catalogue's cursor is in sealed files, everything behind it is in the log only; readers take both at one moment.
//! - A file is written whole and synced before the catalogue names it, and removed after the catalogue no longer does and no reader has it.
//! - The log is not touched by sealing: what was signed stays as it was signed.
//!
//! The bytes are described in `docs/formats/parquet.md`.

mod blocks;
mod build;
mod catalogue;
mod columns;
mod compact;
mod condition;
mod count;
mod file;
mod leftover;
mod merge;
mod read;
mod repair;
mod rest;
mod retire;
mod row;
mod sealer;
mod shown;
mod sizes;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use picket_event::HostId;

use crate::{ChainKey, Cursor, StoredEvent};

pub(crate) use build::Rows;
pub(crate) use catalogue::{Catalogue, Mark};
pub(crate) use columns::{COLUMNS, EVENT, Form, HOST, TIME, column_of, schema};
pub(crate) use condition::{Check, Condition, Plan};
pub(crate) use count::Counted;
pub(crate) use file::SealedFile;
pub(crate) use read::{FileScan, Open};
pub use repair::RepairReport;
pub use retire::{Limit, Retention};
pub use sealer::{SealOptions, SealReport, Sealer};
pub(crate) use shown::{NAMED, Shown, shown};
pub use sizes::ColumnSize;
pub(crate) use write::sealed;

/// What is sealed, as readers see it. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedSealed(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    now: RwLock<Arc<Snapshot>>,
    /// Numbers of files that somebody could not read.
    suspects: Mutex<BTreeSet<u64>>,
}

/// What is sealed at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// The log counts from here on.
    pub(crate) cursor: Option<Cursor>,
    /// In the order of their first event.
    pub(crate) files: Vec<Arc<SealedFile>>,
    /// Which events of the log are in files all the same; only a log that was put back from an old copy has such.
    pub(crate) doubled: Option<Arc<HashMap<(HostId, ChainKey), Mark>>>,
}

impl SharedSealed {
    pub(crate) fn now(&self) -> Arc<Snapshot> {
        let now = self.0.now.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&now)
    }

    /// What is sealed is this and stays so.
    pub(crate) fn of(snapshot: Snapshot) -> Self {
        Self(Arc::new(Shared {
            now: RwLock::new(Arc::new(snapshot)),
            suspects: Mutex::default(),
        }))
    }

    fn publish(&self, snapshot: Snapshot) {
        let mut now = self.0.now.write().unwrap_or_else(PoisonError::into_inner);
        *now = Arc::new(snapshot);
    }

    /// Somebody could not read this file: whoever seals looks at it.
    pub(crate) fn suspect(&self, number: u64) {
        let mut suspects = self
            .0
            .suspects
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        suspects.insert(number);
    }

    fn suspects(&self) -> BTreeSet<u64> {
        let suspects = self
            .0
            .suspects
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        suspects.clone()
    }

    fn clear(&self, number: u64) {
        let mut suspects = self
            .0
            .suspects
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        suspects.remove(&number);
    }
}

impl Snapshot {
    /// Where the log begins to count.
    pub(crate) fn begin(&self) -> Cursor {
        self.cursor.unwrap_or(Cursor::START)
    }

    /// Whether an event of the log is in the files too.
    pub(crate) fn holds(&self, stored: &StoredEvent) -> bool {
        let Some(marks) = &self.doubled else {
            return false;
        };
        let key = ChainKey {
            stream: stored.stream,
            class: stored.class,
        };
        let mark = marks.get(&(stored.host, key));
        mark.is_some_and(|mark| stored.event.seq < mark.sealed_seq)
    }
}
