//! The tables of events as SQLite's virtual tables.
//!
//! `rusqlite` marks its two traits for tables and cursors as unsafe because SQLite reads the head of both structures. That
//! promise, and nothing else, is made here: no operation in this crate is unsafe.
//!
//! # Invariants
//!
//! - [`Table`] and [`TableCursor`] are `repr(C)` and begin with SQLite's own part.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int};
use std::marker::PhantomData;

use rusqlite::vtab::{
    Context, Filters, IndexInfo, Module, VTab, VTabConfig, VTabConnection, VTabCursor,
    sqlite3_vtab, sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Error, Result};

use crate::table::{Cursor, Events};

/// Makes the table known to the connection.
pub(crate) fn register(connection: &Connection, events: Events) -> Result<()> {
    connection.create_module(events.table.name, MODULE, Some(events))
}

const MODULE: &Module<'_, Table> = &Module::eponymous_only_module().without_rowid();

/// A table.
#[repr(C)]
pub(crate) struct Table {
    base: sqlite3_vtab,
    events: Events,
}

/// A cursor.
#[repr(C)]
pub(crate) struct TableCursor<'vtab> {
    base: sqlite3_vtab_cursor,
    cursor: Cursor,
    table: PhantomData<&'vtab Table>,
}

// SAFETY: the structure is `repr(C)` and its first part is a `sqlite3_vtab`.
#[expect(unsafe_code, reason = "rusqlite has no safe trait for tables")]
unsafe impl<'vtab> VTab<'vtab> for Table {
    type Aux = Events;
    type Cursor = TableCursor<'vtab>;

    fn connect(
        db: &mut VTabConnection,
        aux: Option<&Events>,
        _module: &[u8],
        _database: &[u8],
        _table: &[u8],
        _args: &[&[u8]],
    ) -> Result<(Cow<'static, CStr>, Self)> {
        db.config(VTabConfig::DirectOnly)?;
        let events = aux.cloned().ok_or(Error::InvalidQuery)?;
        let declaration = CString::new(events.declaration())?;
        let base = sqlite3_vtab::default();
        Ok((Cow::Owned(declaration), Self { base, events }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> Result<bool> {
        self.events.best_index(info).map(|()| true)
    }

    fn open(&'vtab mut self) -> Result<TableCursor<'vtab>> {
        Ok(TableCursor {
            base: sqlite3_vtab_cursor::default(),
            cursor: self.events.open(),
            table: PhantomData,
        })
    }
}

// SAFETY: the structure is `repr(C)` and its first part is a `sqlite3_vtab_cursor`.
#[expect(unsafe_code, reason = "rusqlite has no safe trait for cursors")]
unsafe impl VTabCursor for TableCursor<'_> {
    fn filter(&mut self, _number: c_int, plan: Option<&str>, args: &Filters<'_>) -> Result<()> {
        self.cursor.filter(plan, args)
    }

    fn next(&mut self) -> Result<()> {
        self.cursor.next()
    }

    fn eof(&self) -> bool {
        self.cursor.eof()
    }

    fn column(&self, context: &mut Context, number: c_int) -> Result<()> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        context.set_result(self.cursor.column(number)?)
    }

    fn rowid(&self) -> Result<i64> {
        // The tables have a primary key instead.
        Err(Error::InvalidQuery)
    }
}
