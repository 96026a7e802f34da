//! JSON objects whose values keep their exact bytes, and the leniency with which Go reads JSON.
//!
//! Go's `encoding/json`, which every other CNI program uses, matches the keys of a struct without regard to
//! case, lets the last of duplicate keys win and takes `null` for "not given". Users rely on it without
//! knowing; [`field_ci`] and [`de_lenient`] read the same way. One difference stays: a lone surrogate
//! (`"\ud800"`) is an error here, where Go puts U+FFFD.

mod indent;
mod lenient;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

pub use indent::indent;
pub use lenient::{de_lenient, de_lenient_raw};

/// A JSON object. Keys are sorted, the last of duplicate keys wins, and values keep their exact bytes:
/// numbers lose no digit and nested values are never parsed, so that their depth does not matter.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub BTreeMap<String, Box<RawValue>>);

impl Object {
    /// Reads an object; anything else, `null` too, is an error.
    pub fn parse(bytes: &[u8]) -> Result<Object, serde_json::Error> {
        serde_json::from_slice(bytes).map_err(discreet)
    }

    /// The compact text, keys sorted, values as they came.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Serialising a map of strings into memory has no way to fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The raw value of exactly this key.
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.get(key).map(AsRef::as_ref)
    }

    /// The value of exactly this key, decoded; `null` is the same as no key.
    pub fn get_as<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, serde_json::Error> {
        self.get(key).map_or(Ok(None), decode)
    }

    /// Sets a key. A value that JSON cannot express (a map whose keys are no strings) becomes `null`.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        self.set_raw(key, to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned()));
    }

    /// Sets a key to these exact bytes.
    pub fn set_raw(&mut self, key: &str, value: Box<RawValue>) {
        self.0.insert(key.to_owned(), value);
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) -> Option<Box<RawValue>> {
        self.0.remove(key)
    }

    /// Takes out every key that Go would match with this one.
    pub fn remove_ci(&mut self, key: &str) {
        self.0.retain(|k, _| !k.eq_ignore_ascii_case(key));
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Object {
    /// Byte for byte: the same numbers in another notation are not equal.
    fn eq(&self, other: &Object) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|((k, v), (l, w))| k == l && v.get() == w.get())
    }
}

impl Eq for Object {}

/// The value of a key as Go would find it: exactly written, else without regard to case.
pub fn field_ci<'a>(object: &'a Object, key: &str) -> Option<&'a RawValue> {
    object.get(key).or_else(|| {
        object.0.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_ref())
    })
}

/// [`field_ci`], decoded; `null` is the same as no key.
pub fn field_ci_as<T: DeserializeOwned>(object: &Object, key: &str) -> Result<Option<T>, serde_json::Error> {
    field_ci(object, key).map_or(Ok(None), decode)
}

/// What kind of value this is, for messages.
pub fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

fn decode<T: DeserializeOwned>(raw: &RawValue) -> Result<Option<T>, serde_json::Error> {
    if raw.get() == "null" {
        return Ok(None);
    }
    serde_json::from_str(raw.get()).map(Some).map_err(discreet)
}

/// The same error without the text that it is about: serde repeats a string that stands where something else should, and a
/// configuration may hold passwords.
pub fn discreet(error: serde_json::Error) -> serde_json::Error {
    let text = error.to_string();
    let mut shown = String::new();
    let mut rest = text.as_str();
    while let Some((before, quoted)) = rest.split_once("string \"") {
        shown.push_str(before);
        shown.push_str("string");
        rest = &quoted[end_of_quoted(quoted)..];
    }
    if shown.is_empty() {
        return error;
    }
    // It reads line and column from the text again.
    serde::de::Error::custom(format!("{shown}{rest}"))
}

/// Where a string in Rust's quotes ends, its quote included.
fn end_of_quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests;
