//! An OCSF object under construction: what is not known is not put.

use serde_json::{Map, Value, json};

use crate::{Text, UnixNanos};

/// Said where a name is required and none is known.
pub(super) const UNKNOWN: &str = "unknown";

#[derive(Clone, Debug, Default)]
pub(super) struct Part(Map<String, Value>);

impl Part {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn put(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.put(name, value),
            None => self,
        }
    }

    /// Unless it is empty.
    pub(super) fn word(self, name: &str, text: &str) -> Self {
        self.maybe(name, (!text.is_empty()).then_some(text))
    }

    /// Unless it is empty; bytes that are not UTF-8 are in `unmapped`.
    pub(super) fn text(self, name: &str, text: &Text) -> Self {
        self.word(name, &text.lossy())
    }

    pub(super) fn part(self, name: &str, part: Option<Self>) -> Self {
        self.maybe(name, part.map(Self::done))
    }

    pub(super) fn list(self, name: &str, parts: Vec<Value>) -> Self {
        self.maybe(name, (!parts.is_empty()).then_some(parts))
    }

    /// All of `other`, over what is here.
    pub(super) fn with(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn done(self) -> Value {
        Value::Object(self.0)
    }
}

/// OCSF counts time in milliseconds.
pub(super) fn millis(time: UnixNanos) -> i64 {
    time.0.div_euclid(1_000_000)
}

/// What follows the last slash; the whole where nothing does.
pub(super) fn name_of(path: &Text) -> String {
    let whole = path.lossy();
    let name = whole.rsplit('/').find(|part| !part.is_empty());
    match name {
        Some(name) => name.to_owned(),
        None if whole.is_empty() => UNKNOWN.to_owned(),
        None => whole.into_owned(),
    }
}

/// A file by its path: of this type of OCSF, 0 if it is not known.
pub(super) fn file_at(path: &Text, type_id: u32) -> Part {
    Part::new()
        .put("name", name_of(path))
        .put("type_id", type_id)
        .text("path", path)
}

/// As OCSF writes a SHA-256.
pub(super) fn sha256(digest: picket_seal::Digest) -> Value {
    json!({
        "algorithm": "SHA-256", "algorithm_id": 3, "value": hex::encode(digest.as_bytes()),
    })
}
