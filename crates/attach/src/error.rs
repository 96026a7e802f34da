//! Why attaching or detaching failed.

use std::io;
use std::path::PathBuf;

use libcni::CniError;

use crate::lock::LockError;

/// One network that could not be detached.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The network's name.
    pub network: String,
    /// The interface.
    pub if_name: String,
    /// The plugin's own error.
    pub error: CniError,
}

/// Why a call failed. The variants differ in what is left on the node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another call works on this sandbox; nothing was done.
    #[error("another operation on sandbox {container_id} has not ended ({who}); it will be tried again")]
    Busy {
        /// The sandbox.
        container_id: String,
        /// Who it is, as far as that is known.
        who: &'static str,
    },
    /// Another call keeps the node to itself or all places are taken; nothing was done.
    #[error("{0}; it will be tried again")]
    NodeBusy(&'static str),
    /// The state of the sandbox cannot be kept, so nothing was attached.
    #[error("cannot {action} {}: {source}; nothing was attached", path.display())]
    State {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The sandbox is attached already (C-20); nothing was done.
    #[error("sandbox {0} is attached already; a DEL must come before another ADD")]
    Attached(String),
    /// A network could not be attached; the others were detached again, but for `left`.
    #[error("{at}{cause}{}", named(left))]
    Add {
        /// Upstream's prefix: the pod, the network.
        at: String,
        /// The plugin's error, or ours.
        cause: CniError,
        /// What could not be detached again and stays in the journal.
        left: Vec<Failure>,
    },
    /// Networks that could not be detached stay in the journal; all others are detached.
    #[error("{}", deletion(.0))]
    Del(Vec<Failure>),
    /// A network is not as it was left.
    #[error("{0}")]
    Check(#[source] CniError),
    /// CHECK for a sandbox of which nothing is known.
    #[error("nothing is attached to sandbox {0} as far as this node knows")]
    Unknown(String),
    /// A plugin says that it cannot serve.
    #[error("{0}")]
    Status(#[source] CniError),
    /// GC did nothing, because it cannot know what is valid.
    #[error("GC frees nothing: {0}")]
    GcUnsafe(String),
    /// Parts of GC failed; the rest is done (C-51).
    #[error("error in GC command: {}", .0.join("\n"))]
    Gc(Vec<String>),
}

impl Error {
    /// The error object for the runtime; a plugin's own code and details are kept (C-23).
    pub fn to_cni(&self) -> CniError {
        match self {
            Error::Add { at, cause, left } => CniError {
                code: cause.code,
                msg: format!("{at}{}{}", cause.msg, named(left)),
                details: cause.details.clone(),
            },
            Error::Check(cause) | Error::Status(cause) => cause.clone(),
            Error::Del(failures) => {
                let code = failures.first().map_or(CniError::INTERNAL, |failure| failure.error.code);
                CniError::new(code, self.to_string(), "")
            }
            Error::Busy { .. } | Error::NodeBusy(_) => {
                CniError::new(CniError::TRY_AGAIN, self.to_string(), "")
            }
            Error::State { .. } => CniError::new(CniError::IO, self.to_string(), ""),
            Error::Unknown(_) => CniError::new(CniError::UNKNOWN_CONTAINER, self.to_string(), ""),
            Error::Attached(_) | Error::GcUnsafe(_) | Error::Gc(_) => {
                CniError::new(CniError::INTERNAL, self.to_string(), "")
            }
        }
    }

    pub(crate) fn locked(container_id: &str, error: LockError) -> Error {
        match error {
            LockError::Held { owner_alive } => Error::Busy {
                container_id: container_id.to_owned(),
                who: if owner_alive {
                    "a call that still runs"
                } else {
                    "a plugin of a call that was killed"
                },
            },
            LockError::Unusable(path, source) => Error::State { action: "use the lock", path, source },
        }
    }

    pub(crate) fn node_locked(error: LockError, busy: &'static str) -> Error {
        match error {
            LockError::Held { .. } => Error::NodeBusy(busy),
            LockError::Unusable(path, source) => Error::State { action: "use the lock", path, source },
        }
    }
}

fn named(left: &[Failure]) -> String {
    match left {
        [] => String::new(),
        _ => format!("; not undone yet, to be tried again: {}", listed(left)),
    }
}

/// Runtimes take an error that says "not found" for a sandbox that is gone, and do not try again.
fn deletion(failures: &[Failure]) -> String {
    let text = format!("{}; what is named here stays recorded and is tried again", listed(failures));
    rephrased(&text)
}

/// The text with `missing` for `not found`, in whatever case.
fn rephrased(text: &str) -> String {
    const TAKEN_FOR_SUCCESS: &str = "not found";
    let mut rest = text;
    let mut result = String::with_capacity(text.len());
    // Lower case of ASCII letters only, so that the places of both texts are the same.
    while let Some(at) = rest.to_ascii_lowercase().find(TAKEN_FOR_SUCCESS) {
        result.push_str(&rest[..at]);
        result.push_str("missing");
        rest = &rest[at + TAKEN_FOR_SUCCESS.len()..];
    }
    result + rest
}

fn listed(failures: &[Failure]) -> String {
    let texts = failures.iter().map(|failure| {
        let Failure { network, if_name, error } = failure;
        format!("error deleting network \"{network}\" ({if_name}): {error}")
    });
    texts.collect::<Vec<_>>().join(" / ")
}
