//! Signed content, version by version, and which hosts may have which.

use picket_event::content::ContentKind;
use picket_event::{HostId, UnixNanos};
use picket_proto::v1;
use prost::Message;
use rusqlite::{OptionalExtension, Transaction};

use super::{DatabaseError, number};

/// One version as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its number.
    pub version: u64,
    /// What was signed.
    pub signed: v1::SignedContent,
    /// When it was published.
    pub added: UnixNanos,
    /// Whether every host may have it.
    pub everyone: bool,
}

/// The highest version of a kind; 0: there is none.
pub fn highest(t: &Transaction<'_>, kind: ContentKind) -> Result<u64, DatabaseError> {
    let sql = "SELECT coalesce(max(version), 0) FROM content WHERE kind = ?1";
    let version: i64 = t
        .prepare_cached(sql)?
        .query_row([kind.to_wire()], |row| row.get(0))?;
    Ok(u64::try_from(version).unwrap_or(0))
}

/// Adds a version that is not there yet.
pub fn add(
    t: &Transaction<'_>,
    (kind, version): (ContentKind, u64),
    signed: &v1::SignedContent,
    now: UnixNanos,
) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO content (kind, version, signed, added) VALUES (?1, ?2, ?3, ?4)";
    let row = (
        kind.to_wire(),
        number(version),
        signed.encode_to_vec(),
        now.0,
    );
    t.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Lets a host have a version.
pub fn release(
    t: &Transaction<'_>,
    (kind, version): (ContentKind, u64),
    host: &HostId,
) -> Result<(), DatabaseError> {
    let sql = "INSERT OR IGNORE INTO content_release (kind, version, host) VALUES (?1, ?2, ?3)";
    let row = (kind.to_wire(), number(version), host.as_bytes());
    t.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Lets every host have a version.
pub fn release_to_all(
    t: &Transaction<'_>,
    (kind, version): (ContentKind, u64),
) -> Result<(), DatabaseError> {
    let sql = "UPDATE content SET everyone = 1 WHERE kind = ?1 AND version = ?2";
    t.prepare_cached(sql)?
        .execute((kind.to_wire(), number(version)))?;
    Ok(())
}

/// The highest version of a kind that the host may have; 0: none.
pub fn due(t: &Transaction<'_>, kind: ContentKind, host: &HostId) -> Result<u64, DatabaseError> {
    let sql = "SELECT max(
        coalesce((SELECT max(version) FROM content WHERE kind = ?1 AND everyone = 1), 0),
        coalesce((SELECT max(version) FROM content_release WHERE kind = ?1 AND host = ?2), 0))";
    let version: i64 = t
        .prepare_cached(sql)?
        .query_row((kind.to_wire(), host.as_bytes()), |row| row.get(0))?;
    Ok(u64::try_from(version).unwrap_or(0))
}

/// One version.
pub fn get(
    t: &Transaction<'_>,
    (kind, version): (ContentKind, u64),
) -> Result<Option<Kept>, DatabaseError> {
    let sql = "SELECT signed, added, everyone FROM content WHERE kind = ?1 AND version = ?2";
    let row: Option<(Vec<u8>, i64, bool)> = t
        .prepare_cached(sql)?
        .query_row((kind.to_wire(), number(version)), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((signed, added, everyone)) = row else {
        return Ok(None);
    };
    let signed = v1::SignedContent::decode(signed.as_slice());
    Ok(Some(Kept {
        version,
        signed: signed.map_err(|_message| DatabaseError::Damaged("content"))?,
        added: UnixNanos(added),
        everyone,
    }))
}

/// The numbers of a kind's versions, the newest first, at most `limit`.
pub fn versions(
    t: &Transaction<'_>,
    kind: ContentKind,
    limit: u64,
) -> Result<Vec<u64>, DatabaseError> {
    let sql = "SELECT version FROM content WHERE kind = ?1 ORDER BY version DESC LIMIT ?2";
    let mut query = t.prepare_cached(sql)?;
    let rows = query.query_map((kind.to_wire(), number(limit)), |row| row.get::<_, i64>(0))?;
    let versions: Result<Vec<i64>, _> = rows.collect();
    let versions = versions?.into_iter();
    Ok(versions.filter_map(|one| u64::try_from(one).ok()).collect())
}

/// The hosts that may have a version.
pub fn released_to(
    t: &Transaction<'_>,
    (kind, version): (ContentKind, u64),
) -> Result<Vec<Vec<u8>>, DatabaseError> {
    let sql = "SELECT host FROM content_release WHERE kind = ?1 AND version = ?2 ORDER BY host";
    let mut query = t.prepare_cached(sql)?;
    let rows = query.query_map((kind.to_wire(), number(version)), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
