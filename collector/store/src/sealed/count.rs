//! Counting values in columns.

use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow_schema::ArrowError;
use parquet::errors::ParquetError;
use picket_event::HostId;
use picket_event::field::Field;

use super::columns::{Form, HOST, TIME, column_of};
use super::read::FileScan;
use super::write::sealed;
use crate::StoreError;
use crate::stack::{Counting, Stacking};

/// The columns that answer a stacking: of the field, and of the other one.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    value: String,
    by: Option<String>,
}

impl Counted {
    /// If columns can answer it at all.
    pub(crate) fn of(what: Stacking) -> Option<Self> {
        let by = match what.by {
            Some(by) => Some(single(by)?),
            None => None,
        };
        Some(Self {
            value: single(what.field)?,
            by,
        })
    }
}

/// The column of a field that has one value.
fn single(field: Field) -> Option<String> {
    let column = column_of(field.path())?;
    match column.form {
        Form::Text | Form::Number | Form::Flag => Some(column.name()),
        Form::Real | Form::Texts => None,
    }
}

impl FileScan<'_> {
    /// Counts the rows that meet all conditions.
    pub(crate) fn count(
        &self,
        counted: &Counted,
        counting: &mut Counting,
    ) -> Result<(), StoreError> {
        let failed = |source| sealed("read", &self.of.path, source);
        let broken = |source: ArrowError| failed(ParquetError::External(Box::new(source)));
        let mut columns = vec![TIME, HOST, counted.value.as_str()];
        columns.extend(counted.by.as_deref());
        for group in self.groups()? {
            let all = 0..self.open.rows(group);
            let reader = self.open.read((group, all), &columns, &self.conditions);
            for batch in reader.map_err(failed)? {
                self.cancel.check()?;
                let batch = batch.map_err(broken)?;
                count(&batch, counted, counting)
                    .ok_or_else(|| failed(ParquetError::General("a column is missing".into())))?;
            }
        }
        Ok(())
    }
}

fn count(batch: &RecordBatch, counted: &Counted, counting: &mut Counting) -> Option<()> {
    let times = batch.column_by_name(TIME)?;
    let times: &TimestampNanosecondArray = times.as_any().downcast_ref()?;
    let hosts: &StringArray = batch.column_by_name(HOST)?.as_any().downcast_ref()?;
    let values = batch.column_by_name(&counted.value)?;
    let by = match &counted.by {
        Some(by) => Some(batch.column_by_name(by)?),
        None => None,
    };
    let mut known: Option<(&str, u32)> = None;
    let (mut value, mut other) = (String::new(), String::new());
    for at in 0..batch.num_rows() {
        if values.is_null(at) {
            continue;
        }
        let host = hosts.value(at);
        let number = match known {
            Some((name, number)) if name == host => number,
            _ => counting.host(HostId::parse(host).ok()?),
        };
        known = Some((host, number));
        let (value, by) = (
            text(values, at, &mut value)?,
            match by {
                Some(by) if !by.is_null(at) => text(by, at, &mut other)?,
                _ => "",
            },
        );
        counting.add((value, by), number, times.value(at));
    }
    Some(())
}

/// A value as it would be told of an event.
fn text<'t>(values: &'t ArrayRef, at: usize, room: &'t mut String) -> Option<&'t str> {
    use std::fmt::Write;

    let any = values.as_any();
    if let Some(texts) = any.downcast_ref::<StringArray>() {
        return Some(texts.value(at));
    }
    room.clear();
    if let Some(numbers) = any.downcast_ref::<Int64Array>() {
        write!(room, "{}", numbers.value(at)).ok()?;
    } else if let Some(flags) = any.downcast_ref::<BooleanArray>() {
        write!(room, "{}", flags.value(at)).ok()?;
    } else {
        return None;
    }
    Some(room)
}
