//! Lookups: from the caches while they can be trusted, else live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::{Answer, ClusterError, PodLookup, PodRef, Query};
use kube_cluster::Error;
use plan::{NadLookup, NadRef};
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::Shared;

/// How long a pod that a cache does not hold, or holds as another one, may be on its way to it.
const LAG: Duration = Duration::from_secs(2);

/// Where answers came from.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) nads_cached: AtomicU64,
    pub(crate) nads_live: AtomicU64,
    pub(crate) pods_cached: AtomicU64,
    pub(crate) pods_live: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Fetches all that `query` asks for.
pub(super) async fn lookup(
    shared: &Arc<Shared>,
    query: &Query,
    bound: Duration,
) -> Result<Answer, ClusterError> {
    let (mut nads, missing) = cached_nads(shared, &query.nads, bound);
    let mut live = JoinSet::new();
    for reference in missing {
        let (shared, deadline) = (Arc::clone(shared), query.deadline);
        live.spawn(async move {
            count(&shared.counters.nads_live);
            let found = shared.api.nad(&reference, deadline).await;
            (reference, found)
        });
    }
    let pod = match &query.pod {
        None => PodLookup::NotAsked,
        Some(pod) => find_pod(shared, pod, query.deadline, bound).await?,
    };
    while let Some(finished) = live.join_next().await {
        let (reference, found) = finished.map_err(|error| ClusterError::Unavailable {
            attempt: "look up networks".to_owned(),
            reason: error.to_string(),
        })?;
        nads.insert(reference, found.map_err(|error| with_age(shared, error))?);
    }
    Ok(Answer { pod, nads })
}

/// What the cache holds, and what has to be asked for. A NAD that it does not hold may have been made a moment ago.
fn cached_nads(
    shared: &Shared,
    wanted: &[NadRef],
    bound: Duration,
) -> (BTreeMap<NadRef, NadLookup>, Vec<NadRef>) {
    let cache = shared.nads();
    let usable = cache.freshness().usable(bound);
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for reference in wanted {
        match cache.get(reference).filter(|_| usable) {
            Some(nad) => {
                count(&shared.counters.nads_cached);
                found.insert(reference.clone(), NadLookup::Found(nad));
            }
            None => missing.push(reference.clone()),
        }
    }
    (found, missing)
}

/// An error that says how old the cache is that could not serve in the API server's place.
fn with_age(shared: &Shared, error: Error) -> ClusterError {
    let age = shared.nads().freshness().age();
    match error.into() {
        ClusterError::Unavailable { attempt, reason } if !age.is_zero() => ClusterError::Unavailable {
            attempt,
            reason: format!("{reason}; the daemon's cache does not hold it and is {} s old", age.as_secs()),
        },
        other => other,
    }
}

/// The pod by its UID. "Absent", or "another one", is taken for the cache's lag at first, then asked for, and only then believed.
async fn find_pod(
    shared: &Shared,
    pod: &PodRef,
    deadline: Instant,
    bound: Duration,
) -> Result<PodLookup, ClusterError> {
    let lag_ends = deadline.min(Instant::now() + LAG);
    loop {
        // Made before looking, so that what changes in between is noticed.
        let changed = shared.pods_changed.notified();
        {
            let cache = shared.pods();
            if !cache.freshness().usable(bound) {
                break;
            }
            if let found @ PodLookup::Found(_) = cache.get(pod) {
                count(&shared.counters.pods_cached);
                return Ok(found);
            }
        }
        if timeout_at(lag_ends.into(), changed).await.is_err() {
            break;
        }
    }
    count(&shared.counters.pods_live);
    Ok(shared.api.pod(pod, deadline).await?)
}
