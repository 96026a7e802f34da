//! Reading a status back, to merge it.

use libcni::Object;
use libcni::json::{de_lenient_raw, field_ci};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Entry;

/// The text is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// It is no list of objects.
    #[error("the network status is no list of objects: {0}")]
    Json(#[source] serde_json::Error),
    /// A key of an entry has another type than it should.
    #[error("key {key:?} of entry {entry} of the network status cannot be read: {source}")]
    Key {
        /// The entry, from 1.
        entry: usize,
        /// The key.
        key: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

const KEYS: [&str; 10] =
    ["name", "interface", "ips", "mac", "mtu", "default", "dns", "device-info", "gateway", "default-route"];

/// Reads a status, its own or upstream's. Keys of others are kept; an empty text is an empty status.
pub fn parse(text: &str) -> Result<Vec<Entry>, StatusError> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let objects: Option<Vec<Object>> = serde_json::from_str(text).map_err(StatusError::Json)?;
    objects.unwrap_or_default().into_iter().enumerate().map(|(at, object)| entry(object, at + 1)).collect()
}

fn entry(object: Object, at: usize) -> Result<Entry, StatusError> {
    let keys = Keys { object: &object, entry: at };
    let mut entry = Entry {
        name: keys.get("name")?.unwrap_or_default(),
        interface: keys.get("interface")?.unwrap_or_default(),
        ips: keys.get("ips")?.unwrap_or_default(),
        mac: keys.get("mac")?.unwrap_or_default(),
        mtu: keys.get("mtu")?.unwrap_or_default(),
        default: keys.get("default")?.unwrap_or_default(),
        dns: keys.get("dns")?.unwrap_or_default(),
        device_info: keys.raw("device-info").map(RawValue::to_owned),
        gateway: keys.get("gateway")?.unwrap_or_default(),
        default_route: keys.get("default-route")?,
        other: object.0.clone(),
    };
    entry.other.retain(|key, _| !KEYS.iter().any(|known| key.eq_ignore_ascii_case(known)));
    Ok(entry)
}

struct Keys<'a> {
    object: &'a Object,
    entry: usize,
}

impl<'a> Keys<'a> {
    fn raw(&self, key: &str) -> Option<&'a RawValue> {
        field_ci(self.object, key).filter(|raw| raw.get() != "null")
    }

    fn get<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, StatusError> {
        let read =
            |raw| de_lenient_raw(raw).map_err(|source| StatusError::Key { entry: self.entry, key, source });
        self.raw(key).map(read).transpose()
    }
}
