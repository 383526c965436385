//! Commands on their way to hosts: one that goes to thousands is read once, and that it went is noted for many hosts at a time.
//!
//! # Invariants
//!
//! - Only what was approved is kept here, and what was approved has its signatures for good. Whether it was cancelled, denied, is
//!   over or held back is asked of the database each time.
//! - That a host was given a command is on disk when [`Commands::delivered`] returns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_event::command::Command;
use picket_event::{CommandId, HostId, UnixNanos};
use picket_proto::v1;

use super::Commands;
use crate::database::DatabaseError;
use crate::database::commands::{self, CommandRow, OpenRow};

/// A command that a host is to be given.
#[derive(Clone, Debug)]
pub struct Open {
    /// Its id.
    pub id: CommandId,
    /// The exact signed bytes, shared by all its hosts.
    pub signed: Arc<v1::SignedCommand>,
    /// The word that its last ring began.
    pub start: Option<v1::SignedStatement>,
}

/// What is kept of commands that are being handed out.
#[derive(Debug, Default)]
pub(super) struct Handing {
    approved: Mutex<HashMap<CommandId, Arc<Approved>>>,
    /// Whoever has it reads a command, so that thousands do not read the same at once.
    reading: tokio::sync::Mutex<()>,
    notes: Mutex<Vec<Note>>,
    /// Whoever has it writes all notes there are.
    writing: tokio::sync::Mutex<()>,
}

/// A command with enough signatures.
#[derive(Debug)]
struct Approved {
    signed: Arc<v1::SignedCommand>,
    /// `None`: this version cannot read it.
    command: Option<Command>,
}

/// A host was given a command at this time.
type Note = (CommandId, HostId, UnixNanos);

impl Commands {
    /// The commands to hand to a host, oldest first: what its ring holds back is not among them.
    pub async fn open_for(&self, host: HostId, now: UnixNanos) -> Result<Vec<Open>, DatabaseError> {
        let rows = self
            .database
            .call(move |t| commands::open_for(t, &host, now))
            .await?;
        let mut open = Vec::with_capacity(rows.len());
        for OpenRow { id, ring, start } in rows {
            let Some(approved) = self.approved(id).await? else {
                continue;
            };
            if !is_held(approved.command.as_ref(), ring, &host) {
                let signed = Arc::clone(&approved.signed);
                open.push(Open { id, signed, start });
            }
        }
        Ok(open)
    }

    /// A command was handed to the host's session.
    pub async fn delivered(
        &self,
        id: CommandId,
        host: HostId,
        now: UnixNanos,
    ) -> Result<(), DatabaseError> {
        self.handing.notes().push((id, host, now));
        let _turn = self.handing.writing.lock().await;
        let notes = std::mem::take(&mut *self.handing.notes());
        if notes.is_empty() {
            // Whoever had the turn before wrote this one too.
            return Ok(());
        }
        let written = notes.clone();
        let done = self.database.call(move |t| {
            let mut notes = written.iter();
            notes.try_for_each(|(id, host, at)| commands::delivered(t, id, host, *at))
        });
        if let Err(failed) = done.await {
            // They are for whoever comes next.
            self.handing.notes().extend(notes);
            return Err(failed);
        }
        self.changed();
        Ok(())
    }

    async fn approved(&self, id: CommandId) -> Result<Option<Arc<Approved>>, DatabaseError> {
        if let Some(known) = self.handing.known(&id) {
            return Ok(Some(known));
        }
        let _turn = self.handing.reading.lock().await;
        if let Some(known) = self.handing.known(&id) {
            return Ok(Some(known));
        }
        let row = self.database.call(move |t| commands::find(t, &id)).await?;
        Ok(row.map(|row| self.handing.keep(row)))
    }
}

impl Handing {
    fn known(&self, id: &CommandId) -> Option<Arc<Approved>> {
        self.kept().get(id).cloned()
    }

    fn keep(&self, row: CommandRow) -> Arc<Approved> {
        let approved = Arc::new(Approved {
            command: Command::decode(&row.signed.body).ok(),
            signed: Arc::new(row.signed),
        });
        let mut kept = self.kept();
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        // One that waits for signatures, or may have to, is not kept.
        if !row.requested {
            kept.insert(row.id, Arc::clone(&approved));
        }
        approved
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<CommandId, Arc<Approved>>> {
        self.approved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notes(&self) -> MutexGuard<'_, Vec<Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the host's ring has not begun.
pub(super) fn is_held(command: Option<&Command>, begun: u32, host: &HostId) -> bool {
    let in_rings = command.filter(|command| !command.rings.is_empty());
    let ring = in_rings.and_then(|command| command.ring_of(host));
    ring.is_some_and(|ring| ring > begun)
}

/// Commands that are kept; each has 64 KiB at most.
const MOST_KEPT: usize = 64;
