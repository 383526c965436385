//! Values on their way from the store to SQLite, and from SQLite to the collector.

use picket_proto::v1;
use picket_proto::v1::query_cell::Value as Wire;
use picket_store::RowCell;
use rusqlite::types::{Value, ValueRef};

use crate::push::Given;

/// A value of the store as SQLite has it.
pub(crate) fn to_sql(cell: RowCell<'_>) -> Value {
    match cell {
        RowCell::Null | RowCell::Bytes(_) => Value::Null,
        RowCell::Time(time) => Value::Text(time.to_string()),
        RowCell::Text(text) => Value::Text(text.to_owned()),
        RowCell::Number(number) => Value::Integer(number),
        RowCell::Real(number) => Value::Real(number),
        RowCell::Flag(flag) => Value::Integer(i64::from(flag)),
        RowCell::Texts(texts) => Value::Text(serde_json::Value::from(texts).to_string()),
    }
}

/// The value of a condition.
pub(crate) fn given(value: ValueRef<'_>) -> Given {
    match value {
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Given::Text(text.to_owned()),
            Err(_not_text) => Given::Other,
        },
        ValueRef::Integer(integer) => Given::Integer(integer),
        ValueRef::Null => Given::Null,
        ValueRef::Real(_) | ValueRef::Blob(_) => Given::Other,
    }
}

/// A value of the answer, and how large it is.
pub(crate) fn to_wire(value: ValueRef<'_>) -> (v1::QueryCell, usize) {
    let (value, size) = match value {
        ValueRef::Null => (None, 0),
        ValueRef::Integer(integer) => (Some(Wire::Integer(integer)), 0),
        ValueRef::Real(real) => (Some(Wire::Real(real)), 0),
        ValueRef::Text(text) => {
            let lossy = String::from_utf8_lossy(text).into_owned();
            let size = lossy.len();
            (Some(Wire::Text(lossy)), size)
        }
        ValueRef::Blob(blob) => (Some(Wire::Blob(blob.to_vec())), blob.len()),
    };
    (v1::QueryCell { value }, size + BESIDE)
}

/// What a cell takes beside its text, in bytes.
const BESIDE: usize = 12;
