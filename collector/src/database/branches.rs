//! Which branches the event keys of a host have, and what was decided about them. Their keys: [`super::keys`].

use std::collections::HashMap;

use picket_event::{HostId, UnixNanos};
use picket_seal::KeyId;
use picket_store::TRUNK;
use rusqlite::{Row, Transaction};

use super::{DatabaseError, count, number};
use crate::branch::{Branch, BranchState, Branches};

/// Those of one host.
pub fn of(t: &Transaction<'_>, host: &HostId) -> Result<Branches, DatabaseError> {
    let mut query = t.prepare_cached(
        "SELECT host, number, parent, fork_epoch, name, begun, state FROM branch
         WHERE host = ?1 ORDER BY number",
    )?;
    let mut rows = query.query([host.as_bytes()])?;
    let mut branches = Vec::new();
    while let Some(row) = rows.next()? {
        branches.push(read(row)?.1);
    }
    Ok(Branches::new(branches))
}

/// Those of all hosts.
pub fn all(t: &Transaction<'_>) -> Result<HashMap<HostId, Branches>, DatabaseError> {
    let mut query = t.prepare_cached(
        "SELECT host, number, parent, fork_epoch, name, begun, state FROM branch
         ORDER BY host, number",
    )?;
    let mut rows = query.query([])?;
    let mut all: HashMap<HostId, Branches> = HashMap::new();
    while let Some(row) = rows.next()? {
        let (host, branch) = read(row)?;
        all.entry(host).or_default().add(vec![branch]);
    }
    Ok(all)
}

/// A branch was heard of.
pub(super) fn add(
    t: &Transaction<'_>,
    host: &HostId,
    branch: &Branch,
) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO branch (host, number, parent, fork_epoch, name, begun)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    t.prepare_cached(sql)?.execute((
        host.as_bytes(),
        branch.number,
        branch.parent,
        number(branch.fork_epoch),
        branch.name.as_bytes(),
        branch.begun.0,
    ))?;
    Ok(())
}

/// An operator decided. Accepting one refuses the one that was the host until now; accepting the first one takes back what
/// was accepted before.
pub fn decide(
    t: &Transaction<'_>,
    host: &HostId,
    branch: u32,
    accept: bool,
) -> Result<(), DatabaseError> {
    let set = "UPDATE branch SET state = ?2 WHERE host = ?1 AND number = ?3";
    if accept {
        let refuse = "UPDATE branch SET state = 1 WHERE host = ?1 AND state = 2";
        t.prepare_cached(refuse)?.execute([host.as_bytes()])?;
    }
    if branch != TRUNK {
        let state = if accept { ACCEPTED } else { REFUSED };
        t.prepare_cached(set)?
            .execute((host.as_bytes(), state, branch))?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> Result<(HostId, Branch), DatabaseError> {
    let (host, name): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(4)?);
    let damaged = DatabaseError::Damaged("branch of event keys");
    let (Ok(host), Ok(name)) = (HostId::from_slice(&host), KeyId::from_slice(&name)) else {
        return Err(damaged);
    };
    let state = match row.get::<_, i64>(6)? {
        REFUSED => BranchState::Refused,
        ACCEPTED => BranchState::Accepted,
        _ => BranchState::Undecided,
    };
    let branch = Branch {
        number: row.get(1)?,
        parent: row.get(2)?,
        fork_epoch: count(row.get(3)?),
        name,
        begun: UnixNanos(row.get(5)?),
        state,
    };
    Ok((host, branch))
}

const REFUSED: i64 = 1;
const ACCEPTED: i64 = 2;
