//! From the bytes of a configuration to a network.

use libcni::json::field_ci_as;
use libcni::{Network, Object};
use serde_json::value::RawValue;

use crate::error::PlanError;
use crate::facts::{Facts, Nad};
use crate::selection::Selection;

/// Reads a configuration, single or list. The texts of what users get wrong are upstream's.
pub(crate) fn load(bytes: &[u8]) -> Result<Network, String> {
    let object = Object::parse(bytes)
        .map_err(|e| format!("LoadDelegateNetConf: error unmarshalling delegate config: {e}"))?;
    check_types(&object)
        .map_err(|why| format!("LoadDelegateNetConf: failed with: LoadDelegateNetConfList: {why}"))?;
    Network::parse(bytes)
        .map_err(|e| format!("LoadDelegateNetConf: error unmarshalling delegate config: {e}"))
}

fn check_types(object: &Object) -> Result<(), String> {
    let text = |object: &Object, key| field_ci_as::<String>(object, key).ok().flatten().unwrap_or_default();
    if !text(object, "type").is_empty() {
        return Ok(());
    }
    let plugins: Option<Vec<Box<RawValue>>> = field_ci_as(object, "plugins")
        .map_err(|e| format!("error unmarshalling delegate conflist: \"plugins\" must be a list: {e}"))?;
    let Some(plugins) = plugins else {
        return Err("delegate must have the 'type' or 'plugin' field: write \"type\" for a single plugin, \
                    \"plugins\" for a list of them"
            .to_owned());
    };
    let first = plugins.first().and_then(|raw| Object::parse(raw.get().as_bytes()).ok());
    if first.is_none_or(|first| text(&first, "type").is_empty()) {
        return Err(
            "a plugin delegate must have the 'type' field: the first element of \"plugins\" has none"
                .to_owned(),
        );
    }
    Ok(())
}

/// The network that a NAD describes: its own configuration (N-12), or a file that has its name (N-13, N-14).
pub(crate) fn of_nad(facts: &Facts<'_>, nad: &Nad) -> Result<Network, PlanError> {
    let unusable = |why: String| PlanError::Network { text: why };
    if nad.config.is_empty() {
        let network = on_disk(facts, &nad.reference.name).map_err(|why| {
            unusable(format!(
                "GetCNIConfig: err in GetCNIConfigFromFile: {why}; NetworkAttachmentDefinition {} has no \
                 spec.config, so a file in that folder has to describe the network",
                nad.reference
            ))
        })?;
        return Ok(network);
    }
    if let Err(e) = Object::parse(nad.config.as_bytes()) {
        return Err(unusable(format!(
            "GetCNIConfig: err in getCNIConfigFromSpec: failed to unmarshal Spec.Config: {e}; spec.config of \
             NetworkAttachmentDefinition {} must be one JSON object",
            nad.reference
        )));
    }
    let mut network = load(nad.config.as_bytes()).map_err(|why| {
        unusable(format!("{why}; correct spec.config of NetworkAttachmentDefinition {}", nad.reference))
    })?;
    network.set_name_if_missing(&nad.reference.name);
    Ok(network)
}

/// The network of that name among the files of `confDir`: lists first, then single configurations, each in the
/// order of the files' names. A file that cannot be read does not hide a good one, but it is named when nothing
/// is found. A file that makes the runtime call us may have the network's name (`overrideNetworkName`) and is passed over.
pub(crate) fn on_disk(facts: &Facts<'_>, name: &str) -> Result<Network, String> {
    let dir = facts.netconf.conf_dir.display();
    if facts.disk.conf_dir.is_empty() {
        return Err(format!("No networks found in {dir}"));
    }
    let mut unreadable = None;
    for lists in [true, false] {
        for (file, content) in &facts.disk.conf_dir {
            if file.ends_with(".conflist") != lists {
                continue;
            }
            let loaded = content.clone().and_then(|bytes| load_file(&bytes, lists));
            match loaded {
                Ok(network) if network.name == name && facts.netconf.own_plugin(&network).is_none() => {
                    return Ok(network);
                }
                Ok(_) => {}
                Err(why) => {
                    let what = if lists { "conflist" } else { "config" };
                    unreadable.get_or_insert(format!("Error loading CNI {what} file {dir}/{file}: {why}"));
                }
            }
        }
    }
    Err(unreadable.unwrap_or_else(|| format!("no network available in the name {name} in cni dir {dir}")))
}

fn load_file(bytes: &[u8], list: bool) -> Result<Network, String> {
    let object = Object::parse(bytes)
        .map_err(|e| format!("error parsing configuration{}: {e}", if list { " list" } else { "" }))?;
    let has_type = field_ci_as::<String>(&object, "type").ok().flatten().is_some_and(|t| !t.is_empty());
    if !list && !has_type {
        return Err("no 'type'; perhaps this is a .conflist?".to_owned());
    }
    load(bytes)
}

/// Puts the device into every plugin, under both names that plugins look for (upstream's order: a pod's
/// cni-args come after it).
pub(crate) fn set_device(network: &mut Network, id: &str) {
    network.set_in_every_plugin("deviceID", &id);
    network.set_in_every_plugin("pciBusID", &id);
}

/// Merges the pod's `cni-args` over `args.cni` of every plugin (N-42 to N-44: the pod's win).
pub(crate) fn merge_cni_args(
    network: &mut Network,
    args: &Object,
    selection: &Selection,
) -> Result<(), PlanError> {
    let merged: Result<Vec<Object>, PlanError> = network
        .plugins
        .iter()
        .map(|plugin| {
            merged_args(&plugin.object, args).map_err(|key| PlanError::Network {
                text: format!(
                    "LoadDelegateNetConf(): failed to add cni-args in NetConfList bytes: {} carries cni-args, but \
                     {key:?} of plugin {:?} of network {:?} is not an object: make it one, or remove it",
                    selection.label(),
                    plugin.plugin_type,
                    network.name
                ),
            })
        })
        .collect();
    for (plugin, merged) in network.plugins.iter_mut().zip(merged?) {
        plugin.object.set("args", &merged);
    }
    Ok(())
}

fn merged_args(plugin: &Object, args: &Object) -> Result<Object, &'static str> {
    let inner = |object: &Object, key: &str| match object.get(key).filter(|raw| raw.get() != "null") {
        None => Some(Object::default()),
        Some(raw) => Object::parse(raw.get().as_bytes()).ok(),
    };
    let mut outer = inner(plugin, "args").ok_or("args")?;
    let mut cni = inner(&outer, "cni").ok_or("args.cni")?;
    for (key, value) in &args.0 {
        cni.set_raw(key, value.clone());
    }
    outer.set("cni", &cni);
    Ok(outer)
}
