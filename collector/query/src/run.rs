//! One job from its first byte to its last row.

use std::io::{self, Read, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use picket_proto::v1;
use picket_proto::v1::query_reply::Reply;
use picket_store::{Reader, StoreError, Unread};
use prost::Message;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, Row, Statement};

use crate::cells;
use crate::columns::{TABLES, event_columns};
use crate::confine::{ConfineError, confine};
use crate::doubt::Doubts;
use crate::failure::Failed;
use crate::fleet::{Names, fill};
use crate::job::{Bounds, Job};
use crate::join::Room;
use crate::moment;
use crate::table::{Events, Shared};
use crate::vtab::register;
use crate::wire::send;

/// Why a worker ended without an answer.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Standard input does not hold a job.
    #[error("failed to read the job")]
    Job(#[source] io::Error),
    /// Its view is not one.
    #[error("failed to open the store")]
    Store(#[from] StoreError),
    /// It would have run without bounds.
    #[error("failed to confine the worker")]
    Confine(#[from] ConfineError),
    /// Nobody reads the answer.
    #[error("failed to write the answer")]
    Write(#[from] io::Error),
}

/// Reads one job from standard input, answers it on standard output.
pub fn work() -> Result<(), WorkerError> {
    let job = read_job().map_err(WorkerError::Job)?;
    let bounds = job.bounds.unwrap_or_default();
    let malformed = || WorkerError::Job(io::Error::other("a doubt is none"));
    let doubts = Doubts::of(&job.doubts).ok_or_else(malformed)?;
    let reader = Reader::of_view(&job.view)?;
    confine(&reader.folders(), &bounds)?;
    let mut out = io::stdout();
    match answer(&job, (reader, doubts), &mut out) {
        Ok(()) => Ok(()),
        Err(Ended::Failed(Failed { words, blame })) => {
            let blame = blame.into();
            let failure = v1::QueryFailure { words, blame };
            Ok(send(&mut out, Reply::Failure(failure))?)
        }
        Err(Ended::Unheard(error)) => Err(WorkerError::Write(error)),
    }
}

fn read_job() -> io::Result<Job> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(LARGEST_JOB)
        .read_to_end(&mut bytes)?;
    Job::decode(bytes.as_slice()).map_err(io::Error::other)
}

enum Ended {
    Failed(Failed),
    Unheard(io::Error),
}

impl From<Failed> for Ended {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

fn answer(job: &Job, (reader, doubts): (Reader, Doubts), out: &mut Stdout) -> Result<(), Ended> {
    let bounds = job.bounds.unwrap_or_default();
    let columns = event_columns();
    let unread = Unread::default();
    let shared = Arc::new(Shared {
        doubts,
        may_sort: reader.unsealed_bytes() <= MOST_SORTED,
        reader: reader.noting(&unread),
        unread,
        names: Names::of(&job.hosts),
        columns: columns.clone(),
        room: Arc::new(Room::of(bounds.memory_bytes / 2)),
        looked_at: AtomicU64::new(0),
    });
    let failed = |error: rusqlite::Error| {
        let failed = Failed::of(&error, &bounds, &columns);
        failed.with_room(shared.room.refused())
    };
    let connection = connect(job, &bounds, &shared).map_err(failed)?;
    let mut statement = connection.prepare(&job.sql).map_err(failed)?;
    // The authorizer says the same; this is for statements that it is not asked about.
    if !statement.readonly() || statement.column_count() == 0 {
        return Err(Failed::theirs("only SELECT is allowed").into());
    }
    if statement.parameter_count() > 0 {
        return Err(Failed::theirs("parameters have no values here: write the values out").into());
    }
    let answering = Answering {
        out,
        rows: Vec::new(),
        bytes: 0,
        sent: Instant::now(),
        count: 0,
        limit: job.limit,
        shared: &shared,
    };
    answering.run(&mut statement, &failed)
}

/// A connection that knows the tables and is closed to everything else.
fn connect(job: &Job, bounds: &Bounds, shared: &Arc<Shared>) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_in_memory_with_flags(flags)?;
    let heap = i64::try_from(bounds.memory_bytes).unwrap_or(i64::MAX);
    connection.pragma_update(None, "hard_heap_limit", heap)?;
    connection.pragma_update(None, "temp_store", 2)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.create_collation(moment::COLLATION, moment::compare)?;
    for table in TABLES {
        let shared = Arc::clone(shared);
        register(
            &connection,
            Events {
                shared,
                table: *table,
            },
        )?;
    }
    fill(&connection, (&job.hosts, &job.commands), &shared.columns)?;
    for (limit, most) in LIMITS {
        connection.set_limit(*limit, *most)?;
    }
    let end = Instant::now() + Duration::from_secs(bounds.seconds);
    let mut told = Instant::now();
    let shared = Arc::clone(shared);
    connection.progress_handler(
        STEPS,
        Some(move || {
            let now = Instant::now();
            if now.duration_since(told) > TELLING {
                told = now;
                let events = shared.looked_at.load(Ordering::Relaxed);
                let progress = Reply::Progress(v1::QueryProgress { events });
                // Nobody reads: nobody needs the rest.
                if send(&mut io::stdout(), progress).is_err() {
                    return true;
                }
            }
            now >= end
        }),
    )?;
    connection.authorizer(Some(authorize))?;
    Ok(connection)
}

/// Reading, and functions but those that load code.
fn authorize(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => {
            Authorization::Allow
        }
        AuthAction::Function { function_name } => {
            let refused = REFUSED
                .iter()
                .any(|name| name.eq_ignore_ascii_case(function_name));
            if refused {
                Authorization::Deny
            } else {
                Authorization::Allow
            }
        }
        _ => Authorization::Deny,
    }
}

struct Answering<'a> {
    out: &'a mut Stdout,
    rows: Vec<v1::QueryRow>,
    bytes: usize,
    sent: Instant,
    count: u64,
    limit: u64,
    shared: &'a Shared,
}

impl Answering<'_> {
    fn run(
        mut self,
        statement: &mut Statement<'_>,
        failed: &dyn Fn(rusqlite::Error) -> Failed,
    ) -> Result<(), Ended> {
        let names = statement.column_names().map(str::to_owned);
        let columns = v1::QueryColumns {
            names: names.collect(),
        };
        let width = columns.names.len();
        self.send(Reply::Columns(columns))?;
        let mut found = statement.query([]).map_err(failed)?;
        let mut cut = false;
        while let Some(row) = found.next().map_err(failed)? {
            if self.count >= self.limit {
                cut = true;
                break;
            }
            self.take(row, width, failed)?;
        }
        self.flush()?;
        let end = v1::QueryEnd {
            rows: self.count,
            cut,
            events: self.shared.looked_at.load(Ordering::Relaxed),
            unread: self.shared.unread.shown(),
        };
        self.send(Reply::End(end))
    }

    fn take(
        &mut self,
        row: &Row<'_>,
        width: usize,
        failed: &dyn Fn(rusqlite::Error) -> Failed,
    ) -> Result<(), Ended> {
        let mut cells = Vec::with_capacity(width);
        let mut bytes = 0;
        for at in 0..width {
            let (cell, size) = cells::to_wire(row.get_ref(at).map_err(failed)?);
            bytes += size;
            if bytes > LARGEST_ROW {
                return Err(Failed::bounds("a row is larger than 8 MiB").into());
            }
            cells.push(cell);
        }
        self.rows.push(v1::QueryRow { cells });
        self.count += 1;
        self.bytes += bytes;
        let full = self.bytes > GROUP_BYTES || self.rows.len() >= GROUP_ROWS;
        if full || self.sent.elapsed() > TELLING {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Ended> {
        self.bytes = 0;
        self.sent = Instant::now();
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.send(Reply::Rows(v1::QueryRows { rows }))
    }

    fn send(&mut self, reply: Reply) -> Result<(), Ended> {
        send(self.out, reply).map_err(Ended::Unheard)
    }
}

/// What one statement may be.
const LIMITS: &[(Limit, i32)] = &[
    (Limit::SQLITE_LIMIT_LENGTH, 2 << 20),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 << 10),
    (Limit::SQLITE_LIMIT_COLUMN, 1_000),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
    (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 100),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 4_096),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// Functions that are not for queries.
const REFUSED: &[&str] = &["load_extension", "fts3_tokenizer"];

/// The largest job, in bytes.
const LARGEST_JOB: u64 = 256 << 20;

/// How much of the log may be sorted in memory, in bytes.
const MOST_SORTED: u64 = 64 << 20;

/// Rows that are sent together: so many, or so many bytes.
const GROUP_ROWS: usize = 512;
const GROUP_BYTES: usize = 256 << 10;

/// The largest row, in bytes.
const LARGEST_ROW: usize = 8 << 20;

/// How often the reader hears of the progress.
const TELLING: Duration = Duration::from_millis(250);

/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 20_000;
