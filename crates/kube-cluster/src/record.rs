//! The network status of a pod, and its events with it.
//!
//! The status goes by one merge patch that carries the UID. Upstream's ClusterRole grants only `update`; there the pod is read,
//! its annotation set in the raw object, so that nothing of a newer Kubernetes is dropped, and the whole put back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::{PodRef, Record, Recorded};
use hyper::Method;
use plan::STATUS_ANNOTATION;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout_at};

use crate::Error;
use crate::client::{Client, Request, read};
use crate::event;
use crate::lookup::{get_pod, pod_path, shown};
use crate::wire::Object;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long a pod that has its status waits for events that are still on their way.
const EVENTS_GRACE: Duration = Duration::from_secs(1);

/// How many whole pods are held at once, for writes without the right to patch. Each may have 1.5 MB, some times over.
const WHOLE_PODS: usize = 4;

/// How long it is taken for granted that the role does not allow to patch. It may be given that right while this runs.
const PUT_FOR: Duration = Duration::from_secs(300);

/// What is known about the API server's permissions.
#[derive(Debug)]
pub(crate) struct Permissions {
    /// When `patch` on `pods/status` was last refused where `update` was not.
    no_patch: Mutex<Option<Instant>>,
    /// Room for whole pods.
    whole_pods: Semaphore,
}

impl Default for Permissions {
    fn default() -> Self {
        Self { no_patch: Mutex::new(None), whole_pods: Semaphore::new(WHOLE_PODS) }
    }
}

impl Permissions {
    fn may_patch(&self, now: Instant) -> bool {
        let refused = *self.no_patch.lock().unwrap_or_else(PoisonError::into_inner);
        refused.is_none_or(|refused| now.saturating_duration_since(refused) >= PUT_FOR)
    }

    /// One of two ways was refused, and the other was not.
    fn learn(&self, may_patch: bool, now: Instant) {
        *self.no_patch.lock().unwrap_or_else(PoisonError::into_inner) = (!may_patch).then_some(now);
    }
}

/// Writes the status and posts the events, at once.
pub(crate) async fn record(
    client: &Arc<Client>,
    permissions: &Permissions,
    record: &Record,
    deadline: Instant,
) -> Result<Recorded, Error> {
    let mut events = JoinSet::new();
    for told in &record.events {
        let request = event::request(&record.pod, told, &event::unique(&record.pod.name));
        let client = Arc::clone(client);
        // Best effort: an event that cannot be posted keeps nobody from anything.
        events.spawn(async move {
            if let Ok(request) = request {
                let _ = client.call(&request, deadline).await;
            }
        });
    }
    let recorded = match &record.status {
        Some(status) => write_status(client, permissions, &record.pod, status, deadline).await,
        None => Ok(Recorded::Written),
    };
    // Without a status the events are all there is to do.
    let patience =
        if record.status.is_some() { deadline.min(Instant::now() + EVENTS_GRACE) } else { deadline };
    let _ = timeout_at(patience.into(), async { while events.join_next().await.is_some() {} }).await;
    recorded
}

/// Writes the status alone.
pub(crate) async fn write_status(
    client: &Client,
    permissions: &Permissions,
    pod: &PodRef,
    status: &str,
    deadline: Instant,
) -> Result<Recorded, Error> {
    let mut writer = Writer { client, pod, status, uid: pod.uid.clone(), deadline };
    let mut pause = FIRST_PAUSE;
    let mut patches = permissions.may_patch(Instant::now());
    let mut was_refused = false;
    loop {
        let attempted =
            if patches { writer.patch().await } else { writer.put(&permissions.whole_pods).await };
        let error = match attempted {
            Ok(recorded) => {
                // What is refused in one way and not in the other is the role's doing, and not what is admitted for this pod.
                if was_refused && recorded == Recorded::Written {
                    permissions.learn(patches, Instant::now());
                }
                return Ok(recorded);
            }
            Err(error) => error,
        };
        match error.code() {
            Some(404) => return Ok(Recorded::PodGone),
            Some(403) if !was_refused => {
                (patches, was_refused) = (!patches, true);
                continue;
            }
            // The UID is not the pod's, or somebody else wrote meanwhile; which of them, the pod itself tells.
            Some(409 | 422) => match writer.compare_uid().await? {
                Some(recorded) => return Ok(recorded),
                None if error.code() == Some(422) && !writer.learned_uid(pod) => return Err(error),
                None => {}
            },
            _ => return Err(error),
        }
        if Instant::now() + pause >= deadline {
            return Err(error);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

struct Writer<'a> {
    client: &'a Client,
    pod: &'a PodRef,
    status: &'a str,
    /// The UID that goes into a write. For a static pod it is the mirror pod's, which the runtime does not know.
    uid: Option<String>,
    deadline: Instant,
}

impl Writer<'_> {
    async fn patch(&self) -> Result<Recorded, Error> {
        let mut metadata = json!({"annotations": {STATUS_ANNOTATION: self.status}});
        if let Some(uid) = self.uid() {
            metadata["uid"] = uid.into();
        }
        let body = json!({ "metadata": metadata }).to_string().into_bytes();
        let request = Request {
            content_type: "application/merge-patch+json",
            ..Request::write(self.attempt(), Method::PATCH, self.path()?, body)
        };
        self.client.call(&request, self.deadline).await?;
        Ok(Recorded::Written)
    }

    async fn put(&self, room: &Semaphore) -> Result<Recorded, Error> {
        let get = Request::get(format!("get pod {}", shown(self.pod)), pod_path(self.pod)?);
        let Ok(Ok(_room)) = timeout_at(self.deadline.into(), room.acquire()).await else {
            return Err(Error::unavailable(&get.attempt, "other pods' statuses are still being written"));
        };
        let body = self.client.call(&get, self.deadline).await?;
        let object: Object = read(&get, &body)?;
        if let Some(replaced) = self.replaced_by(&object) {
            return Ok(replaced);
        }
        let body = with_annotation(&body, self.status).map_err(|error| {
            Error::unavailable(&get.attempt, format!("the answer cannot be read: {error}"))
        })?;
        let put = Request::write(self.attempt(), Method::PUT, self.path()?, body);
        self.client.call(&put, self.deadline).await?;
        Ok(Recorded::Written)
    }

    /// Looks who the pod is now: `None` when it is still ours, and then with a UID that the next write will not fail for.
    async fn compare_uid(&mut self) -> Result<Option<Recorded>, Error> {
        let object = match get_pod(self.client, self.pod, self.deadline).await {
            Ok(object) => object,
            Err(error) if error.code() == Some(404) => return Ok(Some(Recorded::PodGone)),
            Err(error) => return Err(error),
        };
        if let Some(replaced) = self.replaced_by(&object) {
            return Ok(Some(replaced));
        }
        if self.uid().is_some() {
            self.uid = object.metadata.uid;
        }
        Ok(None)
    }

    fn replaced_by(&self, object: &Object) -> Option<Recorded> {
        let is_static = object
            .metadata
            .annotations
            .get("kubernetes.io/config.source")
            .is_some_and(|source| source != "api");
        let same = is_static
            || self.uid().is_none_or(|uid| object.metadata.uid.as_deref().is_none_or(|found| found == uid));
        (!same).then_some(Recorded::PodReplaced)
    }

    fn uid(&self) -> Option<&str> {
        self.uid.as_deref().filter(|uid| !uid.is_empty())
    }

    /// Whether the pod turned out to have another UID than the runtime said, as static pods do.
    fn learned_uid(&self, pod: &PodRef) -> bool {
        self.uid != pod.uid
    }

    fn attempt(&self) -> String {
        format!("write the network status of pod {}", shown(self.pod))
    }

    fn path(&self) -> Result<String, Error> {
        pod_path(self.pod).map(|path| format!("{path}/status"))
    }
}

/// A pod as the API server sent it, with one annotation set. All else keeps its bytes.
fn with_annotation(pod: &[u8], status: &str) -> Result<Vec<u8>, serde_json::Error> {
    type Raw = BTreeMap<String, Box<RawValue>>;
    let mut pod: Raw = serde_json::from_slice(pod)?;
    let mut metadata: Raw = parsed(pod.get("metadata").map(AsRef::as_ref))?;
    let mut annotations: Raw = parsed(metadata.get("annotations").map(AsRef::as_ref))?;
    annotations.insert(STATUS_ANNOTATION.to_owned(), serde_json::value::to_raw_value(status)?);
    metadata.insert("annotations".to_owned(), serde_json::value::to_raw_value(&annotations)?);
    pod.insert("metadata".to_owned(), serde_json::value::to_raw_value(&metadata)?);
    serde_json::to_vec(&pod)
}

fn parsed(value: Option<&RawValue>) -> Result<BTreeMap<String, Box<RawValue>>, serde_json::Error> {
    let Some(value) = value else { return Ok(BTreeMap::new()) };
    Ok(serde_json::from_str::<Option<_>>(value.get())?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
