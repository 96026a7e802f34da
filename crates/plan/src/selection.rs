//! The annotations by which a pod selects networks: both forms, every key, every check of a value.

mod json;
mod short;
pub(crate) mod values;

use std::fmt;
use std::net::IpAddr;

use libcni::Object;
use serde::Serialize;

use crate::error::{PlanError, excerpt};
use crate::facts::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION};
use crate::netconf::SpecMode;

/// More items than any pod has, and few enough that a hostile annotation stays cheap.
const MOST_ITEMS: usize = 256;

/// Which annotation is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Annotation {
    /// The additional networks.
    Networks,
    /// The replacement of the default network.
    DefaultNetwork,
}

impl Annotation {
    /// Its key.
    pub fn key(self) -> &'static str {
        match self {
            Annotation::Networks => NETWORKS_ANNOTATION,
            Annotation::DefaultNetwork => DEFAULT_NETWORK_ANNOTATION,
        }
    }
}

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// One item of an annotation, checked: one attachment (N-22, N-68).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The annotation that it stands in.
    pub annotation: Annotation,
    /// Its place there, from 1.
    pub item: usize,
    /// The NAD's namespace: the item's, else the annotation's default (N-26).
    pub namespace: String,
    /// The NAD's name (N-25).
    pub name: String,
    /// The name that the interface is to have (N-37).
    pub interface: Option<String>,
    /// Addresses, as they are written; none or at least one (N-27).
    pub ips: Vec<String>,
    /// Hardware address, as it is written.
    pub mac: Option<String>,
    /// InfiniBand GUID, as it is written.
    pub infiniband_guid: Option<String>,
    /// Port mappings; none or at least one (N-46).
    pub port_mappings: Vec<PortMapping>,
    /// Bandwidth limits.
    pub bandwidth: Option<Bandwidth>,
    /// A device that the pod's author picked himself.
    pub device_id: Option<String>,
    /// What goes into `args.cni` of the network's plugins.
    pub cni_args: Option<Object>,
    /// Gateways of default routes over this attachment, in order of preference; may be given and empty (N-58).
    pub default_route: Option<Vec<IpAddr>>,
    /// Name of the IPAMClaim; read by the plugin from the pod, not by us (N-66).
    pub ipam_claim: Option<String>,
}

/// A port of the host that leads to one of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port on the host.
    pub host_port: u16,
    /// Port in the pod.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The host's address that the mapping is restricted to; empty for all.
    #[serde(rename = "hostIP", skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
}

/// Bandwidth limits in bits and bits per second; 0 where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bandwidth {
    /// Rate into the pod.
    pub ingress_rate: u64,
    /// Burst into the pod.
    pub ingress_burst: u64,
    /// Rate out of the pod.
    pub egress_rate: u64,
    /// Burst out of the pod.
    pub egress_burst: u64,
}

impl Selection {
    fn new(annotation: Annotation, item: usize, namespace: &str) -> Selection {
        Selection {
            annotation,
            item,
            namespace: namespace.to_owned(),
            name: String::new(),
            interface: None,
            ips: Vec::new(),
            mac: None,
            infiniband_guid: None,
            port_mappings: Vec::new(),
            bandwidth: None,
            device_id: None,
            cni_args: None,
            default_route: None,
            ipam_claim: None,
        }
    }

    /// How messages call this item.
    pub fn label(&self) -> String {
        format!("item {} (\"{}\") of annotation {}", self.item, excerpt(&self.full_name()), self.annotation)
    }

    /// `namespace/name`, the name of the attachment in the status and in events.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Reads an annotation as compatible mode does, which takes all that strict mode takes. `default_namespace` holds for items that
/// name none. The text of an error says which item is wrong, why, and what to write.
pub fn parse(
    text: &str,
    annotation: Annotation,
    default_namespace: &str,
) -> Result<Vec<Selection>, PlanError> {
    parse_in(SpecMode::Compat, text, annotation, default_namespace)
}

/// [`parse()`] in either mode.
pub(crate) fn parse_in(
    mode: SpecMode,
    text: &str,
    annotation: Annotation,
    default_namespace: &str,
) -> Result<Vec<Selection>, PlanError> {
    if text.is_empty() {
        return match annotation {
            Annotation::Networks => Ok(Vec::new()),
            Annotation::DefaultNetwork => Err(malformed(format!(
                "parsePodNetworkAnnotation: pod annotation does not have \"network\" as key; annotation \
                 {annotation} is empty: name one network in it, or remove it"
            ))),
        };
    }
    let items = if text.contains(['[', '{', '"']) {
        json::parse(text, annotation, default_namespace, mode)?
    } else {
        short::parse(text, annotation, default_namespace)?
    };
    one_default_route(&items)?;
    Ok(items)
}

fn too_many(count: usize, annotation: Annotation) -> Result<(), PlanError> {
    if count <= MOST_ITEMS {
        return Ok(());
    }
    Err(malformed(format!(
        "parsePodNetworkAnnotation: annotation {annotation} selects {count} networks; at most {MOST_ITEMS} are \
         possible"
    )))
}

/// Only one item may carry the key, be it empty (N-61, N-62). Several gateways in it are legal (N-63).
fn one_default_route(items: &[Selection]) -> Result<(), PlanError> {
    let mut carriers = items.iter().filter(|item| item.default_route.is_some());
    let (Some(first), Some(second)) = (carriers.next(), carriers.next()) else { return Ok(()) };
    Err(malformed(two_default_routes(&first.label(), &second.label())))
}

pub(crate) fn two_default_routes(first: &str, second: &str) -> String {
    format!(
        "multus does not support ECMP for default-route; both {first} and {second} carry \"default-route\": keep \
         it on one of them, with all gateways in its list"
    )
}

pub(crate) fn malformed(text: String) -> PlanError {
    PlanError::Annotation { text }
}

#[cfg(test)]
mod tests;
