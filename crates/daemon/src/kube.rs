//! [`Backend`] over a Kubernetes API server: lookups from caches, records through a queue, devices from the kubelet.
//!
//! The caches are followed and the queue is drained by tasks on the runtime that [`Kube::start`] is called on; they end with the
//! [`Kube`]. Start reading at [`Kube`], then `lookup.rs`.

mod lookup;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::{Answer, ClusterError, Level, Log, PodRef, Query, Record, Recorded};
use kube_cluster::watch::{Event, Watched};
use kube_cluster::{Api, Kubelet};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::backend::{Backend, Devices};
use crate::cache::{Nads, Pods};
use crate::queue::{EventMode, Queue};
use crate::{bare, metrics};

/// How long ago a cache may have been up to date for what it tells to count: the API server may be away for an hour before a pod
/// that needs networks cannot start. Whoever could change a NAD needs that server, too.
pub const STALENESS_BOUND: Duration = Duration::from_secs(3600);

/// What differs between nodes and installations.
#[derive(Debug, Clone)]
pub struct Options {
    /// This node's name. Without it no pods are followed: pods that runtimes do not describe are asked for live.
    pub node: Option<String>,
    /// Where records wait.
    pub spool: PathBuf,
    /// Which events are posted.
    pub events: EventMode,
    /// How long ago a cache may have been up to date.
    pub staleness_bound: Duration,
    /// Where the kubelet keeps what devices it allocated.
    pub kubelet: Kubelet,
}

/// A place for log lines that all tasks share.
pub type SharedLog = Arc<dyn Log + Send + Sync>;

/// The cluster as this node sees it.
pub struct Kube {
    pub(crate) shared: Arc<Shared>,
    options: Options,
    _tasks: JoinSet<()>,
}

/// What the tasks share.
pub(crate) struct Shared {
    pub(crate) api: Api,
    pub(crate) log: SharedLog,
    pub(crate) queue: Queue,
    nads: Mutex<Nads>,
    pods: Mutex<Pods>,
    /// Told when the pods change.
    pods_changed: Notify,
    counters: lookup::Counters,
    room: lookup::Room,
}

impl Shared {
    pub(crate) fn counters(&self) -> &lookup::Counters {
        &self.counters
    }

    pub(crate) fn nads(&self) -> MutexGuard<'_, Nads> {
        // Nothing is left half done where it is locked.
        self.nads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kube {
    /// Starts following the cluster, on the runtime that this is called on.
    #[must_use]
    pub fn start(api: Api, options: Options, log: SharedLog) -> Self {
        let shared = Arc::new(Shared {
            queue: Queue::new(api.clone(), options.spool.clone(), options.events, Arc::clone(&log)),
            api,
            log,
            nads: Mutex::default(),
            pods: Mutex::default(),
            pods_changed: Notify::new(),
            counters: lookup::Counters::default(),
            room: lookup::Room::default(),
        });
        let mut tasks = JoinSet::new();
        let nads = Watched::all(NADS, "network-attachment-definitions");
        follow(&mut tasks, &shared, nads, |shared, event| {
            if matches!(event, Event::Current) {
                // The API server answers: what could not be written may be written now.
                shared.queue.wake();
            }
            shared.nads().take(event);
        });
        if let Some(node) = &options.node {
            let own = Watched::all("/api/v1/pods", format!("pods of node {node}"));
            let own = own.selected(format!("spec.nodeName={node}")).metadata_only();
            follow(&mut tasks, &shared, own, |shared, event| {
                shared.pods().take(event);
                shared.pods_changed.notify_waiters();
            });
            tasks.spawn(bare::watch(Arc::clone(&shared)));
        }
        shared.queue.spawn(&mut tasks);
        Self { shared, options, _tasks: tasks }
    }
}

/// Follows a collection and logs what goes wrong with it: once, until it goes well again.
fn follow<T: DeserializeOwned + Send + 'static>(
    tasks: &mut JoinSet<()>,
    shared: &Arc<Shared>,
    watched: Watched,
    mut take: impl FnMut(&Shared, Event<T>) + Send + 'static,
) {
    let shared = Arc::clone(shared);
    let api = shared.api.clone();
    tasks.spawn(async move {
        let mut trouble = String::new();
        let sink = |event: Event<T>| {
            match &event {
                Event::Lost(error) if trouble != error.to_string() => {
                    trouble = error.to_string();
                    shared.log.line(Level::Error, format_args!("{trouble}; the cache may be outdated"));
                }
                Event::Current if !trouble.is_empty() => {
                    trouble.clear();
                    shared.log.line(Level::Verbose, format_args!("{}: up to date again", watched.what()));
                }
                Event::PassedOver(why) => {
                    shared.log.line(Level::Error, format_args!("{}: passed over: {why}", watched.what()));
                }
                _ => {}
            }
            take(&shared, event);
            ControlFlow::Continue(())
        };
        api.follow(&watched, sink).await;
    });
}

const NADS: &str = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions";

impl Backend for Kube {
    async fn lookup(&self, query: Query) -> Result<Answer, ClusterError> {
        lookup::lookup(&self.shared, &query, self.options.staleness_bound).await
    }

    async fn devices(&self, pod: PodRef, deadline: Instant) -> Result<Devices, ClusterError> {
        Ok(self.options.kubelet.devices(&pod, deadline).await?)
    }

    async fn record(&self, record: Record, deadline: Instant) -> Result<Recorded, ClusterError> {
        self.shared.queue.record(record, deadline).await
    }

    fn ready(&self) -> Result<(), String> {
        let nads = self.shared.nads();
        let freshness = nads.freshness();
        if freshness.usable(self.options.staleness_bound) {
            return Ok(());
        }
        let (age, why) = (freshness.age().as_secs(), freshness.trouble().unwrap_or_default());
        Err(format!("the network-attachment-definitions are not known for {age} s: {why}"))
    }

    fn metrics(&self, out: &mut String) {
        metrics::write(&self.shared, out);
    }
}
