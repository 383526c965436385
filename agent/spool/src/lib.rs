//! Keeps sealed batches on disk until the collector has acknowledged them.
//!
//! A record is one sealed batch: opaque bytes with a small index of stream, class and numbers. A
//! stream is one run of the agent; inside it each class has its own numbers, order and acks. The
//! crate knows no clock, no network and no meaning of the bytes; the disk is a trait.
//!
//! # Invariants
//!
//! - What [`Spool::sync`] has returned for survives a power cut, and nothing is handed out before.
//! - A record is given unaltered, or without its payload and marked so, or reported as [`Lost`].
//! - Inside a class the oldest stream comes first, inside a stream the lowest number.
//! - Only what is acknowledged is deleted. An ack counts at most up to what was synced here.
//! - Losing the cursor costs resending, never loss. What it has on disk is not given again.
//! - Segments never exceed the quota. When full, the oldest payloads go: BULK, then SECURITY, then
//!   ALERT; never one of a more important class than the record that needs the room.
//! - Memory is bounded: what waits for `sync` by 1 MiB or one record per class, then `append` syncs
//!   itself or refuses; the rest by the number of segments and of streams that have some.
//! - No bytes on disk make it panic or need a person. An error leaves the spool usable.
//!
//! Not covered: when a sync failed, the disk then refused to cut or remove what it left, and the
//! process restarted without a reboot, those records are taken for durable although the kernel may
//! have lost them. No `sync` ever confirmed them.
//!
//! # On disk
//!
//! ```text
//! segment-0000000000000001.log       one class of one stream; integers are little endian
//!   magic "PKTSPOOL" | version u16 | class u8 | flags u8 | stream [u8; 16] | seq_first u64
//!   | crc32c u32
//!   record*:  len u32 | crc32c u32 | body [u8; len]
//!   body:     flags u8 | class u8 | stream [u8; 16] | seq_first u64 | count u64
//!             | signature [u8; 64] | header_len u32 | extra_len u32 | header | extra | payload
//! cursor
//!   magic "PKTCURSR" | version u16 | zero u16 | n u32
//!   | n times: stream [u8; 16] | class u8 | durable_seq u64
//!   | crc32c u32
//! *.new                              either of them on its way to replace one; removed by `open`
//! ```
//!
//! Recovery reads everything once. A torn end is left out, a flipped record is skipped to the next
//! record of the segment, and the numbers around it tell which were lost. `docs/formats/spool.md`
//! has the details.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![forbid(unsafe_code)]

mod cursor;
mod disk;
mod error;
mod index;
mod loss;
mod numbers;
mod record;
mod segment;
mod spool;
mod status;

pub use disk::{Disk, FileInfo, RealDisk};
pub use error::SpoolError;
pub use loss::{LossReason, Lost};
pub use record::{Class, Record};
pub use spool::{Appended, Limits, Position, Recovery, Spool};
pub use status::{ClassStatus, LineStatus, Oldest, Status};
