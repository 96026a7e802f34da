//! Reading results of each shape.

use std::mem;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CniResult, Dns, Interface, Ip, Label, ResultError, Route, Shape};
use crate::json::{Object, de_lenient_raw, field_ci};
use crate::net;
use crate::version::OLDEST;

/// The keys of all shapes together; those of another shape are unknown keys.
struct Keys<'a> {
    interfaces: Option<&'a RawValue>,
    ips: Option<&'a RawValue>,
    routes: Option<&'a RawValue>,
    ip4: Option<&'a RawValue>,
    ip6: Option<&'a RawValue>,
    dns: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawIp {
    version: String,
    address: String,
    gateway: String,
    interface: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawRoute {
    dst: String,
    gw: String,
    mtu: i64,
    advmss: i64,
    priority: i64,
    table: Option<i64>,
    scope: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawOldIp {
    ip: Option<String>,
    gateway: String,
    routes: Vec<RawRoute>,
}

pub(super) fn result(bytes: &[u8], fallback_version: &str) -> Result<CniResult, ResultError> {
    let null = bytes.trim_ascii() == b"null";
    let mut object =
        if null { Object::default() } else { Object::parse(bytes).map_err(ResultError::Json)? };
    let stated: Option<String> =
        object.get_as("cniVersion").ok().flatten().filter(|v: &String| !v.is_empty());
    let (version, bytes) = match stated {
        Some(version) => (version, bytes.to_vec()),
        None => {
            let version = if fallback_version.is_empty() { OLDEST } else { fallback_version };
            object.set("cniVersion", version);
            (version.to_owned(), object.to_bytes())
        }
    };
    let Some(shape) = Shape::of(&version) else {
        return Err(ResultError::Version(version.chars().take(64).collect()));
    };
    let mut result = CniResult { version, shape, bytes, ..CniResult::empty() };
    fill(&mut result, &object)?;
    Ok(result)
}

fn fill(result: &mut CniResult, object: &Object) -> Result<(), ResultError> {
    let keys = keys(object);
    result.dns = typed::<Dns>(keys.dns)?;
    if result.shape == Shape::Old {
        for (raw, label) in [(keys.ip4, Label::V4), (keys.ip6, Label::V6)] {
            let Some(old) = typed::<Option<RawOldIp>>(raw)? else { continue };
            // Old plugins print an empty object for a family of which they have no address.
            let Some(ip) = &old.ip else { continue };
            result.ips.push(Ip { address: cidr(ip)?, gateway: gateway(&old.gateway)?, interface: None });
            result.labels.push(label);
            for raw in old.routes {
                result.routes.push(route(raw)?);
            }
        }
        return Ok(());
    }
    result.interfaces = items::<Interface>(keys.interfaces, "interface")?;
    if result.shape == Shape::Middle {
        // Before 1.0.0 these keys have no meaning (C-79), whatever a plugin writes.
        for interface in &mut result.interfaces {
            *interface = Interface {
                mtu: 0,
                socket_path: String::new(),
                pci_id: String::new(),
                ..mem::take(interface)
            };
        }
    }
    for raw in items::<RawIp>(keys.ips, "address")? {
        let address = cidr(&raw.address)?;
        result.labels.push(match (result.shape, raw.version.as_str()) {
            (Shape::New, _) => Label::of(&address),
            (_, "4") => Label::V4,
            (_, "6") => Label::V6,
            _ => Label::None,
        });
        result.ips.push(Ip { address, gateway: gateway(&raw.gateway)?, interface: raw.interface });
    }
    for raw in items::<RawRoute>(keys.routes, "route")? {
        result.routes.push(route(raw)?);
    }
    Ok(())
}

fn keys(object: &Object) -> Keys<'_> {
    Keys {
        interfaces: field_ci(object, "interfaces"),
        ips: field_ci(object, "ips"),
        routes: field_ci(object, "routes"),
        ip4: field_ci(object, "ip4"),
        ip6: field_ci(object, "ip6"),
        dns: field_ci(object, "dns"),
    }
}

fn typed<T: serde::de::DeserializeOwned>(raw: Option<&RawValue>) -> Result<T, ResultError> {
    de_lenient_raw(raw.unwrap_or(RawValue::NULL)).map_err(ResultError::Json)
}

fn items<T: serde::de::DeserializeOwned>(raw: Option<&RawValue>, what: &str) -> Result<Vec<T>, ResultError> {
    let items: Vec<Option<T>> = typed(raw)?;
    let missing = || ResultError::Value(format!("an {what} is null"));
    items.into_iter().map(|item| item.ok_or_else(missing)).collect()
}

fn route(raw: RawRoute) -> Result<Route, ResultError> {
    let stated = |number: i64| (number != 0).then_some(number);
    Ok(Route {
        dst: cidr(&raw.dst)?,
        gw: gateway(&raw.gw)?,
        mtu: stated(raw.mtu),
        advmss: stated(raw.advmss),
        priority: stated(raw.priority),
        table: raw.table,
        scope: raw.scope,
    })
}

fn cidr(text: &str) -> Result<IpNet, ResultError> {
    let shown = || text.chars().take(64).collect::<String>();
    net::cidr(text).ok_or_else(|| ResultError::Value(format!("invalid CIDR address: {}", shown())))
}

fn gateway(text: &str) -> Result<Option<IpAddr>, ResultError> {
    if text.is_empty() {
        return Ok(None);
    }
    let shown = || text.chars().take(64).collect::<String>();
    let invalid = || ResultError::Value(format!("invalid IP address: {}", shown()));
    net::address(text).map(Some).ok_or_else(invalid)
}
