use std::io;
use std::path::PathBuf;

/// Why a node could not be made to use multus, or be kept so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The primary network is not there yet; it may come.
    #[error("{0}")]
    Missing(String),
    /// The primary network is there and cannot be used, at this moment at least.
    #[error("{0}")]
    Unusable(String),
    /// What is meant to be the primary network leads back to multus.
    #[error("{0} calls multus itself; name the primary network's own file or network")]
    Circular(String),
    /// A setting contradicts another one, or says what no node can do.
    #[error("{0}")]
    Setting(String),
    /// Another install's configuration is in the place of ours.
    #[error(
        "{} belongs to another install of multus, {owner:?}, and is left alone. Two installs cannot share a node: remove one of them. \
         If {owner:?} is gone for good, name it with --take-over-from={owner}, or delete the file on the node",
        path.display()
    )]
    Owned {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// A file could not be put into a directory of the node.
    #[error("cannot write {}: {source}. {}", path.display(), setting.advice(source))]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// What names the directory.
        setting: Setting,
        /// Why it could not be.
        #[source]
        source: io::Error,
    },
    /// Something else that has to do with a file failed.
    #[error("cannot {attempt}: {source}")]
    Io {
        /// What was attempted, on what.
        attempt: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// What names a directory of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The directory of CNI configurations.
    ConfDir,
    /// The directory of CNI plugins.
    BinDir,
}

impl Setting {
    /// The flags of the programs, which depend on where the directory is mounted.
    fn flag(self) -> &'static str {
        match self {
            Self::ConfDir => "--cni-conf-dir",
            Self::BinDir => "--cni-bin-dir or --dest-dir",
        }
    }

    /// The value of the chart.
    #[must_use]
    pub fn value(self) -> &'static str {
        match self {
            Self::ConfDir => "cni.configDir",
            Self::BinDir => "cni.binDir",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::ConfDir => "directory of CNI configurations",
            Self::BinDir => "directory of CNI plugins",
        }
    }

    /// What a person can do about `error`, in terms of the chart and of the flag.
    #[must_use]
    pub fn advice(self, error: &io::Error) -> String {
        let set = format!(
            "set the chart's value {} (here {}) to the {} that this node's container runtime uses",
            self.value(),
            self.flag(),
            self.what()
        );
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => {
                format!(
                    "The file system is read-only: {set}, on one that can be written, and mount it without readOnly"
                )
            }
            io::ErrorKind::PermissionDenied => format!(
                "The node does not let this container write there. It has to run as root; where SELinux is enforcing, with a type \
                 that may write (spc_t; on Bottlerocket super_t). If the directory is the wrong one, {set}"
            ),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                format!("If there is no such directory, {set}")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "Free some space on the node".to_owned()
            }
            _ => format!("If this is the wrong place, {set}"),
        }
    }
}

impl Error {
    pub(crate) fn io(attempt: impl Into<String>, source: io::Error) -> Self {
        Self::Io { attempt: attempt.into(), source }
    }
}
