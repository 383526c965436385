//! What hosts say that they have: the newest sketch of each.

use picket_event::{HostId, UnixNanos};
use rusqlite::Transaction;

use super::DatabaseError;

/// Keeps a host's sketch in the place of its last one.
pub fn keep(
    t: &Transaction<'_>,
    host: &HostId,
    taken: UnixNanos,
    pairs: &[u8],
) -> Result<(), DatabaseError> {
    let sql = "INSERT OR REPLACE INTO sketch (host, taken, pairs) VALUES (?1, ?2, ?3)";
    t.prepare_cached(sql)?
        .execute((host.as_bytes(), taken.0, pairs))?;
    Ok(())
}

/// The sketches that were taken since then, of hosts that were not revoked, in the order of their ids, behind one of them.
pub fn behind(
    t: &Transaction<'_>,
    after: Option<&HostId>,
    since: UnixNanos,
    most: u32,
) -> Result<Vec<(HostId, Vec<u8>)>, DatabaseError> {
    let sql = "SELECT sketch.host, pairs FROM sketch JOIN host ON host.id = sketch.host
               WHERE host.revoked = 0 AND taken >= ?1 AND (?2 IS NULL OR sketch.host > ?2)
               ORDER BY sketch.host LIMIT ?3";
    let mut query = t.prepare_cached(sql)?;
    let after = after.map(HostId::as_bytes);
    let rows = query.query_map((since.0, after, most), |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?))
    })?;
    rows.map(|row| {
        let (host, pairs) = row?;
        let host = HostId::from_slice(&host).map_err(|_id| DatabaseError::Damaged("host id"))?;
        Ok((host, pairs))
    })
    .collect()
}
