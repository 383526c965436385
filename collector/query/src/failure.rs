//! Why a statement was not answered, in one line for the operator.

use picket_proto::v1::QueryBlame;
use rusqlite::{Error, ErrorCode};

use crate::columns::{EventColumn, TABLES};
use crate::fleet::OTHERS;
use crate::job::Bounds;
use crate::near::near;

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failed {
    pub(crate) words: String,
    pub(crate) blame: QueryBlame,
}

impl Failed {
    /// The statement is to blame.
    pub(crate) fn theirs(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            blame: QueryBlame::Sql,
        }
    }

    /// It needs more than it may use.
    pub(crate) fn bounds(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            blame: QueryBlame::Bounds,
        }
    }

    /// Says too, where time or memory was short, that the inner side of a join did not fit into so many MiB.
    pub(crate) fn with_room(mut self, refused: Option<u64>) -> Self {
        if let (QueryBlame::Bounds, Some(mib)) = (self.blame, refused) {
            self.words = format!(
                "{}; one side of a join takes more than {mib} MiB: narrow it by time, host, kind or columns",
                self.words
            );
        }
        self
    }

    /// From what SQLite says.
    pub(crate) fn of(error: &Error, bounds: &Bounds, columns: &[EventColumn]) -> Self {
        match error {
            Error::SqlInputError {
                msg,
                sql,
                offset,
                error,
            } => {
                if error.code == ErrorCode::AuthorizationForStatementDenied {
                    return Self::theirs(ONLY_SELECT);
                }
                Self::theirs(at_place(&explained(msg, columns), sql, *offset))
            }
            Error::MultipleStatement => Self::theirs("one statement at a time"),
            Error::SqliteFailure(failure, words) => {
                let words = words.as_deref();
                Self::of_code(failure.code, words, (bounds, columns))
            }
            other => Self::theirs(other.to_string()),
        }
    }

    fn of_code(
        code: ErrorCode,
        words: Option<&str>,
        (bounds, columns): (&Bounds, &[EventColumn]),
    ) -> Self {
        let mib = bounds.memory_bytes >> 20;
        match code {
            ErrorCode::OutOfMemory => Self::bounds(format!(
                "the query needs more than the {mib} MiB of memory that it may use"
            )),
            ErrorCode::OperationInterrupted => Self::bounds(too_slow(bounds)),
            ErrorCode::TooBig => Self::bounds("a value is larger than 2 MiB"),
            ErrorCode::AuthorizationForStatementDenied => Self::theirs(ONLY_SELECT),
            _ => {
                let words = explained(words.unwrap_or("SQLite failed"), columns);
                let blame = if words.contains(STORE_FAILED) {
                    QueryBlame::Store
                } else {
                    QueryBlame::Sql
                };
                Self { words, blame }
            }
        }
    }
}

/// What is said when time is over.
fn too_slow(bounds: &Bounds) -> String {
    format!("the query ran longer than {} s", bounds.seconds)
}

/// With names that may have been meant.
fn explained(words: &str, columns: &[EventColumn]) -> String {
    let tables = || {
        let others = OTHERS.iter().map(|(name, _)| *name);
        TABLES.iter().map(|table| table.name).chain(others)
    };
    if let Some(name) = words.strip_prefix("no such column: ") {
        let name = name.rsplit('.').next().unwrap_or(name);
        return with_near(
            words,
            &near(name, columns.iter().map(|one| one.name.as_str())),
        );
    }
    if let Some(name) = words.strip_prefix("no such table: ") {
        let found = near(name, tables());
        if found.is_empty() {
            let all: Vec<_> = tables().collect();
            return format!("{words} (there are: {})", all.join(", "));
        }
        return with_near(words, &found);
    }
    words.to_owned()
}

fn with_near(words: &str, near: &[&str]) -> String {
    if near.is_empty() {
        return words.to_owned();
    }
    let near: Vec<_> = near.iter().map(|name| format!("`{name}`")).collect();
    format!("{words} (near: {})", near.join(", "))
}

fn at_place(words: &str, sql: &str, offset: i32) -> String {
    let before = usize::try_from(offset).ok().and_then(|end| sql.get(..end));
    match before {
        Some(before) => format!("{words} at character {}", before.chars().count() + 1),
        None => words.to_owned(),
    }
}

/// An error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        words = format!("{words}: {cause}");
        next = cause.source();
    }
    words
}

/// What begins the words of an error of the store, which comes through SQLite as text.
pub(crate) const STORE_FAILED: &str = "the store failed: ";

const ONLY_SELECT: &str = "only SELECT is allowed";
