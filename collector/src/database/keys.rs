//! The event keys of each host by epoch, each vouched for by the one before.

use picket_event::HostId;
use picket_proto::v1;
use picket_seal::{PublicKey, Signature, SuccessionChain, SuccessionError};
use prost::Message;
use rusqlite::{OptionalExtension, Transaction};

use super::{DatabaseError, count, number};

/// Why a succession was not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is not of its form, or for another host.
    #[error("the succession is malformed or for another host")]
    Form,
    /// The key before it did not vouch for it.
    #[error("the succession was refused")]
    Refused(#[source] SuccessionError),
    /// More epochs than any host can need.
    #[error("the host has too many epochs")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// The first key of a new host.
pub(super) fn add_first(
    t: &Transaction<'_>,
    host: &HostId,
    key: &PublicKey,
) -> Result<(), DatabaseError> {
    insert(t, host, 0, key, &v1::Succession::default())
}

/// The key of an epoch.
pub fn find(
    t: &Transaction<'_>,
    host: &HostId,
    epoch: u64,
) -> Result<Option<PublicKey>, DatabaseError> {
    let sql = "SELECT public_key FROM epoch_key WHERE host = ?1 AND epoch = ?2";
    let mut query = t.prepare_cached(sql)?;
    let parameters = (host.as_bytes(), number(epoch));
    let key: Option<Vec<u8>> = query.query_row(parameters, |row| row.get(0)).optional()?;
    let key = key.map(|key| PublicKey::from_slice(&key)).transpose();
    key.map_err(|_refused| DatabaseError::Damaged("epoch key"))
}

/// The newest epoch whose key is known.
pub fn latest(t: &Transaction<'_>, host: &HostId) -> Result<u64, DatabaseError> {
    let mut query = t.prepare_cached("SELECT max(epoch) FROM epoch_key WHERE host = ?1")?;
    let latest: Option<i64> = query.query_row([host.as_bytes()], |row| row.get(0))?;
    Ok(count(latest.unwrap_or_default()))
}

/// Takes successions, in their order. One that is known already changes nothing.
pub fn accept(
    t: &Transaction<'_>,
    host: &HostId,
    successions: &[v1::Succession],
) -> Result<(), KeyError> {
    for succession in successions {
        accept_one(t, host, succession)?;
    }
    Ok(())
}

fn accept_one(
    t: &Transaction<'_>,
    host: &HostId,
    succession: &v1::Succession,
) -> Result<(), KeyError> {
    let body = v1::SuccessionBody::decode(succession.body.as_slice());
    let body = body.map_err(|_message| KeyError::Form)?;
    let key = PublicKey::from_slice(&body.public_key).map_err(|_key| KeyError::Form)?;
    let signature =
        Signature::from_slice(&succession.signature).map_err(|_length| KeyError::Form)?;
    if body.host_id != host.as_bytes() {
        return Err(KeyError::Form);
    }
    if body.epoch > MAX_EPOCHS {
        return Err(KeyError::TooMany);
    }
    let mut chain = chain_before(t, host, body.epoch)?;
    let accepted = chain.accept(body.epoch, key, &succession.body, &signature);
    match accepted.map_err(KeyError::Refused)? {
        picket_seal::Accepted::New => Ok(insert(t, host, body.epoch, &key, succession)?),
        picket_seal::Accepted::Known => Ok(()),
    }
}

/// The chain from the epoch before this one, or from the latest that is known.
fn chain_before(
    t: &Transaction<'_>,
    host: &HostId,
    epoch: u64,
) -> Result<SuccessionChain, KeyError> {
    let from = epoch.saturating_sub(1).min(latest(t, host)?);
    let signer = find(t, host, from)?.ok_or(DatabaseError::Damaged("epoch key"))?;
    let mut chain = SuccessionChain::resume(from, signer);
    if let Some((key, known)) = stored(t, host, epoch)? {
        // It was accepted before; what is stored is what was verified then.
        let signature =
            Signature::from_slice(&known.signature).map_err(|_length| KeyError::Form)?;
        chain
            .accept(epoch, key, &known.body, &signature)
            .map_err(KeyError::Refused)?;
    }
    Ok(chain)
}

fn stored(
    t: &Transaction<'_>,
    host: &HostId,
    epoch: u64,
) -> Result<Option<(PublicKey, v1::Succession)>, KeyError> {
    let sql = "SELECT public_key, body, signature FROM epoch_key
               WHERE host = ?1 AND epoch = ?2 AND epoch > 0";
    let read = |row: &rusqlite::Row<'_>| {
        let key: Vec<u8> = row.get(0)?;
        Ok((
            key,
            v1::Succession {
                body: row.get(1)?,
                signature: row.get(2)?,
            },
        ))
    };
    let mut query = t.prepare_cached(sql).map_err(DatabaseError::from)?;
    let row = query
        .query_row((host.as_bytes(), number(epoch)), read)
        .optional();
    let Some((key, succession)) = row.map_err(DatabaseError::from)? else {
        return Ok(None);
    };
    let key = PublicKey::from_slice(&key).map_err(|_key| DatabaseError::Damaged("epoch key"))?;
    Ok(Some((key, succession)))
}

/// All successions of a host, in the order of their epochs.
pub fn successions(
    t: &Transaction<'_>,
    host: &HostId,
) -> Result<Vec<v1::Succession>, DatabaseError> {
    let sql = "SELECT body, signature FROM epoch_key WHERE host = ?1 AND epoch > 0 ORDER BY epoch";
    let mut query = t.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(v1::Succession {
            body: row.get(0)?,
            signature: row.get(1)?,
        })
    };
    let rows = query.query_map([host.as_bytes()], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn insert(
    t: &Transaction<'_>,
    host: &HostId,
    epoch: u64,
    key: &PublicKey,
    succession: &v1::Succession,
) -> Result<(), DatabaseError> {
    let sql = "INSERT INTO epoch_key (host, epoch, public_key, body, signature)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    t.prepare_cached(sql)?.execute((
        host.as_bytes(),
        number(epoch),
        key.as_bytes(),
        &succession.body,
        &succession.signature,
    ))?;
    Ok(())
}

/// Hourly epochs for more than a century.
const MAX_EPOCHS: u64 = 1_000_000;
