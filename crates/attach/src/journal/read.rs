//! A journal's text, ours or upstream's of any version, into elements.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libcni::{Network, Object};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Element, OWN_KEY, Own};

/// The elements of a journal; never an empty list.
pub(super) fn journal(bytes: &[u8]) -> Result<Vec<Element>, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let elements: Option<Vec<Object>> =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no array of objects: {error}"))?;
    let elements = elements.unwrap_or_default();
    if elements.is_empty() {
        return Err("it names no network".to_owned());
    }
    elements
        .iter()
        .enumerate()
        .map(|(index, object)| element(object).map_err(|reason| format!("element {index}: {reason}")))
        .collect()
}

fn element(object: &Object) -> Result<Element, String> {
    let mut network = network(object)?;
    let name: String = object.get_as("Name").map_err(|error| format!("Name: {error}"))?.unwrap_or_default();
    let requests =
        serde_json::from_slice(&object_without_nulls(object)).map_err(|error| error.to_string())?;
    // A key of ours that cannot be read (a later version's, or damaged) leaves what upstream's keys say.
    let own: Option<Own> = object.get_as(OWN_KEY).ok().flatten();
    // Upstream lets a NAD's name stand in for a missing one before it writes the file; older files may lack it.
    network.set_name_if_missing(name.rsplit('/').next().unwrap_or(&name));
    Ok(Element { name, network, requests, own })
}

/// Go writes and reads `null` for an absent slice.
fn object_without_nulls(object: &Object) -> Vec<u8> {
    let mut known = object.clone();
    known.0.retain(|key, value| {
        value.get() != "null"
            && !matches!(key.as_str(), "Conf" | "ConfList" | "CNINetworkConfigList" | "Bytes" | OWN_KEY)
    });
    known.to_bytes()
}

/// The exact configuration: `CNINetworkConfigList` where upstream filled it, for its `Bytes` are a stripped copy then (Q2).
fn network(object: &Object) -> Result<Network, String> {
    let list: Option<ConfigList> = object.get_as("CNINetworkConfigList").ok().flatten();
    if let Some(list) = list
        && let Some(plugins) = &list.plugins
        && !plugins.is_empty()
    {
        return from_config_list(&list, plugins);
    }
    let bytes: Option<String> = object.get_as("Bytes").map_err(|error| format!("Bytes: {error}"))?;
    let bytes = decode(&bytes.ok_or("it has no Bytes")?)?;
    Network::parse(&bytes).map_err(|error| format!("its configuration: {error}"))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigList {
    name: Option<String>,
    #[serde(rename = "CNIVersion")]
    cni_version: Option<String>,
    disable_check: Option<bool>,
    #[serde(rename = "DisableGC")]
    disable_gc: Option<bool>,
    plugins: Option<Vec<ConfigPlugin>>,
    bytes: Option<String>,
}

#[derive(Deserialize)]
struct ConfigPlugin {
    #[serde(rename = "Bytes")]
    bytes: String,
}

fn from_config_list(list: &ConfigList, plugins: &[ConfigPlugin]) -> Result<Network, String> {
    let objects = plugins
        .iter()
        .map(|plugin| {
            let bytes = decode(&plugin.bytes)?;
            let text = String::from_utf8(bytes).map_err(|_| "a plugin's Bytes are no text".to_owned())?;
            RawValue::from_string(text).map_err(|error| format!("a plugin's Bytes: {error}"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    // The file that the list came from holds what the fields do not: keys that libcni passes by.
    let mut top = match &list.bytes {
        Some(bytes) => {
            Object::parse(&decode(bytes)?).map_err(|error| format!("CNINetworkConfigList.Bytes: {error}"))?
        }
        None => Object::default(),
    };
    let set_missing = |top: &mut Object, key: &str, value: Option<Box<RawValue>>| {
        if let Some(value) = value
            && top.get(key).is_none()
        {
            top.set_raw(key, value);
        }
    };
    set_missing(&mut top, "name", text(list.name.as_deref()));
    set_missing(&mut top, "cniVersion", text(list.cni_version.as_deref()));
    set_missing(&mut top, "disableCheck", flag(list.disable_check));
    set_missing(&mut top, "disableGC", flag(list.disable_gc));
    // Sub-folder plugins are among the elements already.
    top.set("loadOnlyInlinedPlugins", &true);
    top.set("plugins", &objects);
    Network::parse(&top.to_bytes()).map_err(|error| format!("its configuration: {error}"))
}

fn text(value: Option<&str>) -> Option<Box<RawValue>> {
    value.filter(|value| !value.is_empty()).and_then(|value| to_raw_value(value).ok())
}

fn flag(value: Option<bool>) -> Option<Box<RawValue>> {
    value.filter(|set| *set).and_then(|value| to_raw_value(&value).ok())
}

fn decode(base64: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(base64).map_err(|error| format!("it is not base64: {error}"))
}
