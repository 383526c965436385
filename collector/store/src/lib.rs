//! Keeps the exact signed batches of all hosts, says where each chain stands, seals their events into columns, and finds them.
//!
//! # Invariants
//!
//! - What [`Store::sync`] has returned for survives a power cut.
//! - A batch is stored once: the chain of its host, stream and class decides, nothing else.
//! - Stored bytes are the bytes that were signed; nothing is ever encoded again. A payload may go by a limit, its header never does.
//! - A run belongs to one branch of its host's event keys; another branch never continues it.
//! - After a failed sync nothing is written any more: what is on disk is then not known.
//! - Readers never see a record that is not yet synced, and never wait for the writer's disk.
//!
//! - A search sees each event once, whether it is in the log still or in a sealed file.
//!
//! The bytes are described in `docs/formats/wal.md` and `docs/formats/parquet.md`, the search language in `docs/search.md`.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod disk;
pub mod payload;

mod branch;
mod cancel;
mod cursor;
mod error;
mod frame;
mod index;
mod query;
mod reader;
mod record;
mod recovery;
mod rows;
mod sealed;
mod segment;
mod sessions;
mod stack;
mod store;
mod summary;
mod thin;
mod tree;
mod unread;
mod view;
mod walk;

pub use branch::{Lineage, Marks, SignedBy, SignedSpan, TRUNK};
pub use cancel::{Cancel, CancelOnDrop};
pub use cursor::Cursor;
pub use error::{AppendError, StoreError};
pub use index::{ChainKey, Head, HostLedger, Ledger};
pub use query::{Order, Query, ScanReport, StoredEvent};
pub use reader::{Reader, StoredBatch};
pub use record::Entry;
pub use recovery::{Damage, Recovery};
pub use rows::{
    RowAt, RowCell, RowColumn, RowForm, RowOrder, RowQuery, RowScan, RowTest, Slice, row_columns,
};
pub use sealed::{ColumnSize, Limit, RepairReport, Retention, SealOptions, SealReport, Sealer};
pub use sessions::{Session, Sessions};
pub use stack::{MAX_VALUES, Stack, StackRow, Stacking};
pub use store::{Appended, Options, Store};
pub use summary::{KindSet, Summary};
pub use thin::{Pin, ThinReport};
pub use tree::{Tree, TreeNode};
pub use unread::{Unread, UnreadFile};
pub use view::View;
