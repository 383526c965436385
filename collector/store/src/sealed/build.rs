//! How events become rows of columns.
//!
//! # Invariants
//!
//! - A field that an event cannot have, by its detail, is not asked for: its column is null there.
//! - Every column has as many values as rows were added once [`Rows::take`] is called; before, one may lag behind by nulls.

use std::fmt::Display;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampNanosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use picket_event::field::{Field, Value};
use picket_event::{BootId, Detail, Event, HostId, ProcessUid, StreamId};
use picket_seal::Digest;

use super::columns::{COLUMNS, Column, Form, fields, sealed_schema};
use super::rest;
use super::row::Row;
use crate::StoredEvent;

/// Rows on their way into columns.
pub(crate) struct Rows {
    schema: SchemaRef,
    /// How many were added.
    added: usize,
    time: TimestampNanosecondBuilder,
    received: TimestampNanosecondBuilder,
    host: Ids<HostId>,
    boot: Ids<BootId>,
    stream: Ids<StreamId>,
    severity: Int64Builder,
    command_line: StringBuilder,
    line: Vec<u8>,
    parts: Vec<Part>,
    /// In the order of the columns.
    builders: Vec<Builder>,
    event: BinaryBuilder,
    rest: Option<Rest>,
}

/// The columns of one part of an event.
struct Part {
    /// The first name of their paths; empty: the event's own.
    name: &'static str,
    /// Where each value comes from, and which builder is its.
    fields: Vec<(From, usize)>,
}

/// Where a value comes from.
enum From {
    Field(Field),
    /// From the event without a copy in between: what nearly every event has, as the field of this path has it.
    Direct(fn(&Event, &mut StringBuilder) -> bool),
}

/// What makes an event again, together with its columns.
struct Rest {
    lacking: BinaryBuilder,
    boot_time: TimestampNanosecondBuilder,
    process_age: Int64Builder,
    child_pid: Int64Builder,
    file_inode: Int64Builder,
    bytes: Vec<u8>,
}

/// Names of which the same comes many times in a row.
struct Ids<T> {
    builder: StringBuilder,
    last: Option<(T, String)>,
}

/// The values of one column.
struct Builder {
    values: Values,
    /// How many there are yet.
    rows: usize,
}

enum Values {
    Text(StringBuilder),
    Number(Int64Builder),
    Real(Float64Builder),
    Flag(BooleanBuilder),
    Texts(ListBuilder<StringBuilder>),
}

impl Rows {
    /// For a sealed file.
    pub(crate) fn new() -> Self {
        Self {
            schema: sealed_schema(),
            rest: Some(Rest::new()),
            ..Self::with(&|_| true)
        }
    }

    /// Whose fields are the wanted ones alone; events stay whole.
    pub(crate) fn with(wanted: &dyn Fn(&Column) -> bool) -> Self {
        let moment = || TimestampNanosecondBuilder::new().with_timezone("UTC");
        let (mut parts, mut builders) = (Vec::<Part>::new(), Vec::new());
        for column in COLUMNS.iter().filter(|column| wanted(column)) {
            let field = || Field::named(column.path).expect("every column is a field");
            let from = direct(column.path).map_or_else(|| From::Field(field()), From::Direct);
            let name = part_of(column.path);
            let place = (from, builders.len());
            builders.push(Builder::new(column.form));
            match parts.iter_mut().find(|part| part.name == name) {
                Some(part) => part.fields.push(place),
                None => parts.push(Part {
                    name,
                    fields: vec![place],
                }),
            }
        }
        Self {
            schema: Arc::new(Schema::new(fields(wanted))),
            added: 0,
            time: moment(),
            received: moment(),
            host: Ids::new(),
            boot: Ids::new(),
            stream: Ids::new(),
            severity: Int64Builder::new(),
            command_line: StringBuilder::new(),
            line: Vec::new(),
            parts,
            builders,
            event: BinaryBuilder::new(),
            rest: None,
        }
    }

    /// Adds one event. One that cannot be read any more is a row of its bytes alone.
    pub(crate) fn push(&mut self, row: &Row) {
        self.time.append_value(row.time.0);
        self.received.append_value(row.received.0);
        self.host.push(row.host);
        self.boot.push(row.boot);
        self.stream.push(row.stream);
        let event = Event::decode(&row.bytes).ok();
        self.push_fields(event.as_ref());
        match (event, &mut self.rest) {
            (Some(event), Some(rest)) => {
                let is_whole = rest.push(event, &row.bytes);
                self.event
                    .append_option(is_whole.then_some(row.bytes.as_ref()));
            }
            (_, rest) => {
                self.event.append_value(&row.bytes);
                if let Some(rest) = rest {
                    rest.push_nothing();
                }
            }
        }
    }

    /// Adds an event of the log; its bytes, if they are wanted, as it would be written.
    pub(crate) fn push_stored(&mut self, stored: &StoredEvent, with_bytes: bool) {
        self.time.append_value(stored.event.time.0);
        self.received.append_value(stored.received.0);
        self.host.push(stored.host);
        self.boot.push(stored.boot);
        self.stream.push(stored.stream);
        let mut bytes = Vec::new();
        if with_bytes {
            stored.event.encode(&mut bytes);
        }
        self.event.append_value(bytes);
        self.push_fields(Some(&stored.event));
    }

    fn push_fields(&mut self, event: Option<&Event>) {
        let at = self.added;
        self.added = at.saturating_add(1);
        let severity = event.and_then(Event::severity);
        self.severity
            .append_option(severity.map(|severity| i64::from(severity.to_wire())));
        self.push_command_line(event);
        let Some(event) = event else {
            return;
        };
        for part in self.parts.iter().filter(|part| part.is_in(event)) {
            for (from, place) in &part.fields {
                let Some(builder) = self.builders.get_mut(*place) else {
                    continue;
                };
                match from {
                    From::Direct(push) => builder.push_direct(at, event, *push),
                    From::Field(field) => {
                        if let Some(value) = field.of(event) {
                            builder.push(at, value);
                        }
                    }
                }
            }
        }
    }

    fn push_command_line(&mut self, event: Option<&Event>) {
        let process = event.and_then(|event| event.process.as_ref());
        let Some(process) = process.filter(|process| !process.argv.is_empty()) else {
            self.command_line.append_null();
            return;
        };
        self.line.clear();
        for (number, argument) in process.argv.iter().enumerate() {
            if number > 0 {
                self.line.push(b' ');
            }
            self.line.extend_from_slice(argument.as_bytes());
        }
        self.command_line
            .append_value(String::from_utf8_lossy(&self.line));
    }

    /// What was added since the last call, as a batch.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.added);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.time.finish()),
            Arc::new(self.received.finish()),
            Arc::new(self.host.builder.finish()),
            Arc::new(self.boot.builder.finish()),
            Arc::new(self.stream.builder.finish()),
            Arc::new(self.severity.finish()),
            Arc::new(self.command_line.finish()),
        ];
        let fields = self.builders.iter_mut();
        columns.extend(fields.map(|builder| builder.finish(rows)));
        columns.push(Arc::new(self.event.finish()));
        if let Some(rest) = &mut self.rest {
            columns.push(Arc::new(rest.lacking.finish()));
            columns.push(Arc::new(rest.boot_time.finish()));
            columns.push(Arc::new(rest.process_age.finish()));
            columns.push(Arc::new(rest.child_pid.finish()));
            columns.push(Arc::new(rest.file_inode.finish()));
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

impl Rest {
    fn new() -> Self {
        Self {
            lacking: BinaryBuilder::new(),
            boot_time: TimestampNanosecondBuilder::new().with_timezone("UTC"),
            process_age: Int64Builder::new(),
            child_pid: Int64Builder::new(),
            file_inode: Int64Builder::new(),
            bytes: Vec::new(),
        }
    }

    /// Adds what columns lack of an event; whether it has to stand whole instead, as it is not written as events are written here.
    fn push(&mut self, mut event: Event, exact: &[u8]) -> bool {
        self.bytes.clear();
        event.encode(&mut self.bytes);
        if self.bytes != exact {
            self.push_nothing();
            return true;
        }
        self.boot_time.append_option(rest::boot_time(&event));
        self.process_age.append_option(rest::age_ns(&event));
        let number = |number: u64| i64::try_from(number).ok();
        let (child_pid, inode) = match &event.detail {
            Some(Detail::Fork(fork)) => (Some(i64::from(fork.child_pid)), None),
            Some(Detail::File(file)) => (None, file.inode.and_then(number)),
            _ => (None, None),
        };
        self.child_pid.append_option(child_pid);
        self.file_inode.append_option(inode);
        rest::strip(&mut event);
        self.bytes.clear();
        event.encode(&mut self.bytes);
        self.lacking.append_value(&self.bytes);
        false
    }

    fn push_nothing(&mut self) {
        self.lacking.append_null();
        self.boot_time.append_null();
        self.process_age.append_null();
        self.child_pid.append_null();
        self.file_inode.append_null();
    }
}

impl<T: Copy + Display + Eq> Ids<T> {
    fn new() -> Self {
        Self {
            builder: StringBuilder::new(),
            last: None,
        }
    }

    fn push(&mut self, id: T) {
        match &self.last {
            Some((last, text)) if *last == id => self.builder.append_value(text),
            _ => {
                let text = id.to_string();
                self.builder.append_value(&text);
                self.last = Some((id, text));
            }
        }
    }
}

impl Part {
    fn is_in(&self, event: &Event) -> bool {
        match self.name {
            "" => true,
            "process" => event.process.is_some(),
            "verdicts" => !event.verdicts.is_empty(),
            name => event.detail.as_ref().map(part_of_detail) == Some(name),
        }
    }
}

fn direct(path: &str) -> Option<fn(&Event, &mut StringBuilder) -> bool> {
    Some(match path {
        "kind" => |event, builder| {
            builder.append_value(event.kind.name());
            true
        },
        "source" => |event, builder| {
            builder.append_value(event.source.name());
            true
        },
        "process.uid" => |event, builder| {
            let process = event.process.as_ref();
            hex(process.map(|process| process.uid.as_bytes()), builder)
        },
        "process.parent_uid" => |event, builder| {
            let process = event.process.as_ref();
            let parent = process.and_then(|process| process.parent_uid.as_ref());
            hex(parent.map(ProcessUid::as_bytes), builder)
        },
        "process.sha256" => |event, builder| {
            let process = event.process.as_ref();
            let digest = process.and_then(|process| process.sha256.as_ref());
            hex(digest.map(Digest::as_bytes), builder)
        },
        "fork.child_uid" => |event, builder| match &event.detail {
            Some(Detail::Fork(fork)) => hex(Some(fork.child_uid.as_bytes()), builder),
            _ => false,
        },
        _ => return None,
    })
}

/// Appends bytes as hexadecimal digits; whether there were any.
fn hex<const N: usize>(bytes: Option<&[u8; N]>, builder: &mut StringBuilder) -> bool {
    let Some(bytes) = bytes else {
        return false;
    };
    let digit = |half: u8| half.wrapping_add(if half < 10 { b'0' } else { b'a' - 10 });
    let mut room = [[0_u8; 2]; N];
    for (pair, byte) in room.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    let text = std::str::from_utf8(room.as_flattened()).expect("digits are ASCII");
    builder.append_value(text);
    true
}

/// The first name of a path of several.
fn part_of(path: &'static str) -> &'static str {
    path.split_once('.').map_or("", |(part, _)| part)
}

/// The first name of the fields that this detail has; empty: none of them has a column.
const fn part_of_detail(detail: &Detail) -> &'static str {
    match detail {
        Detail::File(_) => "file",
        Detail::Exit(_) => "exit",
        Detail::Network(_) => "network",
        Detail::Login(_) => "login",
        Detail::Containment(_) => "containment",
        Detail::Fork(_) => "fork",
        Detail::Module(_) => "module",
        Detail::Mount(_) => "mount",
        Detail::Device(_) => "device",
        Detail::Script(_) => "script",
        Detail::ScheduledJob(_) => "scheduled_job",
        Detail::Dns(_) => "dns",
        Detail::ExecFailed(_) => "exec_failed",
        Detail::AccountChange(_) => "account_change",
        Detail::Loss(_)
        | Detail::Sensor(_)
        | Detail::Gap(_)
        | Detail::Memfd(_)
        | Detail::Cred(_)
        | Detail::Ptrace(_)
        | Detail::Signal(_)
        | Detail::MemExec(_)
        | Detail::Bpf(_)
        | Detail::IoUring(_)
        | Detail::Log(_) => "",
    }
}

impl Values {
    const fn form(&self) -> Form {
        match self {
            Self::Text(_) => Form::Text,
            Self::Number(_) => Form::Number,
            Self::Real(_) => Form::Real,
            Self::Flag(_) => Form::Flag,
            Self::Texts(_) => Form::Texts,
        }
    }
}

impl Builder {
    fn new(form: Form) -> Self {
        let values = match form {
            Form::Text => Values::Text(StringBuilder::new()),
            Form::Number => Values::Number(Int64Builder::new()),
            Form::Real => Values::Real(Float64Builder::new()),
            Form::Flag => Values::Flag(BooleanBuilder::new()),
            Form::Texts => Values::Texts(ListBuilder::new(StringBuilder::new())),
        };
        Self { values, rows: 0 }
    }

    /// Sets the value of a row. The rows before it that have none are null.
    fn push(&mut self, row: usize, value: Value<'_>) {
        self.fill(row);
        self.rows = row.saturating_add(1);
        match (&mut self.values, value) {
            (Values::Text(builder), Value::Text(text)) => {
                builder.append_value(String::from_utf8_lossy(text));
            }
            (Values::Text(builder), Value::Word(word)) => builder.append_value(word),
            (Values::Number(builder), Value::Number(number)) => builder.append_value(number),
            (Values::Real(builder), Value::Real(number)) => builder.append_value(number),
            (Values::Flag(builder), Value::Flag(flag)) => builder.append_value(flag),
            (Values::Texts(builder), Value::List(texts)) => {
                for text in texts {
                    builder.values().append_value(String::from_utf8_lossy(text));
                }
                builder.append(true);
            }
            (Values::Texts(builder), Value::Words(words)) => {
                for word in words {
                    builder.values().append_value(word);
                }
                builder.append(true);
            }
            _ => self.rows = row,
        }
    }

    fn push_direct(
        &mut self,
        row: usize,
        event: &Event,
        push: fn(&Event, &mut StringBuilder) -> bool,
    ) {
        self.fill(row);
        if let Values::Text(builder) = &mut self.values
            && push(event, builder)
        {
            self.rows = row.saturating_add(1);
        }
    }

    fn fill(&mut self, rows: usize) {
        let missing = rows.saturating_sub(self.rows);
        self.rows = rows;
        if missing == 0 {
            return;
        }
        match &mut self.values {
            Values::Text(builder) => builder.append_nulls(missing),
            Values::Number(builder) => builder.append_nulls(missing),
            Values::Real(builder) => builder.append_nulls(missing),
            Values::Flag(builder) => builder.append_nulls(missing),
            Values::Texts(builder) => builder.append_nulls(missing),
        }
    }

    /// All values of so many rows.
    fn finish(&mut self, rows: usize) -> ArrayRef {
        if self.rows == 0 {
            return new_null_array(&self.values.form().data_type(), rows);
        }
        self.fill(rows);
        self.rows = 0;
        match &mut self.values {
            Values::Text(builder) => Arc::new(builder.finish()),
            Values::Number(builder) => Arc::new(builder.finish()),
            Values::Real(builder) => Arc::new(builder.finish()),
            Values::Flag(builder) => Arc::new(builder.finish()),
            Values::Texts(builder) => Arc::new(builder.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use picket_event::{Fork, Kind, Process, Source, UnixNanos};

    use super::*;

    #[test]
    fn what_is_pushed_directly_is_what_the_field_has() {
        let mut process = Process::new(ProcessUid::new([0x0a; 16]), 1);
        process.parent_uid = Some(ProcessUid::new([0x9f; 16]));
        process.sha256 = Some(Digest::of(b"x"));
        let fork = Fork {
            child_uid: ProcessUid::new([0xf0; 16]),
            child_pid: 2,
        };
        let event = Event::new(Kind::Fork, UnixNanos(1), Source::Ebpf);
        let whole = event.clone().by(process).with(Detail::Fork(fork));
        let direct_ones = COLUMNS
            .iter()
            .filter_map(|column| Some((column.path, direct(column.path)?)));
        for (path, push) in direct_ones {
            for event in [&event, &whole] {
                let mut builder = StringBuilder::new();
                let pushed = push(event, &mut builder);
                let values = builder.finish();
                let value = pushed.then(|| Value::Word(values.value(0).to_owned()));
                assert_eq!(value, Field::named(path).unwrap().of(event), "{path}");
            }
        }
    }

    #[test]
    fn every_part_with_columns_is_known_by_its_detail() {
        let known = [
            "",
            "process",
            "verdicts",
            "file",
            "exit",
            "network",
            "login",
            "containment",
            "fork",
            "module",
            "mount",
            "device",
            "script",
            "scheduled_job",
            "dns",
            "exec_failed",
            "account_change",
        ];
        for column in COLUMNS {
            assert!(known.contains(&part_of(column.path)), "{}", column.path);
        }
        assert_eq!(Rows::new().take().unwrap().num_rows(), 0);
    }
}
