//! Who did what, in an order that cannot be changed unseen.
//!
//! ```text
//! hash = SHA-256( previous hash | number u64 le | time i64 le | then each text: len u32 le | bytes )
//! texts: who, action, object, detail
//! ```

use picket_event::UnixNanos;
use picket_seal::Digest;
use rusqlite::{OptionalExtension, Transaction};

use super::{DatabaseError, count, number};

/// One entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When.
    pub time: UnixNanos,
    /// An operator's name, or `collector`.
    pub who: &'a str,
    /// What was done, as `token.create`.
    pub action: &'a str,
    /// To what.
    pub object: &'a str,
    /// With which particulars.
    pub detail: &'a str,
}

/// Adds an entry behind the last.
pub fn add(t: &Transaction<'_>, entry: Entry<'_>) -> Result<(), DatabaseError> {
    let (last, previous) = head(t)?;
    let next = last.saturating_add(1);
    let hash = hash(next, previous, entry);
    let sql = "INSERT INTO audit (number, time, who, action, object, detail, previous, hash)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    t.prepare_cached(sql)?.execute((
        number(next),
        entry.time.0,
        entry.who,
        entry.action,
        entry.object,
        entry.detail,
        previous.as_bytes(),
        hash.as_bytes(),
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

/// Walks over all entries. Returns how many there are, or the number of the first that does not
/// follow from the one before.
pub fn verify(t: &Transaction<'_>) -> Result<Result<u64, u64>, DatabaseError> {
    let sql = "SELECT number, time, who, action, object, detail, hash FROM audit ORDER BY number";
    let mut query = t.prepare(sql)?;
    let mut rows = query.query([])?;
    let (mut at, mut previous) = (0_u64, Digest::ZERO);
    while let Some(row) = rows.next()? {
        let stored: i64 = row.get(0)?;
        let texts: [String; 4] = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
        let [who, action, object, detail] = texts.each_ref().map(String::as_str);
        let time = UnixNanos(row.get(1)?);
        at = at.saturating_add(1);
        let hash = hash(
            at,
            previous,
            Entry {
                time,
                who,
                action,
                object,
                detail,
            },
        );
        let kept: Vec<u8> = row.get(6)?;
        if count(stored) != at || kept != hash.as_bytes() {
            return Ok(Err(at));
        }
        previous = hash;
    }
    Ok(Ok(at))
}

fn head(t: &Transaction<'_>) -> Result<(u64, Digest), DatabaseError> {
    let sql = "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
    let last = t.prepare_cached(sql)?.query_row([], read).optional()?;
    let Some((last, hash)) = last else {
        return Ok((0, Digest::ZERO));
    };
    let hash = Digest::from_slice(&hash).map_err(|_length| DatabaseError::Damaged("audit hash"))?;
    Ok((count(last), hash))
}

fn hash(number: u64, previous: Digest, entry: Entry<'_>) -> Digest {
    let mut bytes = previous.as_bytes().to_vec();
    bytes.extend(number.to_le_bytes());
    bytes.extend(entry.time.0.to_le_bytes());
    for text in [entry.who, entry.action, entry.object, entry.detail] {
        bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    Digest::of(&bytes)
}
