//! Writing results of each shape.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{CniResult, Interface, Ip, Label, ResultError, Route, Shape};
use crate::json::{Object, field_ci};

pub(super) fn result(from: &CniResult, shape: Shape, version: &str) -> Result<Vec<u8>, ResultError> {
    let mut out = Map::new();
    out.insert("cniVersion".to_owned(), version.into());
    // Go omits an empty `dns` only from 1.0.0 on (C-80).
    if shape != Shape::New || !from.dns.is_empty() {
        out.insert("dns".to_owned(), json!(from.dns));
    }
    match shape {
        Shape::Old => old(from, &mut out)?,
        Shape::Middle | Shape::New => lists(from, shape, &mut out),
    }
    Ok(Value::Object(out).to_string().into_bytes())
}

fn lists(from: &CniResult, shape: Shape, out: &mut Map<String, Value>) {
    let interface = |interface: &Interface| match shape {
        Shape::New => json!(interface),
        // 0.4.0 and older know nothing of MTU, socket and PCI device (C-79).
        _ => json!(Interface {
            mtu: 0,
            socket_path: String::new(),
            pci_id: String::new(),
            ..interface.clone()
        }),
    };
    let same_shape = shape == from.shape;
    let ips = from.ips.iter().zip(&from.labels).map(|(ip, label)| {
        // The way down computes the family from the address; between 0.3.0 and 0.4.0 it stays as stated.
        let label = if same_shape || from.shape == Shape::Old { *label } else { Label::of(&ip.address) };
        address(ip, shape, label)
    });
    let lists = [
        ("interfaces", from.interfaces.iter().map(interface).collect()),
        ("ips", ips.collect::<Vec<_>>()),
        ("routes", from.routes.iter().map(route).collect()),
    ];
    for (key, list) in lists {
        if !list.is_empty() {
            out.insert(key.to_owned(), Value::Array(list));
        }
    }
}

fn old(from: &CniResult, out: &mut Map<String, Value>) -> Result<(), ResultError> {
    for (key, label) in [("ip4", Label::V4), ("ip6", Label::V6)] {
        // Only the first address of each family has a place (C-77).
        let first = from.ips.iter().zip(&from.labels).find(|(_, stated)| **stated == label);
        let Some((ip, _)) = first else { continue };
        let mut entry = Map::new();
        entry.insert("ip".to_owned(), ip.address.to_string().into());
        if let Some(gateway) = ip.gateway {
            entry.insert("gateway".to_owned(), gateway.to_string().into());
        }
        let routes = old_routes(&from.routes, label);
        if !routes.is_empty() {
            entry.insert("routes".to_owned(), Value::Array(routes));
        }
        out.insert(key.to_owned(), Value::Object(entry));
    }
    if out.contains_key("ip4") || out.contains_key("ip6") { Ok(()) } else { Err(ResultError::NoAddress) }
}

/// The routes of one family, with destination and next hop only.
fn old_routes(routes: &[Route], label: Label) -> Vec<Value> {
    let of_family = routes.iter().filter(|route| Label::of(&route.dst) == label);
    of_family.map(|full| route(&Route::new(full.dst, full.gw))).collect()
}

fn address(ip: &Ip, shape: Shape, label: Label) -> Value {
    let mut out = Map::new();
    out.insert("address".to_owned(), ip.address.to_string().into());
    if let Some(gateway) = ip.gateway {
        out.insert("gateway".to_owned(), gateway.to_string().into());
    }
    if let Some(index) = ip.interface {
        out.insert("interface".to_owned(), index.into());
    }
    if shape == Shape::Middle {
        let version = match label {
            Label::V4 => "4",
            Label::V6 => "6",
            Label::None => "",
        };
        out.insert("version".to_owned(), version.into());
    }
    Value::Object(out)
}

pub(super) fn route(route: &Route) -> Value {
    let mut out = Map::new();
    out.insert("dst".to_owned(), route.dst.to_string().into());
    if let Some(gw) = route.gw {
        out.insert("gw".to_owned(), gw.to_string().into());
    }
    let numbers = [
        ("mtu", route.mtu.filter(|n| *n != 0)),
        ("advmss", route.advmss.filter(|n| *n != 0)),
        ("priority", route.priority.filter(|n| *n != 0)),
        ("table", route.table),
        ("scope", route.scope),
    ];
    for (key, number) in numbers {
        if let Some(number) = number {
            out.insert(key.to_owned(), number.into());
        }
    }
    Value::Object(out)
}

/// Puts other routes into the text of a result.
pub(super) fn replace_routes(shape: Shape, object: &mut Object, routes: &[Route]) {
    if shape != Shape::Old {
        set_or_remove(object, "routes", routes.iter().map(route).collect());
        return;
    }
    for (key, label) in [("ip4", Label::V4), ("ip6", Label::V6)] {
        let entry = field_ci(object, key).map(RawValue::get).map(str::as_bytes).map(Object::parse);
        let Some(Ok(mut entry)) = entry else { continue };
        set_or_remove(&mut entry, "routes", old_routes(routes, label));
        object.remove_ci(key);
        object.set(key, &entry);
    }
}

fn set_or_remove(object: &mut Object, key: &str, values: Vec<Value>) {
    object.remove_ci(key);
    if !values.is_empty() {
        object.set(key, &values);
    }
}
