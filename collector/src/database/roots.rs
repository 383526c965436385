//! The trust roots, the first one and each that followed.

use picket_event::UnixNanos;
use picket_proto::v1;
use prost::Message;
use rusqlite::{OptionalExtension, Transaction};

use super::{DatabaseError, number};

/// Adds a version that is not there yet.
pub fn add(
    t: &Transaction<'_>,
    version: u64,
    signed: &v1::SignedTrustRoot,
    now: UnixNanos,
) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO trust_root (version, signed, added) VALUES (?1, ?2, ?3)";
    t.prepare_cached(sql)?
        .execute((number(version), signed.encode_to_vec(), now.0))?;
    Ok(())
}

/// The newest one.
pub fn newest(t: &Transaction<'_>) -> Result<Option<v1::SignedTrustRoot>, DatabaseError> {
    let sql = "SELECT signed FROM trust_root ORDER BY version DESC LIMIT 1";
    let row: Option<Vec<u8>> = t
        .prepare_cached(sql)?
        .query_row([], |row| row.get(0))
        .optional()?;
    row.map(|bytes| read(&bytes)).transpose()
}

/// Those behind `version`, the oldest first, at most `limit`.
pub fn after(
    t: &Transaction<'_>,
    version: u64,
    limit: u64,
) -> Result<Vec<v1::SignedTrustRoot>, DatabaseError> {
    let sql = "SELECT signed FROM trust_root WHERE version > ?1 ORDER BY version LIMIT ?2";
    let mut query = t.prepare_cached(sql)?;
    let mut rows = query.query((number(version), number(limit)))?;
    let mut roots = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(0)?;
        roots.push(read(&bytes)?);
    }
    Ok(roots)
}

fn read(bytes: &[u8]) -> Result<v1::SignedTrustRoot, DatabaseError> {
    v1::SignedTrustRoot::decode(bytes).map_err(|_message| DatabaseError::Damaged("trust root"))
}
