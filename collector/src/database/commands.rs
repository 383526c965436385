//! Commands, and how far each host has come with them.

use picket_event::{CommandId, Containment, HostId, ReceiptState, UnixNanos};
use picket_proto::v1;
use prost::Message;
use rusqlite::{OptionalExtension, Row, Transaction};

use super::{DatabaseError, count, number};

/// A command as it is kept.
#[derive(Clone, Debug)]
pub struct CommandRow {
    /// Its id.
    pub id: CommandId,
    /// The exact signed bytes.
    pub signed: v1::SignedCommand,
    /// `kill`, `kill-tree`...
    pub action: String,
    /// Who signed first.
    pub requester: String,
    /// Why, in their words.
    pub reason: String,
    /// When it was submitted.
    pub submitted: UnixNanos,
    /// When it ends.
    pub expires: UnixNanos,
    /// When it was cancelled; 0: never.
    pub cancelled: UnixNanos,
    /// Whether it waits for approvals.
    pub requested: bool,
    /// When the last approval came that it waited for; 0: it waited for none.
    pub approved: UnixNanos,
    /// When it was denied; 0: never.
    pub denied: UnixNanos,
    /// The signed denial or cancellation.
    pub ended: Option<v1::SignedStatement>,
    /// Whether it went out on one person's word.
    pub alone: bool,
    /// The last ring that began; 0: none, or it has no rings.
    pub ring: u32,
    /// The word that it did.
    pub start: Option<v1::SignedStatement>,
}

/// How far one host has come.
#[derive(Clone, Debug)]
pub struct HostState {
    /// Which host.
    pub host: HostId,
    /// When it was handed to the host's session; 0: never.
    pub delivered: UnixNanos,
    /// The host's last word on it.
    pub receipt: Option<v1::Containment>,
    /// When that came.
    pub received: UnixNanos,
}

/// A command that a host is to be given, without what is the same for all its hosts.
#[derive(Clone, Debug)]
pub struct OpenRow {
    /// Its id.
    pub id: CommandId,
    /// The last ring that began; 0: none, or it has no rings.
    pub ring: u32,
    /// The word that it did.
    pub start: Option<v1::SignedStatement>,
}

/// Keeps a new command for these hosts; `false` if the id is taken.
pub fn add(
    t: &Transaction<'_>,
    command: &CommandRow,
    hosts: &[HostId],
) -> Result<bool, DatabaseError> {
    let sql =
        "INSERT OR IGNORE INTO command (id, signed, action, requester, reason, submitted, expires, requested, alone)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let added = t.prepare_cached(sql)?.execute((
        command.id.as_bytes(),
        command.signed.encode_to_vec(),
        &command.action,
        &command.requester,
        &command.reason,
        command.submitted.0,
        command.expires.0,
        i64::from(command.requested),
        i64::from(command.alone),
    ))?;
    if added == 0 {
        return Ok(false);
    }
    let sql = "INSERT OR IGNORE INTO command_host (command, host) VALUES (?1, ?2)";
    let mut insert = t.prepare_cached(sql)?;
    for host in hosts {
        insert.execute((command.id.as_bytes(), host.as_bytes()))?;
    }
    Ok(true)
}

/// The command of this id.
pub fn find(t: &Transaction<'_>, id: &CommandId) -> Result<Option<CommandRow>, DatabaseError> {
    let mut query = t.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let row = query
        .query_row([id.as_bytes()], |row| Ok(read(row)))
        .optional()?;
    row.transpose()
}

/// The newest commands.
pub fn list(t: &Transaction<'_>, limit: u64) -> Result<Vec<CommandRow>, DatabaseError> {
    let sql = format!("{SELECT} ORDER BY submitted DESC, id LIMIT ?1");
    let mut query = t.prepare_cached(&sql)?;
    let mut rows = query.query([number(limit)])?;
    let mut commands = Vec::new();
    while let Some(row) = rows.next()? {
        commands.push(read(row)?);
    }
    Ok(commands)
}

/// Whether a command is for this host.
pub fn is_for(t: &Transaction<'_>, id: &CommandId, host: &HostId) -> Result<bool, DatabaseError> {
    let sql = "SELECT 1 FROM command_host WHERE command = ?1 AND host = ?2";
    let mut query = t.prepare_cached(sql)?;
    Ok(query.exists((id.as_bytes(), host.as_bytes()))?)
}

/// How far the command's hosts have come.
pub fn hosts(t: &Transaction<'_>, id: &CommandId) -> Result<Vec<HostState>, DatabaseError> {
    let sql = "SELECT host, delivered, receipt, received FROM command_host WHERE command = ?1";
    let mut query = t.prepare_cached(sql)?;
    let mut rows = query.query([id.as_bytes()])?;
    let mut hosts = Vec::new();
    while let Some(row) = rows.next()? {
        let host: Vec<u8> = row.get(0)?;
        let receipt: Option<Vec<u8>> = row.get(2)?;
        hosts.push(HostState {
            host: HostId::from_slice(&host).map_err(|_length| DatabaseError::Damaged("command"))?,
            delivered: UnixNanos(row.get(1)?),
            receipt: receipt.and_then(|bytes| v1::Containment::decode(bytes.as_slice()).ok()),
            received: UnixNanos(row.get(3)?),
        });
    }
    Ok(hosts)
}

/// On how many hosts this person acts since then on their own word.
pub fn hosts_alone(
    t: &Transaction<'_>,
    requester: &str,
    since: UnixNanos,
) -> Result<u64, DatabaseError> {
    let sql = "SELECT COUNT(DISTINCT host) FROM command_host WHERE command IN
               (SELECT id FROM command WHERE requester = ?1 AND alone = 1 AND submitted > ?2)";
    let hosts: i64 = t
        .prepare_cached(sql)?
        .query_row((requester, since.0), |row| row.get(0))?;
    Ok(count(hosts))
}

/// A further signature. With the last one it goes out and ends at `expires`.
pub fn approve(
    t: &Transaction<'_>,
    command: &CommandRow,
    complete: Option<(UnixNanos, UnixNanos)>,
) -> Result<(), DatabaseError> {
    let id = command.id.as_bytes();
    let signed = command.signed.encode_to_vec();
    t.prepare_cached("UPDATE command SET signed = ?2 WHERE id = ?1")?
        .execute((id, signed))?;
    if let Some((now, expires)) = complete {
        let sql = "UPDATE command SET requested = 0, approved = ?2, expires = ?3 WHERE id = ?1";
        t.prepare_cached(sql)?.execute((id, now.0, expires.0))?;
    }
    Ok(())
}

/// A ring begins.
pub fn start(
    t: &Transaction<'_>,
    id: &CommandId,
    ring: u32,
    statement: &v1::SignedStatement,
) -> Result<(), DatabaseError> {
    let sql = "UPDATE command SET ring = ?2, start = ?3 WHERE id = ?1";
    t.prepare_cached(sql)?
        .execute((id.as_bytes(), ring, statement.encode_to_vec()))?;
    Ok(())
}

/// Somebody said no.
pub fn deny(
    t: &Transaction<'_>,
    id: &CommandId,
    statement: &v1::SignedStatement,
    now: UnixNanos,
) -> Result<(), DatabaseError> {
    let sql = "UPDATE command SET denied = ?2, ended = ?3 WHERE id = ?1";
    t.prepare_cached(sql)?
        .execute((id.as_bytes(), now.0, statement.encode_to_vec()))?;
    Ok(())
}

/// The commands that the host is to be given: approved, without a last word, not cancelled, not expired.
pub fn open_for(
    t: &Transaction<'_>,
    host: &HostId,
    now: UnixNanos,
) -> Result<Vec<OpenRow>, DatabaseError> {
    let sql = "SELECT id, ring, start FROM command
               WHERE cancelled = 0 AND denied = 0 AND requested = 0 AND expires > ?2 AND id IN
               (SELECT command FROM command_host WHERE host = ?1 AND final = 0)
               ORDER BY submitted LIMIT 256";
    let mut query = t.prepare_cached(sql)?;
    let mut rows = query.query((host.as_bytes(), now.0))?;
    let mut commands = Vec::new();
    while let Some(row) = rows.next()? {
        let id: Vec<u8> = row.get(0)?;
        commands.push(OpenRow {
            id: CommandId::from_slice(&id).map_err(|_length| DatabaseError::Damaged("command"))?,
            ring: ring(row.get(1)?),
            start: statement(row.get(2)?),
        });
    }
    Ok(commands)
}

fn ring(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(0)
}

fn statement(stored: Option<Vec<u8>>) -> Option<v1::SignedStatement> {
    stored.and_then(|bytes| v1::SignedStatement::decode(bytes.as_slice()).ok())
}

/// A command was handed to the host's session.
pub fn delivered(
    t: &Transaction<'_>,
    id: &CommandId,
    host: &HostId,
    now: UnixNanos,
) -> Result<(), DatabaseError> {
    let sql = "UPDATE command_host SET delivered = ?3
               WHERE command = ?1 AND host = ?2 AND delivered = 0";
    t.prepare_cached(sql)?
        .execute((id.as_bytes(), host.as_bytes(), now.0))?;
    Ok(())
}

/// The host's word on a command. The last word stays: a redelivered answer does not replace it.
pub fn receipt(
    t: &Transaction<'_>,
    host: &HostId,
    receipt: &v1::Containment,
    time: UnixNanos,
) -> Result<bool, DatabaseError> {
    let (last, receipt) = (is_final(receipt), bounded(receipt.clone(), LARGEST_RECEIPT));
    let sql = "UPDATE command_host SET receipt = ?3, received = ?4, final = ?5
               WHERE command = ?1 AND host = ?2 AND (final = 0 OR ?6)";
    let command = receipt.command_id.as_slice();
    let parameters = (
        command,
        host.as_bytes(),
        receipt.encode_to_vec(),
        time.0,
        i64::from(last),
        // What was done may be undone later, whatever was said then.
        ReceiptState::from_wire(receipt.state) == Some(ReceiptState::Reverted),
    );
    Ok(t.prepare_cached(sql)?.execute(parameters)? == 1)
}

/// Nobody is to be given the command any more; `false` if that was so already.
pub fn cancel(
    t: &Transaction<'_>,
    id: &CommandId,
    statement: &v1::SignedStatement,
    now: UnixNanos,
) -> Result<bool, DatabaseError> {
    let sql = "UPDATE command SET cancelled = ?2, ended = ?3
               WHERE id = ?1 AND cancelled = 0 AND denied = 0";
    let parameters = (id.as_bytes(), now.0, statement.encode_to_vec());
    Ok(t.prepare_cached(sql)?.execute(parameters)? == 1)
}

/// A receipt of more bytes goes without its particulars; all of it is in the store.
pub fn bounded(receipt: v1::Containment, largest: usize) -> v1::Containment {
    if receipt.encoded_len() <= largest {
        return receipt;
    }
    v1::Containment {
        command_id: receipt.command_id,
        state: receipt.state,
        verified: receipt.verified,
        reason: receipt.reason,
        effect: "the receipt is too large to be shown; see the event".to_owned(),
        ..v1::Containment::default()
    }
}

/// Whether the host will say no more about the command.
pub fn is_final(receipt: &v1::Containment) -> bool {
    match ReceiptState::from_wire(receipt.state) {
        None => false,
        Some(ReceiptState::Accepted) => receipt.reason == Containment::DRY_RUN,
        Some(_) => true,
    }
}

fn read(row: &Row<'_>) -> Result<CommandRow, DatabaseError> {
    let damaged = DatabaseError::Damaged("command");
    let id: Vec<u8> = row.get(0)?;
    let signed: Vec<u8> = row.get(1)?;
    let signed = v1::SignedCommand::decode(signed.as_slice());
    let (Ok(id), Ok(signed)) = (CommandId::from_slice(&id), signed) else {
        return Err(damaged);
    };
    Ok(CommandRow {
        id,
        signed,
        action: row.get(2)?,
        requester: row.get(3)?,
        reason: row.get(4)?,
        submitted: UnixNanos(row.get(5)?),
        expires: UnixNanos(row.get(6)?),
        cancelled: UnixNanos(row.get(7)?),
        requested: row.get::<_, i64>(8)? != 0,
        approved: UnixNanos(row.get(9)?),
        denied: UnixNanos(row.get(10)?),
        ended: statement(row.get(11)?),
        alone: row.get::<_, i64>(12)? != 0,
        ring: ring(row.get(13)?),
        start: statement(row.get(14)?),
    })
}

/// Largest receipt that is kept whole, in bytes.
const LARGEST_RECEIPT: usize = 32 << 10;

const SELECT: &str = "SELECT id, signed, action, requester, reason, submitted, expires, cancelled,
                             requested, approved, denied, ended, alone, ring, start
                      FROM command";
