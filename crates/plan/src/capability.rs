//! Capability arguments: what the runtime or the pod hands to the plugins that declare they can use it.

use libcni::{Network, Object};
use serde::Serialize;

use crate::assemble::{Device, Origin};
use crate::confirm::Undeclared;
use crate::error::PlanError;
use crate::facts::Facts;
use crate::netconf::{POD_ANNOTATIONS, SpecMode};
use crate::resolve::Chosen;
use crate::selection::Selection;

/// What a pod asked for must be something that a plugin of the network declares to do; else the attachment
/// fails, where upstream drops the request without a word (N-33, N-36, N-50, N-51, N-57, N-65). In compat mode what
/// goes by `CNI_ARGS` too is not refused here: only the result tells whether it was met ([`crate::confirm()`]).
pub(crate) fn verify(of: &Chosen<'_>, mode: SpecMode) -> Result<(), PlanError> {
    let goes_by_arguments = |of: &Undeclared| mode == SpecMode::Compat && of.goes_by_arguments();
    match undeclared(of).into_iter().find(|request| !goes_by_arguments(request)) {
        None => Ok(()),
        Some(request) => Err(PlanError::Request { text: request.refusal(None) }),
    }
}

/// The requests that no plugin of the network declares.
///
/// The default-network annotation is upstream's own and not bound by those rules: primaries that read `mac` and
/// `ips` from the pod themselves (OVN-Kubernetes) declare nothing.
pub(crate) fn undeclared(of: &Chosen<'_>) -> Vec<Undeclared> {
    let Some(selection) = &of.selection else { return Vec::new() };
    if of.origin == Origin::DefaultNetworkAnnotation {
        return Vec::new();
    }
    let requests =
        requests(selection).into_iter().filter(|(_, capability, _)| !of.network.declares(capability));
    requests.map(|(key, capability, _)| Undeclared::new(selection, &of.network, key, capability)).collect()
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
