//! One table of events: what SQLite asks it, answered by the store.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use picket_event::{Origin, json};
use picket_store::{Reader, RowAt, RowScan, Unread};
use rusqlite::types::Value;
use rusqlite::vtab::{Filters, IndexInfo};

use crate::cells;
use crate::columns::{EventColumn, EventTable, From};
use crate::doubt::Doubts;
use crate::failure::{STORE_FAILED, chain};
use crate::fleet::Names;
use crate::join::{Found, Join, Room};
use crate::plan::{Op, Plan, choose};
use crate::push::{Asking, Given};

/// What all tables share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) reader: Reader,
    /// The files that could not be read.
    pub(crate) unread: Unread,
    pub(crate) names: Names,
    pub(crate) doubts: Doubts,
    pub(crate) columns: Vec<EventColumn>,
    /// Whether all of the log that is not sealed fits in memory, so that rows can come in the order of time.
    pub(crate) may_sort: bool,
    /// What the inner sides of joins may hold.
    pub(crate) room: Arc<Room>,
    /// Rows of events that were looked at.
    pub(crate) looked_at: AtomicU64,
}

/// A table.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: EventTable,
}

impl Events {
    /// Its declaration.
    pub(crate) fn declaration(&self) -> String {
        let columns = self.shared.columns.iter();
        let columns: Vec<_> = columns
            .map(|column| format!("{} {}", column.name, column.sql_type()))
            .collect();
        let (columns, key) = (columns.join(", "), IDENTITY.join(", "));
        format!("CREATE TABLE x({columns}, PRIMARY KEY({key})) WITHOUT ROWID")
    }

    pub(crate) fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<()> {
        choose(info, &self.shared.columns, self.shared.may_sort)
    }

    pub(crate) fn open(&self) -> Cursor {
        Cursor {
            of: self.clone(),
            places: Vec::new(),
            source: Source::Nothing,
            join: Join::default(),
            row: None,
            whole: RefCell::new(None),
        }
    }
}

/// A walk over a table's rows.
pub(crate) struct Cursor {
    of: Events,
    /// Of each column, where it stands in a row of the scan.
    places: Vec<Option<usize>>,
    source: Source,
    join: Join,
    row: Option<RowAt>,
    /// The row's event as JSON, if it was needed.
    whole: RefCell<Option<serde_json::Value>>,
}

/// Where a cursor's rows come from.
enum Source {
    Nothing,
    Store(RowScan),
    Held(Found),
}

impl Cursor {
    pub(crate) fn filter(
        &mut self,
        plan: Option<&str>,
        args: &Filters<'_>,
    ) -> rusqlite::Result<()> {
        let plan = plan.and_then(Plan::decode);
        let plan = plan.ok_or_else(|| module_error("a plan that is not ours"))?;
        let given = given(&plan, args)?;
        let shared = Arc::clone(&self.of.shared);
        self.join.asked(&plan, &given);
        let asking = self.asking(&shared, (&plan, &given), &|_| true);
        self.source = if asking.nothing {
            Source::Nothing
        } else {
            match self.held(&shared, &plan, &given)? {
                Some(found) => Source::Held(found),
                None => Source::Store(shared.reader.rows(asking.rows)),
            }
        };
        self.next()
    }

    /// What the store is asked, by those of the conditions that count.
    fn asking<'s>(
        &mut self,
        shared: &'s Shared,
        (plan, given): (&Plan, &[Vec<Given>]),
        counts: &dyn Fn(usize) -> bool,
    ) -> Asking<'s> {
        let mut asking = Asking::of(self.of.table.holds, &shared.names);
        for (at, (pushed, given)) in plan.pushed.iter().zip(given).enumerate() {
            if let Some(column) = shared.columns.get(pushed.column)
                && counts(at)
            {
                asking.push(column, pushed.op, given);
            }
        }
        self.choose_columns(plan, &mut asking);
        asking.rows.order = plan.order;
        asking
    }

    /// The rows in memory for these values, if this is the inner side of a join and all of it is there.
    fn held(
        &mut self,
        shared: &Arc<Shared>,
        plan: &Plan,
        given: &[Vec<Given>],
    ) -> rusqlite::Result<Option<Found>> {
        let keys = self.join.keys(&shared.columns);
        if !keys.is_empty() && !self.join.is_known() {
            let mut join = std::mem::take(&mut self.join);
            let all = self.asking(shared, (plan, given), &|at| join.stays(at));
            let begin = || shared.reader.rows(all.rows);
            let key_of = |row: &RowAt| {
                shared.looked_at.fetch_add(1, Ordering::Relaxed);
                let values = keys.iter().map(|(_, column)| self.value(row, *column));
                values.collect::<rusqlite::Result<Vec<_>>>().ok()
            };
            let went = join.go_on(&shared.room, begin, key_of);
            self.join = join;
            went.map_err(failed)?;
        }
        self.join.answering();
        Ok(self.join.found(given, &keys, &shared.columns))
    }

    fn choose_columns(&mut self, plan: &Plan, asking: &mut Asking<'_>) {
        let read = &mut asking.rows.columns;
        let mut place = |name: &str| {
            let found = read.iter().position(|one| one == name);
            found.unwrap_or_else(|| {
                read.push(name.to_owned());
                read.len() - 1
            })
        };
        let columns = self.of.shared.columns.iter().enumerate();
        let places = columns.map(|(number, column)| {
            let names = !plan.pushed.is_empty() && IDENTITY.contains(&column.name.as_str());
            (names || plan.needs(number)).then(|| match column.from {
                From::Stored(_) => place(&column.name),
                From::HostName => place("host_id"),
                From::Json(_) => place("event"),
                From::Doubtful if !self.of.shared.doubts.is_empty() => place("event"),
                From::Class | From::Doubtful => 0,
            })
        });
        self.places = places.collect();
    }

    pub(crate) fn next(&mut self) -> rusqlite::Result<()> {
        self.whole.replace(None);
        self.row = match &mut self.source {
            Source::Nothing => None,
            Source::Store(scan) => scan.next_row().map_err(failed)?,
            Source::Held(found) => found.next(),
        };
        self.of.shared.looked_at.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn eof(&self) -> bool {
        self.row.is_none()
    }

    pub(crate) fn column(&self, number: usize) -> rusqlite::Result<Value> {
        let row = self.row.as_ref();
        let row = row.ok_or_else(|| module_error("a column behind the last row"))?;
        self.value(row, number)
    }

    fn value(&self, row: &RowAt, number: usize) -> rusqlite::Result<Value> {
        let column = self.of.shared.columns.get(number);
        let place = self.places.get(number).copied().flatten();
        let (Some(column), Some(place)) = (column, place) else {
            return Err(module_error("a column that the statement did not need"));
        };
        Ok(match column.from {
            From::Stored(_) => cells::to_sql(row.cell(place)),
            From::HostName => self.of.shared.names.name_of(row.cell(place)),
            From::Class => {
                let class = row.class().map(|class| class.name().to_owned());
                class.map_or(Value::Null, Value::Text)
            }
            From::Json(path) => self.json(row, path),
            From::Doubtful => self.doubtful(row),
        })
    }

    fn doubtful(&self, row: &RowAt) -> Value {
        let doubts = &self.of.shared.doubts;
        let stored = if doubts.is_empty() { None } else { row.event() };
        let branch = stored.as_ref().and_then(|stored| doubts.branch_of(stored));
        branch.map_or(Value::Null, |branch| Value::Text(branch.to_owned()))
    }

    fn json(&self, row: &RowAt, path: &[&str]) -> Value {
        if path.is_empty() {
            return event_text(row).map_or(Value::Null, Value::Text);
        }
        let mut whole = self.whole.borrow_mut();
        if whole.is_none() {
            *whole = Some(event_json(row));
        }
        let mut part = whole.as_ref();
        for name in path {
            part = part.and_then(|part| part.get(*name));
        }
        part.map_or(Value::Null, |part| Value::Text(part.to_string()))
    }
}

/// What names an event for ever. SQLite reads these, without saying so before, of rows that it finds by several conditions joined by `OR`,
/// to have each once; each of those conditions is pushed down.
const IDENTITY: [&str; 4] = ["host_id", "stream", "class", "seq"];

fn event_text(row: &RowAt) -> Option<String> {
    let stored = row.event()?;
    let origin = Origin {
        host: Some(stored.host),
        boot: stored.boot,
    };
    Some(json::to_string(&stored.event, &origin))
}

fn event_json(row: &RowAt) -> serde_json::Value {
    let stored = row.event();
    stored.map_or(serde_json::Value::Null, |stored| {
        let origin = Origin {
            host: Some(stored.host),
            boot: stored.boot,
        };
        json::to_value(&stored.event, &origin)
    })
}

/// The values of all conditions.
fn given(plan: &Plan, args: &Filters<'_>) -> rusqlite::Result<Vec<Vec<Given>>> {
    let pairs = plan.pushed.iter().zip(args.iter()).enumerate();
    pairs
        .map(|(at, (pushed, value))| match pushed.op {
            Op::In => members(args, at),
            _ => Ok(vec![cells::given(value)]),
        })
        .collect()
}

/// The members of the list of an `IN`.
fn members(args: &Filters<'_>, at: usize) -> rusqlite::Result<Vec<Given>> {
    use rusqlite::fallible_iterator::FallibleIterator;

    args.in_values(at)?
        .map(|value| Ok(cells::given(value)))
        .collect()
}

fn failed(error: picket_store::StoreError) -> rusqlite::Error {
    module_error(&format!("{STORE_FAILED}{}", chain(&error)))
}

fn module_error(words: &str) -> rusqlite::Error {
    rusqlite::Error::ModuleError(words.to_owned())
}
