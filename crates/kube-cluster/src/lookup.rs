//! Pod and NADs, asked for at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Answer, PodLookup, PodRef, Query};
use plan::{NadLookup, NadRef};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Error;
use crate::client::{Client, METADATA, Request, segment};
use crate::connection::LARGEST_BODY;
use crate::wire::{self, Object};

/// How long a pod that is absent, or another one, may be what an API server's cache has not seen yet.
const LAG: Duration = Duration::from_secs(2);
/// How many objects are asked for at once.
const AT_ONCE: usize = 8;
/// The configurations of one pod's networks together. Real ones have some hundred bytes each; the daemon has the same limit.
const LARGEST_SELECTION: usize = 4 << 20;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

const NADS: &str = "network-attachment-definitions";
const NADS_WITH_GROUP: &str = "network-attachment-definitions.k8s.cni.cncf.io";

enum Found {
    Pod(PodLookup),
    Nad(NadRef, NadLookup),
}

/// Fetches all that `query` names.
pub(crate) async fn lookup(client: &Arc<Client>, query: &Query) -> Result<Answer, Error> {
    let deadline = query.deadline;
    let mut running = JoinSet::new();
    if let Some(pod) = query.pod.clone() {
        let client = Arc::clone(client);
        running.spawn(async move { find_pod(&client, &pod, deadline).await.map(Found::Pod) });
    }
    let mut nads = query.nads.iter().cloned();
    let mut size = 0;
    let mut answer = Answer { pod: PodLookup::NotAsked, nads: BTreeMap::new() };
    loop {
        while running.len() < AT_ONCE {
            let Some(reference) = nads.next() else { break };
            let client = Arc::clone(client);
            running.spawn(async move {
                let found = find_nad(&client, &reference, LARGEST_BODY, deadline).await;
                found.map(|found| Found::Nad(reference, found))
            });
        }
        let Some(finished) = running.join_next().await else { return Ok(answer) };
        let found = finished.map_err(|error| Error::unavailable("look up pod and networks", error))??;
        match found {
            Found::Pod(pod) => answer.pod = pod,
            Found::Nad(reference, nad) => {
                size += if let NadLookup::Found(nad) = &nad { nad.config.len() } else { 0 };
                if size > LARGEST_SELECTION {
                    return Err(Error::config(
                        "look up networks",
                        format!("what the pod selects is larger than {} MiB", LARGEST_SELECTION >> 20),
                    ));
                }
                answer.nads.insert(reference, nad);
            }
        }
    }
}

async fn find_pod(client: &Client, pod: &PodRef, deadline: Instant) -> Result<PodLookup, Error> {
    let lag_ends = Instant::now() + LAG;
    let mut pause = FIRST_PAUSE;
    loop {
        let looked = look(client, pod, deadline).await?;
        if matches!(looked, PodLookup::Found(_)) || Instant::now() + pause >= lag_ends.min(deadline) {
            return Ok(looked);
        }
        sleep(pause).await;
        pause *= 2;
    }
}

/// Looks once.
pub(crate) async fn look(client: &Client, pod: &PodRef, deadline: Instant) -> Result<PodLookup, Error> {
    let found = match get_pod(client, pod, deadline).await {
        Ok(object) => object.into_pod(&pod.namespace, &pod.name),
        Err(error) if error.code() == Some(404) => return Ok(PodLookup::Missing),
        Err(error) => return Err(error),
    };
    let differs = !found.is_static
        && pod.uid.as_ref().is_some_and(|uid| !uid.is_empty() && found.uid.as_ref() != Some(uid));
    Ok(if differs {
        PodLookup::Replaced { found_uid: found.uid.unwrap_or_default() }
    } else {
        PodLookup::Found(found)
    })
}

/// The pod's metadata.
pub(crate) async fn get_pod(client: &Client, pod: &PodRef, deadline: Instant) -> Result<Object, Error> {
    let request =
        Request { accept: METADATA, ..Request::get(format!("get pod {}", shown(pod)), pod_path(pod)?) };
    client.call_for(&request, deadline).await
}

/// `namespace/name`.
pub(crate) fn shown(pod: &PodRef) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

/// The path of a pod.
pub(crate) fn pod_path(pod: &PodRef) -> Result<String, Error> {
    let wrong = |reason| Error::config(format!("pod {:?}", shown(pod)), reason);
    let namespace = segment(&pod.namespace).map_err(wrong)?;
    let name = segment(&pod.name).map_err(wrong)?;
    Ok(format!("/api/v1/namespaces/{namespace}/pods/{name}"))
}

/// Asks for a NAD whose JSON has at most `largest` bytes.
pub(crate) async fn find_nad(
    client: &Client,
    reference: &NadRef,
    largest: usize,
    deadline: Instant,
) -> Result<NadLookup, Error> {
    let (namespace, name) = match (segment(&reference.namespace), segment(&reference.name)) {
        (Ok(namespace), Ok(name)) => (namespace, name),
        (Err(reason), _) | (_, Err(reason)) => return Ok(NadLookup::Failed(reason)),
    };
    let request = Request::get(
        format!("get {NADS_WITH_GROUP} {reference}"),
        format!("/apis/k8s.cni.cncf.io/v1/namespaces/{namespace}/{NADS}/{name}"),
    );
    let request = Request { largest, ..request };
    let body = match client.call(&request, deadline).await {
        Ok(body) => body,
        Err(Error::Refused { code: 404, message, .. }) => {
            return Ok(NadLookup::Missing(not_found(&message, &reference.name)));
        }
        Err(Error::Refused { message, .. }) => return Ok(NadLookup::Failed(message)),
        Err(error) => return Err(error),
    };
    Ok(match wire::nad(reference, &body) {
        Ok(nad) => NadLookup::Found(nad),
        Err(error) => NadLookup::Failed(format!(
            "the answer of the API server cannot be read: {}",
            engine::discreet(error)
        )),
    })
}

/// The API's text. Where the kind itself is unknown it does not say what was asked for; client-go adds that.
fn not_found(message: &str, name: &str) -> String {
    if message == "the server could not find the requested resource" {
        return format!("{message} (get {NADS_WITH_GROUP} {name})");
    }
    if message.contains(name) {
        return message.to_owned();
    }
    format!("{NADS_WITH_GROUP} {name:?} not found")
}
