//! Which networks the pod gets, in the order in which they are attached.

use libcni::{Network, Verb};

use crate::assemble::Origin;
use crate::error::PlanError;
use crate::events::{self, PlanEvent};
use crate::facts::{DEFAULT_NETWORK_ANNOTATION, Facts, NETWORKS_ANNOTATION, Nad, NadLookup, NadRef, Pod};
use crate::netconf::{NetConf, SpecMode};
use crate::network;
use crate::selection::{self, Annotation, Selection, values};

/// A network that is to be attached, before its interface and its device are settled.
pub(crate) struct Chosen<'a> {
    pub(crate) origin: Origin,
    /// Its name in status and events.
    pub(crate) name: String,
    pub(crate) network: Network,
    pub(crate) nad: Option<&'a Nad>,
    pub(crate) selection: Option<Selection>,
}

impl Chosen<'_> {
    /// How messages call it.
    pub(crate) fn label(&self) -> String {
        match &self.selection {
            Some(selection) => selection.label(),
            None => format!("{} ({:?})", self.origin, self.name),
        }
    }
}

/// What the pod's annotations select, checked as far as that goes without looking anything up.
#[derive(Default)]
pub(crate) struct Selections {
    pub(crate) default: Option<Selection>,
    pub(crate) networks: Vec<Selection>,
    pub(crate) warnings: Vec<PlanEvent>,
}

const IN_DEFAULT: &str = "TryLoadPodDelegates: error in loading K8s cluster default network from pod annotation: tryLoadK8sPodDefaultNetwork: ";
const IN_NETWORKS: &str = "TryLoadPodDelegates: error in getting k8s network for pod: ";

/// The prefix of errors that concern the pod's annotations.
pub(crate) fn annotations_prefix(identity: &crate::PodIdentity) -> String {
    format!("Multus: {}error loading k8s delegates k8s args: ", identity.prefix())
}

/// Reads both annotations and applies namespace isolation, so that a NAD which the pod may not use is never
/// looked up.
pub(crate) fn selections(netconf: &NetConf, pod: &Pod) -> Result<Selections, PlanError> {
    let mut selections = Selections::default();
    if let Some(text) = pod.annotations.get(DEFAULT_NETWORK_ANNOTATION) {
        let selection = default_network(text, netconf).map_err(|e| e.under(IN_DEFAULT))?;
        isolate(netconf, pod, &selection).map_err(|e| e.under(IN_DEFAULT))?;
        selections.default = Some(selection);
    }
    let text = pod.annotations.get(NETWORKS_ANNOTATION).map_or("", String::as_str);
    match selection::parse_in(netconf.spec_mode, text, Annotation::Networks, &pod.namespace) {
        Ok(networks) => selections.networks = networks,
        Err(e @ PlanError::Annotation { .. }) if netconf.spec_mode == SpecMode::Strict => {
            selections.warnings.push(events::annotation_ignored(&e.to_string()));
        }
        Err(e) if e.to_string().starts_with("GetNetworkDelegates") => return Err(e.under(IN_NETWORKS)),
        Err(e) => return Err(e),
    }
    for selection in &selections.networks {
        isolate(netconf, pod, selection).map_err(|e| e.under("GetNetworkDelegates: ").under(IN_NETWORKS))?;
    }
    Ok(selections)
}

fn default_network(text: &str, netconf: &NetConf) -> Result<Selection, PlanError> {
    let namespace = &netconf.multus_namespace;
    let mut items = selection::parse_in(netconf.spec_mode, text, Annotation::DefaultNetwork, namespace)
        .map_err(|e| e.under("failed to parse CRD object: "))?;
    match (items.pop(), items.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(selection::malformed(format!(
            "no default network is specified: annotation {DEFAULT_NETWORK_ANNOTATION} is an empty list; name one \
             network in it, or remove it"
        ))),
        (Some(_), others) => Err(selection::malformed(format!(
            "more than one default network is specified: {}; annotation {DEFAULT_NETWORK_ANNOTATION} holds {} \
             items: keep one, the others belong into {NETWORKS_ANNOTATION}",
            crate::error::excerpt(text),
            others + 1
        ))),
    }
}

/// N-101, N-102. Upstream does not ask this of the default-network annotation (Q8); here only the namespace
/// that the administrator reserves for such networks is free for it.
fn isolate(netconf: &NetConf, pod: &Pod, selection: &Selection) -> Result<(), PlanError> {
    let Selection { namespace, annotation, .. } = selection;
    let reserved = *annotation == Annotation::DefaultNetwork && *namespace == netconf.multus_namespace;
    if !netconf.namespace_isolation
        || *namespace == pod.namespace
        || reserved
        || netconf.global_namespaces.contains(namespace)
    {
        return Ok(());
    }
    Err(PlanError::Denied {
        text: format!(
            "namespace isolation enabled, annotation violates permission, pod is in namespace {} but refers to \
             target namespace {namespace}; {}: use a network of namespace {0}, or of one of the global namespaces \
             ({}), or ask the administrator to add {namespace} to them",
            pod.namespace,
            selection.label(),
            netconf.global_namespaces.join(", ")
        ),
    })
}

/// The networks in their order, and what the pod's owner should be told.
pub(crate) fn resolve<'a>(
    facts: &Facts<'a>,
    pod: Option<&'a Pod>,
) -> Result<(Vec<Chosen<'a>>, Vec<PlanEvent>), PlanError> {
    let mut chosen = configured(facts, pod).map_err(|e| {
        e.under(&format!("Multus: {}failed to get clusterNetwork/defaultNetworks: ", facts.identity.prefix()))
    })?;
    if matches!(facts.verb, Verb::Status | Verb::Gc) {
        return Ok((chosen, Vec::new()));
    }
    let mut warnings = Vec::new();
    if let Some(pod) = pod {
        warnings =
            selected(facts, pod, &mut chosen).map_err(|e| e.under(&annotations_prefix(facts.identity)))?;
    }
    chosen.extend(auxiliary_chain(facts, &mut warnings)?);
    Ok((chosen, warnings))
}

fn selected<'a>(
    facts: &Facts<'a>,
    pod: &Pod,
    chosen: &mut Vec<Chosen<'a>>,
) -> Result<Vec<PlanEvent>, PlanError> {
    let selections = selections(facts.netconf, pod)?;
    if let Some(selection) = selections.default {
        let of = of_selection(facts, selection, Origin::DefaultNetworkAnnotation)
            .map_err(|e| e.under("failed getting the delegate: ").under(IN_DEFAULT))?;
        match chosen.first_mut() {
            Some(primary) => *primary = of,
            None => chosen.push(of),
        }
    }
    for selection in selections.networks {
        let item = selection.item;
        let of = of_selection(facts, selection, Origin::NetworksAnnotation { item })
            .map_err(|e| e.under("GetNetworkDelegates: failed getting the delegate: ").under(IN_NETWORKS))?;
        chosen.push(of);
    }
    Ok(selections.warnings)
}

/// The networks that the node's configuration names (N-91, N-92). STATUS and GC concern the first alone.
fn configured<'a>(facts: &Facts<'a>, pod: Option<&Pod>) -> Result<Vec<Chosen<'a>>, PlanError> {
    let netconf = facts.netconf;
    let only_first = matches!(facts.verb, Verb::Status | Verb::Gc);
    let mut chosen = if netconf.cluster_network.is_empty() {
        let count = if only_first { 1 } else { netconf.delegates.len() };
        netconf.delegates.iter().take(count).enumerate().map(of_delegate).collect()
    } else {
        vec![cluster_network(facts)?]
    };
    if gets_default_networks(netconf, pod) && !only_first {
        for (index, value) in netconf.default_networks.iter().enumerate() {
            chosen.push(by_value(facts, value, Origin::DefaultNetwork { index })?);
        }
    }
    Ok(chosen)
}

fn of_delegate<'a>((index, network): (usize, &Network)) -> Chosen<'a> {
    Chosen {
        origin: Origin::Delegate { index },
        name: network.name.clone(),
        network: network.clone(),
        nad: None,
        selection: None,
    }
}

fn cluster_network<'a>(facts: &Facts<'a>) -> Result<Chosen<'a>, PlanError> {
    let netconf = facts.netconf;
    by_value(facts, &netconf.cluster_network, Origin::ClusterNetwork).map_err(|e| {
        // Upstream keeps the cause to itself (Q37).
        e.under(&format!(
            "GetDefaultNetworks: failed to get clusterNetwork {} in namespace {}: ",
            netconf.cluster_network, netconf.multus_namespace
        ))
    })
}

/// Whether `defaultNetworks` hold for this pod. Upstream drops them without a word where the primary network is written out in
/// `delegates`, which is what its own entrypoint writes.
pub(crate) fn gets_default_networks(netconf: &NetConf, pod: Option<&Pod>) -> bool {
    pod.is_some_and(|pod| !netconf.is_system_namespace(&pod.namespace))
}

/// The NAD that a value of `clusterNetwork` or `defaultNetworks` may mean.
pub(crate) fn nad_of_value(netconf: &NetConf, value: &str) -> Option<NadRef> {
    let may_be = !NetConf::is_path(value) && values::is_object_name(value);
    may_be.then(|| NadRef::new(&netconf.multus_namespace, value))
}

/// A NAD of that name, else a network of that name in `confDir`; a path is read by the caller.
fn by_value<'a>(facts: &Facts<'a>, value: &str, origin: Origin) -> Result<Chosen<'a>, PlanError> {
    let from_file = |network: Network| Chosen {
        origin: origin.clone(),
        name: network.name.clone(),
        network,
        nad: None,
        selection: None,
    };
    if NetConf::is_path(value) {
        return match facts.disk.paths.get(value) {
            Some(Ok(network)) => Ok(from_file(network.clone())),
            Some(Err(why)) => Err(PlanError::NotFound {
                text: format!(
                    "{why}; {value} has to be a CNI configuration file, or a folder that holds one"
                ),
                event: None,
            }),
            None => Err(PlanError::NotFound { text: format!("{value} was not read"), event: None }),
        };
    }
    let by_nad = match nad_of_value(facts.netconf, value) {
        Some(reference) => of_nad(facts, &reference),
        None => Err(PlanError::Network { text: format!("{value:?} cannot be the name of a NAD") }),
    };
    let cause = match by_nad {
        Ok((nad, network)) => {
            let name = nad.reference.to_string();
            return Ok(Chosen { origin, name, network, nad: Some(nad), selection: None });
        }
        Err(cause) => cause,
    };
    // Q22: no event when the name is one of a file.
    network::on_disk(facts, value).map(from_file).map_err(|why| {
        cause.under(&format!("getNetDelegate: cannot find network: {value}: ")).with(&format!(
            "; nor is there a file: {why}; {origin} has to name a NetworkAttachmentDefinition of namespace {}, a \
             network of a file in {}, or a path",
            facts.netconf.multus_namespace,
            facts.netconf.conf_dir.display()
        ))
    })
}

fn of_selection<'a>(
    facts: &Facts<'a>,
    selection: Selection,
    origin: Origin,
) -> Result<Chosen<'a>, PlanError> {
    let reference = NadRef::new(&selection.namespace, &selection.name);
    let (nad, network) = of_nad(facts, &reference).map_err(|e| {
        let help = match e {
            PlanError::NotFound { .. } => {
                "create that NetworkAttachmentDefinition, or correct the name: the pod starts once it is there"
            }
            _ => "this is what the pod selects there",
        };
        e.with(&format!("; {}: {help}", selection.label()))
    })?;
    Ok(Chosen { origin, name: selection.full_name(), network, nad: Some(nad), selection: Some(selection) })
}

fn of_nad<'a>(facts: &Facts<'a>, reference: &NadRef) -> Result<(&'a Nad, Network), PlanError> {
    let cause = match facts.nads.get(reference) {
        Some(NadLookup::Found(nad)) => return network::of_nad(facts, nad).map(|network| (nad, network)),
        Some(NadLookup::Missing(why) | NadLookup::Failed(why)) => why.as_str(),
        None => "it was not looked up",
    };
    let NadRef { namespace, name } = reference;
    Err(PlanError::NotFound {
        text: format!("getKubernetesDelegate: {}", events::not_found_text(name, namespace, cause)),
        event: Some(events::no_network_found(name, namespace, cause)),
    })
}

/// The chain that the administrator hangs behind every pod's networks; only if its folder holds plugins. One that cannot be read is
/// left out as a whole and with a warning, where upstream says nothing to the pod, and to the letter it is an error.
fn auxiliary_chain<'a>(
    facts: &Facts<'a>,
    warnings: &mut Vec<PlanEvent>,
) -> Result<Option<Chosen<'a>>, PlanError> {
    let netconf = facts.netconf;
    let name = &netconf.auxiliary_chain_name;
    if name.is_empty() {
        return Ok(None);
    }
    let wrong =
        |what: String| PlanError::NetConf { text: format!("Multus: {}{what}", facts.identity.prefix()) };
    if !NetConf::is_path(&netconf.cluster_network) {
        return Err(wrong(format!(
            "auxiliary chain used but ClusterNetwork must be a path, and it is not a path: {}; set \
             \"clusterNetwork\" to the path of the default network's file, in whose folder the chain's folder lies",
            netconf.cluster_network
        )));
    }
    match &facts.disk.aux_chain_error {
        Some(why) if netconf.spec_mode == SpecMode::Strict => {
            return Err(wrong(format!(
                "auxiliary chain {name:?} cannot be read: {why}; correct or remove the file"
            )));
        }
        Some(why) => {
            warnings.push(events::chain_left_out(name, why));
            return Ok(None);
        }
        None if facts.disk.aux_chain.is_empty() => return Ok(None),
        None => {}
    }
    let list = serde_json::json!({
        "cniVersion": netconf.cni_version,
        "name": name,
        "plugins": [{ "type": "passthru", "name": "passthru-cni" }],
    });
    let mut network = Network::parse(list.to_string().as_bytes())
        .map_err(|e| wrong(format!("auxiliary chain {name:?} cannot be used: {e}")))?;
    network.append_plugins(facts.disk.aux_chain.clone());
    Ok(Some(Chosen {
        origin: Origin::AuxiliaryChain,
        name: name.clone(),
        network,
        nad: None,
        selection: None,
    }))
}
