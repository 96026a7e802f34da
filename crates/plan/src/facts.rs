//! What a plan is made from.

use std::collections::BTreeMap;
use std::fmt;

use libcni::{Network, Plugin, Verb};

use crate::error::PlanError;
use crate::netconf::NetConf;

/// The pod's selection of networks (N-19).
pub const NETWORKS_ANNOTATION: &str = "k8s.v1.cni.cncf.io/networks";
/// The pod's choice of another default network.
pub const DEFAULT_NETWORK_ANNOTATION: &str = "v1.multus-cni.io/default-network";
/// What was attached (N-72).
pub const STATUS_ANNOTATION: &str = "k8s.v1.cni.cncf.io/network-status";
/// On a NAD: the device resource of which each attachment needs one.
pub const RESOURCE_NAME_ANNOTATION: &str = "k8s.v1.cni.cncf.io/resourceName";
/// On a NAD: attachments to it may run beside others of the same pod (never in strict mode, N-100).
pub const PARALLEL_ANNOTATION: &str = "multus-rs.github.io/parallel";

const CONFIG_SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";

/// Who the sandbox belongs to, as the runtime says in `CNI_ARGS`. Parts that it does not say are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodIdentity {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`.
    pub uid: String,
    /// `K8S_POD_INFRA_CONTAINER_ID`.
    pub infra_container_id: String,
}

impl PodIdentity {
    /// Reads the identity from `CNI_ARGS`. As CNI's convention says, an argument that is not known is an error
    /// unless `IgnoreUnknown` is true.
    pub fn from_args(args: &[(String, String)]) -> Result<PodIdentity, PlanError> {
        let mut identity = PodIdentity::default();
        let mut ignore_unknown = false;
        let mut unknown = Vec::new();
        for (key, value) in args {
            match key.as_str() {
                "K8S_POD_NAMESPACE" => identity.namespace.clone_from(value),
                "K8S_POD_NAME" => identity.name.clone_from(value),
                "K8S_POD_UID" => identity.uid.clone_from(value),
                "K8S_POD_INFRA_CONTAINER_ID" => identity.infra_container_id.clone_from(value),
                "IP" => {}
                "IgnoreUnknown" => ignore_unknown = ignore_unknown_value(value)?,
                _ => unknown.push(format!("{:?}", format!("{key}={value}"))),
            }
        }
        if !ignore_unknown && !unknown.is_empty() {
            return Err(PlanError::Args {
                text: format!(
                    "Multus: error getting k8s args: ARGS: unknown args [{}]; pass IgnoreUnknown=true in \
                     CNI_ARGS to hand further arguments to the plugins",
                    unknown.join(" ")
                ),
            });
        }
        Ok(identity)
    }

    /// What stands before messages about this pod: `[namespace/name/uid]: `.
    pub fn prefix(&self) -> String {
        format!("[{}/{}/{}]: ", self.namespace, self.name, self.uid)
    }
}

fn ignore_unknown_value(value: &str) -> Result<bool, PlanError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(PlanError::Args {
            text: format!(
                "Multus: error getting k8s args: ARGS: error parsing value of pair {:?}: boolean unmarshal \
                 error: invalid input {value}; write 1, true, 0 or false",
                format!("IgnoreUnknown={value}")
            ),
        }),
    }
}

/// A pod, as far as attaching its networks needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID where that is known.
    pub uid: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whether it does not come from the API server; then the API's UID, of the mirror pod, is another one.
    pub is_static: bool,
}

impl Pod {
    /// A pod; whether it is static follows from its annotations.
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        uid: Option<String>,
        annotations: BTreeMap<String, String>,
    ) -> Pod {
        let is_static = annotations.get(CONFIG_SOURCE_ANNOTATION).is_some_and(|source| source != "api");
        Pod { namespace: namespace.into(), name: name.into(), uid, annotations, is_static }
    }

    /// The pod that the runtime describes: identity from `CNI_ARGS`, annotations from `runtimeConfig`.
    pub fn from_runtime(identity: &PodIdentity, annotations: BTreeMap<String, String>) -> Pod {
        let uid = (!identity.uid.is_empty()).then(|| identity.uid.clone());
        Pod::new(&identity.namespace, &identity.name, uid, annotations)
    }

    /// The UID of this pod when it shows that the runtime means another one.
    pub fn differing_uid(&self, identity: &PodIdentity) -> Option<&str> {
        let found = self.uid.as_deref()?;
        let differs = !self.is_static && !identity.uid.is_empty() && found != identity.uid;
        differs.then_some(found)
    }
}

/// Names a NetworkAttachmentDefinition.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NadRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl NadRef {
    /// A reference.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> NadRef {
        NadRef { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for NadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A NetworkAttachmentDefinition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nad {
    /// Its namespace and name.
    pub reference: NadRef,
    /// `spec.config`; empty when the object has none (N-5, N-8).
    pub config: String,
    /// The resource that its annotation names.
    pub resource_name: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Nad {
    /// A NAD; the resource name follows from its annotations.
    pub fn new(reference: NadRef, config: impl Into<String>, annotations: BTreeMap<String, String>) -> Nad {
        let resource_name = annotations.get(RESOURCE_NAME_ANNOTATION).cloned();
        Nad { reference, config: config.into(), resource_name, annotations }
    }
}

/// What a look-up of a NAD found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NadLookup {
    /// The NAD.
    Found(Nad),
    /// There is none; the API's own text.
    Missing(String),
    /// It could not be looked up; why not.
    Failed(String),
}

/// The sandbox that the runtime asks about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`; may be empty on DEL.
    pub netns: String,
    /// `CNI_IFNAME`, the name of the default network's interface.
    pub if_name: String,
    /// `CNI_ARGS`.
    pub args: Vec<(String, String)>,
}

/// Configurations that lie on the node's disk, read by the caller.
#[derive(Debug, Clone, Default)]
pub struct OnDisk {
    /// Name and content of each configuration file in `confDir`, in the order of their names; or why one, or the folder itself
    /// under an empty name, cannot be read.
    pub conf_dir: Vec<(String, Result<Vec<u8>, String>)>,
    /// What each path of [`Wanted::files`](crate::Wanted) holds, or why it holds nothing.
    pub paths: BTreeMap<String, Result<Network, String>>,
    /// The plugins of the auxiliary chain's folder.
    pub aux_chain: Vec<Plugin>,
    /// Why that folder cannot be read.
    pub aux_chain_error: Option<String>,
}

/// Everything that a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The meta-plugin's own configuration.
    pub netconf: &'a NetConf,
    /// What the runtime asks for. STATUS and GC concern the default network alone.
    pub verb: Verb,
    /// The sandbox.
    pub sandbox: &'a Sandbox,
    /// Who the sandbox belongs to.
    pub identity: &'a PodIdentity,
    /// The pod; none for a container that is no pod. A pod that ought to exist and does not is
    /// [`PlanError::pod_missing`], which the caller returns without asking for a plan.
    pub pod: Option<&'a Pod>,
    /// What was found for each NAD of [`Wanted::nads`](crate::Wanted).
    pub nads: &'a BTreeMap<NadRef, NadLookup>,
    /// Configurations on disk.
    pub disk: &'a OnDisk,
    /// The devices that kubelet allocated to the pod, per resource.
    pub devices: &'a BTreeMap<String, Vec<String>>,
}
