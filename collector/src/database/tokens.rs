//! Enrolment tokens. Only the hash of a secret is here.

use picket_event::UnixNanos;
use picket_proto::v1;
use picket_seal::Digest;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{DatabaseError, count};

/// A token and the hash of its secret.
#[derive(Clone, Debug)]
pub struct Token {
    /// What operators may see.
    pub shown: v1::Token,
    /// SHA-256 of the secret in its domain.
    pub secret_hash: Digest,
}

impl Token {
    /// Whether it can be used now, or the refusal.
    pub fn check(&self, now: UnixNanos) -> Result<(), TokenRefusal> {
        if self.shown.revoked {
            return Err(TokenRefusal::Revoked);
        }
        if now.0 >= self.shown.expires_unix_ns {
            return Err(TokenRefusal::Expired);
        }
        if self.shown.uses_left == 0 {
            return Err(TokenRefusal::UsedUp);
        }
        Ok(())
    }
}

/// Why a token is worth nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenRefusal {
    /// An operator ended it.
    Revoked,
    /// Its time is over.
    Expired,
    /// It was used as often as it may.
    UsedUp,
}

/// Keeps a new token; `false` if the id is taken.
pub fn add(t: &Transaction<'_>, token: &Token) -> Result<bool, DatabaseError> {
    let sql = "INSERT OR IGNORE INTO token
               (id, secret_hash, host_group, created, expires, uses_left, revoked, created_by)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)";
    let shown = &token.shown;
    let added = t.prepare_cached(sql)?.execute((
        &shown.id,
        token.secret_hash.as_bytes(),
        &shown.group,
        shown.created_unix_ns,
        shown.expires_unix_ns,
        i64::from(shown.uses_left),
        &shown.created_by,
    ))?;
    Ok(added == 1)
}

/// The token of this id.
pub fn find(t: &Transaction<'_>, id: &str) -> Result<Option<Token>, DatabaseError> {
    let mut query = t.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let row = query.query_row([id], |row| Ok(read(row))).optional()?;
    row.transpose()
}

/// All tokens, the newest first, at most a thousand.
pub fn list(t: &Transaction<'_>) -> Result<Vec<v1::Token>, DatabaseError> {
    let mut query = t.prepare_cached(&format!("{SELECT} ORDER BY created DESC LIMIT 1000"))?;
    let mut rows = query.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(read(row)?.shown);
    }
    Ok(tokens)
}

/// Takes one use; `false` if there is none left.
pub fn take_use(t: &Transaction<'_>, id: &str) -> Result<bool, DatabaseError> {
    let sql = "UPDATE token SET uses_left = uses_left - 1 WHERE id = ?1 AND uses_left > 0";
    Ok(t.prepare_cached(sql)?.execute([id])? == 1)
}

/// Ends a token; `false` if there is none of this id.
pub fn revoke(t: &Transaction<'_>, id: &str) -> Result<bool, DatabaseError> {
    let changed = t
        .prepare_cached("UPDATE token SET revoked = 1 WHERE id = ?1")?
        .execute([id])?;
    Ok(changed == 1)
}

fn read(row: &Row<'_>) -> Result<Token, DatabaseError> {
    let hash: Vec<u8> = row.get(1)?;
    let secret_hash = Digest::from_slice(&hash);
    Ok(Token {
        secret_hash: secret_hash.map_err(|_length| DatabaseError::Damaged("token"))?,
        shown: v1::Token {
            id: row.get(0)?,
            group: row.get(2)?,
            created_unix_ns: row.get(3)?,
            expires_unix_ns: row.get(4)?,
            uses_left: u32::try_from(count(row.get(5)?)).unwrap_or(u32::MAX),
            revoked: row.get::<_, i64>(6)? != 0,
            created_by: row.get(7)?,
        },
    })
}

const SELECT: &str = "SELECT id, secret_hash, host_group, created, expires, uses_left, revoked,
                      created_by FROM token";
