//! The plan, and how it is put together.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use libcni::{Form, Network, Object, Verb};

use crate::arguments;
use crate::capability;
use crate::confirm::Undeclared;
use crate::devices::{self, Allocation};
use crate::error::PlanError;
use crate::events::PlanEvent;
use crate::facts::{Facts, PARALLEL_ANNOTATION, Pod};
use crate::naming;
use crate::netconf::SpecMode;
use crate::network;
use crate::resolve::{self, Chosen};
use crate::routes;
use crate::selection::{Bandwidth, PortMapping, Selection};

/// What has to be attached to one sandbox.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The attachments, in the order in which they are made; the first is the default network's.
    pub attachments: Vec<Planned>,
    /// Whose letter holds.
    pub spec_mode: SpecMode,
    /// The version of CNI in which the runtime gets the default network's result; empty means the oldest.
    pub cni_version: String,
    /// What the pod's owner should be told.
    pub warnings: Vec<PlanEvent>,
    /// Whether some attachment asked for the default route, so that those of the others go (N-59).
    pub clears_default_routes: bool,
}

/// One attachment.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its name in status and events: `namespace/name` of the NAD, else the configuration's own name.
    pub name: String,
    /// The same, with a namespace in any case (N-80).
    pub qualified_name: String,
    /// Why it is there.
    pub origin: Origin,
    /// The network's configuration as the plugins get it.
    pub network: Network,
    /// `CNI_IFNAME`.
    pub if_name: String,
    /// Its place among the attachments, from 0.
    pub index: usize,
    /// Whether it is the default network, whose result the runtime gets.
    pub primary: bool,
    /// `CNI_ARGS`; the same on every verb (Q18).
    pub args: Vec<(String, String)>,
    /// Capability arguments; the same on every verb (Q18).
    pub capability_args: Object,
    /// The gateways that it asked for, in order of preference; empty: no default route at all.
    pub default_route: Option<Vec<IpAddr>>,
    /// Whether its own IPv4 default routes go.
    pub filter_v4: bool,
    /// Whether its own IPv6 default routes go.
    pub filter_v6: bool,
    /// The device that it uses.
    pub device: Option<Device>,
    /// The device-info file that its plugins read or write.
    pub device_info: Option<PathBuf>,
    /// The device plugin's file that is copied there first.
    pub device_info_source: Option<PathBuf>,
    /// What the pod asked of it.
    pub request: Request,
    /// What of that no plugin declares, to be compared with the result.
    pub undeclared: Vec<Undeclared>,
    /// Whether it may run beside others.
    pub parallel: bool,
}

/// Why an attachment is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Element of `delegates`.
    Delegate {
        /// Its place there, from 0.
        index: usize,
    },
    /// `clusterNetwork`.
    ClusterNetwork,
    /// Element of `defaultNetworks`.
    DefaultNetwork {
        /// Its place there, from 0.
        index: usize,
    },
    /// The default-network annotation.
    DefaultNetworkAnnotation,
    /// The networks annotation.
    NetworksAnnotation {
        /// The item, from 1.
        item: usize,
    },
    /// The auxiliary chain.
    AuxiliaryChain,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Delegate { index } => write!(f, "element {index} of delegates"),
            Origin::ClusterNetwork => f.write_str("clusterNetwork"),
            Origin::DefaultNetwork { index } => write!(f, "element {index} of defaultNetworks"),
            Origin::DefaultNetworkAnnotation => f.write_str("the default-network annotation"),
            Origin::NetworksAnnotation { item } => write!(f, "item {item} of the networks annotation"),
            Origin::AuxiliaryChain => f.write_str("the auxiliary chain"),
        }
    }
}

/// A device of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The resource that it belongs to, when kubelet allocated it.
    pub resource: Option<String>,
    /// Its ID.
    pub id: String,
    /// Whether it comes from kubelet's allocation, so that there may be a device plugin's file about it.
    pub from_map: bool,
}

/// What the pod asked of one attachment, as it is written in the annotation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The interface's name.
    pub interface: Option<String>,
    /// Hardware address.
    pub mac: Option<String>,
    /// Addresses.
    pub ips: Vec<String>,
    /// InfiniBand GUID.
    pub infiniband_guid: Option<String>,
    /// Port mappings.
    pub port_mappings: Vec<PortMapping>,
    /// Bandwidth limits.
    pub bandwidth: Option<Bandwidth>,
}

impl Request {
    fn of(selection: Option<&Selection>) -> Request {
        selection.map_or_else(Request::default, |of| Request {
            interface: of.interface.clone(),
            mac: of.mac.clone(),
            ips: of.ips.clone(),
            infiniband_guid: of.infiniband_guid.clone(),
            port_mappings: of.port_mappings.clone(),
            bandwidth: of.bandwidth.clone(),
        })
    }
}

/// Makes the plan, or says what is wrong with which item of which annotation and what to do about it. Everything
/// that can be found wrong without running a plugin is found here, before any of them has run.
pub fn plan(facts: &Facts<'_>) -> Result<Plan, PlanError> {
    let pod = known_pod(facts)?;
    let (chosen, warnings) = resolve::resolve(facts, pod)?;
    chosen.iter().try_for_each(|of| another(facts, of))?;
    let in_annotations = |e: PlanError| e.under(&resolve::annotations_prefix(facts.identity));

    // On DEL everything is freed that can be; what is wrong with a request no longer matters.
    let verified = facts.verb != Verb::Del;
    if verified {
        chosen.iter().try_for_each(|of| usable(facts, of))?;
        let mode = facts.netconf.spec_mode;
        chosen.iter().try_for_each(|of| capability::verify(of, mode)).map_err(in_annotations)?;
    }
    let routes = routes::settle(&chosen).map_err(in_annotations)?;
    let names =
        naming::interfaces(&chosen, &facts.sandbox.if_name).map_err(|e| e.of_network(facts, &chosen))?;
    let devices = devices::allocate(facts, pod, &chosen, verified).map_err(in_annotations)?;

    let mut attachments = Vec::with_capacity(chosen.len());
    let settled = chosen.into_iter().zip(names).zip(devices).zip(routes.filters.iter().copied());
    for (index, (((of, if_name), allocation), filter)) in settled.enumerate() {
        let planned = Settled { of, index, if_name, allocation, filter };
        attachments.push(planned.assemble(facts).map_err(in_annotations)?);
    }
    Ok(Plan {
        attachments,
        spec_mode: facts.netconf.spec_mode,
        cni_version: facts.netconf.cni_version.clone(),
        warnings,
        clears_default_routes: routes.clears,
    })
}

/// The pod, if it is the one that the runtime means. On DEL another pod of the same name counts as none.
fn known_pod<'a>(facts: &Facts<'a>) -> Result<Option<&'a Pod>, PlanError> {
    let Some(pod) = facts.pod else { return Ok(None) };
    match pod.differing_uid(facts.identity) {
        None => Ok(Some(pod)),
        Some(_) if facts.verb == Verb::Del => Ok(None),
        Some(found) => Err(PlanError::pod_replaced(facts.identity, found)),
    }
}

/// The prefix of errors that upstream meets only when it comes to add this network.
pub(crate) fn adding_prefix(facts: &Facts<'_>, network: &Network) -> String {
    let crate::PodIdentity { namespace, name, uid, .. } = facts.identity;
    let conf = crate::error::excerpt(&network.name);
    format!("[{namespace}/{name}/{uid}:{conf}]: error adding container to network \"{conf}\": ")
}

/// A network of ours would have us call ourselves until the node is out of processes.
fn another(facts: &Facts<'_>, of: &Chosen<'_>) -> Result<(), PlanError> {
    let Some(own) = facts.netconf.own_plugin(&of.network) else { return Ok(()) };
    Err(PlanError::Network {
        text: format!(
            "{}{}: its plugin {own:?} is Multus, which would call itself without end: name the plugins that make \
             the network, or another network",
            adding_prefix(facts, &of.network),
            of.label()
        ),
    })
}

fn usable(facts: &Facts<'_>, of: &Chosen<'_>) -> Result<(), PlanError> {
    libcni::network_name(&of.network.name).map_err(|e| PlanError::Network {
        text: format!(
            "{}{e}; {}: the network's \"name\" must begin with a letter or digit and go on with those, _, . and -",
            adding_prefix(facts, &of.network),
            of.label()
        ),
    })
}

/// A network about which everything is settled.
struct Settled<'a> {
    of: Chosen<'a>,
    index: usize,
    if_name: String,
    allocation: Option<Allocation>,
    filter: routes::Filter,
}

impl Settled<'_> {
    fn assemble(self, facts: &Facts<'_>) -> Result<Planned, PlanError> {
        let Settled { of, index, if_name, allocation, filter } = self;
        let undeclared = capability::undeclared(&of);
        let Chosen { origin, name, mut network, nad, selection } = of;
        let selection = selection.as_ref();
        let primary = index == 0;

        if let Some(Allocation { device: Device { id, from_map: true, .. } }) = &allocation {
            network::set_device(&mut network, id);
        }
        if let Some((selection, args)) = selection.and_then(|s| s.cni_args.as_ref().map(|args| (s, args))) {
            network::merge_cni_args(&mut network, args, selection)?;
        }
        let device = allocation.map(|allocation| allocation.device);
        let mut capability_args = capability::arguments(facts, &network, primary, selection, device.as_ref());
        let device_info = devices::info_file(&capability_args, &name, facts.sandbox, &if_name);
        if let Some(file) = &device_info {
            capability_args.set("CNIDeviceInfoFile", file);
        }
        let parallel = facts.netconf.spec_mode == SpecMode::Compat
            && !primary
            && nad.is_some_and(|nad| nad.annotations.get(PARALLEL_ANNOTATION).is_some_and(|v| v == "true"));
        let qualified_name = match nad {
            Some(_) => name.clone(),
            None => format!("{}/{name}", facts.netconf.multus_namespace),
        };
        Ok(Planned {
            args: arguments::cni_args(facts, primary, selection),
            default_route: selection.and_then(|selection| selection.default_route.clone()),
            filter_v4: filter.v4,
            filter_v6: filter.v6,
            device_info_source: device.as_ref().and_then(devices::info_source),
            request: Request::of(selection),
            undeclared,
            qualified_name,
            name,
            origin,
            network,
            if_name,
            index,
            primary,
            capability_args,
            device,
            device_info,
            parallel,
        })
    }
}

/// How upstream calls a network where it names its plugin: lists have no single one.
pub(crate) fn type_of(network: &Network) -> &str {
    match network.form {
        Form::List => "",
        Form::Single => network.plugins.first().map_or("", |plugin| plugin.plugin_type.as_str()),
    }
}

#[cfg(test)]
mod tests;
