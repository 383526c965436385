//! The columns of a sealed file.
//!
//! # Invariants
//!
//! - A column named as a field of the contract, with `_` for `.`, holds that field; absent is null.
//! - Text that is not UTF-8 stands lossily in its column; `event_rest`, or else `event`, has what columns do not hold exactly.
//! - The order of columns may grow at the end only: old files stay readable beside new ones.

use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};

/// What a column holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Text,
    Number,
    Real,
    Flag,
    Texts,
}

impl Form {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Number => DataType::Int64,
            Self::Real => DataType::Float64,
            Self::Flag => DataType::Boolean,
            Self::Texts => DataType::new_list(DataType::Utf8, true),
        }
    }
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
/// The exact bytes of an event that columns do not make again.
pub(crate) const EVENT: &str = "event";
/// Of any other event what its columns lack; see [`super::rest`].
pub(crate) const REST: &str = "event_rest";
pub(crate) const BOOT_TIME: &str = "boot_time";
pub(crate) const PROCESS_AGE: &str = "process_age_ns";
pub(crate) const CHILD_PID: &str = "fork_child_pid";
pub(crate) const FILE_INODE: &str = "file_inode";

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

/// The columns that a search may ask for.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(fields(&|_| true)))
}

/// The columns of every file.
pub(super) fn sealed_schema() -> SchemaRef {
    let mut fields = fields(&|_| true);
    fields.pop();
    fields.push(ArrowField::new(EVENT, DataType::Binary, true));
    fields.push(ArrowField::new(REST, DataType::Binary, true));
    fields.push(ArrowField::new(BOOT_TIME, moment(), true));
    for name in [PROCESS_AGE, CHILD_PID, FILE_INODE] {
        fields.push(ArrowField::new(name, DataType::Int64, true));
    }
    Arc::new(Schema::new(fields))
}

/// With those columns of fields that are wanted; the last is `event`.
pub(super) fn fields(wanted: &dyn Fn(&Column) -> bool) -> Vec<ArrowField> {
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
        let form = column.form.data_type();
        fields.push(ArrowField::new(column.name(), form, true));
    }
    fields.push(ArrowField::new(EVENT, DataType::Binary, false));
    fields
}

fn moment() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

#[cfg(test)]
mod tests {
    use picket_event::field::Field;

    use super::*;

    #[test]
    fn every_column_is_a_field_of_the_contract() {
        for column in COLUMNS {
            assert!(Field::named(column.path).is_some(), "{}", column.path);
        }
    }
}
