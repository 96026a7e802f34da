//! Devices that kubelet allocated to the pod, and the files that describe them (N-111 to N-116).

use std::collections::BTreeMap;
use std::path::PathBuf;

use libcni::Object;

use crate::assemble::Device;
use crate::error::PlanError;
use crate::facts::{Facts, NadLookup, NadRef, Pod, Sandbox};
use crate::resolve::Chosen;

/// Where attachments have their device-info files.
pub const DEVINFO_CNI: &str = "/var/run/k8s.cni.cncf.io/devinfo/cni";
/// Where device plugins put theirs.
pub const DEVINFO_DP: &str = "/var/run/k8s.cni.cncf.io/devinfo/dp";

/// Whether any of these networks needs a device, so that kubelet has to be asked.
pub fn needs_devices(nads: &BTreeMap<NadRef, NadLookup>) -> bool {
    nads.values().any(|lookup| matches!(lookup, NadLookup::Found(nad) if nad.resource_name.is_some()))
}

/// A device that one attachment gets.
pub(crate) struct Allocation {
    pub(crate) device: Device,
}

/// Gives each attachment its device, the next of its resource in the order of their IDs. One count per resource
/// holds for all attachments of the pod, so that none is given twice (Q30). A network that needs a device and
/// gets none is an error (Q31) unless the pod names one itself, or the pod is on its way out.
pub(crate) fn allocate(
    facts: &Facts<'_>,
    pod: Option<&Pod>,
    chosen: &[Chosen<'_>],
    needed: bool,
) -> Result<Vec<Option<Allocation>>, PlanError> {
    let known = pod.is_some_and(|pod| !pod.name.is_empty() && !pod.namespace.is_empty());
    let mut left: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for (resource, ids) in facts.devices {
        let mut ids: Vec<&String> = ids.iter().collect();
        // Sorted, as upstream hands them out; taken from the end.
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.dedup();
        left.insert(resource, ids);
    }
    let mut allocations = Vec::with_capacity(chosen.len());
    for of in chosen {
        let own = of.selection.as_ref().and_then(|selection| selection.device_id.clone());
        let own = own.map(|id| Device { resource: None, id, from_map: false });
        let resource = of.nad.filter(|_| known).and_then(|nad| nad.resource_name.as_ref());
        let device = match resource {
            None => own,
            Some(resource) => match left.get_mut(resource.as_str()).and_then(Vec::pop) {
                Some(id) => Some(Device { resource: Some(resource.clone()), id: id.clone(), from_map: true }),
                None if own.is_some() || !needed => own,
                None => return Err(none_left(facts, of, resource)),
            },
        };
        allocations.push(device.map(|device| Allocation { device }));
    }
    Ok(allocations)
}

fn none_left(facts: &Facts<'_>, of: &Chosen<'_>, resource: &str) -> PlanError {
    let allocated = facts.devices.get(resource).map_or(0, Vec::len);
    let network = of.nad.map(|nad| nad.reference.to_string()).unwrap_or_default();
    let (why, again) = match allocated {
        0 => (format!("kubelet has allocated no device of resource {resource:?} to the pod"), true),
        _ => (
            format!(
                "all {allocated} devices of resource {resource:?} that the pod has are in use by its other networks"
            ),
            false,
        ),
    };
    PlanError::Device {
        text: format!(
            "getKubernetesDelegate: {}: network {network} needs a device, but {why}; request {resource:?} in the \
             resources of a container of the pod, once for each network that uses it",
            of.label()
        ),
        again,
    }
}

/// The device-info file of an attachment that has a device, whoever chose it.
pub(crate) fn info_file(
    capability_args: &Object,
    name: &str,
    sandbox: &Sandbox,
    if_name: &str,
) -> Option<PathBuf> {
    let id: String = capability_args.get_as("deviceID").ok()??;
    if id.is_empty() {
        return None;
    }
    let file = format!("{name}-{}_{if_name}", sandbox.container_id).replace('/', "-");
    Some(PathBuf::from(DEVINFO_CNI).join(file))
}

/// The device plugin's file about a device that kubelet allocated.
pub(crate) fn info_source(device: &Device) -> Option<PathBuf> {
    let resource = device.resource.as_ref()?;
    let file = format!("{}-{}-device.json", resource.replace('/', "-"), device.id.replace('/', "-"));
    Some(PathBuf::from(DEVINFO_DP).join(file))
}
