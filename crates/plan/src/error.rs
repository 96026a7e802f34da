//! Why there is no plan.

use libcni::CniError;

use crate::events::PlanEvent;
use crate::facts::PodIdentity;

/// Why there is no plan. The variants differ in who can put it right and whether trying again helps; the text
/// is complete, with the prefixes that callers of Multus know, and ends with what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The node's own configuration is wrong; its administrator has to change it.
    #[error("{text}")]
    NetConf {
        /// The whole text.
        text: String,
    },
    /// `CNI_ARGS` is not what a runtime passes.
    #[error("{text}")]
    Args {
        /// The whole text.
        text: String,
    },
    /// The pod is gone, not there yet, or another one of the same name; the runtime has to try again.
    #[error("{text}")]
    Pod {
        /// The whole text.
        text: String,
    },
    /// An annotation of the pod is malformed. In strict mode the caller goes on without it.
    #[error("{text}")]
    Annotation {
        /// The whole text.
        text: String,
    },
    /// The annotation is well formed, but asks for what its network or this node cannot give.
    #[error("{text}")]
    Request {
        /// The whole text.
        text: String,
    },
    /// The pod may not use this network (N-101, N-102).
    #[error("{text}")]
    Denied {
        /// The whole text.
        text: String,
    },
    /// A network does not exist, or could not be looked up; it may be there at the next try.
    #[error("{text}")]
    NotFound {
        /// The whole text.
        text: String,
        /// What the pod's events should say.
        event: Option<PlanEvent>,
    },
    /// A network exists but its configuration cannot be used; its owner has to change it.
    #[error("{text}")]
    Network {
        /// The whole text.
        text: String,
    },
    /// A device that a network needs is not allocated to the pod.
    #[error("{text}")]
    Device {
        /// The whole text.
        text: String,
        /// Whether kubelet may know more at the next try.
        again: bool,
    },
}

impl PlanError {
    /// The error as the runtime gets it: 11 where trying again may help, 4 for arguments, 7 otherwise.
    pub fn to_cni(&self) -> CniError {
        let code = match self {
            PlanError::Pod { .. } | PlanError::NotFound { .. } | PlanError::Device { again: true, .. } => {
                CniError::TRY_AGAIN
            }
            PlanError::Args { .. } => CniError::BAD_ENVIRONMENT,
            _ => CniError::BAD_CONFIG,
        };
        CniError::new(code, self.to_string(), "")
    }

    /// The event that the pod should get because of this error.
    pub fn event(&self) -> Option<&PlanEvent> {
        match self {
            PlanError::NotFound { event, .. } => event.as_ref(),
            _ => None,
        }
    }

    /// The pod does not exist (any more); design: fails with code 11, where upstream makes up a result (Q6).
    pub fn pod_missing(identity: &PodIdentity) -> PlanError {
        let PodIdentity { namespace, name, .. } = identity;
        PlanError::Pod {
            text: format!(
                "Multus: {}error waiting for pod: pod {namespace}/{name} does not exist in the API server; \
                 if it was deleted nothing needs to be done, if it was just created the runtime's next try \
                 will find it",
                identity.prefix()
            ),
        }
    }

    /// The pod of that name is another one than the runtime means.
    pub fn pod_replaced(identity: &PodIdentity, found_uid: &str) -> PlanError {
        PlanError::Pod {
            text: format!(
                "Multus: {}expected pod UID \"{}\" but got \"{found_uid}\" from Kube API; pod {}/{} was \
                 replaced by another one of the same name, whose own sandbox will be set up in its turn",
                identity.prefix(),
                identity.uid,
                identity.namespace,
                identity.name
            ),
        }
    }

    /// The same error with `prefix` before its text.
    pub(crate) fn under(mut self, prefix: &str) -> PlanError {
        self.text_mut().insert_str(0, prefix);
        self
    }

    /// The same error with `help` after its text.
    pub(crate) fn with(mut self, help: &str) -> PlanError {
        self.text_mut().push_str(help);
        self
    }

    fn text_mut(&mut self) -> &mut String {
        match self {
            PlanError::NetConf { text }
            | PlanError::Args { text }
            | PlanError::Pod { text }
            | PlanError::Annotation { text }
            | PlanError::Request { text }
            | PlanError::Denied { text }
            | PlanError::NotFound { text, .. }
            | PlanError::Network { text }
            | PlanError::Device { text, .. } => text,
        }
    }
}

/// The beginning of foreign text, short enough for a message that ends in an event.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 128;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
