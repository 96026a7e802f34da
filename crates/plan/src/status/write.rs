//! The text of the status annotation.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::Entry;
use crate::netconf::SpecMode;

/// The annotation's text, byte for byte in upstream's layout: objects indented by four spaces, joined by a
/// comma. Compat writes `dns` always and `default` always; strict leaves empty `dns` out.
pub fn text(entries: &[Entry], mode: SpecMode) -> String {
    let objects: Vec<String> = entries.iter().map(|entry| object(entry, mode)).collect();
    format!("[{}]", objects.join(","))
}

fn object(entry: &Entry, mode: SpecMode) -> String {
    let compat = mode == SpecMode::Compat;
    let mut keys = Keys(Vec::new());
    keys.push("name", &entry.name);
    keys.push_if(!entry.interface.is_empty(), "interface", &entry.interface);
    keys.push_if(!entry.ips.is_empty(), "ips", &entry.ips);
    keys.push_if(!entry.mac.is_empty(), "mac", &entry.mac);
    keys.push_if(entry.mtu != 0, "mtu", &entry.mtu);
    keys.push("default", &entry.default);
    keys.push_if(compat || !entry.dns.is_empty(), "dns", &entry.dns);
    if let Some(info) = &entry.device_info {
        keys.push("device-info", info);
    }
    keys.push_if(!entry.gateway.is_empty(), "gateway", &entry.gateway);
    if let Some(gateways) = &entry.default_route {
        keys.push("default-route", gateways);
    }
    for (key, value) in &entry.other {
        keys.push(key, value);
    }
    keys.text()
}

/// An object whose keys keep their order.
struct Keys(Vec<(String, Box<RawValue>)>);

impl Keys {
    fn push(&mut self, key: &str, value: &(impl Serialize + ?Sized)) {
        if let Ok(raw) = to_raw_value(value) {
            self.0.push((key.to_owned(), raw));
        }
    }

    fn push_if(&mut self, holds: bool, key: &str, value: &(impl Serialize + ?Sized)) {
        if holds {
            self.push(key, value);
        }
    }

    fn compact(&self) -> String {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(key, value)| format!("{}:{}", serde_json::Value::from(key.as_str()), value.get()))
            .collect();
        format!("{{{}}}", pairs.join(","))
    }

    fn text(&self) -> String {
        let indented = libcni::json::indent(self.compact().as_bytes());
        escape(&String::from_utf8_lossy(&indented))
    }
}

/// Go escapes these five characters, which can only stand inside of strings.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped
}
