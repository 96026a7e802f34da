//! The pods of this node.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use engine::{PodLookup, PodRef};
use kube_cluster::watch::Event;
use kube_cluster::wire::Object;
use plan::{NETWORKS_ANNOTATION, Pod, STATUS_ANNOTATION};

use super::Freshness;

/// A node has some hundred pods; a server that tells of more than this tells of other nodes' too.
const MOST: usize = 4096;
/// The API server's own limit for all annotations of an object.
const LONGEST: usize = 256 << 10;
/// All annotations that are kept together.
const MOST_BYTES: usize = 8 << 20;

/// Pods as a watch told of them.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    kept: HashMap<Box<str>, KnownPod>,
    bytes: usize,
    freshness: Freshness,
}

/// What is known of a pod.
#[derive(Debug)]
pub(crate) struct KnownPod {
    /// As a plan needs it; without its network status.
    pub(crate) pod: Pod,
    /// Since when it is without a network that it asks for; nothing when it has all of them, or asks for none.
    pub(crate) lacking: Option<Lacking>,
    bytes: usize,
    list: u32,
}

/// A pod that asks for networks that its status does not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// Since when that is known.
    pub(crate) since: Instant,
    /// Which networks.
    pub(crate) networks: Vec<String>,
    /// Whether the pod's owner was told.
    pub(crate) told: bool,
}

impl Pods {
    /// Takes what the watch tells.
    pub(crate) fn take(&mut self, event: Event<Object>) {
        match event {
            Event::Listing => self.freshness.listing(),
            Event::Found(object) => self.found(object),
            Event::Gone(object) => {
                if let Some(gone) = self.kept.remove(&*key(&object)) {
                    self.bytes -= gone.bytes;
                }
            }
            Event::Complete => {
                let list = self.freshness.list();
                self.kept.retain(|_, known| known.list == list);
                self.bytes = self.kept.values().map(|known| known.bytes).sum();
                self.freshness.complete();
            }
            Event::Current => self.freshness.current(),
            // All is listed again after this, and what the list does not name goes.
            Event::PassedOver(_) => {}
            Event::Lost(error) => self.freshness.lost(error.to_string()),
        }
    }

    fn found(&mut self, object: Object) {
        let key = key(&object);
        let before = self.kept.remove(&*key);
        self.bytes -= before.as_ref().map_or(0, |known| known.bytes);
        let (namespace, name) = key.split_once('/').unwrap_or_default();
        let leaving = object.metadata.deletion.is_some();
        let mut pod = object.into_pod(namespace, name);
        let status = pod.annotations.remove(STATUS_ANNOTATION);
        let networks = if leaving { Vec::new() } else { lacking_networks(&pod, status.as_deref()) };
        let bytes = pod.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        if self.kept.len() >= MOST || bytes > LONGEST || self.bytes + bytes > MOST_BYTES {
            return;
        }
        let earlier = before.filter(|known| known.pod.uid == pod.uid).and_then(|known| known.lacking);
        let lacking = (!networks.is_empty()).then(|| match earlier {
            Some(earlier) => Lacking { networks, ..earlier },
            None => Lacking { since: Instant::now(), networks, told: false },
        });
        self.bytes += bytes;
        self.kept.insert(key, KnownPod { pod, lacking, bytes, list: self.freshness.list() });
    }

    /// The pod that `asked` names; [`PodLookup::Missing`] says only that it is not held.
    #[must_use]
    pub(crate) fn get(&self, asked: &PodRef) -> PodLookup {
        let Some(known) = self.kept.get(&*format!("{}/{}", asked.namespace, asked.name)) else {
            return PodLookup::Missing;
        };
        let pod = &known.pod;
        let wanted = asked.uid.as_deref().filter(|uid| !uid.is_empty());
        match (wanted, pod.uid.as_deref()) {
            (Some(wanted), found) if !pod.is_static && found != Some(wanted) => {
                PodLookup::Replaced { found_uid: found.unwrap_or_default().to_owned() }
            }
            _ => PodLookup::Found(pod.clone()),
        }
    }

    /// Pods that are without a network that they ask for, since before `limit`, and whose owners were not told.
    #[must_use]
    pub(crate) fn lacking(&self, limit: Instant) -> Vec<(PodRef, Vec<String>)> {
        let lacking = self.kept.values().filter_map(|known| {
            let lacking = known.lacking.as_ref().filter(|lacking| !lacking.told && lacking.since <= limit)?;
            let Pod { namespace, name, uid, .. } = &known.pod;
            let pod = PodRef { namespace: namespace.clone(), name: name.clone(), uid: uid.clone() };
            Some((pod, lacking.networks.clone()))
        });
        lacking.collect()
    }

    /// How many pods are without a network that they ask for.
    #[must_use]
    pub(crate) fn lacking_count(&self) -> usize {
        self.kept.values().filter(|known| known.lacking.is_some()).count()
    }

    /// The owner of `pod` was told what it lacks, or need not be.
    pub(crate) fn told(&mut self, pod: &PodRef) {
        let known = self.kept.get_mut(&*format!("{}/{}", pod.namespace, pod.name));
        if let Some(known) = known.filter(|known| known.pod.uid == pod.uid)
            && let Some(lacking) = &mut known.lacking
        {
            lacking.told = true;
        }
    }

    /// How far what is held can be trusted.
    #[must_use]
    pub(crate) fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// How many are held.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }
}

/// The networks that a pod's annotation names and its status does not. An annotation that cannot be read names none: such a pod
/// does not start, or has been told.
fn lacking_networks(pod: &Pod, status: Option<&str>) -> Vec<String> {
    let Some(text) = pod.annotations.get(NETWORKS_ANNOTATION) else { return Vec::new() };
    let selected = plan::selection::parse(text, plan::selection::Annotation::Networks, &pod.namespace);
    let mut attached: BTreeMap<String, usize> = BTreeMap::new();
    for entry in plan::status::parse(status.unwrap_or_default()).unwrap_or_default() {
        *attached.entry(entry.name).or_default() += 1;
    }
    let mut lacking = Vec::new();
    for name in selected.unwrap_or_default().iter().map(plan::selection::Selection::full_name) {
        // The same network may be asked for twice.
        match attached.get_mut(&name).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => lacking.push(name),
        }
    }
    lacking
}

fn key(object: &Object) -> Box<str> {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&object.metadata.namespace), part(&object.metadata.name)).into()
}
