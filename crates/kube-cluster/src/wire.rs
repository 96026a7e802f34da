//! Kubernetes objects as far as they matter here, read from JSON. A pod's full type takes ten times the memory of its JSON.

use std::collections::BTreeMap;
use std::fmt;

use plan::{Nad, NadRef, Pod};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// An object of which only the metadata is read.
#[derive(Debug, Default, Deserialize)]
pub struct Object {
    /// Its metadata.
    pub metadata: Metadata,
}

/// What of an object's metadata matters here.
#[derive(Debug, Default, Deserialize)]
pub struct Metadata {
    /// Namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Name.
    #[serde(default)]
    pub name: Option<String>,
    /// UID.
    #[serde(default)]
    pub uid: Option<String>,
    /// Annotations that concern networks; others are not kept.
    #[serde(default, deserialize_with = "ours")]
    pub annotations: BTreeMap<String, String>,
    /// When its deletion was asked for.
    #[serde(default, rename = "deletionTimestamp")]
    pub deletion: Option<String>,
}

/// A NetworkAttachmentDefinition.
#[derive(Debug, Deserialize)]
pub struct Definition {
    metadata: Metadata,
    #[serde(default)]
    spec: Option<Spec>,
}

impl From<Definition> for Nad {
    fn from(definition: Definition) -> Self {
        let Metadata { namespace, name, annotations, .. } = definition.metadata;
        let reference = NadRef::new(namespace.unwrap_or_default(), name.unwrap_or_default());
        let config = definition.spec.and_then(|spec| spec.config).unwrap_or_default();
        Nad::new(reference, config, annotations)
    }
}

#[derive(Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    config: Option<String>,
}

impl Object {
    /// The pod of this name that it describes.
    #[must_use]
    pub fn into_pod(self, namespace: &str, name: &str) -> Pod {
        Pod::new(namespace, name, self.metadata.uid, self.metadata.annotations)
    }
}

/// Reads a NetworkAttachmentDefinition.
pub(crate) fn nad(reference: &NadRef, json: &[u8]) -> Result<Nad, serde_json::Error> {
    let definition: Definition = serde_json::from_slice(json)?;
    // By the name that was asked for.
    Ok(Nad { reference: reference.clone(), ..definition.into() })
}

/// The annotations that a plan can depend on. Others may be large, `kubectl apply` keeps a copy of the object in one, and are
/// not even read.
fn ours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Ours;
    impl<'de> Visitor<'de> for Ours {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("annotations")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut ours = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                if PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
                    ours.insert(key, map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(ours)
        }
    }
    deserializer.deserialize_any(Ours)
}

const PREFIXES: [&str; 4] =
    ["k8s.v1.cni.cncf.io/", "v1.multus-cni.io/", "multus-rs.github.io/", "kubernetes.io/config."];
