//! The result of an ADD, in every version of CNI, and the conversions between them.

mod read;
mod write;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::json::Object;
use crate::version::{OLDEST, Version};

/// Why a text is no result, or cannot become one of another version.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// It is no JSON object, or a key has a wrong type.
    #[error("failed to unmarshal raw result: {0}")]
    Json(#[source] serde_json::Error),
    /// A version that CNI does not have, or not yet.
    #[error("unsupported CNI result version {0:?}")]
    Version(String),
    /// An address, gateway or route that is none.
    #[error("invalid CNI result: {0}")]
    Value(String),
    /// There is no such conversion.
    #[error("no converter for CNI result version {from} to {to}")]
    NoConverter {
        /// The result's version.
        from: String,
        /// The version asked for.
        to: String,
    },
    /// CNI 0.1.0 and 0.2.0 need an address (C-77).
    #[error("cannot convert: no valid IP addresses")]
    NoAddress,
    /// The plugin printed more than a result can be.
    #[error("the result is longer than {0} bytes")]
    TooLong(usize),
}

/// An interface that a plugin made or uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its MTU; 0 when not stated. From 1.0.0 on.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: i64,
    /// The network namespace it is in; empty for the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// The socket of a vhost-user interface. From 1.0.0 on.
    #[serde(rename = "socketPath", skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// The PCI device behind it. From 1.0.0 on.
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// An address that a plugin assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// Address and prefix length, host bits kept.
    pub address: IpNet,
    /// The default gateway of its subnet.
    pub gateway: Option<IpAddr>,
    /// Index into the interfaces.
    pub interface: Option<i64>,
}

/// A route that a plugin set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub dst: IpNet,
    /// The next hop; none means the default gateway of the address.
    pub gw: Option<IpAddr>,
    /// MTU of the path.
    pub mtu: Option<i64>,
    /// Advertised maximal segment size.
    pub advmss: Option<i64>,
    /// Metric.
    pub priority: Option<i64>,
    /// Routing table.
    pub table: Option<i64>,
    /// Scope.
    pub scope: Option<i64>,
}

impl Route {
    /// A route with nothing but a destination and a next hop.
    pub fn new(dst: IpNet, gw: Option<IpAddr>) -> Route {
        Route { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }
}

/// What a plugin knows about name resolution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Resolver options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }
}

/// Which address family a result up to 0.4.0 says an address has. It decides what a conversion to 0.2.0
/// keeps, even where it contradicts the address (C-77, C-78).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    V4,
    V6,
    /// Missing or nonsense.
    None,
}

impl Label {
    fn of(address: &IpNet) -> Label {
        if address.addr().is_ipv4() { Label::V4 } else { Label::V6 }
    }
}

/// Three shapes in which results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// 0.1.0 and 0.2.0: `ip4`, `ip6`.
    Old,
    /// 0.3.0 to 0.4.0: `ips` with `version`.
    Middle,
    /// 1.0.0 and 1.1.0.
    New,
}

impl Shape {
    fn of(version: &str) -> Option<Shape> {
        match version {
            "0.1.0" | "0.2.0" => Some(Shape::Old),
            "0.3.0" | "0.3.1" | "0.4.0" => Some(Shape::Middle),
            "1.0.0" | "1.1.0" => Some(Shape::New),
            _ => None,
        }
    }
}

/// A result: the bytes that the plugin printed, and what they mean in the shape of CNI 1.1.0.
#[derive(Debug, Clone)]
pub struct CniResult {
    version: String,
    shape: Shape,
    bytes: Vec<u8>,
    interfaces: Vec<Interface>,
    ips: Vec<Ip>,
    labels: Vec<Label>,
    routes: Vec<Route>,
    dns: Dns,
}

impl CniResult {
    /// Reads a result. Without a version of its own it is of `fallback_version`, the configuration's; empty
    /// everywhere is 0.1.0 (C-76). `null` is an empty result.
    pub fn parse(bytes: &[u8], fallback_version: &str) -> Result<CniResult, ResultError> {
        read::result(bytes, fallback_version)
    }

    /// A result of version 1.1.0 that says nothing.
    pub fn empty() -> CniResult {
        CniResult {
            version: Version::V1_1_0.as_str().to_owned(),
            shape: Shape::New,
            bytes: br#"{"cniVersion":"1.1.0"}"#.to_vec(),
            interfaces: Vec::new(),
            ips: Vec::new(),
            labels: Vec::new(),
            routes: Vec::new(),
            dns: Dns::default(),
        }
    }

    /// The version in which it is written.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The JSON text, unknown keys and all; it always states its version.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The interfaces; none before 0.3.0.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The addresses.
    pub fn ips(&self) -> &[Ip] {
        &self.ips
    }

    /// The routes.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Name resolution.
    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// The text of this result in another version, converted as Go's libcni converts (C-76 to C-80). In the
    /// same version these are the original bytes, unknown keys included; between 1.0.0 and 1.1.0, and between
    /// 0.1.0 and 0.2.0, only the version changes.
    pub fn as_version(&self, version: &str) -> Result<Vec<u8>, ResultError> {
        let version = if version.is_empty() { OLDEST } else { version };
        if version == self.version {
            return Ok(self.bytes.clone());
        }
        let Some(shape) = Shape::of(version) else {
            let (from, to) = (self.version.clone(), version.chars().take(64).collect());
            return Err(ResultError::NoConverter { from, to });
        };
        if shape == self.shape && shape != Shape::Middle {
            let mut object = self.object()?;
            object.remove_ci("cniVersion");
            object.set("cniVersion", version);
            return Ok(object.to_bytes());
        }
        write::result(self, shape, version)
    }

    /// This result in another version; see [`CniResult::as_version`].
    pub fn converted(&self, version: &str) -> Result<CniResult, ResultError> {
        CniResult::parse(&self.as_version(version)?, version)
    }

    /// The same result with other routes. Version and unknown keys stay. A result of 0.1.0 or 0.2.0 loses
    /// routes of a family of which it has no address: it has no place for them.
    pub fn with_routes(&self, routes: Vec<Route>) -> CniResult {
        let mut result = self.clone();
        if let Ok(mut object) = self.object() {
            write::replace_routes(self.shape, &mut object, &routes);
            result.bytes = object.to_bytes();
        }
        result.routes = routes;
        if let Ok(read) = CniResult::parse(&result.bytes, &result.version) {
            // What was written is what holds, in the order in which it was written.
            result.routes = read.routes;
        }
        result
    }

    fn object(&self) -> Result<Object, ResultError> {
        Object::parse(&self.bytes).map_err(ResultError::Json)
    }
}

#[cfg(test)]
mod tests;
