//! Enrolled hosts.

use picket_event::{HostId, UnixNanos};
use picket_proto::v1;
use picket_seal::PublicKey;
use prost::Message;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{DatabaseError, count, number};

/// A host as it is kept.
#[derive(Clone, Debug)]
pub struct HostRow {
    /// Its id.
    pub id: HostId,
    /// Its first event key.
    pub event_key: PublicKey,
    /// Its name, as it called itself.
    pub name: String,
    /// Its group, from its token.
    pub group: String,
    /// Which token it used.
    pub token: String,
    /// When it was enrolled.
    pub enrolled: UnixNanos,
    /// Whether it was revoked.
    pub revoked: bool,
    /// What it said about itself last.
    pub facts: v1::HostFacts,
    /// Its last heartbeat that was kept.
    pub heartbeat: Option<v1::Heartbeat>,
    /// When it was last heard of, as far as it was kept; 0: never.
    pub last_seen: UnixNanos,
    /// Its state generation.
    pub host_epoch: u64,
}

/// What changes while a host is connected.
#[derive(Clone, Debug)]
pub struct HostNews {
    /// Which host.
    pub id: HostId,
    /// Its name now.
    pub name: String,
    /// What it says about itself.
    pub facts: v1::HostFacts,
    /// Its last heartbeat.
    pub heartbeat: Option<v1::Heartbeat>,
    /// When it was last heard of.
    pub last_seen: UnixNanos,
    /// Its state generation.
    pub host_epoch: u64,
}

/// Adds a host; `false` if the id is taken.
pub fn add(t: &Transaction<'_>, host: &HostRow) -> Result<bool, DatabaseError> {
    let sql = "INSERT OR IGNORE INTO host
               (id, event_key, name, host_group, token, enrolled, facts)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let added = t.prepare_cached(sql)?.execute((
        host.id.as_bytes(),
        host.event_key.as_bytes(),
        &host.name,
        &host.group,
        &host.token,
        host.enrolled.0,
        host.facts.encode_to_vec(),
    ))?;
    if added == 1 {
        super::keys::add_first(t, &host.id, &host.event_key)?;
    }
    Ok(added == 1)
}

/// The host of this id.
pub fn find(t: &Transaction<'_>, id: &HostId) -> Result<Option<HostRow>, DatabaseError> {
    let mut query = t.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let row = query
        .query_row([id.as_bytes()], |row| Ok(read(row)))
        .optional()?;
    row.transpose()
}

/// All hosts by name.
pub fn list(t: &Transaction<'_>) -> Result<Vec<HostRow>, DatabaseError> {
    let mut query = t.prepare_cached(&format!("{SELECT} ORDER BY name, id"))?;
    let mut rows = query.query([])?;
    let mut hosts = Vec::new();
    while let Some(row) = rows.next()? {
        hosts.push(read(row)?);
    }
    Ok(hosts)
}

/// Ends a host for good.
pub fn revoke(t: &Transaction<'_>, id: &HostId, now: UnixNanos) -> Result<(), DatabaseError> {
    let sql = "UPDATE host SET revoked = ?2 WHERE id = ?1 AND revoked = 0";
    t.prepare_cached(sql)?.execute((id.as_bytes(), now.0))?;
    Ok(())
}

/// Keeps what is new about hosts.
pub fn keep_news(t: &Transaction<'_>, news: &[HostNews]) -> Result<(), DatabaseError> {
    let sql =
        "UPDATE host SET name = ?2, facts = ?3, heartbeat = ?4, last_seen = ?5, host_epoch = ?6
               WHERE id = ?1";
    let mut update = t.prepare_cached(sql)?;
    for host in news {
        let heartbeat = host.heartbeat.as_ref().map(Message::encode_to_vec);
        let facts = host.facts.encode_to_vec();
        let epoch = number(host.host_epoch);
        update.execute((
            host.id.as_bytes(),
            &host.name,
            facts,
            heartbeat,
            host.last_seen.0,
            epoch,
        ))?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> Result<HostRow, DatabaseError> {
    let id: Vec<u8> = row.get(0)?;
    let key: Vec<u8> = row.get(1)?;
    let facts: Vec<u8> = row.get(7)?;
    let heartbeat: Option<Vec<u8>> = row.get(8)?;
    let damaged = DatabaseError::Damaged("host");
    let (Ok(id), Ok(event_key)) = (HostId::from_slice(&id), PublicKey::from_slice(&key)) else {
        return Err(damaged);
    };
    Ok(HostRow {
        id,
        event_key,
        name: row.get(2)?,
        group: row.get(3)?,
        token: row.get(4)?,
        enrolled: UnixNanos(row.get(5)?),
        revoked: row.get::<_, i64>(6)? != 0,
        facts: v1::HostFacts::decode(facts.as_slice()).map_err(|_message| damaged)?,
        heartbeat: heartbeat.and_then(|bytes| v1::Heartbeat::decode(bytes.as_slice()).ok()),
        last_seen: UnixNanos(row.get(9)?),
        host_epoch: count(row.get(10)?),
    })
}

const SELECT: &str = "SELECT id, event_key, name, host_group, token, enrolled, revoked, facts,
                      heartbeat, last_seen, host_epoch FROM host";
