//! Which host was which before.
//!
//! What stays true: a host has at most one predecessor and at most one successor, and no revoked host becomes a successor, so
//! that there is no circle.

use picket_event::replacement::Replacement;
use picket_event::{HostId, UnixNanos};
use picket_proto::v1;
use prost::Message;
use rusqlite::{OptionalExtension, Transaction};

use super::DatabaseError;

/// Whom a host replaced, and who replaced it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Neighbours {
    /// The host that it was.
    pub predecessor: Option<HostId>,
    /// The host that it became.
    pub successor: Option<HostId>,
}

/// Adds what a person signed; `false` if one of the two is in such a pair already.
pub fn add(
    t: &Transaction<'_>,
    said: &Replacement,
    signed: &v1::SignedReplacement,
    now: UnixNanos,
) -> Result<bool, DatabaseError> {
    let sql = "INSERT OR IGNORE INTO host_replacement (host, predecessor, signed, added)
               VALUES (?1, ?2, ?3, ?4)";
    let row = (
        said.host.as_bytes(),
        said.predecessor.as_bytes(),
        signed.encode_to_vec(),
        now.0,
    );
    Ok(t.prepare_cached(sql)?.execute(row)? == 1)
}

/// What is known of a host.
pub fn of(t: &Transaction<'_>, host: &HostId) -> Result<Neighbours, DatabaseError> {
    let one = |sql: &str| -> Result<Option<HostId>, DatabaseError> {
        let mut query = t.prepare_cached(sql)?;
        let found = query.query_row([host.as_bytes()], |row| row.get::<_, Vec<u8>>(0));
        let id = found.optional()?.map(|id| HostId::from_slice(&id));
        id.transpose()
            .map_err(|_length| DatabaseError::Damaged("host replacement"))
    };
    Ok(Neighbours {
        predecessor: one("SELECT predecessor FROM host_replacement WHERE host = ?1")?,
        successor: one("SELECT host FROM host_replacement WHERE predecessor = ?1")?,
    })
}
