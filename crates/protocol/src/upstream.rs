//! What upstream's shim, daemon and hot-plug controller say to one another (Multus 4.x): `POST /cni` and `POST /delegate` with the
//! caller's environment and configuration.
//!
//! Ours answers upstream's shim during an upgrade, and asks upstream's daemon during a return to it; nothing else here uses it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libcni::CniError;
use libcni::json::de_lenient;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Path of a CNI call.
pub const CNI: &str = "/cni";
/// Path of a hot-plug.
pub const DELEGATE: &str = "/delegate";

/// Upstream's request. Its daemon knows nothing of the caller but this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The environment of the call, `CNI_*`.
    pub env: BTreeMap<String, String>,
    /// The configuration, in base64.
    pub config: Option<String>,
}

impl Request {
    /// The request for a call with this environment and configuration.
    #[must_use]
    pub fn new(env: BTreeMap<String, String>, config: &[u8]) -> Self {
        Self { env, config: Some(STANDARD.encode(config)) }
    }

    /// As it is sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // A map of strings and a string have no way to fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a request as Go would.
    ///
    /// # Errors
    /// When it is no request.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        de_lenient(bytes)
    }

    /// A variable of the caller's environment; empty when it is not set.
    #[must_use]
    pub fn variable(&self, name: &str) -> &str {
        self.env.get(name).map_or("", String::as_str)
    }
}

/// What upstream's daemon says to an ADD that it has done: the result.
///
/// # Errors
/// When the body holds no result.
pub fn result_of(body: &[u8]) -> Result<Box<RawValue>, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Response {
        #[serde(rename = "Result")]
        result: Option<Box<RawValue>>,
    }
    let response: Response = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    response.result.filter(|result| result.get() != "null").ok_or_else(|| "it has no Result".to_owned())
}

/// What upstream's daemon says to a call that failed: an error object, or a text.
#[must_use]
pub fn error_of(status: u16, body: &[u8]) -> CniError {
    match CniError::parse(body) {
        Ok(error) if !error.msg.is_empty() => error,
        _ => {
            let text = String::from_utf8_lossy(body);
            let msg = format!("CNI request failed with status {status}: '{text}'");
            CniError::new(CniError::INTERNAL, msg, "")
        }
    }
}
