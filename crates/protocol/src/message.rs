//! The messages, as they are written.
//!
//! Objects are Kubernetes' own, cut down to what is needed; what could not be had is a Kubernetes `Status`.

mod convert;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use convert::deadline;

/// The version of a message, read before the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The protocol's version.
    pub version: u32,
}

/// Who asks, and for whom: for the daemon's log. Nothing is decided by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Caller {
    /// The program and its version.
    pub program: String,
    /// `CNI_CONTAINERID`.
    pub sandbox: String,
    /// The pod, `namespace/name`.
    pub pod: String,
}

/// `POST /v1/lookup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lookup {
    /// The protocol's version.
    pub version: u32,
    /// Who asks, and for whom.
    #[serde(default)]
    pub caller: Caller,
    /// How long the caller waits.
    pub timeout_millis: u64,
    /// The pod, where the runtime did not hand its annotations over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The NADs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Reference>,
    /// The pod whose devices are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices_of: Option<Reference>,
}

/// What a lookup found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The protocol's version, the request's.
    pub version: u32,
    /// The pod, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Outcome<Pod>>,
    /// The NADs, in the order in which they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Outcome<NetworkAttachmentDefinition>>,
    /// Resource name to sorted device IDs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, Vec<String>>,
}

/// Names an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// An object, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome<T> {
    /// The object.
    Object(T),
    /// Why there is none.
    Status(Status),
}

/// Kubernetes' `Status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `NotFound`, `Conflict` (another object has that name) or another of Kubernetes' words.
    pub reason: String,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<StatusDetails>,
}

impl Status {
    /// There is no such object.
    pub const NOT_FOUND: &str = "NotFound";
    /// There is one of that name, and it is another one.
    pub const CONFLICT: &str = "Conflict";
    /// It could not be looked up, or read.
    pub const INTERNAL: &str = "InternalError";
}

/// More about a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusDetails {
    /// The UID of the object that exists.
    pub uid: String,
}

/// `ObjectMeta`, of which this much is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Who it is, and what it selects.
    pub metadata: Metadata,
}

/// A NetworkAttachmentDefinition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachmentDefinition {
    /// Its name and annotations.
    pub metadata: Metadata,
    /// The network.
    #[serde(default)]
    pub spec: NetworkSpec,
}

/// What a NetworkAttachmentDefinition says about its network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// A CNI configuration; empty when the object has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config: String,
}

/// `POST /v1/record`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The protocol's version.
    pub version: u32,
    /// Who asks, and for whom.
    #[serde(default)]
    pub caller: Caller,
    /// How long the caller waits.
    pub timeout_millis: u64,
    /// The pod that it is about.
    pub pod: Reference,
    /// The text of the network-status annotation; absent, the annotation stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_status: Option<String>,
    /// Events to post on the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

/// A Kubernetes event, as far as its sender decides it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One word.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The protocol's version, the request's.
    pub version: u32,
    /// How.
    pub recorded: Ending,
}

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// The status is written.
    Written,
    /// There is no such pod any more.
    PodGone,
    /// Another pod has its name.
    PodReplaced,
}

/// What a call of the shim came to. It is sent as one datagram, for metrics: nobody answers it, and nobody waits for it to arrive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// The protocol's version.
    pub version: u32,
    /// `CNI_COMMAND`.
    pub verb: String,
    /// How long it took.
    pub micros: u64,
    /// The error's code; absent after a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// The plugins that were run, also those of housekeeping after the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginCall>,
}

/// A plugin that was run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginCall {
    /// `CNI_COMMAND`.
    pub verb: String,
    /// The network.
    pub network: String,
    /// The plugin's type.
    #[serde(rename = "type")]
    pub plugin_type: String,
    /// How long it ran.
    pub micros: u64,
    /// The error's code; absent after a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
}

/// The body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The newest version that the daemon speaks.
    pub version: u32,
    /// Who answers.
    pub program: String,
    /// What the caller does about it.
    pub failure: FailureKind,
    /// What was attempted, on what.
    #[serde(default)]
    pub attempt: String,
    /// Why it failed.
    pub reason: String,
}

/// Kinds of failures; they differ in what the caller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// The daemon has not seen the cluster yet; it is worth waiting a little.
    NotReady,
    /// It has too much to do; it is worth waiting a little.
    Busy,
    /// The caller's version is not served; another daemon may take over in a moment.
    Version,
    /// The cluster does not let the daemon.
    Denied,
    /// The way to the cluster is described wrongly.
    Config,
    /// The request makes no sense.
    Malformed,
    /// It could not be done now. Also what a kind that is not known here counts as.
    #[serde(other)]
    Unavailable,
}

impl FailureKind {
    /// The HTTP status that goes with it.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::NotReady | Self::Unavailable => 503,
            Self::Busy => 429,
            Self::Version | Self::Malformed => 400,
            Self::Denied => 403,
            Self::Config => 500,
        }
    }
}

#[cfg(test)]
mod tests;
