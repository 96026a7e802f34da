//! Images: layers, configuration, manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Error, Layer};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What an image is made of.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Full names by which the image is known after it was imported, as `registry.example/name:tag`.
    pub references: Vec<String>,
    /// For which machines it is.
    pub platform: Platform,
    /// How a container of it starts.
    pub config: Config,
    /// Layers, the lowest first.
    pub layers: Vec<Layer>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// Operating system and processor, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
}

impl Platform {
    /// Linux on the given processor.
    #[must_use]
    pub fn linux(architecture: &str) -> Self {
        Self { architecture: architecture.to_owned(), os: "linux".to_owned() }
    }
}

impl Default for Platform {
    /// Linux on the processor that this program was built for.
    fn default() -> Self {
        Self::linux(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        })
    }
}

/// How a container starts, in the form of the OCI image configuration's `config`.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// The program and its fixed arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments that a user of the image can replace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// `NAME=VALUE`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The folder that the program starts in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Bytes and what they are.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The media type.
    pub media_type: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// `sha256:…` of the bytes.
    pub digest: String,
}

impl Blob {
    pub(crate) fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        let digest = digest(&bytes);
        Self { media_type, bytes, digest }
    }

    /// How a manifest or an index names these bytes.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.to_owned(),
            digest: self.digest.clone(),
            size: self.bytes.len() as u64,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// A reference to bytes by their digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type.
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    /// For which machines, in an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image as blobs, ready for an archive or a registry.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Configuration and layers, in the order in which a registry wants them.
    pub blobs: Vec<Blob>,
    /// The manifest, which names all of `blobs`.
    pub manifest: Blob,
    /// For which machines it is.
    pub platform: Platform,
}

impl Packed {
    /// How an index names this image.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor { platform: Some(self.platform.clone()), ..self.manifest.descriptor() }
    }

    /// How many bytes a registry keeps and a node pulls.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blobs.iter().chain([&self.manifest]).map(|blob| blob.bytes.len() as u64).sum()
    }
}

impl Image {
    /// Packs the layers and writes configuration and manifest.
    ///
    /// # Errors
    /// When a layer cannot be packed.
    pub fn pack(&self) -> Result<Packed, Error> {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for layer in &self.layers {
            let (blob, diff_id) = layer.pack()?;
            layers.push(blob);
            diff_ids.push(diff_id);
        }
        let config = json!({
            "architecture": self.platform.architecture,
            "os": self.platform.os,
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": diff_ids.iter().map(|_| json!({"created_by": "oci-archive"})).collect::<Vec<_>>(),
        });
        let config = json_blob(CONFIG, &config);
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        if !self.annotations.is_empty() {
            manifest["annotations"] = json!(self.annotations);
        }
        let manifest = json_blob(MANIFEST, &manifest);
        layers.insert(0, config);
        Ok(Packed { blobs: layers, manifest, platform: self.platform.clone() })
    }
}

pub(crate) fn json_blob(media_type: &'static str, value: &Value) -> Blob {
    // A `Value` prints its maps sorted, so equal content gives equal bytes.
    Blob::new(media_type, value.to_string().into_bytes())
}

/// `sha256:` and the digest in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
