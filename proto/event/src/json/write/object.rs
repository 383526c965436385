//! An object under construction: text that grows, no tree.
//!
//! # Invariants
//!
//! - No name is put twice. Names that may come twice go through [`Value`], where the last one stands.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picket_seal::Digest;
use serde::Serialize;
use serde_json::Value;

use crate::{ProcessUid, Text};

/// Room that most small objects fit in, so that their text seldom moves while it grows.
const USUAL_BYTES: usize = 256;

/// Finished JSON.
pub(in crate::json) struct Json(Vec<u8>);

impl Json {
    /// As text, which it always is.
    pub(in crate::json) fn into_string(self) -> String {
        String::from_utf8(self.0).expect("text and ASCII signs are text")
    }
}

/// What can be the value of a field.
pub(super) trait Put {
    /// Appends it as JSON.
    fn put(&self, out: &mut Vec<u8>);
}

/// What `serde_json` writes as it is.
macro_rules! put_as_is {
    ($($type:ty),*) => {
        $(impl Put for $type {
            fn put(&self, out: &mut Vec<u8>) {
                append(self, out);
            }
        })*
    };
}

put_as_is!(
    bool,
    i32,
    i64,
    u32,
    u64,
    f64,
    str,
    String,
    Cow<'_, str>,
    Value
);

fn append(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("strings and numbers are always JSON");
}

impl<T: Put + ?Sized> Put for &T {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
}

impl Put for Json {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

impl<T: Put> Put for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.put(out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

impl<T: Put> Put for [T] {
    fn put(&self, out: &mut Vec<u8>) {
        put_each(self, out, Put::put);
    }
}

impl<T: Put, const N: usize> Put for [T; N] {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_slice().put(out);
    }
}

impl<T: Put> Put for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_slice().put(out);
    }
}

/// Bytes as hexadecimal digits.
pub(super) struct Hex<B>(pub(super) B);

impl<B: AsRef<[u8]>> Put for Hex<B> {
    fn put(&self, out: &mut Vec<u8>) {
        let digit = |half: u8| match half {
            0..=9 => b'0' | half,
            _ => (b'a' - 1) | half.wrapping_sub(9),
        };
        out.push(b'"');
        for byte in self.0.as_ref() {
            out.extend([digit(byte >> 4), digit(byte & 15)]);
        }
        out.push(b'"');
    }
}

/// Words of digits and signs, which JSON takes without escapes.
pub(super) struct Plain<T>(pub(super) T);

impl<T: Display> Put for Plain<T> {
    fn put(&self, out: &mut Vec<u8>) {
        write!(out, "\"{}\"", self.0).expect("memory takes all that is written");
    }
}

/// Host text as it can be shown.
pub(super) struct Lossy<'a>(pub(super) &'a Text);

impl Put for Lossy<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        match self.0.as_str() {
            Some(exact) => exact.put(out),
            None => self.0.lossy().put(out),
        }
    }
}

fn put_each<T>(items: &[T], out: &mut Vec<u8>, each: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        each(item, out);
    }
    out.push(b']');
}

/// An object under construction: what is not known is not put.
pub(super) struct Object(Vec<u8>);

impl Object {
    pub(super) fn new() -> Self {
        Self::with_room(USUAL_BYTES)
    }

    /// With room for so many bytes.
    pub(super) fn with_room(bytes: usize) -> Self {
        let mut text = Vec::with_capacity(bytes);
        text.push(b'{');
        Self(text)
    }

    pub(super) fn put(self, name: &str, value: impl Put) -> Self {
        let mut object = self.name(name);
        value.put(&mut object.0);
        object
    }

    /// Under a name that is not ours.
    pub(super) fn put_under(mut self, name: impl Put, value: impl Put) -> Self {
        self.comma();
        name.put(&mut self.0);
        self.0.push(b':');
        value.put(&mut self.0);
        self
    }

    fn comma(&mut self) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
    }

    /// The name of the next field, one of ours and without escapes; its value must follow.
    fn name(mut self, name: &str) -> Self {
        self.comma();
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        self
    }

    pub(super) fn maybe(self, name: &str, value: Option<impl Put>) -> Self {
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
        match text.as_str() {
            Some("") => self,
            Some(exact) => self.put(name, exact),
            None => self.put(name, Lossy(text)).put(&raw(name), base64(text)),
        }
    }

    pub(super) fn texts(self, name: &str, texts: &[Text]) -> Self {
        let mut object = self.name(name);
        put_each(texts, &mut object.0, |text, out| Lossy(text).put(out));
        if texts.iter().all(|text| text.as_str().is_some()) {
            return object;
        }
        let exact: Vec<String> = texts.iter().map(base64).collect();
        object.put(&raw(name), exact)
    }

    pub(super) fn hash(self, name: &str, digest: Option<Digest>) -> Self {
        self.maybe(name, digest.as_ref().map(|digest| Hex(digest.as_bytes())))
    }

    pub(super) fn ip(self, name: &str, address: Option<IpAddr>) -> Self {
        self.maybe(name, address.map(Plain))
    }

    pub(super) fn uid(self, name: &str, uid: Option<ProcessUid>) -> Self {
        self.maybe(name, uid.as_ref().map(|uid| Hex(uid.as_bytes())))
    }

    /// A bit set of capabilities.
    pub(super) fn caps(self, name: &str, caps: Option<u64>) -> Self {
        self.maybe(name, caps.map(|caps| Hex(caps.to_be_bytes())))
    }

    pub(super) fn list<T>(self, name: &str, items: &[T], each: impl Fn(&T) -> Json) -> Self {
        if items.is_empty() {
            return self;
        }
        let mut object = self.name(name);
        put_each(items, &mut object.0, |item, out| each(item).put(out));
        object
    }

    pub(super) fn done(mut self) -> Json {
        self.0.push(b'}');
        Json(self.0)
    }
}

/// The name of the twin that has the exact bytes.
fn raw(name: &str) -> String {
    format!("{name}_raw")
}

pub(super) fn base64(text: &Text) -> String {
    STANDARD.encode(text.as_bytes())
}
