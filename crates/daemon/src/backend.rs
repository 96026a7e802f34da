//! What the server needs of the cluster side.

use std::collections::BTreeMap;
use std::time::Instant;

use engine::{Answer, ClusterError, PodRef, Query, Record, Recorded};

/// Resource name to sorted device IDs.
pub type Devices = BTreeMap<String, Vec<String>>;

/// Where the server's answers come from and where its records go: [`engine::Cluster`], asynchronous and shared by all calls.
///
/// The server bounds the number and the size of calls, and ends those whose deadline has passed by dropping their future; an
/// implementation keeps nothing half done when that happens.
pub trait Backend: Send + Sync + 'static {
    /// Fetches all that `query` asks for: from caches within their staleness bound, else live. A missing object is an answer.
    ///
    /// # Errors
    /// [`ClusterError`] when it could not be found out before the query's deadline.
    fn lookup(&self, query: Query) -> impl Future<Output = Result<Answer, ClusterError>> + Send;

    /// The devices that the kubelet allocated to `pod`.
    ///
    /// # Errors
    /// [`ClusterError`] when neither the kubelet nor its checkpoint could be read before `deadline`.
    fn devices(
        &self,
        pod: PodRef,
        deadline: Instant,
    ) -> impl Future<Output = Result<Devices, ClusterError>> + Send;

    /// Writes the status before `deadline`, and sees to the events without making the caller wait for them.
    ///
    /// A status that could not be written is the caller's to keep: the shim leaves it in the spool, which whoever implements this
    /// drains. So a record is in the spool's file or written, never only in this process.
    ///
    /// # Errors
    /// [`ClusterError`] when the status was not written.
    fn record(
        &self,
        record: Record,
        deadline: Instant,
    ) -> impl Future<Output = Result<Recorded, ClusterError>> + Send;

    /// Whether lookups can be answered; if not, why, in words for the pod's events.
    ///
    /// # Errors
    /// The reason: what is waited for, since when.
    fn ready(&self) -> Result<(), String>;

    /// Appends what it counts, in Prometheus' text format, to the server's own metrics.
    fn metrics(&self, out: &mut String);
}
