//! Pods of this node that started without networks that they ask for: while the conf file was away, the runtime gave them the default
//! network alone and told nobody. They are found by comparing annotation and status, and their owners are told by an event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Level, PodRef};
use kube_cluster::Error;
use kube_cluster::wire::Metadata;
use plan::PlanEvent;
use serde::Deserialize;
use tokio::time::sleep;

use crate::kube::Shared;

/// How often the pods are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A pod that is starting has no status yet, and an image may take long to come; its networks come before that.
const PATIENCE: Duration = Duration::from_secs(30);
/// One question's time.
const LIMIT: Duration = Duration::from_secs(10);

/// Looks at the pods for as long as it is polled.
pub(crate) async fn watch(shared: Arc<Shared>) {
    loop {
        sleep(LOOK_EVERY).await;
        look(&shared, PATIENCE).await;
    }
}

/// Tells the owners of pods that have been without a network for `patience`.
pub(crate) async fn look(shared: &Shared, patience: Duration) {
    let Some(limit) = Instant::now().checked_sub(patience) else { return };
    let lacking = {
        let pods = shared.pods();
        // What may be outdated accuses nobody.
        if !pods.freshness().usable(Duration::ZERO) {
            return;
        }
        pods.lacking(limit)
    };
    for (pod, networks) in lacking {
        if shared.queue.has_record_of(&pod) {
            continue;
        }
        match runs_without_status(shared, &pod).await {
            Ok(true) => tell(shared, &pod, &networks).await,
            // It has not started yet, or another one has its name; the watch tells more.
            Ok(false) => {}
            Err(error) => {
                shared
                    .log
                    .line(Level::Error, format_args!("looking for pods without their networks: {error}"));
                return;
            }
        }
    }
}

#[derive(Deserialize)]
struct Whole {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default, rename = "hostNetwork")]
    host_network: bool,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    phase: String,
    #[serde(default, rename = "podIP")]
    ip: String,
}

/// Whether the pod's network is set up, and this is all it got. A pod on the host's network has none of its own.
async fn runs_without_status(shared: &Shared, pod: &PodRef) -> Result<bool, Error> {
    let whole: Whole = match shared.api.pod_as(pod, Instant::now() + LIMIT).await {
        Ok(whole) => whole,
        Err(Error::Refused { code: 404, .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let same = whole.metadata.uid == pod.uid && whole.metadata.deletion.is_none();
    let over = matches!(whole.status.phase.as_str(), "Succeeded" | "Failed");
    if same && whole.spec.host_network {
        shared.pods().told(pod);
        return Ok(false);
    }
    Ok(same && !over && !whole.status.ip.is_empty())
}

async fn tell(shared: &Shared, pod: &PodRef, networks: &[String]) {
    let networks = networks.join(", ");
    let message = format!(
        "the pod runs without {networks}, which its annotation k8s.v1.cni.cncf.io/networks asks for: it was started while Multus \
         was not in the node's CNI configuration; delete the pod to start it again with all of its networks"
    );
    let event = PlanEvent::warning("NetworksMissing", message);
    shared.log.line(
        Level::Error,
        format_args!(
            "{}/{}: runs without {networks}; its network status does not name them",
            pod.namespace, pod.name
        ),
    );
    // Stored once, whichever daemon of this node tells it.
    match shared.api.post_once("networks-missing", pod, &event, Instant::now() + LIMIT).await {
        Ok(()) => shared.pods().told(pod),
        Err(error) if error.code().is_some() => {
            shared.pods().told(pod);
            shared.log.line(Level::Error, format_args!("{error}"));
        }
        Err(error) => shared.log.line(Level::Error, format_args!("{error}")),
    }
}

#[cfg(test)]
mod tests;
