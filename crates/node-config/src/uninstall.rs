//! Whether what is on the node has to go when this process ends: a pure function of what the cluster says.
//!
//! A signal to end says nothing by itself: it comes with upgrades, restarts, drains and reboots, where a node without its
//! configuration starts pods without their networks. Only what is *seen* counts: that the own DaemonSet or its namespace is deleted or
//! being deleted, that an API server which accepts us does not have it, or that it does not want this node any more. A token that is not accepted
//! means nothing: a pod that was deleted by force and a service account that was removed give the same answer.

mod placement;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use placement::Placement;

/// The own DaemonSet, as far as it matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DaemonSet {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Spec {
    template: Template,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: Placement,
}

/// A namespace, as far as it matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Namespace {
    metadata: Metadata,
}

impl Namespace {
    /// Whether it is being deleted, and so all that is in it will be.
    #[must_use]
    pub fn is_being_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

/// A node, as far as it matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    metadata: NodeMetadata,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct NodeMetadata {
    name: String,
    labels: BTreeMap<String, String>,
}

/// What is known of the own DaemonSet.
#[derive(Debug, Clone)]
pub enum Sight {
    /// It is there.
    Present(Placement),
    /// It is there and being deleted.
    Deleting,
    /// It is there, in a namespace that is being deleted: pods go before what made them.
    NamespaceDeleting,
    /// It is not there; whoever said so has accepted our credentials.
    Absent,
    /// Nothing, for this reason: not asked, not answered, not allowed.
    Unknown(String),
}

impl From<&DaemonSet> for Sight {
    fn from(daemon_set: &DaemonSet) -> Self {
        match daemon_set.metadata.deletion_timestamp {
            Some(_) => Self::Deleting,
            None => Self::Present(daemon_set.spec.template.spec.clone()),
        }
    }
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All stays, for this reason.
    Keep(String),
    /// All that is ours goes, for this reason.
    Remove(String),
}

/// Decides. `watched` is what was told last while this ran, `asked` the answer to a question asked just now, which counts for more:
/// a DaemonSet that was deleted may have been installed again. `node` is this node, or why it is not known.
#[must_use]
pub fn decide(watched: &Sight, asked: &Sight, node: &Result<Node, String>) -> Verdict {
    let keep = |reason: String| Verdict::Keep(reason);
    let remove = |reason: &str| Verdict::Remove(reason.to_owned());
    match (asked, watched) {
        (Sight::Deleting, _) => remove("the DaemonSet is being deleted"),
        (Sight::NamespaceDeleting, _) => remove("the namespace of the DaemonSet is being deleted"),
        (Sight::Absent, _) => remove("the DaemonSet does not exist"),
        (Sight::Present(placement), _) => wanted_on(placement, node),
        (Sight::Unknown(_), Sight::Deleting | Sight::NamespaceDeleting) => {
            remove("the DaemonSet was seen being deleted")
        }
        (Sight::Unknown(_), Sight::Absent) => remove("the DaemonSet was seen to be deleted"),
        (Sight::Unknown(reason), Sight::Present(_)) => keep(format!(
            "it is not known whether the DaemonSet still exists: {reason}; it did when it was seen last"
        )),
        (Sight::Unknown(reason), Sight::Unknown(_)) => {
            keep(format!("it is not known whether the DaemonSet still exists: {reason}"))
        }
    }
}

fn wanted_on(placement: &Placement, node: &Result<Node, String>) -> Verdict {
    let selects = match node {
        Ok(node) => placement.selects(&node.metadata.name, &node.metadata.labels),
        Err(reason) => Err(reason.clone()),
    };
    match selects {
        Ok(true) => {
            Verdict::Keep("the DaemonSet still wants this node: an upgrade, a restart or a drain".to_owned())
        }
        Ok(false) => Verdict::Remove("the DaemonSet does not select this node any more".to_owned()),
        Err(reason) => {
            Verdict::Keep(format!("it is not known whether the DaemonSet selects this node: {reason}"))
        }
    }
}

#[cfg(test)]
mod tests;
