//! The cluster as a directory of manifests: pods and NetworkAttachmentDefinitions in YAML or JSON, for machines without
//! Kubernetes, and for trying a manifest out before a cluster sees it.
//!
//! ```text
//! /etc/multus/manifests/
//!   networks.yaml                          NetworkAttachmentDefinitions
//!   web.yaml                               a Pod named `web`, annotated with the networks it wants
//!   default.web.network-status.json        written by multus: what `web` got
//! ```
//!
//! Every lookup reads the directory anew, so that a changed manifest counts from the next container on. Entries below
//! sub-directories, hidden files and other kinds of objects are passed over. What cannot be read does no harm to pods that
//! do not need it; it is named when something that is wanted is not found elsewhere.
//!
//! Left out: watching, deletion, devices. A status file stays until the pod of that name is attached again; whoever removes
//! a manifest removes it too. Start reading at [`ManifestCluster`].

mod directory;
mod document;
mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use engine::{Answer, Cluster, ClusterError, PodLookup, PodRef, Query, Record, Recorded};
use plan::{NadLookup, NadRef, Pod};

use directory::Manifests;

/// A directory of manifests.
#[derive(Debug, Clone)]
pub struct ManifestCluster {
    dir: PathBuf,
}

/// Which manifest speaks for a pod.
enum Match<'a> {
    Pod(&'a Pod),
    None,
}

impl ManifestCluster {
    /// The manifests in `dir`.
    ///
    /// # Errors
    /// [`ClusterError::Config`] when that is no directory that can be listed.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, ClusterError> {
        let dir = dir.into();
        directory::list(&dir)?;
        Ok(Self { dir })
    }

    fn attempt(&self, what: &str) -> String {
        format!("look up {what} among the manifests in {}", self.dir.display())
    }

    /// The manifest of a pod: the one of this namespace and name. A runtime that has no namespaces (podman) gives the
    /// container's name in both places; then the manifest of that name counts, whatever its namespace.
    fn find<'a>(&self, manifests: &'a Manifests, wanted: &PodRef) -> Result<Match<'a>, ClusterError> {
        let key = (wanted.namespace.clone(), wanted.name.clone());
        let mut candidates: Vec<_> = manifests.pods.get(&key).into_iter().collect();
        if candidates.is_empty() && (wanted.namespace == wanted.name || wanted.namespace.is_empty()) {
            candidates = manifests
                .pods
                .iter()
                .filter(|((_, name), _)| *name == wanted.name)
                .map(|(_, pod)| pod)
                .collect();
        }
        let error = |reason| ClusterError::Config {
            attempt: self.attempt(&format!("pod {}/{}", wanted.namespace, wanted.name)),
            reason,
        };
        let definitions: Vec<_> = candidates.into_iter().flatten().collect();
        match definitions.as_slice() {
            [one] => Ok(Match::Pod(&one.object)),
            [] => match manifests.unreadable_that_may_hold(&wanted.name) {
                // A pod is never left silently without the networks that a broken manifest may name for it.
                Some(broken) => Err(error(format!(
                    "no manifest that can be read names it, and these cannot be read: {broken}; correct or remove them"
                ))),
                None => Ok(Match::None),
            },
            several => Err(error(format!(
                "it is defined more than once: in {}; leave one",
                several.iter().map(|one| one.place.as_str()).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    fn pod(&self, manifests: &Manifests, wanted: &PodRef) -> Result<PodLookup, ClusterError> {
        let Match::Pod(pod) = self.find(manifests, wanted)? else {
            // The primary only: a pod that selects nothing.
            let uid = wanted.uid.clone();
            return Ok(PodLookup::Found(Pod::new(&wanted.namespace, &wanted.name, uid, BTreeMap::new())));
        };
        Ok(match (&wanted.uid, &pod.uid) {
            (Some(asked), Some(found)) if asked != found => PodLookup::Replaced { found_uid: found.clone() },
            _ => PodLookup::Found(pod.clone()),
        })
    }
}

impl Cluster for ManifestCluster {
    fn lookup(&self, query: &Query) -> Result<Answer, ClusterError> {
        if query.pod.is_none() && query.nads.is_empty() {
            return Ok(Answer { pod: PodLookup::NotAsked, nads: BTreeMap::new() });
        }
        let manifests = Manifests::read(&self.dir, query.deadline)?;
        let pod = match &query.pod {
            None => PodLookup::NotAsked,
            Some(wanted) => self.pod(&manifests, wanted)?,
        };
        let nads = query.nads.iter().map(|wanted| (wanted.clone(), nad(&manifests, wanted))).collect();
        Ok(Answer { pod, nads })
    }

    /// None: a directory knows no kubelet.
    fn devices(&self, _: &PodRef, _: Instant) -> Result<BTreeMap<String, Vec<String>>, ClusterError> {
        Ok(BTreeMap::new())
    }

    /// Writes status and events of the last change to the pod's status file. A container that no manifest names gets none.
    fn record(&self, record: &Record, deadline: Instant) -> Result<Recorded, ClusterError> {
        let manifests = Manifests::read(&self.dir, deadline)?;
        // There is no place for its status, and nobody who asked for one: the record is complete.
        let Match::Pod(pod) = self.find(&manifests, &record.pod)? else { return Ok(Recorded::Written) };
        if let (Some(asked), Some(found)) = (&record.pod.uid, &pod.uid)
            && asked != found
        {
            return Ok(Recorded::PodReplaced);
        }
        status::write(&self.dir, pod, record)?;
        Ok(Recorded::Written)
    }
}

fn nad(manifests: &Manifests, wanted: &NadRef) -> NadLookup {
    let key = (wanted.namespace.clone(), wanted.name.clone());
    match manifests.nads.get(&key).map(Vec::as_slice) {
        Some([one]) => NadLookup::Found(one.object.clone()),
        Some(several) if !several.is_empty() => NadLookup::Failed(format!(
            "network-attachment-definition {}/{} is defined more than once: in {}; leave one",
            wanted.namespace,
            wanted.name,
            several.iter().map(|one| one.place.as_str()).collect::<Vec<_>>().join(", ")
        )),
        _ => {
            // The text of the API server, which upstream's users and tools know.
            let missing =
                format!("network-attachment-definitions.k8s.cni.cncf.io {:?} not found", wanted.name);
            NadLookup::Missing(match manifests.unreadable() {
                Some(broken) => format!("{missing}; these manifests cannot be read: {broken}"),
                None => missing,
            })
        }
    }
}

#[cfg(test)]
mod tests;
