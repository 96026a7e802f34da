//! What the engine needs of a cluster: facts before it plans, and a place to record what it did.
//!
//! The trait is small on purpose. Behind it stands the API server (`kube-cluster`), a directory of manifests
//! (`manifest-cluster`) or, in thick mode, the daemon's socket. What crosses it has Kubernetes' own shapes, so that the two
//! sides can be of different versions.

use std::collections::BTreeMap;
use std::time::Instant;

use plan::{NadLookup, NadRef, PlanEvent, Pod};
use serde::{Deserialize, Serialize};

/// A source of pods and NADs, and the place where status and events go.
pub trait Cluster {
    /// Fetches all that `query` asks for, at once where the source allows it.
    ///
    /// A missing object is an answer, not an error; an error means that the source itself could not be asked.
    ///
    /// # Errors
    /// [`ClusterError`] when the source did not answer before the query's deadline, or refuses to.
    fn lookup(&self, query: &Query) -> Result<Answer, ClusterError>;

    /// The devices that the kubelet allocated to `pod`: resource name to sorted device IDs.
    ///
    /// # Errors
    /// [`ClusterError`] when neither the kubelet nor its checkpoint could be read.
    fn devices(&self, pod: &PodRef, deadline: Instant)
    -> Result<BTreeMap<String, Vec<String>>, ClusterError>;

    /// Writes the network status and posts the events. Events never fail a record.
    ///
    /// # Errors
    /// [`ClusterError`] when the status could not be written before `deadline`.
    fn record(&self, record: &Record, deadline: Instant) -> Result<Recorded, ClusterError>;
}

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Query {
    /// The pod, where the runtime did not hand its annotations over.
    pub pod: Option<PodRef>,
    /// The NADs that the configuration or the pod names.
    pub nads: Vec<NadRef>,
    /// When to give up.
    pub deadline: Instant,
}

/// A pod as the runtime names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID, where the runtime knows it. A pod of the same name and another UID is another pod.
    pub uid: Option<String>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The pod.
    pub pod: PodLookup,
    /// One entry for each NAD that was asked for.
    pub nads: BTreeMap<NadRef, NadLookup>,
}

/// What a pod lookup found.
#[derive(Debug, Clone)]
pub enum PodLookup {
    /// The query named no pod.
    NotAsked,
    /// The pod.
    Found(Pod),
    /// No such pod, also after waiting out the lag of a cache.
    Missing,
    /// A pod of that name exists, but it is another one.
    Replaced {
        /// The UID of the pod that exists.
        found_uid: String,
    },
}

/// What happened to a sandbox, for the pod's owner to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The pod that it is about.
    pub pod: PodRef,
    /// The text of the network-status annotation; `None` leaves the annotation alone.
    pub status: Option<String>,
    /// Events to post on the pod.
    pub events: Vec<PlanEvent>,
}

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// The status is written.
    Written,
    /// There is no such pod any more; nothing was written.
    PodGone,
    /// A pod of the same name has taken its place; nothing was written.
    PodReplaced,
}

/// Why a cluster could not be asked. The variants differ in what the caller does next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    /// It did not answer in time, or said that it cannot now. Trying again later can help.
    #[error("{attempt}: {reason}")]
    Unavailable {
        /// What was attempted, on what.
        attempt: String,
        /// Why it failed.
        reason: String,
    },
    /// It answered that we may not. Somebody has to change a role or a credential.
    #[error("{attempt}: {reason}; check the credentials in the kubeconfig and the ClusterRole bound to them")]
    Denied {
        /// What was attempted, on what.
        attempt: String,
        /// The answer.
        reason: String,
    },
    /// The way to it is described wrongly: a kubeconfig or a directory that cannot be used.
    #[error("{attempt}: {reason}")]
    Config {
        /// What was attempted, on what.
        attempt: String,
        /// Why it failed.
        reason: String,
    },
}
