//! What the collector knows beside events: hosts, commands, and the tables themselves; as ordinary tables in memory.

use std::collections::{HashMap, HashSet};

use picket_event::{CommandId, HostId, UnixNanos};
use picket_proto::v1;
use picket_store::RowCell;
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::columns::{EventColumn, TABLES};

/// The hosts' names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_id: HashMap<String, String>,
    by_name: HashMap<String, HashSet<HostId>>,
}

impl Names {
    pub(crate) fn of(hosts: &[v1::Host]) -> Self {
        let mut names = Self::default();
        for host in hosts {
            let Ok(id) = HostId::from_slice(&host.host_id) else {
                continue;
            };
            names.by_id.insert(id.to_string(), host.name.clone());
            let same = names.by_name.entry(host.name.clone()).or_default();
            same.insert(id);
        }
        names
    }

    /// The name of the host whose id stands there.
    pub(crate) fn name_of(&self, id: RowCell<'_>) -> Value {
        let name = match id {
            RowCell::Text(id) => self.by_id.get(id),
            _ => None,
        };
        name.map_or(Value::Null, |name| Value::Text(name.clone()))
    }

    /// The hosts of these names.
    pub(crate) fn ids_of(&self, names: &HashSet<String>) -> HashSet<HostId> {
        let found = names.iter().filter_map(|name| self.by_name.get(name));
        found.flatten().copied().collect()
    }
}

/// Makes and fills the tables that are not of events.
pub(crate) fn fill(
    connection: &Connection,
    (hosts, commands): (&[v1::Host], &[v1::CommandStatus]),
    columns: &[EventColumn],
) -> rusqlite::Result<()> {
    connection.execute_batch(SCHEMA)?;
    let mut row =
        connection.prepare("INSERT INTO hosts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    for host in hosts {
        add_host(&mut row, host)?;
    }
    let mut row =
        connection.prepare("INSERT INTO command VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    for command in commands {
        add_command(&mut row, command)?;
    }
    describe(connection, columns)
}

fn add_host(row: &mut rusqlite::Statement<'_>, host: &v1::Host) -> rusqlite::Result<()> {
    let facts = host.facts.clone().unwrap_or_default();
    let alarms = host.alarms.iter().map(|alarm| alarm.name.clone());
    row.execute(params![
        id_text(&host.host_id),
        host.name,
        host.group,
        host.connected,
        host.revoked,
        instant(host.enrolled_unix_ns),
        instant(host.last_seen_unix_ns),
        instant(host.last_event_unix_ns),
        facts.os,
        facts.kernel,
        facts.agent_version,
        alarms.collect::<serde_json::Value>().to_string(),
        host.epoch.cast_signed(),
    ])?;
    Ok(())
}

/// A command is a row for each of its hosts.
fn add_command(
    row: &mut rusqlite::Statement<'_>,
    command: &v1::CommandStatus,
) -> rusqlite::Result<()> {
    let id = CommandId::from_slice(&command.command_id);
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    for host in &command.hosts {
        let receipt = host.receipt.as_ref();
        row.execute(params![
            id,
            command.action,
            command.requester,
            command.reason,
            command.state,
            instant(command.submitted_unix_ns),
            instant(command.approved_unix_ns),
            instant(command.expires_unix_ns),
            id_text(&host.host_id),
            host.host_name,
            host.state,
            receipt.and_then(|_| instant(host.time_unix_ns)),
        ])?;
    }
    Ok(())
}

fn describe(connection: &Connection, columns: &[EventColumn]) -> rusqlite::Result<()> {
    let mut table = connection.prepare("INSERT INTO tables VALUES (?, ?)")?;
    let mut row = connection.prepare("INSERT INTO columns VALUES (?, ?, ?, ?)")?;
    for one in TABLES {
        table.execute(params![one.name, one.meaning])?;
        for column in columns {
            let sql_type = column.sql_type().split(' ').next();
            row.execute(params![one.name, column.name, sql_type, column.meaning()])?;
        }
    }
    for (name, meaning) in OTHERS {
        table.execute(params![name, meaning])?;
    }
    for line in SCHEMA.lines() {
        let mut words = line.trim().splitn(2, " -- ");
        let (Some(declared), Some(said)) = (words.next(), words.next()) else {
            continue;
        };
        let mut declared = declared.split([' ', ',']);
        let (Some(name), Some(form)) = (declared.next(), declared.next()) else {
            continue;
        };
        let (of, meaning) = said.split_once(": ").unwrap_or_default();
        row.execute(params![of, name, form, meaning])?;
    }
    Ok(())
}

fn id_text(id: &[u8]) -> Option<String> {
    HostId::from_slice(id).ok().map(|id| id.to_string())
}

/// An instant, if there was one.
fn instant(nanos: i64) -> Option<String> {
    (nanos != 0).then(|| UnixNanos(nanos).to_string())
}

/// The tables that are not of events, with what they are for.
pub(crate) const OTHERS: &[(&str, &str)] = &[
    ("hosts", "the fleet, a row for each host"),
    (
        "command",
        "containment commands, a row for each command and host",
    ),
    ("tables", "these tables"),
    ("columns", "the columns of these tables"),
];

const SCHEMA: &str = "
CREATE TABLE hosts(
  host_id TEXT PRIMARY KEY, -- hosts: the host's id, 64 hexadecimal digits
  name TEXT, -- hosts: its name
  host_group TEXT, -- hosts: its group
  connected INTEGER, -- hosts: 1 if it is connected now
  revoked INTEGER, -- hosts: 1 if its certificate was ended
  enrolled TEXT COLLATE moment, -- hosts: when it was enrolled
  last_seen TEXT COLLATE moment, -- hosts: when it was last connected
  last_event TEXT COLLATE moment, -- hosts: the time of its latest event
  os TEXT, -- hosts: its operating system
  kernel TEXT, -- hosts: its kernel
  agent_version TEXT, -- hosts: its agent
  alarms TEXT, -- hosts: JSON list of what an operator has to look at
  epoch INTEGER -- hosts: of its event key
);
CREATE TABLE command(
  id TEXT, -- command: the command's id
  action TEXT, -- command: what is to be done
  requester TEXT, -- command: who asked
  reason TEXT, -- command: why
  state TEXT, -- command: of the whole: requested, pending, delivered, done, denied, cancelled, expired
  submitted TEXT COLLATE moment, -- command: when it was handed in
  approved TEXT COLLATE moment, -- command: when the last approval came that it waited for
  expires TEXT COLLATE moment, -- command: until when it may be acted on
  host_id TEXT, -- command: one of its hosts
  host TEXT, -- command: that host's name
  host_state TEXT, -- command: what became of it there
  answered TEXT COLLATE moment -- command: when that host answered
);
CREATE TABLE tables(
  name TEXT, -- tables: the table
  meaning TEXT -- tables: what it holds
);
CREATE TABLE columns(
  table_name TEXT, -- columns: the table
  name TEXT, -- columns: the column
  type TEXT, -- columns: TEXT, INTEGER or REAL
  meaning TEXT -- columns: what it holds
);
";
