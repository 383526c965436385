//! A document under construction, by dotted names: what is not known is not put.

use serde_json::{Map, Value};

use crate::Text;

#[derive(Clone, Debug, Default)]
pub(super) struct Tree(Map<String, Value>);

impl Tree {
    /// Puts a value under a dotted name.
    pub(super) fn put(&mut self, name: &str, value: impl Into<Value>) {
        let (parents, last) = name.rsplit_once('.').unwrap_or(("", name));
        let mut object = &mut self.0;
        for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
            let next = object.entry(parent).or_insert_with(|| Map::new().into());
            match next {
                Value::Object(inner) => object = inner,
                // No name is both a value and a parent of others.
                _ => return,
            }
        }
        object.insert(last.to_owned(), value.into());
    }

    pub(super) fn maybe(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// Unless it is empty.
    pub(super) fn word(&mut self, name: &str, text: &str) {
        self.maybe(name, (!text.is_empty()).then_some(text));
    }

    /// Unless it is empty; bytes that are not UTF-8 are under `picket`.
    pub(super) fn text(&mut self, name: &str, text: &Text) {
        self.word(name, &text.lossy());
    }

    pub(super) fn list(&mut self, name: &str, values: Vec<Value>) {
        self.maybe(name, (!values.is_empty()).then_some(values));
    }

    pub(super) fn done(self) -> Value {
        Value::Object(self.0)
    }
}
