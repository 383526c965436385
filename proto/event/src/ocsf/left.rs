//! What OCSF has no place for, under the names of our JSON.

use serde_json::{Map, Value};

/// Our JSON of an event, from which is taken what the OCSF object holds.
#[derive(Debug)]
pub(super) struct Left(Value);

impl Left {
    pub(super) fn of(event: Value) -> Self {
        Self(event)
    }

    /// Takes what stands at these paths. Text that is not UTF-8 keeps its exact twin.
    pub(super) fn take(&mut self, paths: &[&str]) {
        for path in paths {
            take(&mut self.0, path);
        }
    }

    /// What is left, if anything is.
    pub(super) fn into_value(self) -> Option<Value> {
        match self.0 {
            Value::Object(map) if !map.is_empty() => Some(Value::Object(map)),
            _ => None,
        }
    }
}

fn take(value: &mut Value, path: &str) {
    let Value::Object(map) = value else {
        return;
    };
    match path.split_once('.') {
        None => {
            map.shift_remove(path);
        }
        Some((first, rest)) => {
            if let Some(inner) = map.get_mut(first) {
                take(inner, rest);
            }
            drop_empty(map, first);
        }
    }
}

fn drop_empty(map: &mut Map<String, Value>, name: &str) {
    if map
        .get(name)
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty)
    {
        map.shift_remove(name);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_taken_is_gone_and_an_object_that_is_empty_too() {
        let mut left =
            Left::of(json!({"file": {"path": "x", "path_raw": "eA=="}, "exit": {"code": 1}}));
        left.take(&["file.path", "exit.code", "no.such"]);
        assert_eq!(
            left.into_value(),
            Some(json!({"file": {"path_raw": "eA=="}}))
        );
    }
}
