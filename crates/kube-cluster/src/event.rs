//! Events on a pod.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::PodRef;
use hyper::Method;
use plan::PlanEvent;
use serde_json::json;

use crate::client::{Request, segment};
use crate::lookup::shown;

const LONGEST_BEGINNING: usize = 180;

/// A name that no other event of this pod has, as client-go makes it.
pub(crate) fn unique(pod: &PodRef) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Names must differ also when the clock is coarse.
    let unique = since_epoch.as_nanos() as u64 + u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
    format!("{}.{unique:x}", beginning(&pod.name))
}

/// As much of a pod's name as leaves room for what follows it: the name of an event may have 253 characters, that of a pod as well.
fn beginning(name: &str) -> &str {
    let end = (0..=LONGEST_BEGINNING.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name[..end.unwrap_or(0)].trim_end_matches(['.', '-'])
}

/// The name that an event of this pod has each time that it is told for the same `cause`: it is stored once, however often a program
/// that was started again tells it.
pub(crate) fn fixed(pod: &PodRef, cause: &str) -> String {
    let uid: String =
        pod.uid.iter().flat_map(|uid| uid.chars()).filter(char::is_ascii_alphanumeric).collect();
    format!("{}.{cause}-{}", beginning(&pod.name), uid.to_ascii_lowercase())
}

/// A core/v1 event as client-go's recorder makes it.
pub(crate) fn request(pod: &PodRef, event: &PlanEvent, name: &str) -> Result<Request, String> {
    let namespace = segment(&pod.namespace)?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = jiff::Timestamp::from_second(i64::try_from(since_epoch.as_secs()).unwrap_or_default());
    let now = seconds.unwrap_or_default().to_string();
    let body = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": pod.namespace},
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name,
            "uid": pod.uid.clone().unwrap_or_default(),
        },
        "type": event.kind.as_str(),
        "reason": event.reason,
        "message": event.message,
        "source": {"component": "multus"},
        "reportingComponent": "multus",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    });
    Ok(Request::send(
        format!("post event {} on pod {}", event.reason, shown(pod)),
        Method::POST,
        format!("/api/v1/namespaces/{namespace}/events"),
        body.to_string().into_bytes(),
    ))
}

#[cfg(test)]
mod tests;
