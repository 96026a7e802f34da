//! What the pod's events say.

use std::fmt;

use libcni::CniResult;
use serde::{Deserialize, Serialize};

use crate::assemble::Planned;

/// Whether an event reports or warns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// Something went as it should.
    Normal,
    /// Somebody should look.
    Warning,
}

impl EventKind {
    /// The `type` of a Kubernetes event.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event for the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEvent {
    /// Its type.
    pub kind: EventKind,
    /// Its reason, one word.
    pub reason: String,
    /// Its message.
    pub message: String,
}

impl PlanEvent {
    /// A report.
    pub fn normal(reason: &str, message: impl Into<String>) -> PlanEvent {
        PlanEvent { kind: EventKind::Normal, reason: reason.to_owned(), message: message.into() }
    }

    /// A warning.
    pub fn warning(reason: &str, message: impl Into<String>) -> PlanEvent {
        PlanEvent { kind: EventKind::Warning, reason: reason.to_owned(), message: message.into() }
    }
}

/// `AddedInterface`, after each attachment that gave an interface or an address.
pub fn added_interface(planned: &Planned, result: &CniResult) -> Option<PlanEvent> {
    if result.interfaces().is_empty() && result.ips().is_empty() {
        return None;
    }
    let addresses: Vec<String> = result.ips().iter().map(|ip| ip.address.to_string()).collect();
    let mut message = format!("Add {} [{}]", planned.if_name, addresses.join(" "));
    if !planned.name.is_empty() {
        message.push_str(" from ");
        message.push_str(&planned.name);
    }
    Some(PlanEvent::normal("AddedInterface", message))
}

/// `NoNetworkFound`, when a NAD that the pod needs could not be had.
pub fn no_network_found(name: &str, namespace: &str, cause: &str) -> PlanEvent {
    PlanEvent::warning("NoNetworkFound", not_found_text(name, namespace, cause))
}

pub(crate) fn not_found_text(name: &str, namespace: &str, cause: &str) -> String {
    format!("cannot find a network-attachment-definition ({name}) in namespace ({namespace}): {cause}")
}

/// `UnconfirmedRequest`, when a plugin that declares nothing of a request does not tell whether it honoured it (N-33, N-36).
pub(crate) fn request_unconfirmed(problem: &str, remedy: &str) -> PlanEvent {
    PlanEvent::warning(
        "UnconfirmedRequest",
        format!("{problem}, and the result does not tell whether it was honoured in CNI_ARGS: {remedy}"),
    )
}

/// `InvalidNetworksAnnotation`, when strict mode goes on without a malformed annotation (N-29, N-35, N-39).
pub fn annotation_ignored(cause: &str) -> PlanEvent {
    PlanEvent::warning(
        "InvalidNetworksAnnotation",
        format!(
            "the pod is attached to its default network only, because its networks annotation is ignored: {cause}"
        ),
    )
}

/// `AuxiliaryChainLeftOut`, when a file of the auxiliary chain cannot be used.
pub(crate) fn chain_left_out(name: &str, why: &str) -> PlanEvent {
    PlanEvent::warning(
        "AuxiliaryChainLeftOut",
        format!(
            "auxiliary chain {name:?} is left out: {why}; the node's administrator has to correct or remove the file"
        ),
    )
}
