//! The operators who have a certificate. What their signatures count for, the trust root says.

use picket_event::UnixNanos;
use picket_seal::PublicKey;
use rusqlite::{OptionalExtension, Transaction};

use super::DatabaseError;

/// Adds an operator; `false` if the name is taken.
pub fn add(
    t: &Transaction<'_>,
    name: &str,
    key: &PublicKey,
    now: UnixNanos,
) -> Result<bool, DatabaseError> {
    let sql = "INSERT OR IGNORE INTO operator (name, signing_key, added) VALUES (?1, ?2, ?3)";
    let added = t
        .prepare_cached(sql)?
        .execute((name, key.as_bytes(), now.0))?;
    Ok(added == 1)
}

/// Whether the operator is known.
pub fn exists(t: &Transaction<'_>, name: &str) -> Result<bool, DatabaseError> {
    let mut query = t.prepare_cached("SELECT 1 FROM operator WHERE name = ?1")?;
    let found: Option<i64> = query.query_row([name], |row| row.get(0)).optional()?;
    Ok(found.is_some())
}
