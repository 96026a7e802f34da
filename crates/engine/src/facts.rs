//! Look up: everything that a plan is made from, gathered from the cluster and from the node's disk.

use std::collections::BTreeMap;
use std::time::Instant;

use libcni::skel::Call;
use libcni::{CniError, Verb};
use plan::{Facts, NadLookup, NadRef, NetConf, OnDisk, Plan, PlanError, Pod, PodIdentity, Sandbox, Wanted};

use crate::cluster::{Cluster, ClusterError, PodLookup, PodRef, Query};
use crate::disk;
use crate::error::{EngineError, prefix};

/// The cluster behind a call: connected, absent because the netconf names none, or described wrongly. A pod that needs nothing of it
/// must start in the last case too, so the error waits until something is asked.
pub(crate) type Connected = Result<Option<Box<dyn Cluster>>, ClusterError>;

/// What a plan is made from, owned.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) pod: Option<Pod>,
    nads: BTreeMap<NadRef, NadLookup>,
    disk: OnDisk,
    devices: BTreeMap<String, Vec<String>>,
    /// Whether the cluster was asked for anything.
    pub(crate) needed_cluster: bool,
}

/// Which sandbox a call is about.
pub(crate) fn sandbox(call: &Call) -> Result<(Sandbox, PodIdentity), EngineError> {
    let args = libcni::args::parse(&call.args).map_err(|error| {
        EngineError::Cni(CniError::new(
            CniError::BAD_ENVIRONMENT,
            format!("Multus: error getting k8s args: {error}"),
            "",
        ))
    })?;
    let identity =
        PodIdentity::from_args(&args).map_err(|source| EngineError::Plan { at: String::new(), source })?;
    let sandbox = Sandbox {
        container_id: call.container_id.clone(),
        netns: call.netns.clone(),
        if_name: call.if_name.clone(),
        args,
    };
    Ok((sandbox, identity))
}

impl Gathered {
    /// Gathers the facts for an ADD of `sandbox`.
    pub(crate) fn gather(
        netconf: &NetConf,
        sandbox: &Sandbox,
        identity: &PodIdentity,
        cluster: &Connected,
        deadline: Instant,
    ) -> Result<Self, EngineError> {
        let mut lookup = Lookup { netconf, identity, cluster, deadline, nads: BTreeMap::new(), asked: false };
        let pod = lookup.pod(sandbox)?;
        let wanted = lookup.wanted(pod.as_ref())?;
        lookup.nads(&wanted)?;
        let Lookup { nads, asked: needed_cluster, .. } = lookup;
        let disk = disk::read(netconf, &wanted, &nads);
        let mut gathered = Self { pod, nads, disk, devices: BTreeMap::new(), needed_cluster };
        if let (Some(pod), true) = (&gathered.pod, plan::needs_devices(&gathered.nads)) {
            let pod = pod_ref(pod);
            gathered.devices = ask(cluster, identity, |cluster| cluster.devices(&pod, deadline))?;
        }
        Ok(gathered)
    }

    /// Gathers what STATUS and GC need: the default network alone, without a pod.
    pub(crate) fn default_network(
        netconf: &NetConf,
        cluster: &Connected,
        deadline: Instant,
    ) -> Result<Self, EngineError> {
        let identity = PodIdentity::default();
        let mut lookup =
            Lookup { netconf, identity: &identity, cluster, deadline, nads: BTreeMap::new(), asked: false };
        let wanted = lookup.wanted(None)?;
        lookup.nads(&wanted)?;
        let Lookup { nads, asked: needed_cluster, .. } = lookup;
        let disk = disk::read(netconf, &wanted, &nads);
        Ok(Self { pod: None, nads, disk, devices: BTreeMap::new(), needed_cluster })
    }

    /// The plan that follows from the facts.
    pub(crate) fn plan(
        &self,
        netconf: &NetConf,
        verb: Verb,
        sandbox: &Sandbox,
        identity: &PodIdentity,
    ) -> Result<Plan, PlanError> {
        plan::plan(&Facts {
            netconf,
            verb,
            sandbox,
            identity,
            pod: self.pod.as_ref(),
            nads: &self.nads,
            disk: &self.disk,
            devices: &self.devices,
        })
    }
}

struct Lookup<'a> {
    netconf: &'a NetConf,
    identity: &'a PodIdentity,
    cluster: &'a Connected,
    deadline: Instant,
    nads: BTreeMap<NadRef, NadLookup>,
    asked: bool,
}

impl Lookup<'_> {
    /// The pod: as the runtime described it, else as the cluster knows it. `None` where no cluster is configured.
    fn pod(&mut self, sandbox: &Sandbox) -> Result<Option<Pod>, EngineError> {
        if matches!(self.cluster, Ok(None)) {
            return Ok(None);
        }
        if let Some(annotations) = self.netconf.pod_annotations() {
            return Ok(Some(Pod::from_runtime(self.identity, annotations)));
        }
        let asked = self.pod_to_ask(sandbox)?;
        // The NADs that the netconf names are needed whatever the pod selects, so they come in the same round.
        let query = Query { pod: Some(asked), nads: self.wanted(None)?.nads, deadline: self.deadline };
        self.asked = true;
        let answer = ask(self.cluster, self.identity, |cluster| cluster.lookup(&query))?;
        self.nads.extend(answer.nads);
        let missing = |source| EngineError::Plan { at: String::new(), source };
        match answer.pod {
            PodLookup::Found(pod) => Ok(Some(pod)),
            PodLookup::Missing | PodLookup::NotAsked => Err(missing(PlanError::pod_missing(self.identity))),
            PodLookup::Replaced { found_uid } => {
                Err(missing(PlanError::pod_replaced(self.identity, &found_uid)))
            }
        }
    }

    fn pod_to_ask(&self, sandbox: &Sandbox) -> Result<PodRef, EngineError> {
        let PodIdentity { namespace, name, uid, .. } = self.identity;
        // Runtimes that know no pods may still have a manifest that names the container.
        let name = match (name.is_empty(), &self.netconf.manifests) {
            (true, Some(_)) => &sandbox.container_id,
            (true, None) => {
                return Err(EngineError::Cni(CniError::new(
                    CniError::BAD_ENVIRONMENT,
                    format!(
                        "{}error waiting for pod: CNI_ARGS name no pod (K8S_POD_NAMESPACE, K8S_POD_NAME); the runtime \
                         must pass them, or the network configuration must be used without a kubeconfig",
                        prefix(self.identity)
                    ),
                    "",
                )));
            }
            (false, _) => name,
        };
        let uid = Some(uid.clone()).filter(|uid| !uid.is_empty());
        Ok(PodRef { namespace: namespace.clone(), name: name.clone(), uid })
    }

    fn wanted(&self, pod: Option<&Pod>) -> Result<Wanted, EngineError> {
        plan::wanted(self.netconf, pod, self.identity)
            .map_err(|source| EngineError::Plan { at: String::new(), source })
    }

    /// Fetches those of the wanted NADs that are not here yet.
    fn nads(&mut self, wanted: &Wanted) -> Result<(), EngineError> {
        let nads: Vec<_> = wanted.nads.iter().filter(|nad| !self.nads.contains_key(*nad)).cloned().collect();
        if nads.is_empty() {
            return Ok(());
        }
        if matches!(self.cluster, Ok(None)) {
            let nowhere = "neither a kubeconfig nor a directory of manifests is configured";
            self.nads.extend(nads.into_iter().map(|nad| (nad, NadLookup::Failed(nowhere.to_owned()))));
            return Ok(());
        }
        let query = Query { pod: None, nads, deadline: self.deadline };
        self.asked = true;
        self.nads.extend(ask(self.cluster, self.identity, |cluster| cluster.lookup(&query))?.nads);
        Ok(())
    }
}

/// Asks the cluster, or says why it cannot be asked.
fn ask<T>(
    cluster: &Connected,
    identity: &PodIdentity,
    question: impl FnOnce(&dyn Cluster) -> Result<T, ClusterError>,
) -> Result<T, EngineError> {
    let fail =
        |what: &str, source| EngineError::Cluster { at: format!("{}{what}", prefix(identity)), source };
    match cluster {
        Ok(Some(cluster)) => {
            question(cluster.as_ref()).map_err(|source| fail("cannot look up what the pod needs: ", source))
        }
        Ok(None) => Err(EngineError::Cni(CniError::new(
            CniError::BAD_CONFIG,
            format!("{}no cluster is configured; set kubeconfig or manifests", prefix(identity)),
            "",
        ))),
        Err(error) => Err(fail("error getting k8s client: ", error.clone())),
    }
}

/// A pod as a record names it. A static pod's mirror has another UID than the runtime knows, so none is asked for.
pub(crate) fn pod_ref(pod: &Pod) -> PodRef {
    let uid = pod.uid.clone().filter(|_| !pod.is_static);
    PodRef { namespace: pod.namespace.clone(), name: pod.name.clone(), uid }
}
