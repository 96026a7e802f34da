//! Kubernetes objects as far as they matter here. A pod's full type takes ten times the memory of its JSON.

use std::collections::BTreeMap;

use plan::{Nad, NadRef, Pod};
use serde::{Deserialize, Deserializer};

/// An object of which only the metadata is read.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Object {
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Metadata {
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) uid: Option<String>,
    #[serde(default, deserialize_with = "ours")]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Definition {
    metadata: Metadata,
    #[serde(default)]
    spec: Option<Spec>,
}

#[derive(Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    config: Option<String>,
}

impl Object {
    pub(crate) fn into_pod(self, namespace: &str, name: &str) -> Pod {
        Pod::new(namespace, name, self.metadata.uid, self.metadata.annotations)
    }
}

/// Reads a NetworkAttachmentDefinition.
pub(crate) fn nad(reference: &NadRef, json: &[u8]) -> Result<Nad, serde_json::Error> {
    let definition: Definition = serde_json::from_slice(json)?;
    let config = definition.spec.and_then(|spec| spec.config).unwrap_or_default();
    Ok(Nad::new(reference.clone(), config, definition.metadata.annotations))
}

/// The annotations that a plan can depend on. Others may be large: `kubectl apply` keeps a copy of the object in one.
fn ours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let all: Option<BTreeMap<String, String>> = Deserialize::deserialize(deserializer)?;
    let mut all = all.unwrap_or_default();
    all.retain(|key, _| {
        let prefixes =
            ["k8s.v1.cni.cncf.io/", "v1.multus-cni.io/", "multus-rs.github.io/", "kubernetes.io/config."];
        prefixes.iter().any(|prefix| key.starts_with(prefix))
    });
    Ok(all)
}
