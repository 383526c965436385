//! The signed checkpoints, and how far each came in the store.

use picket_proto::v1;
use picket_store::Cursor;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{DatabaseError, number};

/// One checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointRow {
    /// As it was signed.
    pub signed: v1::SignedCheckpoint,
    /// Behind the last batch that it holds.
    pub cursor: Cursor,
}

/// Adds the next one.
pub fn add(t: &Transaction<'_>, which: u64, row: &CheckpointRow) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO checkpoint (number, body, signature, cursor)
               VALUES (?1, ?2, ?3, ?4)";
    t.prepare_cached(sql)?.execute((
        number(which),
        &row.signed.body,
        &row.signed.signature,
        row.cursor.to_bytes(),
    ))?;
    Ok(())
}

/// The newest one.
pub fn last(t: &Transaction<'_>) -> Result<Option<CheckpointRow>, DatabaseError> {
    let sql = "SELECT body, signature, cursor FROM checkpoint
               ORDER BY number DESC LIMIT 1";
    Ok(t.prepare_cached(sql)?.query_row([], read).optional()?)
}

/// All of them, the first one first.
pub fn all(t: &Transaction<'_>) -> Result<Vec<CheckpointRow>, DatabaseError> {
    let sql = "SELECT body, signature, cursor FROM checkpoint ORDER BY number";
    let mut query = t.prepare_cached(sql)?;
    let rows = query.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A place that is none is the beginning: what follows is then found to be there already, or not to fit.
fn read(row: &Row<'_>) -> rusqlite::Result<CheckpointRow> {
    let cursor: Vec<u8> = row.get(2)?;
    Ok(CheckpointRow {
        signed: v1::SignedCheckpoint {
            body: row.get(0)?,
            signature: row.get(1)?,
        },
        cursor: Cursor::from_bytes(&cursor).unwrap_or(Cursor::START),
    })
}
