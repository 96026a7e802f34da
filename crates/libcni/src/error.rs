//! What can go wrong, and the CNI error object in which plugins and runtimes tell one another.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, Form};
use crate::json;
use crate::result::ResultError;

/// The CNI error object, as a plugin prints it and as a runtime reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CniError {
    /// What kind of failure; see the constants. From 100 on the plugin's own.
    pub code: u32,
    /// What failed.
    pub msg: String,
    /// More about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl CniError {
    /// The configuration's version is not supported.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A field of the configuration is not supported; the message names key and value.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is unknown; nothing has to be cleaned up.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A `CNI_*` variable is missing or invalid.
    pub const BAD_ENVIRONMENT: u32 = 4;
    /// Input or output failed.
    pub const IO: u32 = 5;
    /// Something could not be decoded.
    pub const DECODE: u32 = 6;
    /// The network configuration is invalid.
    pub const BAD_CONFIG: u32 = 7;
    /// The network namespace is invalid.
    pub const INVALID_NETNS: u32 = 8;
    /// A passing condition: try again later.
    pub const TRY_AGAIN: u32 = 11;
    /// STATUS: the plugin cannot serve ADD.
    pub const PLUGIN_NOT_AVAILABLE: u32 = 50;
    /// STATUS: nor can it, and running containers may be impaired too.
    pub const LIMITED: u32 = 51;
    /// Anything else.
    pub const INTERNAL: u32 = 999;

    /// An error object.
    pub fn new(code: u32, msg: impl Into<String>, details: impl Into<String>) -> CniError {
        CniError { code, msg: msg.into(), details: details.into() }
    }

    /// Reads an error object as Go would: keys in any case, missing ones are empty, unknown ones ignored.
    pub fn parse(bytes: &[u8]) -> Result<CniError, serde_json::Error> {
        json::de_lenient(bytes)
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if !self.details.is_empty() {
            write!(f, "; {}", self.details)?;
        }
        Ok(())
    }
}

impl std::error::Error for CniError {}

/// A CNI command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Attach.
    Add,
    /// Detach.
    Del,
    /// Verify an attachment.
    Check,
    /// Can the plugin serve ADD?
    Status,
    /// Remove what belongs to no valid attachment.
    Gc,
    /// Which CNI versions does the plugin speak?
    Version,
}

impl Verb {
    /// The value of `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Status => "STATUS",
            Verb::Gc => "GC",
            Verb::Version => "VERSION",
        }
    }

    /// The command of this name, as `CNI_COMMAND` writes it.
    pub fn parse(text: &str) -> Option<Verb> {
        [Verb::Add, Verb::Del, Verb::Check, Verb::Status, Verb::Gc, Verb::Version]
            .into_iter()
            .find(|verb| verb.as_str() == text)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The plugin call in which something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The plugin's `type`.
    pub plugin_type: String,
    /// The `name` of the plugin object, where it has one of its own.
    pub name: Option<String>,
    /// The command.
    pub verb: Verb,
    /// Whether the network is a list; only then libcni names the plugin in its texts.
    pub form: Form,
}

impl Step {
    /// What libcni writes before the error of a plugin in a list: on ADD and DEL the plugin, on GC its type.
    fn prefix(&self) -> String {
        let verb = match (self.verb, self.form) {
            (Verb::Add, Form::List) => "add",
            (Verb::Del, Form::List) => "delete",
            (Verb::Gc, _) => return format!("failed to GC plugin {}: ", self.plugin_type),
            _ => return String::new(),
        };
        let name = match self.name.as_deref() {
            Some(name) if !name.is_empty() => format!(" name={name:?}"),
            _ => String::new(),
        };
        format!("plugin type={:?}{name} failed ({verb}): ", self.plugin_type)
    }
}

/// Why a call of [`Runtime`](crate::Runtime) or [`Cache`](crate::Cache) failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plugin said so itself, or ended in a way that says so.
    #[error("{}{source}", step.prefix())]
    Plugin {
        /// The call.
        step: Step,
        /// The plugin's own words, code and details.
        source: CniError,
    },
    /// There is no such executable, or `type` can name none.
    #[error("{}{reason}", step.prefix())]
    NotFound {
        /// The call.
        step: Step,
        /// Which plugin, and where it was looked for.
        reason: String,
    },
    /// The deadline passed; the plugin and all it had started were killed.
    #[error("{}timed out after {} and was killed, with everything it had started{}",
        step.prefix(), seconds(*after), appended(stderr))]
    TimedOut {
        /// The call.
        step: Step,
        /// How long the plugin was allowed to run.
        after: Duration,
        /// The end of what it had written to stderr.
        stderr: String,
    },
    /// The plugin was ended by a signal that did not come from here.
    #[error("{}netplugin was ended by signal {signal} ({}){}",
        step.prefix(), signal_name(*signal), appended(stderr))]
    Signalled {
        /// The call.
        step: Step,
        /// The signal's number.
        signal: i32,
        /// The end of what it had written to stderr.
        stderr: String,
    },
    /// The plugin could not be started, or its pipes could not be served.
    #[error("{}cannot run {}: {source}", step.prefix(), path.display())]
    Spawn {
        /// The call.
        step: Step,
        /// The executable.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The plugin succeeded, but what it printed is no result.
    #[error("{}{source}", step.prefix())]
    Result {
        /// The call.
        step: Step,
        /// What is wrong with it.
        #[source]
        source: ResultError,
    },
    /// The plugin does not list the configuration's version.
    #[error("plugin {plugin_type} does not support config version {version:?}")]
    UnsupportedVersion {
        /// The plugin's `type`.
        plugin_type: String,
        /// The version that the configuration asks for.
        version: String,
    },
    /// Several plugins of one network do not qualify.
    #[error("[{}]", joined(.0))]
    Validation(Vec<Error>),
    /// CHECK came with CNI 0.4.0.
    #[error("configuration version {0:?} does not support the CHECK command")]
    CheckUnsupported(String),
    /// A container ID, network name or interface name that CNI does not allow.
    #[error("{0}")]
    Identity(#[source] CniError),
    /// The network configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The result cache could not be read or written.
    #[error("cannot {action} the result cache file {}: {source}", path.display())]
    Cache {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The cached result of a network cannot serve CHECK.
    #[error("failed to get network {network:?} cached result: {source}")]
    CachedResult {
        /// The network's name.
        network: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// The plugin's own error object, where a plugin gave one.
    pub fn cni(&self) -> Option<&CniError> {
        match self {
            Error::Plugin { source, .. } | Error::Identity(source) => Some(source),
            _ => None,
        }
    }

    /// The error object for our own caller. A plugin's code, message and details survive (C-23); libcni's
    /// prefix, which names the plugin of a list, stands before the message.
    pub fn to_cni(&self) -> CniError {
        match self {
            Error::Plugin { step, source } => CniError {
                code: if source.code == 0 { CniError::INTERNAL } else { source.code },
                msg: format!("{}{}", step.prefix(), source.msg),
                details: source.details.clone(),
            },
            Error::Identity(source) => source.clone(),
            other => CniError::new(other.code(), other.to_string(), ""),
        }
    }

    fn code(&self) -> u32 {
        match self {
            Error::TimedOut { .. } => CniError::TRY_AGAIN,
            Error::Config(_) => CniError::BAD_CONFIG,
            Error::Result { .. } | Error::CachedResult { .. } => CniError::DECODE,
            Error::Cache { .. } => CniError::IO,
            Error::UnsupportedVersion { .. } | Error::CheckUnsupported(_) => CniError::INCOMPATIBLE_VERSION,
            _ => CniError::INTERNAL,
        }
    }

    /// Whether a plugin's executable is missing.
    pub fn is_not_found_file(&self) -> bool {
        match self {
            Error::NotFound { .. } => true,
            Error::Spawn { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

fn appended(stderr: &str) -> String {
    match stderr.trim() {
        "" => String::new(),
        text => format!("; it had written {text:?}"),
    }
}

fn joined(errors: &[Error]) -> String {
    errors.iter().map(Error::to_string).collect::<Vec<_>>().join(" ")
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed: out of memory, or by an administrator",
        11 => "segmentation fault",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        31 => "bad system call",
        _ => "see signal(7)",
    }
}

#[cfg(test)]
mod tests;
