//! What has to be looked up before a plan can be made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::error::PlanError;
use crate::facts::{NadLookup, NadRef, Pod, PodIdentity};
use crate::netconf::NetConf;
use crate::resolve;

/// The folder of the auxiliary chain, `dir/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuxiliaryChain {
    /// The folder that holds the chain's folder.
    pub dir: PathBuf,
    /// The chain's name.
    pub name: String,
}

/// What has to be looked up before a plan can be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// NADs, each once.
    pub nads: Vec<NadRef>,
    /// Paths that `clusterNetwork` and `defaultNetworks` name; keys of [`OnDisk::paths`](crate::OnDisk).
    pub files: Vec<String>,
    /// Bare names that may be those of networks in `confDir`.
    pub names: Vec<String>,
    /// The auxiliary chain, whose folder has to be read.
    pub auxiliary_chain: Option<AuxiliaryChain>,
}

impl Wanted {
    /// Whether the configuration files of `confDir` are needed, given what the look-ups found.
    pub fn needs_conf_dir(&self, nads: &BTreeMap<NadRef, NadLookup>) -> bool {
        let found = |lookup: &NadLookup| matches!(lookup, NadLookup::Found(nad) if !nad.config.is_empty());
        let has_own = |name: &String| nads.iter().any(|(nad, lookup)| nad.name == *name && found(lookup));
        let without_config =
            |lookup: &NadLookup| matches!(lookup, NadLookup::Found(nad) if nad.config.is_empty());
        nads.values().any(without_config) || !self.names.iter().all(has_own)
    }
}

/// What has to be looked up for this pod, or for none. A pod that selects nothing needs no NAD unless the node's
/// configuration names one. Selections that are malformed or not allowed are errors already here: what a pod may
/// not use is not looked up either.
pub fn wanted(netconf: &NetConf, pod: Option<&Pod>, identity: &PodIdentity) -> Result<Wanted, PlanError> {
    let mut nads = BTreeSet::new();
    let mut wanted = Wanted::default();
    let mut values = Vec::new();
    if !netconf.cluster_network.is_empty() {
        values.push(&netconf.cluster_network);
    }
    if resolve::gets_default_networks(netconf, pod) {
        values.extend(&netconf.default_networks);
    }
    for value in values {
        if NetConf::is_path(value) {
            wanted.files.push(value.clone());
        } else {
            nads.extend(resolve::nad_of_value(netconf, value));
            wanted.names.push(value.clone());
        }
    }
    if let Some(pod) = pod {
        let selections =
            resolve::selections(netconf, pod).map_err(|e| e.under(&resolve::annotations_prefix(identity)))?;
        let all = selections.default.iter().chain(&selections.networks);
        nads.extend(all.map(|selection| NadRef::new(&selection.namespace, &selection.name)));
    }
    wanted.nads = nads.into_iter().collect();
    wanted.auxiliary_chain = netconf
        .auxiliary_chain_dir()
        .map(|dir| AuxiliaryChain { dir: dir.to_owned(), name: netconf.auxiliary_chain_name.clone() });
    Ok(wanted)
}

#[cfg(test)]
mod tests;
