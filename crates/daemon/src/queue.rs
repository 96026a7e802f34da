//! Records on their way to the API server.
//!
//! A record is either being written, and somebody waits for it, or it lies in the spool, on the node's own memory file system: this
//! process may be killed at any moment and nothing is lost. So what this queue itself holds is small and bounded: which pods a write
//! is under way for, when what failed is tried again, and events, which may be lost.
//!
//! One pod's records are written one after the other, the newest sandbox's last; a record that was written makes older ones that
//! wait for the same pod go. Start reading at [`Queue::record()`] and `drain.rs`.

mod arrivals;
mod drain;
mod events;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use engine::{ClusterError, PodRef, Record, Recorded, spool};
use kube_cluster::{Api, Error};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::kube::SharedLog;
pub use events::EventMode;

/// Writes records and posts events.
#[derive(Clone)]
pub(crate) struct Queue(Arc<Inner>);

struct Inner {
    api: Api,
    spool: PathBuf,
    log: SharedLog,
    /// Pods for which a record is being written.
    busy: Mutex<HashSet<(String, String)>>,
    /// Told when one of them is not any more.
    freed: Notify,
    /// Told when what waits should be tried now.
    woken: Notify,
    events: events::Events,
    counters: Counters,
}

/// What happened to records.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) written: AtomicU64,
    pub(crate) drained: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Their pod was gone, or another one; an older sandbox's; not readable; or refused for good.
    pub(crate) dropped: AtomicU64,
    /// How many lay in the spool when it was last looked at.
    pub(crate) waiting: AtomicUsize,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Queue {
    /// A queue that takes records; [`spawn()`](Self::spawn) makes it go on with what waits in `spool`.
    #[must_use]
    pub(crate) fn new(api: Api, spool: PathBuf, mode: EventMode, log: SharedLog) -> Self {
        Self(Arc::new(Inner {
            api,
            spool,
            log,
            busy: Mutex::default(),
            freed: Notify::new(),
            woken: Notify::new(),
            events: events::Events::new(mode),
            counters: Counters::default(),
        }))
    }

    /// Starts what goes on by itself.
    pub(crate) fn spawn(&self, tasks: &mut JoinSet<()>) {
        tasks.spawn(drain::run(Arc::clone(&self.0)));
        tasks.spawn(events::run(Arc::clone(&self.0)));
    }

    /// What waits is tried now: the API server answers again.
    pub(crate) fn wake(&self) {
        self.0.woken.notify_one();
    }

    /// Writes `record` before `deadline`. Its events are posted when there is time, unless the pod turned out to be gone.
    ///
    /// # Errors
    /// When the status could not be written; the caller leaves the record, events included, in the spool.
    pub(crate) async fn record(&self, record: Record, deadline: Instant) -> Result<Recorded, ClusterError> {
        let arrived = millis_since_epoch();
        let Record { pod, status, events } = record;
        let recorded = match status {
            None => Recorded::Written,
            Some(status) => {
                let recorded = self.0.write(&pod, &status, deadline).await.inspect_err(|_| {
                    count(&self.0.counters.failed);
                })?;
                count(&self.0.counters.written);
                self.0.forget_older(&pod, arrived);
                recorded
            }
        };
        if recorded == Recorded::Written {
            self.0.events.push(&pod, events);
        }
        Ok(recorded)
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Pods for which a record is being written now.
    pub(crate) fn under_way(&self) -> usize {
        self.0.busy().len()
    }

    /// Whether a record of this pod is being written or waits.
    pub(crate) fn has_record_of(&self, pod: &PodRef) -> bool {
        let key = (pod.namespace.clone(), pod.name.clone());
        let waits = |listed: spool::Listed| {
            listed.waiting.iter().any(|waiting| waiting.namespace == key.0 && waiting.name == key.1)
        };
        // A spool that cannot be read may hold it.
        self.0.busy().contains(&key) || spool::list(&self.0.spool).map_or(true, waits)
    }

    pub(crate) fn events(&self) -> &events::Events {
        &self.0.events
    }
}

impl Inner {
    /// Writes a status when no other one is being written for the same pod.
    async fn write(
        self: &Arc<Self>,
        pod: &PodRef,
        status: &str,
        deadline: Instant,
    ) -> Result<Recorded, ClusterError> {
        let Some(_turn) = self.turn(pod, deadline).await else {
            return Err(ClusterError::Unavailable {
                attempt: format!("write the network status of pod {}/{}", pod.namespace, pod.name),
                reason: "another record of this pod is still being written".to_owned(),
            });
        };
        Ok(self.api.write_status(pod, status, deadline).await?)
    }

    /// The right to write for this pod; nothing when it was not to be had before `deadline`.
    async fn turn(self: &Arc<Self>, pod: &PodRef, deadline: Instant) -> Option<Turn> {
        let key = (pod.namespace.clone(), pod.name.clone());
        loop {
            // Made before looking, so that a turn that ends in between is noticed.
            let freed = self.freed.notified();
            if self.busy().insert(key.clone()) {
                return Some(Turn { inner: Arc::clone(self), key });
            }
            timeout_at(deadline.into(), freed).await.ok()?;
        }
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashSet<(String, String)>> {
        // Nothing is left half done where it is locked.
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what waits for `pod` since before `arrived`: an older sandbox's word about it.
    fn forget_older(&self, pod: &PodRef, arrived: u64) {
        let Ok(listed) = spool::list(&self.spool) else { return };
        for waiting in listed.waiting {
            let same = waiting.namespace == pod.namespace && waiting.name == pod.name;
            // What cannot be removed now is removed when it is its turn: its pod is another one by then, or it says the same.
            if same && waiting.written < arrived && waiting.done().is_ok() {
                count(&self.counters.dropped);
            }
        }
    }
}

/// A pod's records are written by whoever holds this.
struct Turn {
    inner: Arc<Inner>,
    key: (String, String),
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.inner.busy().remove(&self.key);
        self.inner.freed.notify_waiters();
    }
}

fn millis_since_epoch() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What to do about a record that was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The API server cannot be reached: so for all others' writes.
    Away,
    /// It does not know who we are: nor will it for others.
    Unknown,
    /// It says that it cannot, or says nothing: it is not well, or one of those that it asks about the pods of some namespaces.
    Failing,
    /// It says that we may not: by our role, or by what is admitted in that namespace.
    Forbidden,
    /// It is about this record alone.
    Refused,
    /// The way to the API server is described wrongly, or the record: which, the text says.
    Config,
}

impl From<&Error> for Trouble {
    fn from(error: &Error) -> Self {
        match error {
            Error::Unavailable { away: true, .. } => Self::Away,
            Error::Unavailable { away: false, .. } => Self::Failing,
            Error::Denied { code: 401, .. } => Self::Unknown,
            Error::Denied { .. } => Self::Forbidden,
            Error::Config { .. } => Self::Config,
            Error::Refused { .. } | Error::TooLarge { .. } => Self::Refused,
        }
    }
}
