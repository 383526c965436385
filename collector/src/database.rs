//! The collector's small state, in SQLite: tokens, hosts, epoch keys, commands, operators, audit.
//!
//! # Invariants
//!
//! - A transaction that returned survives a power cut (write-ahead log, `synchronous = FULL`).
//! - No query runs on a thread that serves connections.
//! - The audit only grows, and each entry holds the hash of the one before.

pub mod audit;
pub mod branches;
pub mod checkpoints;
pub mod commands;
pub mod contents;
pub mod hosts;
pub mod keys;
pub mod operators;
pub mod replacements;
pub mod roots;
pub mod sketches;
pub mod tokens;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

/// The database. Cloning shares it.
#[derive(Clone)]
pub struct Database {
    connection: Arc<Mutex<Connection>>,
}

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file cannot be opened or made.
    #[error("failed to open the database `{}`", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// It was made by another version.
    #[error("the database `{}` has form {found}, this version knows {SCHEMA_VERSION}", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// The form it says it has.
        found: i64,
    },
    /// A statement failed.
    #[error("the database failed")]
    Statement(#[from] rusqlite::Error),
    /// A stored value has not the form that we wrote.
    #[error("the database holds a damaged {0}")]
    Damaged(&'static str),
    /// The thread that worked on it ended.
    #[error("the database work was cut off")]
    CutOff,
}

impl Database {
    /// Makes a new database in the empty file at `path`.
    pub fn create(path: &Path) -> Result<Self, DatabaseError> {
        let database = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let failed = |source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        };
        database.lock().execute_batch(SCHEMA).map_err(failed)?;
        database.advance(1).map_err(failed)?;
        Ok(database)
    }

    /// Opens one that was made before.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        let database = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let version = database
            .lock()
            .pragma_query_value(None, "user_version", |row| row.get(0));
        let failed = |source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        };
        let found: i64 = version.map_err(failed)?;
        if !(1..=SCHEMA_VERSION).contains(&found) {
            return Err(DatabaseError::Version {
                path: path.to_owned(),
                found,
            });
        }
        database.advance(found).map_err(failed)?;
        Ok(database)
    }

    /// Brings one of an earlier form to this version's, one step after the other.
    fn advance(&self, found: i64) -> rusqlite::Result<()> {
        for (form, step) in STEPS {
            if *form > found {
                self.lock().execute_batch(step)?;
            }
        }
        Ok(())
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, DatabaseError> {
        let failed = |source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        };
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.execute_batch(SETTINGS).map_err(failed)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Runs `work` in one transaction, here and now. For the start and for threads that may block.
    pub fn run<T, E: From<DatabaseError>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.lock();
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(DatabaseError::from)?;
        let done = work(&transaction)?;
        transaction.commit().map_err(DatabaseError::from)?;
        Ok(done)
    }

    /// Runs `work` in one transaction on a thread that may block. An error undoes all of it.
    pub async fn call<T, E>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        let database = self.clone();
        let worked = tokio::task::spawn_blocking(move || database.run(work)).await;
        worked.map_err(|_ended| DatabaseError::CutOff)?
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        // A panic inside a transaction rolls it back when it is dropped.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

/// A value that is kept under a name.
pub fn setting(t: &Transaction<'_>, name: &str) -> Result<Option<Vec<u8>>, DatabaseError> {
    let mut query = t.prepare_cached("SELECT value FROM setting WHERE name = ?1")?;
    Ok(query.query_row([name], |row| row.get(0)).optional()?)
}

/// Keeps a value under a name.
pub fn keep_setting(t: &Transaction<'_>, name: &str, value: &[u8]) -> Result<(), DatabaseError> {
    let sql = "INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)";
    t.prepare_cached(sql)?.execute((name, value))?;
    Ok(())
}

/// A number as SQLite has them.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number that was never negative.
pub(crate) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

const SCHEMA_VERSION: i64 = 7;

const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA busy_timeout = 5000;
";

/// Form 1.
const SCHEMA: &str = include_str!("database/schema.sql");

/// What leads to each later form.
const STEPS: &[(i64, &str)] = &[
    (2, include_str!("database/schema-2.sql")),
    (3, include_str!("database/schema-3.sql")),
    (4, include_str!("database/schema-4.sql")),
    (5, include_str!("database/schema-5.sql")),
    (6, include_str!("database/schema-6.sql")),
    (7, include_str!("database/schema-7.sql")),
];
