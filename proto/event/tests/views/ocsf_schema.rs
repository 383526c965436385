//! What OCSF 1.7.0 says of the classes and objects that we write, and whether a value keeps to it.
//!
//! `ocsf-1.7.0.json` lists, for each of them, its attributes with their types, those that are
//! required, those of which one is, and the numbers that are defined; of the profiles that we name.
//! The schema is published under the Apache License 2.0 at <https://github.com/ocsf/ocsf-schema>.

use serde_json::Value;

/// What is wrong with an object of OCSF; nothing if it keeps to the schema.
pub(crate) fn faults(event: &Value) -> Vec<String> {
    let schema: Value =
        serde_json::from_str(include_str!("ocsf-1.7.0.json")).expect("the list is JSON");
    let class = &schema["classes"][event["class_uid"].to_string()];
    if class.is_null() {
        return vec![format!("{} is no class that we know", event["class_uid"])];
    }
    let mut check = Check {
        schema: &schema,
        faults: Vec::new(),
    };
    check.object("event", event, class);
    check.class(event, class);
    check.faults
}

struct Check<'a> {
    schema: &'a Value,
    faults: Vec<String>,
}

impl Check<'_> {
    fn class(&mut self, event: &Value, class: &Value) {
        self.same("class_name", &event["class_name"], &class["name"]);
        self.same("category_uid", &event["category_uid"], &class["category"]);
        self.same(
            "category_name",
            &event["category_name"],
            &class["category_name"],
        );
        let number = |name: &str| event[name].as_u64().unwrap_or(u64::MAX / 1000);
        let type_uid = Value::from(number("class_uid") * 100 + number("activity_id"));
        self.same("type_uid", &event["type_uid"], &type_uid);
        self.same(
            "version",
            &event["metadata"]["version"],
            &self.schema["version"].clone(),
        );
    }

    fn same(&mut self, what: &str, got: &Value, expected: &Value) {
        if got != expected {
            self.faults.push(format!("{what} is {got}, not {expected}"));
        }
    }

    fn object(&mut self, place: &str, value: &Value, spec: &Value) {
        let Some(object) = value.as_object() else {
            self.faults.push(format!("{place} is no object"));
            return;
        };
        for name in names(&spec["required"]) {
            if !object.contains_key(name) {
                self.faults.push(format!("{place} lacks {name}"));
            }
        }
        let one_of = names(&spec["one_of"]);
        if !one_of.is_empty() && !one_of.iter().any(|name| object.contains_key(*name)) {
            self.faults.push(format!("{place} has none of {one_of:?}"));
        }
        for (name, value) in object {
            let place = format!("{place}.{name}");
            match spec["attributes"][name].as_str() {
                Some(kind) => self.typed(&place, value, kind),
                None => self.faults.push(format!("{place} is no attribute")),
            }
            self.defined(&place, value, &spec["values"][name]);
        }
    }

    fn typed(&mut self, place: &str, value: &Value, kind: &str) {
        if let Some(kind) = kind.strip_prefix("list of ") {
            let Some(items) = value.as_array() else {
                self.faults.push(format!("{place} is no list"));
                return;
            };
            for item in items {
                self.typed(place, item, kind);
            }
            return;
        }
        if let Some(name) = kind.strip_prefix("object ") {
            let spec = self.schema["objects"][name].clone();
            self.object(place, value, &spec);
            return;
        }
        let fits = match kind {
            "any" => true,
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            _ => false,
        };
        if !fits {
            self.faults.push(format!("{place} is no {kind}: {value}"));
        }
    }

    fn defined(&mut self, place: &str, value: &Value, known: &Value) {
        if let Some(known) = known.as_array()
            && !known.contains(value)
        {
            self.faults
                .push(format!("{place} is {value}, one of {known:?} is"));
        }
    }
}

fn names(list: &Value) -> Vec<&str> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).collect()
}
