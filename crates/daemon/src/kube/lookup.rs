//! Lookups: from the caches while they can be trusted, else live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::{Answer, ClusterError, PodLookup, PodRef, Query};
use kube_cluster::Error;
use plan::{NadLookup, NadRef};
use tokio::sync::Semaphore;
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

/// NADs of this size in JSON are asked for at once: real ones have some hundred bytes.
const ORDINARY: usize = 128 << 10;
/// Room for what is asked for live, in [`ORDINARY`] NADs. An answer is in memory before its size is known, and pods' authors choose
/// how many are asked for at the same time.
const ROOM: u32 = 64;
/// The room for a pod's annotations, of which Kubernetes allows 256 KiB.
const ROOM_FOR_POD: u32 = 2;
/// Larger NADs are asked for one after the other, for one pod at a time, so that they keep nobody but each other waiting. etcd stores
/// none above 1.5 MiB.
const LARGEST: usize = 4 << 20;

/// What bounds the memory that live lookups take.
#[derive(Debug)]
pub(crate) struct Room {
    ordinary: Semaphore,
    large: Semaphore,
}

impl Default for Room {
    fn default() -> Self {
        Self { ordinary: Semaphore::new(ROOM as usize), large: Semaphore::new(1) }
    }
}

/// Fetches all that `query` asks for.
pub(super) async fn lookup(
    shared: &Arc<Shared>,
    query: &Query,
    bound: Duration,
) -> Result<Answer, ClusterError> {
    let mut live = BTreeMap::new();
    if query.pod.is_none()
        && let Some(nads) = from_cache(shared, &query.nads, &mut live, bound)
    {
        return Ok(Answer { pod: PodLookup::NotAsked, nads });
    }
    // Once for all of the query: whoever waited for more with some in hand could wait for another one that does the same.
    let wanted = u32::try_from(query.nads.len()).unwrap_or(ROOM) + ROOM_FOR_POD;
    let room = shared.room.ordinary.acquire_many(wanted.min(ROOM));
    let _room = in_time(query.deadline, room).await?;
    let pod = match &query.pod {
        None => PodLookup::NotAsked,
        Some(pod) => find_pod(shared, pod, query.deadline, bound).await?,
    };
    loop {
        // Last, and without a pause after it: what is copied out of the cache is in nobody's budget yet.
        if let Some(nads) = from_cache(shared, &query.nads, &mut live, bound) {
            return Ok(Answer { pod, nads });
        }
        fetch(shared, missing(shared, &query.nads, &live, bound), query.deadline, &mut live).await?;
    }
}

/// Those that neither the cache holds nor the API server was asked for. A NAD that the cache does not hold may have been made a
/// moment ago.
fn missing(
    shared: &Shared,
    wanted: &[NadRef],
    live: &BTreeMap<NadRef, NadLookup>,
    bound: Duration,
) -> Vec<NadRef> {
    let cache = shared.nads();
    let usable = cache.freshness().usable(bound);
    let known = |nad: &NadRef| live.contains_key(nad) || (usable && cache.holds(nad));
    wanted.iter().filter(|nad| !known(nad)).cloned().collect()
}

/// All that is wanted, where nothing is missing: from the cache, but for what was asked for live.
fn from_cache(
    shared: &Shared,
    wanted: &[NadRef],
    live: &mut BTreeMap<NadRef, NadLookup>,
    bound: Duration,
) -> Option<BTreeMap<NadRef, NadLookup>> {
    if !missing(shared, wanted, live, bound).is_empty() {
        return None;
    }
    let cache = shared.nads();
    let mut found = std::mem::take(live);
    for reference in wanted {
        if !found.contains_key(reference)
            && let Some(nad) = cache.get(reference)
        {
            count(&shared.counters.nads_cached);
            found.insert(reference.clone(), NadLookup::Found(nad));
        }
    }
    Some(found)
}

/// Asks the API server for NADs.
async fn fetch(
    shared: &Arc<Shared>,
    nads: Vec<NadRef>,
    deadline: Instant,
    found: &mut BTreeMap<NadRef, NadLookup>,
) -> Result<(), ClusterError> {
    let mut running = JoinSet::new();
    for reference in nads {
        let shared = Arc::clone(shared);
        running.spawn(async move {
            count(&shared.counters.nads_live);
            let answer = shared.api.nad(&reference, ORDINARY, deadline).await;
            (reference, answer)
        });
    }
    let mut large = Vec::new();
    while let Some(finished) = running.join_next().await {
        let (reference, answer) = finished.map_err(|error| ClusterError::Unavailable {
            attempt: "look up networks".to_owned(),
            reason: error.to_string(),
        })?;
        match answer {
            Err(Error::TooLarge { .. }) => large.push(reference),
            Err(error) => return Err(with_age(shared, error)),
            Ok(answer) => drop(found.insert(reference, answer)),
        }
    }
    if large.is_empty() {
        return Ok(());
    }
    let _turn = in_time(deadline, shared.room.large.acquire()).await?;
    let mut size = 0;
    for reference in large {
        let answer = shared.api.nad(&reference, LARGEST, deadline).await;
        let answer = answer.map_err(|error| with_age(shared, error))?;
        size += if let NadLookup::Found(nad) = &answer { nad.config.len() } else { 0 };
        if size > LARGEST {
            return Err(ClusterError::Config {
                attempt: "look up networks".to_owned(),
                reason: format!("what the pod selects is larger than {} MiB", LARGEST >> 20),
            });
        }
        found.insert(reference, answer);
    }
    Ok(())
}

/// What is waited for, unless the deadline comes first.
async fn in_time<T, E>(
    deadline: Instant,
    permit: impl Future<Output = Result<T, E>>,
) -> Result<T, ClusterError> {
    match timeout_at(deadline.into(), permit).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(ClusterError::Unavailable {
            attempt: "look up networks".to_owned(),
            reason: "too many others are being looked up; the next try may find room".to_owned(),
        }),
    }
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
