//! Capability arguments: what the runtime or the pod hands to the plugins that declare they can use it.

use libcni::{Network, Object};
use serde::Serialize;

use crate::assemble::{Device, Origin};
use crate::error::PlanError;
use crate::facts::Facts;
use crate::netconf::POD_ANNOTATIONS;
use crate::resolve::Chosen;
use crate::selection::Selection;

/// What a pod asked for must be something that a plugin of the network declares to do; else the attachment
/// fails, where upstream drops the request without a word (N-33, N-36, N-50, N-51, N-57, N-65).
///
/// The default-network annotation is upstream's own and not bound by those rules: primaries that read `mac` and
/// `ips` from the pod themselves (OVN-Kubernetes) declare nothing.
pub(crate) fn verify(of: &Chosen<'_>) -> Result<(), PlanError> {
    let Some(selection) = &of.selection else { return Ok(()) };
    if of.origin == Origin::DefaultNetworkAnnotation {
        return Ok(());
    }
    let Some((key, capability, _)) =
        requests(selection).into_iter().find(|(_, capability, _)| !of.network.declares(capability))
    else {
        return Ok(());
    };
    let types: Vec<&str> = of.network.plugins.iter().map(|plugin| plugin.plugin_type.as_str()).collect();
    Err(PlanError::Request {
        text: format!(
            "{} asks for {key:?}, but no plugin of network {:?} ({}) declares the capability {capability:?}: add \
             \"capabilities\": {{{capability:?}: true}} to a plugin that can do it, in \
             NetworkAttachmentDefinition {}, or remove {key:?} from the item",
            selection.label(),
            of.network.name,
            types.join(", "),
            selection.full_name()
        ),
    })
}

/// What a selection asks of the plugins: key of the annotation, capability, value.
fn requests(selection: &Selection) -> Vec<(&'static str, &'static str, Box<serde_json::value::RawValue>)> {
    fn one<T: Serialize>(
        key: &'static str,
        capability: &'static str,
        value: Option<T>,
    ) -> Option<(&'static str, &'static str, Box<serde_json::value::RawValue>)> {
        let raw = serde_json::value::to_raw_value(&value?).ok()?;
        Some((key, capability, raw))
    }
    let mappings = Some(&selection.port_mappings).filter(|mappings| !mappings.is_empty());
    let ips = Some(&selection.ips).filter(|ips| !ips.is_empty());
    [
        one("ips", "ips", ips),
        one("mac", "mac", selection.mac.as_ref()),
        one("infiniband-guid", "infinibandGUID", selection.infiniband_guid.as_ref()),
        one("portMappings", "portMappings", mappings),
        one("bandwidth", "bandwidth", selection.bandwidth.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The capability arguments of one attachment. What the runtime passes is for the default network alone (N-103,
/// Q15), but all of it (Q16); the pod's annotations only where a plugin declares that it wants them. What the
/// pod asks for wins.
pub(crate) fn arguments(
    facts: &Facts<'_>,
    network: &Network,
    primary: bool,
    selection: Option<&Selection>,
    device: Option<&Device>,
) -> Object {
    let mut arguments = Object::default();
    if primary {
        for (key, value) in &facts.netconf.runtime_config.0 {
            let private = key == POD_ANNOTATIONS && !network.declares(POD_ANNOTATIONS);
            if !private && !is_empty(value.get()) {
                arguments.set_raw(key, value.clone());
            }
        }
    }
    for (_, capability, value) in selection.map(requests).unwrap_or_default() {
        arguments.set_raw(capability, value);
    }
    if let Some(device) = device {
        arguments.set("deviceID", &device.id);
    }
    arguments
}

fn is_empty(json: &str) -> bool {
    matches!(json, "null" | "\"\"" | "[]")
}
