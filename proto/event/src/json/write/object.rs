//! An object under construction.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_seal::Digest;
use serde_json::{Map, Value};

use crate::{ProcessUid, Text};

/// An object under construction: what is not known is not put.
pub(super) struct Object(Map<String, Value>);

impl Object {
    pub(super) fn new() -> Self {
        Self(Map::new())
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

    pub(super) fn word(self, name: &str, text: &str) -> Self {
        self.maybe(name, (!text.is_empty()).then_some(text))
    }

    pub(super) fn flag(self, name: &str, set: bool) -> Self {
        self.maybe(name, set.then_some(true))
    }

    pub(super) fn text(self, name: &str, text: &Text) -> Self {
        if text.is_empty() {
            return self;
        }
        let raw = text.as_str().is_none().then(|| base64(text));
        self.put(name, text.lossy())
            .maybe(&format!("{name}_raw"), raw)
    }

    pub(super) fn texts(self, name: &str, texts: &[Text]) -> Self {
        let lossy: Vec<Value> = texts.iter().map(|text| text.lossy().into()).collect();
        let exact = texts.iter().all(|text| text.as_str().is_some());
        let raw = (!exact).then(|| texts.iter().map(base64).collect::<Vec<_>>());
        self.put(name, lossy).maybe(&format!("{name}_raw"), raw)
    }

    pub(super) fn hash(self, name: &str, digest: Option<Digest>) -> Self {
        self.maybe(name, digest.map(|digest| hex::encode(digest.as_bytes())))
    }

    pub(super) fn ip(self, name: &str, address: Option<IpAddr>) -> Self {
        self.maybe(name, address.map(|address| address.to_string()))
    }

    pub(super) fn uid(self, name: &str, uid: Option<ProcessUid>) -> Self {
        self.maybe(name, uid.map(|uid| uid.to_string()))
    }

    /// A bit set of capabilities.
    pub(super) fn caps(self, name: &str, caps: Option<u64>) -> Self {
        self.maybe(name, caps.map(|caps| format!("{caps:016x}")))
    }

    pub(super) fn list<T>(self, name: &str, items: &[T], each: impl Fn(&T) -> Value) -> Self {
        self.maybe(
            name,
            (!items.is_empty()).then(|| items.iter().map(each).collect::<Vec<_>>()),
        )
    }

    pub(super) fn done(self) -> Value {
        Value::Object(self.0)
    }
}

pub(super) fn base64(text: &Text) -> String {
    STANDARD.encode(text.as_bytes())
}
