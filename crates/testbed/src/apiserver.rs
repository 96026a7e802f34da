//! A small Kubernetes API server: pods, NetworkAttachmentDefinitions, events and what else tests ask for, over HTTP/1.1, or over HTTP/2 with real TLS.
//!
//! It answers as a real server would as far as a CNI plugin can see: `Status` objects with the real texts, merge patches
//! with the UID as precondition, conflicts by resource version, protobuf request bodies of Go clients. Delays and faults
//! can be set while it runs. All its threads end when it is dropped.

mod connection;
mod http;
mod port;
mod protobuf;
mod store;
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::sync::Notify;

use port::Port;

pub use store::Event;

/// A request as it arrived, with the answer's status.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `PATCH`, …
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query, empty when there is none.
    pub query: String,
    /// Header names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The bytes of the body.
    pub body: Vec<u8>,
    /// HTTP status of the answer; 0 while there is none, and when the connection was closed on purpose.
    pub status: u16,
}

impl Request {
    /// The query's values, decoded.
    #[must_use]
    pub fn query_values(&self) -> BTreeMap<String, String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
    }

    fn wants_metadata(&self) -> bool {
        self.headers.get("accept").is_some_and(|accept| accept.contains("as=PartialObjectMetadata"))
    }
}

/// Percent-decoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'%').then(|| rest.get(1..3)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &rest[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What goes wrong, and for which requests.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Method that it is for; empty for all.
    pub method: String,
    /// Text in the path that it is for; empty for all.
    pub path: String,
    /// How many requests are hit.
    pub times: usize,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What happens to a request that a [`Fault`] hits.
#[derive(Debug, Clone)]
pub enum FaultKind {
    /// The connection is closed without an answer.
    Close,
    /// A `Status` with this HTTP code, reason and message.
    Status(u16, String, String),
    /// The answer is cut in the middle.
    Truncate,
    /// 200 with this body.
    Garbage(String),
    /// The answer comes this much later.
    Delay(Duration),
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    tls: Option<Arc<rustls::ServerConfig>>,
}

#[derive(Default)]
struct State {
    store: store::Store,
    requests: Vec<Request>,
    faults: Vec<Fault>,
    delay: Duration,
    patch_forbidden: bool,
    token: Option<String>,
    watch_generation: u64,
}

/// The server. Dropped, it ends.
pub struct FakeApi {
    shared: Arc<Shared>,
    port: Port,
    authority: Option<String>,
    running: Option<connection::Running>,
}

impl FakeApi {
    /// Starts over plain HTTP on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn plain() -> Result<Self> {
        Self::start(None)
    }

    /// Starts over TLS with a certificate authority of its own, for clients of HTTP/2 and of HTTP/1.1.
    ///
    /// # Errors
    /// When no port can be had or no certificate be made.
    pub fn tls() -> Result<Self> {
        Self::start(Some(certificates(&["h2", "http/1.1"])?))
    }

    /// The same for HTTP/1.1 alone, as some proxies before an API server have it.
    ///
    /// # Errors
    /// As [`FakeApi::tls`].
    pub fn tls_http1() -> Result<Self> {
        Self::start(Some(certificates(&["http/1.1"])?))
    }

    fn start(tls: Option<(String, rustls::ServerConfig)>) -> Result<Self> {
        let (authority, config) =
            tls.map_or((None, None), |(authority, config)| (Some(authority), Some(Arc::new(config))));
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Notify::new(), tls: config });
        let port = Port::take()?;
        let running = Some(connection::serve(port.listen()?, Arc::clone(&shared))?);
        Ok(Self { shared, port, authority, running })
    }

    /// `http://127.0.0.1:<port>`, or `https`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.port.address)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.address.port()
    }

    /// The certificate authority in PEM, with TLS.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// Writes a kubeconfig as upstream's `thin_entrypoint` does, with the token `testbed-token`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<PathBuf> {
        let authority = self.authority.as_ref().map(|pem| {
            let data = base64::engine::general_purpose::STANDARD.encode(pem);
            format!("\n    certificate-authority-data: {data}")
        });
        let text = format!(
            "# Kubeconfig file for Multus CNI plugin.\napiVersion: v1\nkind: Config\nclusters:\n- name: local\n  cluster:\n    \
             server: {}{}\nusers:\n- name: multus\n  user:\n    token: \"testbed-token\"\ncontexts:\n- name: multus-context\n  \
             context:\n    cluster: local\n    user: multus\ncurrent-context: multus-context\n",
            self.url(),
            authority.unwrap_or_default(),
        );
        fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path.to_owned())
    }

    /// Adds or replaces a pod. What a real server fills in is filled in: kind, UID, resource version.
    pub fn add_pod(&self, pod: Value) {
        self.change(|store| store.add_pod(pod));
    }

    /// Adds a pod from the parts that matter.
    pub fn add_pod_with(&self, namespace: &str, name: &str, uid: &str, annotations: &[(&str, &str)]) {
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
        self.add_pod(serde_json::json!({
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "annotations": annotations},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }));
    }

    /// Removes a pod.
    pub fn delete_pod(&self, namespace: &str, name: &str) {
        self.change(|store| store.delete("pods", namespace, name));
    }

    /// Adds or replaces a NetworkAttachmentDefinition.
    pub fn add_nad(&self, nad: Value) {
        self.change(|store| store.add_nad(nad));
    }

    /// Adds one whose `spec.config` is `config`.
    pub fn add_nad_with(&self, namespace: &str, name: &str, config: &str) {
        self.add_nad(serde_json::json!({"metadata": {"name": name, "namespace": namespace}, "spec": {"config": config}}));
    }

    /// Removes a NetworkAttachmentDefinition.
    pub fn delete_nad(&self, namespace: &str, name: &str) {
        self.change(|store| store.delete("network-attachment-definitions", namespace, name));
    }

    /// Adds or replaces a DaemonSet.
    pub fn add_daemon_set(&self, daemon_set: Value) {
        self.change(|store| store.add_daemon_set(daemon_set));
    }

    /// Removes a DaemonSet.
    pub fn delete_daemon_set(&self, namespace: &str, name: &str) {
        self.change(|store| store.delete("daemonsets", namespace, name));
    }

    /// Adds or replaces a node.
    pub fn add_node(&self, node: Value) {
        self.change(|store| store.add_node(node));
    }

    /// Adds or replaces a namespace.
    pub fn add_namespace(&self, namespace: Value) {
        self.change(|store| store.add_namespace(namespace));
    }

    /// Adds or replaces a CertificateSigningRequest.
    pub fn add_signing_request(&self, request: Value) {
        self.change(|store| store.add_signing_request(request));
    }

    /// Removes a CertificateSigningRequest.
    pub fn delete_signing_request(&self, name: &str) {
        self.change(|store| store.delete("certificatesigningrequests", "", name));
    }

    /// The CertificateSigningRequest as it is now.
    #[must_use]
    pub fn signing_request(&self, name: &str) -> Option<Value> {
        self.state().store.signing_requests.get(&(String::new(), name.to_owned())).cloned()
    }

    /// Sends a bookmark on every watch.
    pub fn bookmark(&self) {
        self.change(|store| store.tell_watches("BOOKMARK", ""));
    }

    /// Sends these bytes on every watch.
    pub fn tell_watches(&self, raw: &str) {
        self.change(|store| store.tell_watches("RAW", raw));
    }

    /// Forgets what changed until now: watches from before are told to list again (410).
    pub fn expire_watches(&self) {
        self.change(store::Store::expire);
    }

    /// Ends all watches that are open, as a server does after their time.
    pub fn end_watches(&self) {
        self.state().watch_generation += 1;
        self.shared.changed.notify_waiters();
    }

    fn change(&self, change: impl FnOnce(&mut store::Store)) {
        change(&mut self.state().store);
        self.shared.changed.notify_waiters();
    }

    /// The pod as it is now.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        self.state().store.pods.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// An annotation of a pod as it is now.
    #[must_use]
    pub fn annotation(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        self.pod(namespace, name)?["metadata"]["annotations"][key].as_str().map(str::to_owned)
    }

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.state().store.events.clone()
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.state().requests.clear();
    }

    /// Each answer comes this much later.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Answers PATCH with 403, as under upstream's ClusterRole.
    pub fn forbid_patch(&self, forbid: bool) {
        self.state().patch_forbidden = forbid;
    }

    /// Answers 401 to every request without this bearer token.
    pub fn require_token(&self, token: Option<&str>) {
        self.state().token = token.map(str::to_owned);
    }

    /// Adds a fault; the first one that fits a request hits it.
    pub fn add_fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Refuses connections from now on, and ends those that are open.
    pub fn refuse(&mut self) {
        self.running = None;
    }

    /// Accepts connections again, on the same port.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn resume(&mut self) -> Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        self.running = Some(connection::serve(self.port.listen()?, Arc::clone(&self.shared))?);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    // A panic in one request leaves data that is still good enough to look at.
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn certificates(protocols: &[&str]) -> Result<(String, rustls::ServerConfig)> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?
        .signed_by(&key, &issuer)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok((authority_certificate.pem(), config))
}

#[cfg(test)]
mod tests;
