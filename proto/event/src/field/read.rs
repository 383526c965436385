//! Parts of an event as values: what is empty is not known.

use std::net::IpAddr;

use picket_seal::Digest;

use super::Value;
use crate::{ProcessUid, Text};

pub(super) fn text(text: &Text) -> Option<Value<'_>> {
    (!text.is_empty()).then(|| Value::Text(text.as_bytes()))
}

pub(super) fn word<'a>(word: &str) -> Option<Value<'a>> {
    (!word.is_empty()).then(|| Value::Word(word.to_owned()))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the table's readers all answer with an option"
)]
pub(super) fn number<'a>(number: impl TryInto<i64>) -> Option<Value<'a>> {
    Some(Value::Number(number.try_into().unwrap_or(i64::MAX)))
}

pub(super) fn hash<'a>(digest: Option<Digest>) -> Option<Value<'a>> {
    Some(Value::Word(hex::encode(digest?.as_bytes())))
}

pub(super) fn address<'a>(address: Option<IpAddr>) -> Option<Value<'a>> {
    Some(Value::Word(address?.to_string()))
}

pub(super) fn list<'a>(texts: impl Iterator<Item = &'a Text>) -> Option<Value<'a>> {
    let texts: Vec<&[u8]> = texts.map(Text::as_bytes).collect();
    (!texts.is_empty()).then_some(Value::List(texts))
}

pub(super) fn words<'a>(words: &[String]) -> Option<Value<'a>> {
    (!words.is_empty()).then(|| Value::Words(words.to_vec()))
}

pub(super) fn uid<'a>(uid: Option<ProcessUid>) -> Option<Value<'a>> {
    Some(Value::Word(uid?.to_string()))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the table's readers all answer with an option"
)]
pub(super) fn caps<'a>(caps: u64) -> Option<Value<'a>> {
    Some(Value::Word(format!("{caps:016x}")))
}
