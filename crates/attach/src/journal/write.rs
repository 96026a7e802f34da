//! A journal's text, as upstream's `json.Marshal` would write it, with our key at the end of each element.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libcni::{Form, Network, Object};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Element, OWN_KEY, Own, Requests, State};

/// The bytes of a journal and where the states stand in them.
pub(super) struct Text {
    pub(super) bytes: Vec<u8>,
    pub(super) states: Vec<u64>,
}

pub(super) fn journal(elements: &[Element]) -> Text {
    let mut text = Text { bytes: vec![b'['], states: Vec::new() };
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            text.bytes.push(b',');
        }
        append(&mut text, element);
    }
    text.bytes.push(b']');
    text
}

fn append(text: &mut Text, element: &Element) {
    let upstream = Upstream {
        conf: conf(&element.network),
        conf_list: conf_list(&element.network),
        config_list: ConfigList::default(),
        name: &element.name,
        requests: &element.requests,
        bytes: STANDARD.encode(element.network.to_bytes()),
    };
    // Structs of strings and raw JSON serialise into memory without a way to fail.
    let upstream = serde_json::to_vec(&upstream).unwrap_or_default();
    let default = Own::default();
    let own = element.own.as_ref().unwrap_or(&default);
    let state = if element.own.is_some() { own.state } else { State::Added };
    let rest = serde_json::to_vec(own).unwrap_or_default();
    text.bytes.extend_from_slice(upstream.strip_suffix(b"}").unwrap_or(&upstream));
    text.bytes.extend_from_slice(format!(",\"{OWN_KEY}\":{{\"state\":").as_bytes());
    text.states.push(text.bytes.len() as u64);
    text.bytes.extend_from_slice(state.padded().as_bytes());
    text.bytes.push(b',');
    text.bytes.extend_from_slice(rest.strip_prefix(b"{").unwrap_or(&rest));
    text.bytes.push(b'}');
}

#[derive(Serialize)]
struct Upstream<'a> {
    #[serde(rename = "Conf")]
    conf: Typed<'a>,
    #[serde(rename = "ConfList")]
    conf_list: TypedList<'a>,
    #[serde(rename = "CNINetworkConfigList")]
    config_list: ConfigList,
    #[serde(rename = "Name")]
    name: &'a str,
    #[serde(flatten)]
    requests: &'a Requests,
    #[serde(rename = "Bytes")]
    bytes: String,
}

/// Upstream's typed view of a configuration; it takes names and types from it, never the configuration itself.
#[derive(Serialize, Default)]
struct Typed<'a> {
    #[serde(rename = "cniVersion", skip_serializing_if = "str::is_empty")]
    cni_version: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    capabilities: BTreeMap<String, bool>,
    ipam: TypedIpam,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    plugin_type: &'a str,
}

#[derive(Serialize, Default)]
struct TypedIpam {
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    ipam_type: String,
}

#[derive(Serialize, Default)]
struct TypedList<'a> {
    #[serde(rename = "cniVersion", skip_serializing_if = "str::is_empty")]
    cni_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "disableCheck", skip_serializing_if = "std::ops::Not::not")]
    disable_check: bool,
    #[serde(rename = "disableGC", skip_serializing_if = "std::ops::Not::not")]
    disable_gc: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plugins: Vec<Typed<'a>>,
}

/// Upstream fills this for configurations from `.conflist` files only. Ours are complete in `Bytes`, so it stays empty.
#[derive(Serialize, Default)]
#[serde(rename_all = "PascalCase")]
struct ConfigList {
    name: &'static str,
    #[serde(rename = "CNIVersion")]
    cni_version: &'static str,
    disable_check: bool,
    #[serde(rename = "DisableGC")]
    disable_gc: bool,
    load_only_inlined_plugins: bool,
    plugins: (),
    bytes: (),
}

fn conf(network: &Network) -> Typed<'_> {
    match (network.form, network.plugins.first()) {
        (Form::Single, Some(plugin)) => Typed {
            cni_version: &network.cni_version,
            name: &network.name,
            ..typed(&plugin.plugin_type, &plugin.object)
        },
        _ => Typed { cni_version: &network.cni_version, name: &network.name, ..Typed::default() },
    }
}

fn conf_list(network: &Network) -> TypedList<'_> {
    if network.form == Form::Single {
        return TypedList::default();
    }
    TypedList {
        cni_version: &network.cni_version,
        name: &network.name,
        disable_check: network.disable_check,
        disable_gc: network.disable_gc,
        plugins: network.plugins.iter().map(|plugin| typed(&plugin.plugin_type, &plugin.object)).collect(),
    }
}

fn typed<'a>(plugin_type: &'a str, object: &Object) -> Typed<'a> {
    let capabilities = object.get_as("capabilities").ok().flatten().unwrap_or_default();
    let ipam = object.get("ipam").map(RawValue::get).and_then(|raw| Object::parse(raw.as_bytes()).ok());
    let ipam_type = ipam.and_then(|ipam| ipam.get_as("type").ok().flatten()).unwrap_or_default();
    Typed { capabilities, ipam: TypedIpam { ipam_type }, plugin_type, ..Typed::default() }
}
