//! Who did what, in an order that cannot be changed unseen. What is hashed: [`picket_event::audit`].

use picket_event::UnixNanos;
use picket_event::checkpoint::AuditHead;
use picket_proto::v1;
use picket_seal::Digest;
use rusqlite::{OptionalExtension, Transaction};

use super::{DatabaseError, count, number};

pub use picket_event::audit::Entry;

/// Adds an entry behind the last.
pub fn add(t: &Transaction<'_>, entry: Entry<'_>) -> Result<(), DatabaseError> {
    let last = head(t)?;
    let (last, previous) = last.map_or((0, Digest::ZERO), |last| (last.entries, last.head));
    let next = last.saturating_add(1);
    let hash = entry.hash(next, &previous);
    let sql = "INSERT INTO audit (number, time, who, action, object, detail, previous, hash, proof)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let proof = (!entry.proof.is_empty()).then_some(entry.proof);
    t.prepare_cached(sql)?.execute((
        number(next),
        entry.time.0,
        entry.who,
        entry.action,
        entry.object,
        entry.detail,
        previous.as_bytes(),
        hash.as_bytes(),
        proof,
    ))?;
    Ok(())
}

/// Object, detail and time of all entries of an action, in their order.
pub fn of_action(
    t: &Transaction<'_>,
    action: &str,
) -> Result<Vec<(String, String, UnixNanos)>, DatabaseError> {
    let sql = "SELECT object, detail, time FROM audit WHERE action = ?1 ORDER BY number";
    let mut query = t.prepare(sql)?;
    let rows = query.query_map([action], |row| {
        Ok((row.get(0)?, row.get(1)?, UnixNanos(row.get(2)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The entries behind `after` from `since` on, at most `limit`, in their order.
pub fn list(
    t: &Transaction<'_>,
    after: u64,
    since: UnixNanos,
    limit: u64,
) -> Result<Vec<v1::AuditEntry>, DatabaseError> {
    let sql = "SELECT number, time, who, action, object, detail, previous, hash, proof FROM audit
               WHERE number > ?1 AND time >= ?2 ORDER BY number LIMIT ?3";
    let mut query = t.prepare_cached(sql)?;
    let rows = query.query_map((number(after), since.0, number(limit)), |row| {
        let proof: Option<Vec<u8>> = row.get(8)?;
        Ok(v1::AuditEntry {
            number: count(row.get(0)?),
            time_unix_ns: row.get(1)?,
            who: row.get(2)?,
            action: row.get(3)?,
            object: row.get(4)?,
            detail: row.get(5)?,
            previous: row.get(6)?,
            hash: row.get(7)?,
            proof: proof.unwrap_or_default(),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Walks over all entries. Returns how many there are, or the number of the first that does not
/// follow from the one before.
pub fn verify(t: &Transaction<'_>) -> Result<Result<u64, u64>, DatabaseError> {
    let (mut at, mut previous) = (0_u64, Digest::ZERO);
    loop {
        let entries = list(t, at, UnixNanos(i64::MIN), GROUP)?;
        if entries.is_empty() {
            return Ok(Ok(at));
        }
        for stored in entries {
            at = at.saturating_add(1);
            let entry = Entry {
                time: UnixNanos(stored.time_unix_ns),
                who: &stored.who,
                action: &stored.action,
                object: &stored.object,
                detail: &stored.detail,
                proof: &stored.proof,
            };
            previous = entry.hash(at, &previous);
            if stored.number != at || stored.hash != previous.as_bytes() {
                return Ok(Err(at));
            }
        }
    }
}

/// How far it is; `None`: there is no entry.
pub fn head(t: &Transaction<'_>) -> Result<Option<AuditHead>, DatabaseError> {
    let sql = "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
    let last = t.prepare_cached(sql)?.query_row([], read).optional()?;
    let Some((last, hash)) = last else {
        return Ok(None);
    };
    let head = Digest::from_slice(&hash).map_err(|_length| DatabaseError::Damaged("audit hash"))?;
    Ok(Some(AuditHead {
        entries: count(last),
        head,
    }))
}

/// Entries that are read at once.
const GROUP: u64 = 1_024;
