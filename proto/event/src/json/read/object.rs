//! An object that is being read.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_seal::Digest;
use serde_json::{Map, Value};

use crate::json::JsonError;
use crate::{HashStatus, ProcessUid, Text};

pub(super) type Result<T> = std::result::Result<T, JsonError>;

/// An object that is being read.
#[derive(Clone, Copy)]
pub(super) struct Object<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Object<'a> {
    pub(super) fn of(value: &'a Value, field: &'static str) -> Result<Self> {
        value.as_object().map(Self).ok_or(JsonError::Field {
            field,
            expected: "an object",
        })
    }

    pub(super) fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn object(self, name: &'static str) -> Result<Option<Self>> {
        self.value(name)
            .map(|value| Self::of(value, name))
            .transpose()
    }

    pub(super) fn string(self, name: &'static str) -> Result<Option<&'a str>> {
        let expected = JsonError::Field {
            field: name,
            expected: "a string",
        };
        self.value(name)
            .map(|value| value.as_str().ok_or(expected))
            .transpose()
    }

    pub(super) fn word(self, name: &'static str) -> Result<String> {
        Ok(self.string(name)?.unwrap_or_default().to_owned())
    }

    pub(super) fn number(self, name: &'static str) -> Result<Option<u64>> {
        let expected = JsonError::Field {
            field: name,
            expected: "a number that is not negative",
        };
        self.value(name)
            .map(|value| value.as_u64().ok_or(expected))
            .transpose()
    }

    pub(super) fn small(self, name: &'static str) -> Result<Option<u32>> {
        let expected = |_large| JsonError::Field {
            field: name,
            expected: "a 32-bit number",
        };
        self.number(name)?
            .map(|number| u32::try_from(number).map_err(expected))
            .transpose()
    }

    pub(super) fn signed(self, name: &'static str) -> Result<Option<i32>> {
        let number = self
            .value(name)
            .map(|value| value.as_i64().and_then(|n| n.try_into().ok()));
        let expected = JsonError::Field {
            field: name,
            expected: "a 32-bit number",
        };
        number.map(|number| number.ok_or(expected)).transpose()
    }

    pub(super) fn real(self, name: &'static str) -> Result<f64> {
        let value = self.value(name).ok_or(JsonError::Missing(name))?;
        value.as_f64().ok_or(JsonError::Field {
            field: name,
            expected: "a number",
        })
    }

    pub(super) fn flag(self, name: &'static str) -> Result<bool> {
        let expected = JsonError::Field {
            field: name,
            expected: "true or false",
        };
        self.value(name)
            .map_or(Ok(false), |value| value.as_bool().ok_or(expected))
    }

    pub(super) fn parsed<T>(
        self,
        name: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let wrong = || JsonError::Field {
            field: name,
            expected,
        };
        self.string(name)?
            .map(|text| parse(text).ok_or_else(wrong))
            .transpose()
    }

    pub(super) fn text(self, name: &'static str) -> Result<Text> {
        match self.string_of(&format!("{name}_raw")) {
            Some(raw) => unbase64(raw, name),
            None => Ok(Text::from(self.string(name)?.unwrap_or_default())),
        }
    }

    pub(super) fn string_of(self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str()
    }

    pub(super) fn texts(self, name: &'static str) -> Result<Vec<Text>> {
        let each = |value: &'a Value| {
            value.as_str().ok_or(JsonError::Field {
                field: name,
                expected: "a list of strings",
            })
        };
        match self.0.get(&format!("{name}_raw")).and_then(Value::as_array) {
            Some(raw) => raw
                .iter()
                .map(|value| unbase64(each(value)?, name))
                .collect(),
            None => self
                .items(name)?
                .map(|value| each(value).map(Text::from))
                .collect(),
        }
    }

    pub(super) fn words(self, name: &'static str) -> Result<Vec<String>> {
        Ok(self
            .texts(name)?
            .iter()
            .map(|text| text.lossy().into_owned())
            .collect())
    }

    pub(super) fn items(self, name: &'static str) -> Result<impl Iterator<Item = &'a Value>> {
        let expected = JsonError::Field {
            field: name,
            expected: "a list",
        };
        let list = self
            .value(name)
            .map(|value| value.as_array().ok_or(expected))
            .transpose()?;
        Ok(list.into_iter().flatten())
    }

    pub(super) fn objects<T>(
        self,
        name: &'static str,
        each: impl Fn(Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.items(name)?
            .map(|value| each(Object::of(value, name)?))
            .collect()
    }

    pub(super) fn hash(self, name: &'static str) -> Result<Option<Digest>> {
        self.parsed(name, "64 hexadecimal digits", |text| {
            Digest::from_hex(text).ok()
        })
    }

    pub(super) fn ip(self, name: &'static str) -> Result<Option<IpAddr>> {
        self.parsed(name, "an address", |text| text.parse().ok())
    }

    /// A bit set of capabilities.
    pub(super) fn caps(self, name: &'static str) -> Result<Option<u64>> {
        self.parsed(name, "16 hexadecimal digits", |text| {
            u64::from_str_radix(text, 16).ok()
        })
    }

    pub(super) fn hash_status(self) -> Result<Option<HashStatus>> {
        self.parsed("hash_status", "a known hash status", HashStatus::from_name)
    }

    pub(super) fn uid(self, name: &'static str) -> Result<Option<ProcessUid>> {
        self.parsed(name, "32 hexadecimal digits", |text| {
            ProcessUid::parse(text).ok()
        })
    }
}

pub(super) fn unbase64(text: &str, field: &'static str) -> Result<Text> {
    let expected = |_base64| JsonError::Field {
        field,
        expected: "base64 in its raw twin",
    };
    STANDARD.decode(text).map(Text::from).map_err(expected)
}

pub(super) fn needed<T>(name: &'static str, value: Option<T>) -> Result<T> {
    value.ok_or(JsonError::Missing(name))
}
