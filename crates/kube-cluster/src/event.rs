//! Events on a pod, or on another object.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::{PodRef, bounded, printable};
use hyper::Method;
use plan::PlanEvent;
use serde_json::json;

use crate::client::{Request, segment};
use crate::lookup::shown;

const LONGEST_BEGINNING: usize = 180;
/// The longest message that events.k8s.io/v1 takes. Its predecessor takes any, and would store what a plugin or an annotation says
/// as it is, at each try.
const LONGEST_MESSAGE: usize = 1024;

/// What an event is about.
#[derive(Debug)]
pub(crate) struct About<'a> {
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    /// Empty where the kind has none.
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
}

/// A name that no other event of the object called `name` has, as client-go makes it.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Names must differ also when the clock is coarse.
    let unique = since_epoch.as_nanos() as u64 + u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
    format!("{}.{unique:x}", beginning(name))
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

/// An event on a pod.
pub(crate) fn request(pod: &PodRef, event: &PlanEvent, name: &str) -> Result<Request, String> {
    let about = About {
        api_version: "v1",
        kind: "Pod",
        namespace: &pod.namespace,
        name: &pod.name,
        uid: pod.uid.as_deref().unwrap_or_default(),
    };
    let request = post(&about, &pod.namespace, "multus", event, name)?;
    Ok(Request { attempt: format!("post event {} on pod {}", event.reason, shown(pod)), ..request })
}

/// A core/v1 event as client-go's recorder makes it, stored in `namespace`.
pub(crate) fn post(
    about: &About<'_>,
    namespace: &str,
    component: &str,
    event: &PlanEvent,
    name: &str,
) -> Result<Request, String> {
    let path = format!("/api/v1/namespaces/{}/events", segment(namespace)?);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = jiff::Timestamp::from_second(i64::try_from(since_epoch.as_secs()).unwrap_or_default());
    let now = seconds.unwrap_or_default().to_string();
    let mut involved = json!({
        "apiVersion": about.api_version, "kind": about.kind, "name": about.name, "uid": about.uid,
    });
    if !about.namespace.is_empty() {
        involved["namespace"] = about.namespace.into();
    }
    let body = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "type": event.kind.as_str(),
        "reason": event.reason,
        "message": bounded(&printable(&event.message), LONGEST_MESSAGE),
        "source": {"component": component},
        "reportingComponent": component,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    });
    let attempt = format!("post event {} on {} {}", event.reason, about.kind, about.name);
    Ok(Request::write(attempt, Method::POST, path, body.to_string().into_bytes()))
}

#[cfg(test)]
mod tests;
