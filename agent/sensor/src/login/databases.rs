//! The login databases that take the place of wtmp and lastlog where time has more than 32 bits: wtmpdb and lastlog2.
//!
//! # Invariants
//!
//! - They are opened for reading only and closed after each look; a look takes [`PATIENCE`] at most if somebody writes.
//! - What was there at the start is no login; a database that appears later is new as a whole. Of more than [`MOST_ROWS`] rows in a look the rest comes with the next.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use picket_event::{Hook, Kind, Login, Text, UnixNanos};
use rusqlite::{Connection, OpenFlags, Row};

use super::fact::{Fact, Witness, set_source, terminal};
use super::fusion::{Origin, SeenBy, Word};
use super::pam::{is_switch, kind_of_session, service_name};
use super::standing::Standing;

/// Follows wtmpdb: one row per session, to which its end is added.
#[derive(Debug)]
pub(super) struct Wtmpdb {
    standing: Standing,
    last: Option<i64>,
    open: BTreeSet<i64>,
}

impl Wtmpdb {
    pub(super) fn open(path: PathBuf) -> Self {
        let mut wtmpdb = Self {
            standing: with_log("wtmpdb", path),
            last: None,
            open: BTreeSet::new(),
        };
        wtmpdb.read(&mut Vec::new());
        if !wtmpdb.standing.is_there() {
            wtmpdb.last = Some(0);
        }
        wtmpdb
    }

    pub(super) fn read(&mut self, words: &mut Vec<Word>) {
        if self.standing.has_changed() {
            let changes = self.changes();
            take(&mut self.standing, changes, words);
        }
    }

    pub(super) fn hook(&self) -> Hook {
        self.standing.hook()
    }

    fn changes(&mut self) -> rusqlite::Result<Vec<Word>> {
        let database = connect(self.standing.path())?;
        let Some(last) = self.last else {
            let newest = database.query_row("SELECT max(ID) FROM wtmp", [], |row| {
                row.get::<_, Option<i64>>(0)
            })?;
            self.last = Some(newest.unwrap_or(0));
            let mut statement =
                database.prepare("SELECT ID FROM wtmp WHERE Logout IS NULL AND Type = 3")?;
            let open = statement.query_map([], |row| row.get(0))?;
            self.open = open.take(MOST_ROWS).collect::<rusqlite::Result<_>>()?;
            return Ok(Vec::new());
        };
        let mut words = self.ended(&database)?;
        let mut statement = database.prepare(
            "SELECT ID, Login, User, TTY, RemoteHost, Service, Logout FROM wtmp WHERE ID > ?1 AND Type = 3 ORDER BY ID LIMIT 4096",
        )?;
        let rows = statement.query_map([last], session)?;
        for row in rows {
            let session = row?;
            self.last = self.last.max(Some(session.number));
            words.push(session.begun());
            match session.ended() {
                Some(end) => words.push(end),
                None => drop(self.open.insert(session.number)),
            }
        }
        Ok(words)
    }

    fn ended(&mut self, database: &Connection) -> rusqlite::Result<Vec<Word>> {
        let mut statement = database.prepare(
            "SELECT ID, Login, User, TTY, RemoteHost, Service, Logout FROM wtmp WHERE ID = ?1 AND Logout IS NOT NULL",
        )?;
        let mut words = Vec::new();
        for number in self.open.clone() {
            let found = statement.query_map([number], session)?;
            for session in found {
                words.extend(session?.ended());
                self.open.remove(&number);
            }
        }
        Ok(words)
    }
}

/// A row of wtmpdb; times in microseconds since 1970.
struct Session {
    number: i64,
    begin: i64,
    end: Option<i64>,
    login: Login,
}

fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    let login = of_user(text(row, 2)?, place(row, 3)?);
    Ok(Session {
        number: row.get(0)?,
        begin: row.get::<_, Option<i64>>(1)?.unwrap_or_default(),
        end: row.get(6)?,
        login,
    })
}

impl Session {
    fn begun(&self) -> Word {
        let fact = Fact::success(
            Witness::RecordLogin,
            kind_of(&self.login),
            self.login.clone(),
        );
        word(SeenBy::Wtmpdb, microseconds(self.begin), fact)
    }

    fn ended(&self) -> Option<Word> {
        let fact = Fact::success(Witness::RecordLogoff, Kind::Logoff, self.login.clone());
        Some(word(SeenBy::Wtmpdb, microseconds(self.end?), fact))
    }
}

/// Follows lastlog2: one row per user.
#[derive(Debug)]
pub(super) struct Lastlog2 {
    standing: Standing,
    known: Option<HashMap<Text, i64>>,
}

impl Lastlog2 {
    pub(super) fn open(path: PathBuf) -> Self {
        let mut lastlog = Self {
            standing: with_log("lastlog2", path),
            known: None,
        };
        lastlog.read(&mut Vec::new());
        if !lastlog.standing.is_there() {
            lastlog.known = Some(HashMap::new());
        }
        lastlog
    }

    pub(super) fn read(&mut self, words: &mut Vec<Word>) {
        if self.standing.has_changed() {
            let changes = self.changes();
            take(&mut self.standing, changes, words);
        }
    }

    pub(super) fn hook(&self) -> Hook {
        self.standing.hook()
    }

    fn changes(&mut self) -> rusqlite::Result<Vec<Word>> {
        let database = connect(self.standing.path())?;
        let mut statement = database
            .prepare("SELECT Name, Time, TTY, RemoteHost, Service FROM Lastlog2 LIMIT 65536")?;
        let rows = statement.query_map([], |row| {
            let user = text(row, 0)?;
            let login = place(row, 2)?;
            let seconds = row.get::<_, Option<i64>>(1)?.unwrap_or_default();
            Ok((user.clone(), seconds, of_user(user, login)))
        })?;
        let is_first = self.known.is_none();
        let known = self.known.get_or_insert_default();
        let mut words = Vec::new();
        for row in rows {
            let (user, seconds, login) = row?;
            let before = known.insert(user, seconds);
            if !is_first && before != Some(seconds) && seconds != 0 {
                let time = UnixNanos(seconds.saturating_mul(1_000_000_000));
                let fact = Fact::success(Witness::RecordLogin, kind_of(&login), login);
                words.push(word(SeenBy::Lastlog2, time, fact));
            }
        }
        Ok(words)
    }
}

/// Terminal, remote host and service, in this order from this column.
fn place(row: &Row<'_>, from: usize) -> rusqlite::Result<Login> {
    let column = |further: usize| text(row, from.saturating_add(further));
    let (tty, host, service) = (column(0)?, column(1)?, column(2)?);
    let mut login = Login {
        tty: terminal(tty.as_bytes()),
        service: service_name(service.as_bytes()).unwrap_or_default(),
        ..Login::default()
    };
    if !host.is_empty() {
        set_source(&mut login, host.as_bytes());
    }
    Ok(login)
}

/// A text column as bytes; empty where there is none.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Text> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Text::from(bytes),
        _ => Text::NONE,
    })
}

/// A record is written for whoever opens a session; without a service it is a login.
fn kind_of(login: &Login) -> Kind {
    kind_of_session(&login.service)
}

/// The user of a record is whose the session is: of su and the like, who was become.
fn of_user(user: Text, mut login: Login) -> Login {
    if is_switch(&login.service) {
        login.target_user = user;
    } else {
        login.user = user;
    }
    login
}

fn word(seen_by: SeenBy, time: UnixNanos, fact: Fact) -> Word {
    Word {
        origin: Origin::LIVE,
        seen_by,
        time,
        pid: None,
        ppid: None,
        fact,
        process: None,
        old: false,
    }
}

fn microseconds(time: i64) -> UnixNanos {
    UnixNanos(time.saturating_mul(1_000))
}

fn take(standing: &mut Standing, changes: rusqlite::Result<Vec<Word>>, words: &mut Vec<Word>) {
    match changes {
        Ok(changes) => {
            standing.heard(changes.len());
            words.extend(changes);
        }
        Err(error) => standing.failed(error.to_string()),
    }
}

/// What is not yet in the file is in the log beside it.
fn with_log(name: &'static str, path: PathBuf) -> Standing {
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    Standing::new(name, path).and(log.into())
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    database.busy_timeout(PATIENCE)?;
    Ok(database)
}

const PATIENCE: Duration = Duration::from_millis(50);
const MOST_ROWS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables as wtmpdb 0.11 and util-linux 2.40 make them.
    const WTMP: &str = "CREATE TABLE wtmp(ID INTEGER PRIMARY KEY, Type INTEGER, User TEXT NOT NULL, Login INTEGER, \
                        Logout INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT) STRICT";
    const LASTLOG2: &str = "CREATE TABLE Lastlog2(Name TEXT PRIMARY KEY, Time INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT)";

    #[test]
    fn a_session_in_wtmpdb_is_a_login_and_its_end_a_logoff() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wtmp.db");
        let database = Connection::open(&path).unwrap();
        database.execute(WTMP, []).unwrap();
        let insert = |user: &str, service: &str| {
            let sql = "INSERT INTO wtmp(Type, User, Login, TTY, RemoteHost, Service) VALUES(3, ?1, 5000000, 'pts/1', '192.0.2.7', ?2)";
            database.execute(sql, [user, service]).unwrap();
        };
        insert("before", "sshd");
        let mut follower = Wtmpdb::open(path);
        insert("ada", "sshd");
        let mut words = Vec::new();
        follower.read(&mut words);
        database
            .execute("UPDATE wtmp SET Logout = 9000000", [])
            .unwrap();
        follower.read(&mut words);
        let told: Vec<_> = words
            .iter()
            .map(|word| {
                (
                    word.fact.kind.unwrap(),
                    word.fact.login.user.as_str().unwrap(),
                    word.time.0,
                )
            })
            .collect();
        let expected = [
            (Kind::Login, "ada", 5_000_000_000),
            (Kind::Logoff, "before", 9_000_000_000),
            (Kind::Logoff, "ada", 9_000_000_000),
        ];
        assert_eq!(told, expected);
        assert_eq!(words[0].fact.login.source_ip, "192.0.2.7");
    }

    #[test]
    fn a_row_of_lastlog2_that_changes_is_a_login() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lastlog2.db");
        let database = Connection::open(&path).unwrap();
        database.execute(LASTLOG2, []).unwrap();
        let write = |time: i64| {
            let sql = "REPLACE INTO Lastlog2 VALUES('ada', ?1, 'pts/1', 'host.example', 'sshd')";
            database.execute(sql, [time]).unwrap();
        };
        write(5);
        let mut follower = Lastlog2::open(path);
        let mut words = Vec::new();
        follower.read(&mut words);
        assert!(words.is_empty());
        write(7);
        follower.read(&mut words);
        let [word] = &words[..] else {
            panic!("{words:?}")
        };
        assert_eq!(
            (word.time.0, word.fact.login.service.as_str()),
            (7_000_000_000, "sshd")
        );
    }

    #[test]
    fn what_is_in_a_database_that_appears_later_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (sessions, users) = (folder.path().join("wtmp.db"), folder.path().join("last.db"));
        let mut wtmpdb = Wtmpdb::open(sessions.clone());
        let mut lastlog = Lastlog2::open(users.clone());
        let database = Connection::open(&sessions).unwrap();
        database.execute(WTMP, []).unwrap();
        let sql = "INSERT INTO wtmp(Type, User, Login, TTY, Service) VALUES(3, 'ada', 5, 'pts/1', 'sshd')";
        database.execute(sql, []).unwrap();
        let database = Connection::open(&users).unwrap();
        database.execute(LASTLOG2, []).unwrap();
        let sql = "REPLACE INTO Lastlog2 VALUES('ada', 5, 'pts/1', '', 'sshd')";
        database.execute(sql, []).unwrap();
        let mut words = Vec::new();
        wtmpdb.read(&mut words);
        lastlog.read(&mut words);
        let users: Vec<_> = words.iter().map(|word| &word.fact.login.user).collect();
        assert_eq!(users, [&Text::from("ada"), &Text::from("ada")]);
    }

    #[test]
    fn a_session_of_su_is_that_of_whom_it_became() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wtmp.db");
        let database = Connection::open(&path).unwrap();
        database.execute(WTMP, []).unwrap();
        let mut follower = Wtmpdb::open(path);
        let sql = "INSERT INTO wtmp(Type, User, Login, Logout, TTY, Service) VALUES(3, 'ada', 5, 6, 'pts/1', 'su-l')";
        database.execute(sql, []).unwrap();
        let mut words = Vec::new();
        follower.read(&mut words);
        let kinds: Vec<_> = words.iter().map(|word| word.fact.kind.unwrap()).collect();
        assert_eq!(kinds, [Kind::AccountSwitch, Kind::Logoff]);
        let login = &words[0].fact.login;
        assert_eq!(
            (&login.user, &login.target_user),
            (&Text::NONE, &"ada".into())
        );
    }

    #[test]
    fn a_file_that_is_no_database_is_explained() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "no database, but long enough to be looked at as one of them, so to say",
        )
        .unwrap();
        let follower = Wtmpdb::open(file.path().to_owned());
        assert!(
            follower.hook().detail.contains("not a database"),
            "{:?}",
            follower.hook()
        );
    }
}
