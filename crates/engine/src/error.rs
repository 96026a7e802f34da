//! Why a call failed, and the CNI error that the runtime is told.

use libcni::CniError;
use plan::{PlanError, PodIdentity};

use crate::cluster::ClusterError;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What the pod, its networks or the netconf ask for cannot be done.
    #[error("{at}{source}")]
    Plan {
        /// Upstream's prefix: which pod, and what was attempted.
        at: String,
        /// What is wrong.
        #[source]
        source: PlanError,
    },
    /// The cluster could not be asked.
    #[error("{at}{source}")]
    Cluster {
        /// Which pod, and what was attempted.
        at: String,
        /// Why.
        #[source]
        source: ClusterError,
    },
    /// Attaching, detaching or asking the plugins failed.
    #[error(transparent)]
    Attach(#[from] attach::Error),
    /// Anything that has a CNI code of its own.
    #[error("{0}")]
    Cni(#[source] CniError),
}

impl EngineError {
    /// The error object for the runtime. The kubelet shows its text in the pod's events.
    #[must_use]
    pub fn to_cni(&self) -> CniError {
        match self {
            Self::Plan { at, source } => {
                let inner = source.to_cni();
                CniError { msg: format!("{at}{}", inner.msg), ..inner }
            }
            Self::Cluster { source, .. } => {
                let code = match source {
                    ClusterError::Unavailable { .. } => CniError::TRY_AGAIN,
                    ClusterError::Denied { .. } | ClusterError::Config { .. } => CniError::BAD_CONFIG,
                };
                CniError::new(code, self.to_string(), "")
            }
            Self::Attach(error) => error.to_cni(),
            Self::Cni(error) => error.clone(),
        }
    }
}

impl EngineError {
    /// What was attached cannot be told to the runtime.
    pub(crate) fn result(msg: String) -> Self {
        Self::Cni(CniError::new(CniError::INTERNAL, msg, ""))
    }
}

/// The beginning of upstream's errors: which pod, so that a line of a node's log says whose it is.
pub(crate) fn prefix(identity: &PodIdentity) -> String {
    format!("Multus: [{}/{}/{}]: ", identity.namespace, identity.name, identity.uid)
}
