//! The event keys of each host by epoch, each vouched for by the one before.
//!
//! Where one key vouched for two, the second one and what follows it is a branch, kept apart ([`super::branches`]).
//!
//! # Invariants
//!
//! - A key that was once kept for an epoch of a branch never changes.
//! - A branch begins only with a second successor that a key of this host signed, or with one that came from another machine.

use picket_event::{HostId, UnixNanos};
use picket_proto::v1;
use picket_seal::{KeyId, PublicKey, Signature, SuccessionChain, SuccessionError};
use picket_store::{SignedBy, TRUNK};
use prost::Message;
use rusqlite::{OptionalExtension, Transaction};

use super::{DatabaseError, audit, branches, count, number};
use crate::branch::{Branch, BranchState, Branches, MAX_BRANCHES, MAX_UNDECIDED, Standing};

/// What becomes of a second successor, and of one that another machine brings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forks {
    /// It is refused.
    Refused,
    /// It begins a branch, now.
    Taken(UnixNanos),
    /// The same, and so does the next successor of the host's own keys: who brings it runs on another machine.
    Apart(UnixNanos),
}

impl Forks {
    /// When a branch begins that may.
    const fn taken(self) -> Option<UnixNanos> {
        match self {
            Self::Refused => None,
            Self::Taken(now) | Self::Apart(now) => Some(now),
        }
    }
}

/// Why a succession was not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is not of its form, or for another host.
    #[error("the succession is malformed or for another host")]
    Form,
    /// The key before it did not vouch for it.
    #[error("the succession was refused")]
    Refused(#[source] SuccessionError),
    /// More epochs than any host can need.
    #[error("the host has too many epochs")]
    TooMany,
    /// More branches than anybody could look at.
    #[error("the host's keys branch off too often")]
    TooManyBranches,
    /// An operator said that this branch is not the host.
    #[error("the branch of event keys was refused")]
    Ended,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// The first key of a new host.
pub(super) fn add_first(
    t: &Transaction<'_>,
    host: &HostId,
    key: &PublicKey,
) -> Result<(), DatabaseError> {
    insert(t, host, 0, key, &v1::Succession::default())
}

/// The key of an epoch of the first branch.
fn find(
    t: &Transaction<'_>,
    host: &HostId,
    epoch: u64,
) -> Result<Option<PublicKey>, DatabaseError> {
    let sql = "SELECT public_key FROM epoch_key WHERE host = ?1 AND epoch = ?2";
    let mut query = t.prepare_cached(sql)?;
    let parameters = (host.as_bytes(), number(epoch));
    let key: Option<Vec<u8>> = query.query_row(parameters, |row| row.get(0)).optional()?;
    key.map(|key| checked(&key)).transpose()
}

/// The key of an epoch as a branch has it, its own or of its past.
fn find_on(
    t: &Transaction<'_>,
    host: &HostId,
    (all, branch): (&Branches, u32),
    epoch: u64,
) -> Result<Option<PublicKey>, DatabaseError> {
    let owner = all.owner(branch, epoch);
    if owner == TRUNK {
        return find(t, host, epoch);
    }
    let sql = "SELECT public_key FROM branch_key WHERE host = ?1 AND branch = ?2 AND epoch = ?3";
    let mut query = t.prepare_cached(sql)?;
    let parameters = (host.as_bytes(), owner, number(epoch));
    let key: Option<Vec<u8>> = query.query_row(parameters, |row| row.get(0)).optional()?;
    key.map(|key| checked(&key)).transpose()
}

/// The key of this epoch and name, and the branch that it is of. With another name: the first branch's.
pub fn signer(
    t: &Transaction<'_>,
    host: &HostId,
    epoch: u64,
    name: KeyId,
) -> Result<Option<(u32, PublicKey)>, DatabaseError> {
    let trunk = find(t, host, epoch)?;
    if trunk.is_none_or(|key| key.key_id() != name) {
        let sql = "SELECT branch, public_key FROM branch_key WHERE host = ?1 AND epoch = ?2";
        let mut query = t.prepare_cached(sql)?;
        let mut rows = query.query((host.as_bytes(), number(epoch)))?;
        while let Some(row) = rows.next()? {
            let key = checked(&row.get::<_, Vec<u8>>(1)?)?;
            if key.key_id() == name {
                return Ok(Some((row.get(0)?, key)));
            }
        }
    }
    Ok(trunk.map(|key| (TRUNK, key)))
}

/// The newest epoch whose key is known, of the branch that is the host.
pub fn latest(t: &Transaction<'_>, host: &HostId) -> Result<u64, DatabaseError> {
    let current = branches::of(t, host)?.current();
    latest_of(t, host, current)
}

/// The newest epoch of the branch that is the host, and its key.
pub fn newest(
    t: &Transaction<'_>,
    host: &HostId,
) -> Result<(u64, Option<PublicKey>), DatabaseError> {
    let all = branches::of(t, host)?;
    let epoch = latest_of(t, host, all.current())?;
    Ok((epoch, find_on(t, host, (&all, all.current()), epoch)?))
}

/// Some keys of the branch that is the host, the newest first, each twice as far behind it as the one before, and the first of all.
pub fn landmarks(t: &Transaction<'_>, host: &HostId) -> Result<Vec<(u64, KeyId)>, DatabaseError> {
    let all = branches::of(t, host)?;
    let newest = latest_of(t, host, all.current())?;
    let steps = (0..u64::BITS).map_while(|step| newest.checked_sub(1 << step));
    let epochs = [newest].into_iter().chain(steps.filter(|epoch| *epoch > 0));
    let first = (newest > 0).then_some(0);
    let mut landmarks = Vec::new();
    for epoch in epochs.chain(first) {
        if let Some(key) = find_on(t, host, (&all, all.current()), epoch)? {
            landmarks.push((epoch, key.key_id()));
        }
    }
    Ok(landmarks)
}

fn latest_of(t: &Transaction<'_>, host: &HostId, branch: u32) -> Result<u64, DatabaseError> {
    let latest: Option<i64> = if branch == TRUNK {
        let mut query = t.prepare_cached("SELECT max(epoch) FROM epoch_key WHERE host = ?1")?;
        query.query_row([host.as_bytes()], |row| row.get(0))?
    } else {
        let sql = "SELECT max(epoch) FROM branch_key WHERE host = ?1 AND branch = ?2";
        let mut query = t.prepare_cached(sql)?;
        query.query_row((host.as_bytes(), branch), |row| row.get(0))?
    };
    Ok(count(latest.unwrap_or_default()))
}

/// Takes successions, in their order, and gives the branches that begin with them. One that is known already changes nothing.
pub fn accept(
    t: &Transaction<'_>,
    host: &HostId,
    successions: &[v1::Succession],
    forks: Forks,
) -> Result<Vec<Branch>, KeyError> {
    let (mut begun, mut last) = (Vec::new(), TRUNK);
    for succession in successions {
        let said = Said::of(host, succession)?;
        let all = branches::of(t, host)?;
        let (branch, new) = if all.is_empty() {
            accept_first(t, host, &said, forks)?
        } else {
            accept_on(t, host, &said, (&all, last), forks)?
        };
        last = branch;
        begun.extend(new);
    }
    Ok(begun)
}

/// A succession, as far as it can be read without knowing any key.
struct Said<'a> {
    epoch: u64,
    key: PublicKey,
    signature: Signature,
    wire: &'a v1::Succession,
}

impl<'a> Said<'a> {
    fn of(host: &HostId, wire: &'a v1::Succession) -> Result<Self, KeyError> {
        let body = v1::SuccessionBody::decode(wire.body.as_slice());
        let body = body.map_err(|_message| KeyError::Form)?;
        let key = PublicKey::from_slice(&body.public_key).map_err(|_key| KeyError::Form)?;
        let signature = Signature::from_slice(&wire.signature).map_err(|_length| KeyError::Form)?;
        if body.host_id != host.as_bytes() {
            return Err(KeyError::Form);
        }
        if body.epoch > MAX_EPOCHS {
            return Err(KeyError::TooMany);
        }
        Ok(Self {
            epoch: body.epoch,
            key,
            signature,
            wire,
        })
    }

    fn is_signed_by(&self, signer: PublicKey) -> bool {
        let before = self.epoch.saturating_sub(1);
        let mut chain = SuccessionChain::resume(before, signer);
        let accepted = chain.accept(self.epoch, self.key, &self.wire.body, &self.signature);
        accepted.is_ok()
    }
}

/// On which branch a succession is, and that branch if it begins with it.
type Placed = (u32, Option<Branch>);

/// On the first branch, while there is no other.
fn accept_first(
    t: &Transaction<'_>,
    host: &HostId,
    said: &Said<'_>,
    forks: Forks,
) -> Result<Placed, KeyError> {
    let mut chain = chain_before(t, host, said.epoch)?;
    let accepted = chain.accept(said.epoch, said.key, &said.wire.body, &said.signature);
    let begins = match (accepted, forks) {
        (Ok(picket_seal::Accepted::New), Forks::Apart(now)) => now,
        (Ok(picket_seal::Accepted::New), _) => {
            insert(t, host, said.epoch, &said.key, said.wire)?;
            return Ok((TRUNK, None));
        }
        (Ok(picket_seal::Accepted::Known), _) => return Ok((TRUNK, None)),
        (Err(two @ SuccessionError::TwoSuccessors { .. }), _) => {
            forks.taken().ok_or(KeyError::Refused(two))?
        }
        (Err(refused), _) => return Err(KeyError::Refused(refused)),
    };
    let branch = fork(t, host, said, (&Branches::default(), TRUNK), begins)?;
    Ok((branch.number, Some(branch)))
}

/// On the branch that it continues, or on a new one. `last` is where the succession before it was.
fn accept_on(
    t: &Transaction<'_>,
    host: &HostId,
    said: &Said<'_>,
    (all, last): (&Branches, u32),
    forks: Forks,
) -> Result<Placed, KeyError> {
    if let Some((branch, key)) = signer(t, host, said.epoch, said.key.key_id())?
        && key == said.key
    {
        return Ok((branch, None));
    }
    let Some(parent) = signed_by(t, host, said, (all, last))? else {
        return accept_first(t, host, said, Forks::Refused);
    };
    let latest = latest_of(t, host, parent)?;
    let moved = matches!(forks, Forks::Apart(_)) && parent == all.current();
    let forks_off = moved || latest >= said.epoch;
    let by = SignedBy {
        branch: parent,
        epoch: said.epoch.saturating_sub(u64::from(forks_off)),
    };
    if all.standing(by) == Standing::Refused {
        return Err(KeyError::Ended);
    }
    if forks_off {
        let now = forks.taken().ok_or(KeyError::TooManyBranches)?;
        let branch = fork(t, host, said, (all, parent), now)?;
        return Ok((branch.number, Some(branch)));
    }
    extend(t, host, parent, said)?;
    Ok((parent, None))
}

/// Whose key of the epoch before signed this.
fn signed_by(
    t: &Transaction<'_>,
    host: &HostId,
    said: &Said<'_>,
    (all, last): (&Branches, u32),
) -> Result<Option<u32>, KeyError> {
    let Some(before) = said.epoch.checked_sub(1) else {
        return Ok(None);
    };
    let numbers = all.iter().map(|branch| branch.number);
    let mut owners: Vec<u32> = Vec::new();
    for branch in [last, TRUNK].into_iter().chain(numbers) {
        let owner = all.owner(branch, before);
        if owners.contains(&owner) {
            continue;
        }
        owners.push(owner);
        let key = find_on(t, host, (all, owner), before)?;
        if key.is_some_and(|key| said.is_signed_by(key)) {
            return Ok(Some(owner));
        }
    }
    Ok(None)
}

fn extend(
    t: &Transaction<'_>,
    host: &HostId,
    branch: u32,
    said: &Said<'_>,
) -> Result<(), KeyError> {
    if branch == TRUNK {
        insert(t, host, said.epoch, &said.key, said.wire)?;
        return Ok(());
    }
    let sql = "SELECT count(*) FROM branch_key WHERE host = ?1 AND branch = ?2";
    let mut query = t.prepare_cached(sql).map_err(DatabaseError::from)?;
    let keys: i64 = query
        .query_row((host.as_bytes(), branch), |row| row.get(0))
        .map_err(DatabaseError::from)?;
    if count(keys) >= MAX_BRANCH_KEYS {
        return Err(KeyError::TooMany);
    }
    let sql = "INSERT INTO branch_key (host, branch, epoch, public_key, body, signature)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row = (
        host.as_bytes(),
        branch,
        number(said.epoch),
        said.key.as_bytes(),
        &said.wire.body,
        &said.wire.signature,
    );
    let added = t.prepare_cached(sql).and_then(|mut add| add.execute(row));
    added.map_err(DatabaseError::from)?;
    Ok(())
}

/// A branch begins: another successor of a key that has one.
fn fork(
    t: &Transaction<'_>,
    host: &HostId,
    said: &Said<'_>,
    (all, parent): (&Branches, u32),
    now: UnixNanos,
) -> Result<Branch, KeyError> {
    let undecided = all.iter().filter(|it| it.state == BranchState::Undecided);
    let highest = all.iter().map(|it| it.number).max().unwrap_or(TRUNK);
    if undecided.count() >= MAX_UNDECIDED || all.iter().count() >= MAX_BRANCHES {
        return Err(KeyError::TooManyBranches);
    }
    let branch = Branch {
        number: highest.saturating_add(1),
        parent,
        fork_epoch: said.epoch.saturating_sub(1),
        name: said.key.key_id(),
        begun: now,
        state: BranchState::Undecided,
    };
    branches::add(t, host, &branch)?;
    let detail = format!("{} behind epoch {}", branch.name, branch.fork_epoch);
    let entry = audit::Entry {
        time: now,
        who: "collector",
        action: "host.branch",
        object: &host.to_string(),
        detail: &detail,
        proof: &[],
    };
    audit::add(t, entry)?;
    extend(t, host, branch.number, said)?;
    Ok(branch)
}

/// The chain from the epoch before this one, or from the latest that is known.
fn chain_before(
    t: &Transaction<'_>,
    host: &HostId,
    epoch: u64,
) -> Result<SuccessionChain, KeyError> {
    let from = epoch.saturating_sub(1).min(latest_of(t, host, TRUNK)?);
    let signer = find(t, host, from)?.ok_or(DatabaseError::Damaged("epoch key"))?;
    let mut chain = SuccessionChain::resume(from, signer);
    if let Some((key, known)) = stored(t, host, epoch)? {
        // It was accepted before; what is stored is what was verified then.
        let signature =
            Signature::from_slice(&known.signature).map_err(|_length| KeyError::Form)?;
        chain
            .accept(epoch, key, &known.body, &signature)
            .map_err(KeyError::Refused)?;
    }
    Ok(chain)
}

fn stored(
    t: &Transaction<'_>,
    host: &HostId,
    epoch: u64,
) -> Result<Option<(PublicKey, v1::Succession)>, KeyError> {
    let sql = "SELECT public_key, body, signature FROM epoch_key
               WHERE host = ?1 AND epoch = ?2 AND epoch > 0";
    let read = |row: &rusqlite::Row<'_>| {
        let key: Vec<u8> = row.get(0)?;
        Ok((
            key,
            v1::Succession {
                body: row.get(1)?,
                signature: row.get(2)?,
            },
        ))
    };
    let mut query = t.prepare_cached(sql).map_err(DatabaseError::from)?;
    let row = query
        .query_row((host.as_bytes(), number(epoch)), read)
        .optional();
    let Some((key, succession)) = row.map_err(DatabaseError::from)? else {
        return Ok(None);
    };
    Ok(Some((checked(&key)?, succession)))
}

/// All successions of a host: of its first branch in the order of their epochs, then of each other one.
pub fn successions(
    t: &Transaction<'_>,
    host: &HostId,
) -> Result<Vec<v1::Succession>, DatabaseError> {
    let first =
        "SELECT body, signature FROM epoch_key WHERE host = ?1 AND epoch > 0 ORDER BY epoch";
    let others = "SELECT body, signature FROM branch_key WHERE host = ?1 ORDER BY branch, epoch";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(v1::Succession {
            body: row.get(0)?,
            signature: row.get(1)?,
        })
    };
    let mut all = Vec::new();
    for sql in [first, others] {
        let mut query = t.prepare_cached(sql)?;
        for row in query.query_map([host.as_bytes()], read)? {
            all.push(row?);
        }
    }
    Ok(all)
}

fn checked(key: &[u8]) -> Result<PublicKey, DatabaseError> {
    PublicKey::from_slice(key).map_err(|_refused| DatabaseError::Damaged("epoch key"))
}

fn insert(
    t: &Transaction<'_>,
    host: &HostId,
    epoch: u64,
    key: &PublicKey,
    succession: &v1::Succession,
) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO epoch_key (host, epoch, public_key, body, signature)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    t.prepare_cached(sql)?.execute((
        host.as_bytes(),
        number(epoch),
        key.as_bytes(),
        &succession.body,
        &succession.signature,
    ))?;
    Ok(())
}

/// Hourly epochs for more than a century.
const MAX_EPOCHS: u64 = 1_000_000;

/// Of one branch but the first: hourly epochs for two years.
const MAX_BRANCH_KEYS: u64 = 20_000;
