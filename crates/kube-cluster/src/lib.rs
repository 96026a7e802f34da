//! The cluster behind a Kubernetes API server and a kubelet: live GETs, one status patch, events, allocated devices, client
//! certificates of a node and who may have them.
//!
//! The only crate that knows async, TLS and HTTP. The client is written by hand over hyper and rustls: one process makes one
//! connection and a handful of requests, and a general Kubernetes client would take more memory than all else together.
//! Left out: caches, exec credentials, proxies, DRA.
//!
//! Start reading at [`KubeCluster`], then `client.rs` and `record.rs`.

mod api;
pub mod approval;
pub mod certificate;
pub mod checkpoint;
mod client;
mod connection;
mod error;
mod event;
pub mod kubeconfig;
mod kubelet;
mod lookup;
mod record;
mod session;
mod tls;
pub mod watch;
pub mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use engine::{Answer, Cluster, ClusterError, PodRef, Query, Record, Recorded};
use tokio::runtime::{Builder, Runtime};

pub use api::Api;
pub use client::Source;
pub use error::Error;
pub use kubelet::Kubelet;
pub use session::Session;

use client::Client;
use kubeconfig::Access;

/// A Kubernetes cluster, asked live.
#[derive(Debug)]
pub struct KubeCluster {
    // The connections in the client belong to the runtime, so the client goes first.
    client: Arc<Client>,
    permissions: record::Permissions,
    kubelet: Kubelet,
    runtime: Runtime,
}

impl KubeCluster {
    /// The cluster that the netconf key `kubeconfig` names; when that is empty, the one whose pod this is; else none.
    ///
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub fn connect(kubeconfig: &str) -> Result<Option<Self>, Error> {
        if !kubeconfig.is_empty() {
            return Self::new(Source::Kubeconfig(PathBuf::from(kubeconfig))).map(Some);
        }
        let access = Access::in_cluster(&|name| std::env::var(name).ok())?;
        access.map(|access| Self::new(Source::Fixed(access))).transpose()
    }

    /// The cluster that `source` describes.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn new(source: Source) -> Result<Self, Error> {
        Ok(Self {
            client: Arc::new(Client::new(source)?),
            permissions: record::Permissions::default(),
            kubelet: Kubelet::default(),
            runtime: runtime()?,
        })
    }

    /// The same with a kubelet whose files are elsewhere.
    #[must_use]
    pub fn with_kubelet(self, kubelet: Kubelet) -> Self {
        Self { kubelet, ..self }
    }
}

impl Cluster for KubeCluster {
    fn lookup(&self, query: &Query) -> Result<Answer, ClusterError> {
        Ok(self.runtime.block_on(lookup::lookup(&self.client, query))?)
    }

    fn devices(
        &self,
        pod: &PodRef,
        deadline: Instant,
    ) -> Result<BTreeMap<String, Vec<String>>, ClusterError> {
        Ok(self.runtime.block_on(self.kubelet.devices(pod, deadline))?)
    }

    fn record(&self, record: &Record, deadline: Instant) -> Result<Recorded, ClusterError> {
        Ok(self.runtime.block_on(record::record(&self.client, &self.permissions, record, deadline))?)
    }
}

fn runtime() -> Result<Runtime, Error> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::unavailable("set up the connection to the API server", error))
}
