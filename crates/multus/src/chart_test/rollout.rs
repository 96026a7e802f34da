//! Whether a DaemonSet is ready on every node that it is meant for, and if not, what the kubelets say about it.

use std::time::{Duration, Instant};

use kube_cluster::{Session, Source};
use serde::Deserialize;

use crate::thin_entrypoint::stop::Stop;

const TICK: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DaemonSet {
    metadata: Generation,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Generation {
    generation: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    observed_generation: i64,
    desired_number_scheduled: i64,
    updated_number_scheduled: i64,
    number_ready: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pods {
    items: Vec<Pod>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Name,
    spec: Placed,
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Name {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Placed {
    node_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    init_container_statuses: Vec<Container>,
    container_statuses: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    ready: bool,
    state: State,
    last_state: State,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Reason>,
    terminated: Option<Reason>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reason {
    reason: String,
    message: String,
}

/// Waits until it is, or until `deadline`.
pub(super) fn wait(daemonset: &str, stop: &Stop, deadline: Instant) -> Result<String, String> {
    let (namespace, name) = daemonset
        .split_once('/')
        .ok_or_else(|| format!("--daemonset {daemonset:?} is not of the form namespace/name"))?;
    let session = Session::start(Source::Pod).map_err(|error| error.to_string())?;
    let path = format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}");
    loop {
        let found: DaemonSet = session
            .get(format!("get daemonset {daemonset}"), path.clone(), deadline)
            .map_err(|error| error.to_string())?;
        if found.is_ready() {
            return Ok(format!(
                "{daemonset} is ready on all of its {} nodes",
                found.status.desired_number_scheduled
            ));
        }
        if Instant::now() + TICK >= deadline || stop.within(TICK) {
            let pods = format!("/api/v1/namespaces/{namespace}/pods?labelSelector=app%3Dmultus");
            let soon = Instant::now() + Duration::from_secs(5);
            let pods: Pods = session
                .get(format!("list pods of {daemonset}"), pods, soon)
                .map_err(|error| error.to_string())?;
            return Err(found.explain(daemonset, &pods));
        }
    }
}

impl DaemonSet {
    /// Ready everywhere, and as it is written now, not as it was before an upgrade.
    fn is_ready(&self) -> bool {
        let status = &self.status;
        let wanted = status.desired_number_scheduled;
        status.observed_generation >= self.metadata.generation
            && wanted > 0
            && status.updated_number_scheduled == wanted
            && status.number_ready == wanted
    }

    fn explain(&self, daemonset: &str, pods: &Pods) -> String {
        let Status { number_ready, desired_number_scheduled: wanted, updated_number_scheduled, .. } =
            self.status;
        let mut text = match wanted {
            0 => format!(
                "{daemonset} is meant for no node; the chart's values nodeSelector and tolerations choose them"
            ),
            _ => format!(
                "{daemonset} is ready on {number_ready} of {wanted} nodes, {updated_number_scheduled} of them with the newest version"
            ),
        };
        for pod in &pods.items {
            for (container, reason) in pod.trouble() {
                text += &format!("\n  {}, {}, {container}: {reason}", pod.spec.node_name, pod.metadata.name);
            }
        }
        text
    }
}

impl Pod {
    /// Containers that are not ready, with what the kubelet says of them.
    fn trouble(&self) -> impl Iterator<Item = (&str, String)> {
        let all = self.status.init_container_statuses.iter().chain(&self.status.container_statuses);
        all.filter(|container| !container.ready).map(|container| {
            let states =
                [&container.state.waiting, &container.state.terminated, &container.last_state.terminated];
            let reasons: Vec<String> = states
                .into_iter()
                .flatten()
                .map(|reason| format!("{} {}", reason.reason, reason.message.trim()).trim().to_owned())
                .filter(|reason| !reason.is_empty())
                .collect();
            let reason = if reasons.is_empty() { "not ready".to_owned() } else { reasons.join("; ") };
            (container.name.as_str(), reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn daemonset(generation: i64, desired: i64, updated: i64, ready: i64) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"generation": generation},
            "status": {
                "observedGeneration": 2, "desiredNumberScheduled": desired,
                "updatedNumberScheduled": updated, "numberReady": ready,
            },
        }))
        .unwrap()
    }

    #[test]
    fn ready_is_ready_everywhere_and_as_written_now() {
        assert!(daemonset(2, 3, 3, 3).is_ready());
        for found in
            [daemonset(3, 3, 3, 3), daemonset(2, 3, 2, 3), daemonset(2, 3, 3, 2), daemonset(2, 0, 0, 0)]
        {
            assert!(!found.is_ready(), "{found:?}");
        }
    }

    #[test]
    fn what_is_not_ready_is_told_with_the_kubelets_reason() {
        let pods: Pods = serde_json::from_value(json!({"items": [
            {"metadata": {"name": "a"}, "spec": {"nodeName": "node1"}, "status": {"containerStatuses": [{"name": "kube-multus", "ready": true}]}},
            {"metadata": {"name": "b"}, "spec": {"nodeName": "node2"}, "status": {"initContainerStatuses": [
                {"name": "install-multus", "ready": false, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}},
            ]}},
        ]}))
        .unwrap();
        let text = daemonset(2, 2, 2, 1).explain("kube-system/kube-multus-ds", &pods);
        assert!(text.contains("1 of 2"), "{text}");
        assert!(text.contains("node2, b, install-multus: ImagePullBackOff no such tag"), "{text}");
        assert!(!text.contains("node1"), "{text}");
    }
}
