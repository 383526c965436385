//! Commands on their way to hosts: one that goes to thousands is read once, and hosts that ask, and that it went, are many at a
//! time.
//!
//! # Invariants
//!
//! - Only what was approved is kept here, and what was approved has its signatures for good. Whether it was cancelled, denied, is
//!   over or held back is asked of the database each time.
//! - A session sees what was there before it asked.
//! - That a host was given a command is on disk when [`Commands::delivered`] returns.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_event::command::{Command, HostTree};
use picket_event::{CommandId, HostId, UnixNanos};
use picket_proto::v1;
use rusqlite::Transaction;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

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
    /// Where the bytes have only the root of the hosts: that this host is one of them.
    pub proof: Option<v1::HostProof>,
    /// The word that its last ring began.
    pub start: Option<v1::SignedStatement>,
}

/// What is kept of commands that are being handed out.
#[derive(Debug, Default)]
pub(super) struct Handing {
    approved: Mutex<HashMap<CommandId, Arc<Approved>>>,
    /// Whoever has it reads a command, so that thousands do not read the same at once.
    reading: tokio::sync::Mutex<()>,
    /// At most one for each session, and of those that went away since the last turn.
    asked: Mutex<VecDeque<Asked>>,
    /// Whoever has it asks the database for those who ask.
    looking: tokio::sync::Mutex<()>,
    notes: Mutex<Vec<Note>>,
    /// Whoever has it writes all notes there are.
    writing: tokio::sync::Mutex<()>,
}

/// A command with enough signatures.
#[derive(Debug)]
struct Approved {
    /// Without the list of hosts beside it: no host is sent the others.
    signed: Arc<v1::SignedCommand>,
    /// `None`: this version cannot read it.
    command: Option<Command>,
    /// The tree of its hosts, if it has only their root.
    tree: Option<HostTree>,
}

/// A session that asks what its host is to be given.
#[derive(Debug)]
struct Asked {
    host: HostId,
    now: UnixNanos,
    answer: oneshot::Sender<Vec<OpenRow>>,
}

/// A host was given a command at this time.
type Note = (CommandId, HostId, UnixNanos);

impl Open {
    /// What its host is handed.
    pub fn to_host(&self) -> v1::SignedCommand {
        v1::SignedCommand {
            proof: self.proof.clone(),
            ..v1::SignedCommand::clone(&self.signed)
        }
    }
}

impl Commands {
    /// The commands to hand to a host, oldest first: what its ring holds back is not among them.
    pub async fn open_for(&self, host: HostId, now: UnixNanos) -> Result<Vec<Open>, DatabaseError> {
        let rows = self.rows_for(host, now).await?;
        let mut open = Vec::with_capacity(rows.len());
        let takes_host_sets = !rows.is_empty() && self.registry.takes_host_sets(&host);
        for OpenRow { id, ring, start } in rows {
            let Some(approved) = self.approved(id).await? else {
                continue;
            };
            if approved.may_go_to(takes_host_sets)
                && !is_held(approved.command.as_ref(), ring, &host)
            {
                open.push(Open {
                    id,
                    signed: Arc::clone(&approved.signed),
                    proof: approved.tree.as_ref().and_then(|tree| tree.proof(&host)),
                    start,
                });
            }
        }
        Ok(open)
    }

    /// What the database has for a host. Of many that ask at once, whoever has the turn asks for some of the others too.
    async fn rows_for(&self, host: HostId, now: UnixNanos) -> Result<Vec<OpenRow>, DatabaseError> {
        let (answer, mut answered) = oneshot::channel();
        self.handing.asked().push_back(Asked { host, now, answer });
        let _turn = self.handing.looking.lock().await;
        loop {
            match answered.try_recv() {
                Ok(rows) => return Ok(rows),
                Err(TryRecvError::Empty) => self.answer_some().await?,
                // Whoever had the turn went away with the question.
                Err(TryRecvError::Closed) => {
                    let look = move |t: &Transaction<'_>| commands::open_for(t, &host, now);
                    return self.database.call(look).await;
                }
            }
        }
    }

    async fn answer_some(&self) -> Result<(), DatabaseError> {
        let some: Vec<Asked> = {
            let mut asked = self.handing.asked();
            let count = asked.len().min(MOST_ASKED);
            asked.drain(..count).collect()
        };
        let whom: Vec<_> = some.iter().map(|one| (one.host, one.now)).collect();
        let look = move |t: &Transaction<'_>| -> Result<Vec<_>, DatabaseError> {
            let found = whom
                .iter()
                .map(|(host, now)| commands::open_for(t, host, *now));
            found.collect()
        };
        let found = self.database.call(look).await?;
        for (one, rows) in some.into_iter().zip(found) {
            // Who does not wait any more is not told.
            drop(one.answer.send(rows));
        }
        Ok(())
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
        let approved = Arc::new(Approved::of(row.signed));
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

    fn asked(&self) -> MutexGuard<'_, VecDeque<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notes(&self) -> MutexGuard<'_, Vec<Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Approved {
    fn of(mut signed: v1::SignedCommand) -> Self {
        let host_ids = std::mem::take(&mut signed.host_ids);
        let mut command = Command::decode(&signed.body).ok();
        let tree = command.as_ref().map(|command| command.tree_of(&host_ids));
        let tree = tree.and_then(Result::ok).flatten();
        if let (Some(command), Some(tree)) = (&mut command, &tree) {
            command.hosts = tree.hosts().to_vec();
        }
        Self {
            signed: Arc::new(signed),
            command,
            tree,
        }
    }

    /// Whether the host's agent can be shown that it is meant. One of an earlier version is not handed what it would refuse, and nobody
    /// what nothing can be shown of.
    fn may_go_to(&self, takes_host_sets: bool) -> bool {
        let command = self.command.as_ref();
        let by_root = command.is_some_and(|command| command.host_set.is_some());
        !by_root || takes_host_sets && self.tree.is_some()
    }
}

/// Whether the host's ring has not begun.
pub(super) fn is_held(command: Option<&Command>, begun: u32, host: &HostId) -> bool {
    let in_rings = command.filter(|command| !command.rings.is_empty());
    let ring = in_rings.and_then(|command| command.ring_of(host));
    ring.is_some_and(|ring| ring > begun)
}

/// Sessions whose question is put in one transaction; the next are put in the next.
const MOST_ASKED: usize = 256;

/// Commands that are kept; each has 64 KiB at most, and two megabytes where it has a tree of 20,000 hosts.
const MOST_KEPT: usize = 64;
