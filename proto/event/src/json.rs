//! One event as one line of JSON, as users and scripts read it, and back.
//!
//! # Invariants
//!
//! - What is not known is absent.
//! - Text that is not UTF-8 appears lossily under its name and exactly, in base64, under the twin
//!   name that ends in `_raw`.
//! - Reading what was written gives an equal event.

mod read;
mod write;

use serde_json::{Map, Value};

use crate::{BootId, Event, HostId, KindCounts, Origin};

/// Why a line is not an event.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON.
    #[error("the line is not JSON")]
    Syntax(#[from] serde_json::Error),
    /// A field has the wrong type or form.
    #[error("`{field}` is not {expected}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A field that every event has is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
}

/// An event and where it came from, as a line says.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The event.
    pub event: Event,
    /// Its host, if the line names one.
    pub host: Option<HostId>,
    /// Its boot, if the line names one.
    pub boot: Option<BootId>,
}

/// The event as a JSON value.
pub fn to_value(event: &Event, origin: &Origin) -> Value {
    parsed(&to_string(event, origin))
}

/// One line of the sensor's ledger as a JSON value.
pub fn counts(line: &KindCounts) -> Value {
    write::counts(line)
}

/// Sets a member of an object's member, which is made where there is none.
pub(crate) fn put(value: &mut Value, (part, name): (&str, &str), text: &str) {
    let Some(whole) = value.as_object_mut() else {
        return;
    };
    let part = whole
        .entry(part)
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(part) = part.as_object_mut() {
        part.insert(name.to_owned(), text.into());
    }
}

/// The event as one line, without its newline.
pub fn to_string(event: &Event, origin: &Origin) -> String {
    write::event(event, origin).into_string()
}

/// What was written, as a value.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("what was written is JSON")
}

/// An event from one line.
pub fn from_str(line: &str) -> Result<Line, JsonError> {
    from_value(&serde_json::from_str(line)?)
}

/// An event from a JSON value.
pub fn from_value(value: &Value) -> Result<Line, JsonError> {
    read::line(value)
}
