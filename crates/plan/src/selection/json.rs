//! The JSON form: a list of objects.

use libcni::Object;
use libcni::json::{de_lenient_raw, field_ci, kind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Annotation, Bandwidth, PortMapping, Selection, malformed, too_many, values};
use crate::address;
use crate::error::{PlanError, excerpt};
use crate::netconf::SpecMode;

const PREFIX: &str =
    "parsePodNetworkAnnotation: failed to parse pod Network Attachment Selection Annotation JSON format: ";

pub(super) fn parse(
    text: &str,
    annotation: Annotation,
    namespace: &str,
    mode: SpecMode,
) -> Result<Vec<Selection>, PlanError> {
    let wrong = |what: String| {
        malformed(format!(
            "{PREFIX}{what}; annotation {annotation} must be a list of objects, such as [{{\"name\": \"net1\"}}], or \
             a list of names, such as net1,net2"
        ))
    };
    let document: &RawValue = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    if kind(document) != "array" {
        return Err(wrong(format!("found {} in place of the list", kind(document))));
    }
    let items: Vec<&RawValue> = serde_json::from_str(document.get()).map_err(|e| wrong(e.to_string()))?;
    too_many(items.len(), annotation)?;
    items
        .into_iter()
        .enumerate()
        .map(|(at, raw)| parse_item(raw, Selection::new(annotation, at + 1, namespace), mode))
        .collect()
}

fn parse_item(raw: &RawValue, selection: Selection, mode: SpecMode) -> Result<Selection, PlanError> {
    let Selection { item, annotation, .. } = selection;
    if kind(raw) != "object" {
        return Err(malformed(format!(
            "{PREFIX}item {item} of annotation {annotation} is {} ({}) where an object is needed: write {{\"name\": \
             \"net1\"}}",
            kind(raw),
            excerpt(raw.get())
        )));
    }
    let keys = Object::parse(raw.get().as_bytes())
        .map_err(|e| malformed(format!("{PREFIX}item {item} of annotation {annotation}: {e}")))?;
    let mut item = Item { keys, selection };
    item.names()?;
    item.addresses()?;
    item.port_mappings()?;
    item.bandwidth(mode)?;
    item.routes()?;
    item.selection.device_id = item.text("deviceID")?;
    item.selection.cni_args = item.cni_args()?;
    item.selection.ipam_claim = item.text("ipam-claim-reference")?;
    if item.selection.ipam_claim.is_some() && !item.selection.ips.is_empty() {
        // N-67.
        return Err(item.wrong(
            PREFIX,
            "\"ips\" and \"ipam-claim-reference\" exclude each other",
            "keep one of them",
        ));
    }
    Ok(item.selection)
}

/// An item while it is read; its names come first, so that every later error can name it.
struct Item {
    keys: Object,
    selection: Selection,
}

impl Item {
    fn wrong(&self, prefix: &str, what: &str, help: &str) -> PlanError {
        malformed(format!("{prefix}{what}; {}: {help}", self.selection.label()))
    }

    fn get<T: DeserializeOwned>(&self, key: &str, should: &str) -> Result<Option<T>, PlanError> {
        let Some(raw) = field_ci(&self.keys, key).filter(|raw| raw.get() != "null") else { return Ok(None) };
        de_lenient_raw(raw).map(Some).map_err(|e| {
            self.wrong(
                PREFIX,
                &format!("key {key:?}: {e}"),
                &format!("{key:?} must be {should}, found {}", excerpt(raw.get())),
            )
        })
    }

    fn text(&self, key: &str) -> Result<Option<String>, PlanError> {
        Ok(self.get::<String>(key, "a string")?.filter(|text| !text.is_empty()))
    }

    fn names(&mut self) -> Result<(), PlanError> {
        self.selection.name = self.text("name")?.unwrap_or_default();
        if let Some(namespace) = self.text("namespace")? {
            self.selection.namespace = namespace;
        }
        let Selection { name, namespace, .. } = &self.selection;
        if name.is_empty() {
            return Err(values::no_name(
                &self.selection,
                "add \"name\", the name of a NetworkAttachmentDefinition",
            ));
        }
        // What goes into the path of an API call must not be able to leave it.
        if !values::is_object_name(name) {
            let help = "use what Kubernetes allows: lower case letters, digits, - and dots, 253 at most";
            return Err(self.wrong(PREFIX, &format!("invalid network name {:?}", excerpt(name)), help));
        }
        if namespace.len() > 63 || !values::is_label(namespace) {
            let help = "use what Kubernetes allows: lower case letters, digits and -, 63 at most";
            return Err(self.wrong(PREFIX, &format!("invalid namespace {:?}", excerpt(namespace)), help));
        }
        let mut interface = self.text("interface")?;
        let deprecated = self.text("interfaceRequest")?;
        if interface.is_none() {
            interface = deprecated;
        }
        if let Some(interface) = &interface {
            values::check_interface(interface).map_err(|help| {
                self.wrong("parsePodNetworkAnnotation: ", &values::interface_text(interface), help)
            })?;
        }
        self.selection.interface = interface;
        Ok(())
    }

    fn addresses(&mut self) -> Result<(), PlanError> {
        self.selection.ips = self.ips()?;
        self.selection.mac = self.text("mac")?;
        if let Some(mac) = self.selection.mac.as_deref().filter(|mac| !values::has_octets(mac, 6)) {
            let what = format!("failed to mac: address {}: invalid MAC address", excerpt(mac));
            let help = "\"mac\" must be six octets, such as 02:00:00:00:00:01";
            return Err(self.wrong("parsePodNetworkAnnotation: ", &what, help));
        }
        self.selection.infiniband_guid = self.text("infiniband-guid")?;
        if let Some(guid) =
            self.selection.infiniband_guid.as_deref().filter(|guid| !values::has_octets(guid, 8))
        {
            let what =
                format!("failed to validate infiniband GUID: address {}: invalid MAC address", excerpt(guid));
            let help = "\"infiniband-guid\" must be eight octets, such as 24:8a:07:03:00:8d:ae:2e";
            return Err(self.wrong("parsePodNetworkAnnotation: ", &what, help));
        }
        Ok(())
    }

    fn ips(&self) -> Result<Vec<String>, PlanError> {
        const SHOULD: &str = "a list of addresses, such as [\"10.1.0.5/24\"]";
        let Some(ips) = self.get::<Vec<String>>("ips", SHOULD)? else { return Ok(Vec::new()) };
        if ips.is_empty() {
            return Err(self.wrong(
                PREFIX,
                "\"ips\" is empty",
                "name at least one address, or remove the key",
            ));
        }
        for ip in &ips {
            // Upstream's errors about addresses have no prefix at all.
            let shown = excerpt(ip);
            if ip.contains('/') && !address::is_cidr(ip) {
                let what = format!("failed to parse CIDR {shown:?}: invalid CIDR address: {shown}");
                return Err(self.wrong(
                    "",
                    &what,
                    "write an address with its prefix length, such as 10.1.0.5/24",
                ));
            }
            if !ip.contains('/') && address::ip(ip).is_none() {
                let what = format!("failed to parse IP address {shown:?}");
                return Err(self.wrong("", &what, "write an address, such as 10.1.0.5 or fd00::5"));
            }
        }
        Ok(ips)
    }

    fn port_mappings(&mut self) -> Result<(), PlanError> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Given {
            host_port: Option<i64>,
            container_port: Option<i64>,
            protocol: String,
            #[serde(rename = "hostIP")]
            host_ip: String,
        }
        const SHOULD: &str =
            "a list such as [{\"hostPort\": 8080, \"containerPort\": 80, \"protocol\": \"tcp\"}]";
        let Some(given) = self.get::<Vec<Given>>("portMappings", SHOULD)? else { return Ok(()) };
        if given.is_empty() {
            return Err(self.wrong(
                PREFIX,
                "\"portMappings\" is empty",
                "name at least one mapping, or remove the key",
            ));
        }
        for (at, given) in given.into_iter().enumerate() {
            let at = at + 1;
            let port = |key: &str, value: Option<i64>| match value.map(u16::try_from) {
                Some(Ok(port @ 1..)) => Ok(port),
                Some(_) => Err(self.wrong(
                    PREFIX,
                    &format!("\"{key}\" of port mapping {at} is {}", value.unwrap_or_default()),
                    "it must be a port from 1 to 65535",
                )),
                None => Err(self.wrong(
                    PREFIX,
                    &format!("port mapping {at} has no \"{key}\""),
                    "add it, a port from 1 to 65535",
                )),
            };
            let protocol = values::protocol(&given.protocol).ok_or_else(|| {
                let what = format!("\"protocol\" of port mapping {at} is {:?}", excerpt(&given.protocol));
                self.wrong(PREFIX, &what, "it must be tcp, udp or sctp; tcp is meant when it is left out")
            })?;
            if !given.host_ip.is_empty() && address::ip(&given.host_ip).is_none() {
                let what = format!("\"hostIP\" of port mapping {at} is {:?}", excerpt(&given.host_ip));
                return Err(self.wrong(PREFIX, &what, "it must be an address of the host, or left out"));
            }
            let (host_port, container_port) =
                (port("hostPort", given.host_port)?, port("containerPort", given.container_port)?);
            let mapping = PortMapping { host_port, container_port, protocol, host_ip: given.host_ip };
            self.selection.port_mappings.push(mapping);
        }
        Ok(())
    }

    fn bandwidth(&mut self, mode: SpecMode) -> Result<(), PlanError> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Given {
            ingress_rate: Option<i64>,
            ingress_burst: Option<i64>,
            egress_rate: Option<i64>,
            egress_burst: Option<i64>,
        }
        const SHOULD: &str = "an object such as {\"ingressRate\": 1000000, \"ingressBurst\": 1000000}";
        let Some(given) = self.get::<Given>("bandwidth", SHOULD)? else { return Ok(()) };
        let limit = |key: &str, value: Option<i64>| match value {
            None => Ok(0),
            // Go's type of this object leaves nothing out: tools that are written with it fill in zeros.
            Some(0) if mode == SpecMode::Compat => Ok(0),
            Some(bits @ 1..) => Ok(bits.unsigned_abs()),
            Some(bits) => Err(self.wrong(
                PREFIX,
                &format!("\"{key}\" of \"bandwidth\" is {bits}"),
                "it must be a number of bits above 0; leave it out for no limit",
            )),
        };
        let bandwidth = Bandwidth {
            ingress_rate: limit("ingressRate", given.ingress_rate)?,
            ingress_burst: limit("ingressBurst", given.ingress_burst)?,
            egress_rate: limit("egressRate", given.egress_rate)?,
            egress_burst: limit("egressBurst", given.egress_burst)?,
        };
        if bandwidth == Bandwidth::default() {
            let help = "give at least one of ingressRate, ingressBurst, egressRate and egressBurst, or remove the key";
            return Err(self.wrong(PREFIX, "\"bandwidth\" limits nothing", help));
        }
        for (way, rate, burst) in [
            ("ingress", bandwidth.ingress_rate, bandwidth.ingress_burst),
            ("egress", bandwidth.egress_rate, bandwidth.egress_burst),
        ] {
            if burst > 0 && rate == 0 {
                let what = format!("\"bandwidth\" has {way}Burst without {way}Rate");
                return Err(self.wrong(PREFIX, &what, "add the rate: a burst means nothing without it"));
            }
        }
        self.selection.bandwidth = Some(bandwidth);
        Ok(())
    }

    fn routes(&mut self) -> Result<(), PlanError> {
        const SHOULD: &str = "a list of gateways, such as [\"10.1.0.1\"]";
        let Some(given) = self.get::<Vec<String>>("default-route", SHOULD)? else { return Ok(()) };
        let mut gateways = Vec::new();
        for text in given {
            let Some(gateway) = address::ip(&text) else {
                let what = format!("invalid IP address: {}", excerpt(&text));
                return Err(self.wrong(
                    PREFIX,
                    &what,
                    "\"default-route\" must list gateway addresses without prefix length",
                ));
            };
            if !gateways.contains(&gateway) {
                gateways.push(gateway);
            }
        }
        self.selection.default_route = Some(gateways);
        Ok(())
    }

    fn cni_args(&self) -> Result<Option<Object>, PlanError> {
        let Some(raw) = field_ci(&self.keys, "cni-args").filter(|raw| raw.get() != "null") else {
            return Ok(None);
        };
        Object::parse(raw.get().as_bytes()).map(Some).map_err(|e| {
            let help = format!("\"cni-args\" must be an object, found {}", excerpt(raw.get()));
            self.wrong(PREFIX, &format!("key \"cni-args\": {e}"), &help)
        })
    }
}
