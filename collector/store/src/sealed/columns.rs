//! The columns of a sealed file, and how events become rows.
//!
//! # Invariants
//!
//! - A column named as a field of the contract, with `_` for `.`, holds that field; absent is null.
//! - Text that is not UTF-8 stands lossily in its column; `event` has the exact bytes that were signed.
//! - The order of columns may grow at the end only: old files stay readable beside new ones.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampNanosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};
use picket_event::Event;
use picket_event::field::{Field, Value};
use picket_proto::v1;
use prost::Message;

use super::row::Row;
use crate::StoredEvent;

/// What a column holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Text,
    Number,
    Real,
    Flag,
    Texts,
}

/// A column that is a field of the contract.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// The field's path.
    pub(crate) path: &'static str,
    pub(crate) form: Form,
    /// Whether a filter says of each row group which values it cannot hold.
    pub(crate) bloom: bool,
}

impl Column {
    /// Its name in the file.
    pub(crate) fn name(&self) -> String {
        self.path.replace('.', "_")
    }
}

/// The column that holds a field, if one does.
pub(crate) fn column_of(path: &str) -> Option<&'static Column> {
    COLUMNS.iter().find(|column| column.path == path)
}

pub(crate) const TIME: &str = "time";
pub(crate) const RECEIVED: &str = "received";
pub(crate) const HOST: &str = "host_id";
pub(crate) const BOOT: &str = "boot_id";
pub(crate) const STREAM: &str = "stream";
pub(crate) const SEVERITY_ID: &str = "severity_id";
pub(crate) const COMMAND_LINE: &str = "process_cmd_line";
pub(crate) const EVENT: &str = "event";

const fn text(path: &'static str) -> Column {
    column(path, Form::Text, false)
}

const fn key(path: &'static str) -> Column {
    column(path, Form::Text, true)
}

const fn number(path: &'static str) -> Column {
    column(path, Form::Number, false)
}

const fn column(path: &'static str, form: Form, bloom: bool) -> Column {
    Column { path, form, bloom }
}

/// In this order, behind the columns that say whose event it is.
pub(crate) const COLUMNS: &[Column] = &[
    number("seq"),
    text("kind"),
    text("source"),
    text("severity"),
    key("process.uid"),
    key("process.parent_uid"),
    number("process.pid"),
    number("process.ppid"),
    text("process.exe"),
    text("process.script"),
    text("process.comm"),
    text("process.cwd"),
    column("process.user.uid", Form::Number, true),
    key("process.user.name"),
    number("process.effective_uid"),
    number("process.login_uid"),
    number("process.session"),
    text("process.tty"),
    key("process.sha256"),
    text("process.container"),
    column("process.memfd", Form::Flag, false),
    key("fork.child_uid"),
    number("exit.code"),
    number("exit.signal"),
    number("exit.duration_ns"),
    text("exec_failed.path"),
    number("exec_failed.result"),
    text("file.path"),
    text("file.new_path"),
    number("file.size"),
    number("file.mode"),
    text("file.sha256_before"),
    key("file.sha256_after"),
    text("file.change"),
    column("file.sensitive", Form::Flag, false),
    text("network.proto"),
    text("network.direction"),
    text("network.local_ip"),
    number("network.local_port"),
    key("network.remote_ip"),
    number("network.remote_port"),
    number("network.bytes_in"),
    number("network.bytes_out"),
    number("network.result"),
    text("dns.query"),
    text("dns.type"),
    column("dns.answers", Form::Texts, false),
    key("login.user"),
    text("login.outcome"),
    text("login.service"),
    text("login.method"),
    key("login.source_ip"),
    number("login.source_port"),
    text("login.source_host"),
    text("login.key_fingerprint"),
    number("login.session"),
    text("login.target_user"),
    text("login.command"),
    text("script.path"),
    text("script.sha256"),
    text("module.name"),
    text("mount.target"),
    text("device.name"),
    text("scheduled_job.path"),
    text("scheduled_job.command"),
    text("account_change.object"),
    text("account_change.account"),
    text("containment.command_id"),
    text("containment.action"),
    text("containment.state"),
    text("containment.reason"),
    column("verdicts.by", Form::Texts, false),
    column("verdicts.id", Form::Texts, false),
    column("verdicts.title", Form::Texts, false),
    column("verdicts.attack", Form::Texts, false),
    column("verdicts.bits", Form::Real, false),
];

/// The columns of every file.
pub(crate) fn schema() -> SchemaRef {
    schema_with(&|_| true)
}

/// With those columns of fields that are wanted.
fn schema_with(wanted: &dyn Fn(&Column) -> bool) -> SchemaRef {
    let moment = || DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let mut fields = vec![
        ArrowField::new(TIME, moment(), false),
        ArrowField::new(RECEIVED, moment(), false),
        ArrowField::new(HOST, DataType::Utf8, false),
        ArrowField::new(BOOT, DataType::Utf8, false),
        ArrowField::new(STREAM, DataType::Utf8, false),
        ArrowField::new(SEVERITY_ID, DataType::Int64, true),
        ArrowField::new(COMMAND_LINE, DataType::Utf8, true),
    ];
    for column in COLUMNS.iter().filter(|column| wanted(column)) {
        let form = match column.form {
            Form::Text => DataType::Utf8,
            Form::Number => DataType::Int64,
            Form::Real => DataType::Float64,
            Form::Flag => DataType::Boolean,
            Form::Texts => DataType::new_list(DataType::Utf8, true),
        };
        fields.push(ArrowField::new(column.name(), form, true));
    }
    fields.push(ArrowField::new(EVENT, DataType::Binary, false));
    Arc::new(Schema::new(fields))
}

/// Rows on their way into columns.
pub(crate) struct Rows {
    schema: SchemaRef,
    time: TimestampNanosecondBuilder,
    received: TimestampNanosecondBuilder,
    host: StringBuilder,
    boot: StringBuilder,
    stream: StringBuilder,
    severity: Int64Builder,
    command_line: StringBuilder,
    fields: Vec<(Field, Builder)>,
    event: BinaryBuilder,
}

enum Builder {
    Text(StringBuilder),
    Number(Int64Builder),
    Real(Float64Builder),
    Flag(BooleanBuilder),
    Texts(ListBuilder<StringBuilder>),
}

impl Rows {
    pub(crate) fn new() -> Self {
        Self::with(&|_| true)
    }

    /// Whose fields are the wanted ones alone.
    pub(crate) fn with(wanted: &dyn Fn(&Column) -> bool) -> Self {
        let moment = || TimestampNanosecondBuilder::new().with_timezone("UTC");
        let fields = COLUMNS
            .iter()
            .filter(|column| wanted(column))
            .filter_map(|column| Some((Field::named(column.path)?, Builder::new(column.form))));
        Self {
            schema: schema_with(wanted),
            time: moment(),
            received: moment(),
            host: StringBuilder::new(),
            boot: StringBuilder::new(),
            stream: StringBuilder::new(),
            severity: Int64Builder::new(),
            command_line: StringBuilder::new(),
            fields: fields.collect(),
            event: BinaryBuilder::new(),
        }
    }

    /// Adds one event. One that cannot be read any more is a row of its bytes alone.
    pub(crate) fn push(&mut self, row: &Row) {
        self.time.append_value(row.time.0);
        self.received.append_value(row.received.0);
        self.host.append_value(row.host.to_string());
        self.boot.append_value(row.boot.to_string());
        self.stream.append_value(row.stream.to_string());
        self.event.append_value(&row.bytes);
        let event = v1::Event::decode(row.bytes.clone())
            .ok()
            .and_then(|wire| Event::try_from(wire).ok());
        self.push_fields(event.as_ref());
    }

    /// Adds an event of the log; its bytes, if they are wanted, as it would be written.
    pub(crate) fn push_stored(&mut self, stored: &StoredEvent, with_bytes: bool) {
        self.time.append_value(stored.event.time.0);
        self.received.append_value(stored.received.0);
        self.host.append_value(stored.host.to_string());
        self.boot.append_value(stored.boot.to_string());
        self.stream.append_value(stored.stream.to_string());
        let bytes = if with_bytes {
            v1::Event::from(stored.event.clone()).encode_to_vec()
        } else {
            Vec::new()
        };
        self.event.append_value(bytes);
        self.push_fields(Some(&stored.event));
    }

    fn push_fields(&mut self, event: Option<&Event>) {
        let severity = event.and_then(Event::severity);
        self.severity
            .append_option(severity.map(|severity| i64::from(severity.to_wire())));
        self.command_line.append_option(command_line(event));
        for (field, builder) in &mut self.fields {
            builder.push(event.and_then(|event| field.of(event)));
        }
    }

    /// What was added since the last call, as a batch.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.time.finish()),
            Arc::new(self.received.finish()),
            Arc::new(self.host.finish()),
            Arc::new(self.boot.finish()),
            Arc::new(self.stream.finish()),
            Arc::new(self.severity.finish()),
            Arc::new(self.command_line.finish()),
        ];
        columns.extend(self.fields.iter_mut().map(|(_, builder)| builder.finish()));
        columns.push(Arc::new(self.event.finish()));
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

impl Builder {
    fn new(form: Form) -> Self {
        match form {
            Form::Text => Self::Text(StringBuilder::new()),
            Form::Number => Self::Number(Int64Builder::new()),
            Form::Real => Self::Real(Float64Builder::new()),
            Form::Flag => Self::Flag(BooleanBuilder::new()),
            Form::Texts => Self::Texts(ListBuilder::new(StringBuilder::new())),
        }
    }

    fn push(&mut self, value: Option<Value<'_>>) {
        match self {
            Self::Text(builder) => match value {
                Some(Value::Text(text)) => builder.append_value(String::from_utf8_lossy(text)),
                Some(Value::Word(word)) => builder.append_value(word),
                _ => builder.append_null(),
            },
            Self::Number(builder) => builder.append_option(match value {
                Some(Value::Number(number)) => Some(number),
                _ => None,
            }),
            Self::Real(builder) => builder.append_option(match value {
                Some(Value::Real(number)) => Some(number),
                _ => None,
            }),
            Self::Flag(builder) => builder.append_option(match value {
                Some(Value::Flag(flag)) => Some(flag),
                _ => None,
            }),
            Self::Texts(builder) => push_texts(builder, value),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Number(builder) => Arc::new(builder.finish()),
            Self::Real(builder) => Arc::new(builder.finish()),
            Self::Flag(builder) => Arc::new(builder.finish()),
            Self::Texts(builder) => Arc::new(builder.finish()),
        }
    }
}

fn push_texts(builder: &mut ListBuilder<StringBuilder>, value: Option<Value<'_>>) {
    let known = match value {
        Some(Value::List(texts)) => {
            for text in texts {
                let text = String::from_utf8_lossy(text);
                builder.values().append_value(text);
            }
            true
        }
        Some(Value::Words(words)) => {
            for word in words {
                builder.values().append_value(word);
            }
            true
        }
        _ => false,
    };
    builder.append(known);
}

fn command_line(event: Option<&Event>) -> Option<String> {
    let process = event?.process.as_ref()?;
    let line = process.command_line();
    (!process.argv.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_a_field_of_the_contract() {
        for column in COLUMNS {
            assert!(Field::named(column.path).is_some(), "{}", column.path);
        }
        assert_eq!(Rows::new().take().unwrap().num_rows(), 0);
    }
}
