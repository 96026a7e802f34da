//! Both installed, each on its node: ours by the chart with `examples/values-multus.yaml`, upstream by its own manifest.
//! Upstream's goes into a namespace of its own, so that one cluster has both.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use testbed::cluster::Helm;
use testbed::{images, parts};

use super::scene::{Scene, Side, until};

const OURS: &str = "ghcr.io/multus-rs/multus-rs:v4.0.0";
const UPSTREAMS_NAMESPACE: &str = "multus-upstream";
const DAEMON_SET: &str = "kube-multus-ds";
const MANIFEST: &str = "multus-daemonset-thick.yml";

fn namespace(side: Side) -> &'static str {
    if side == Side::Upstream { UPSTREAMS_NAMESPACE } else { "kube-system" }
}

/// With upstream's limits: those values and its manifest have the same.
pub(super) fn limited(scene: &Scene) -> Result<()> {
    ours(scene).context("install multus-rs")?;
    upstream(scene).context("install upstream's Multus")?;
    for side in Side::MULTUS {
        rolled_out(scene, side)?;
    }
    Ok(())
}

/// Takes limits and requests away from both.
pub(super) fn lift_limits(scene: &Scene) -> Result<()> {
    for side in Side::MULTUS {
        let object = format!("daemonset/{DAEMON_SET}");
        let text = scene.kubectl(&["-n", namespace(side), "get", &object, "--output=json"], "")?;
        let daemon_set: Value = serde_json::from_str(&text).context("read the DaemonSet")?;
        let pod = &daemon_set["spec"]["template"]["spec"];
        let mut changes = Vec::new();
        for list in ["containers", "initContainers"] {
            for (index, container) in pod[list].as_array().into_iter().flatten().enumerate() {
                if container["resources"].as_object().is_some_and(|resources| !resources.is_empty()) {
                    let path = format!("/spec/template/spec/{list}/{index}/resources");
                    changes.push(json!({"op": "remove", "path": path}));
                }
            }
        }
        let patch = Value::Array(changes).to_string();
        scene.kubectl(&["-n", namespace(side), "patch", &object, "--type=json", "--patch", &patch], "")?;
    }
    for side in Side::MULTUS {
        rolled_out(scene, side)?;
    }
    Ok(())
}

/// Starts both daemons anew.
pub(super) fn restart(scene: &Scene) -> Result<()> {
    for side in Side::MULTUS {
        let object = format!("daemonset/{DAEMON_SET}");
        scene.kubectl(&["-n", namespace(side), "rollout", "restart", &object], "")?;
    }
    for side in Side::MULTUS {
        rolled_out(scene, side)?;
    }
    Ok(())
}

/// Leads both daemons to the API server by another address.
pub(super) fn lead(scene: &Scene, host: &str, port: u16) -> Result<()> {
    for side in Side::MULTUS {
        let object = format!("daemonset/{DAEMON_SET}");
        let [host, port] =
            [format!("KUBERNETES_SERVICE_HOST={host}"), format!("KUBERNETES_SERVICE_PORT={port}")];
        let set = ["-n", namespace(side), "set", "env", &object, "--containers=kube-multus", &host, &port];
        scene.kubectl(&set, "")?;
    }
    for side in Side::MULTUS {
        rolled_out(scene, side)?;
    }
    Ok(())
}

/// Returns when the newest pod alone is there, and the runtime's configuration is.
fn rolled_out(scene: &Scene, side: Side) -> Result<()> {
    let object = format!("daemonset/{DAEMON_SET}");
    scene
        .kubectl(&["-n", namespace(side), "rollout", "status", "--timeout=120s", &object], "")
        .with_context(|| {
            let logs = ["-n", namespace(side), "logs", "--all-containers", "--tail=20", &object];
            scene.kubectl(&logs, "").unwrap_or_default()
        })?;
    let pods = ["-n", namespace(side), "get", "pods", "--selector=app=multus", "--output=name"];
    let alone = || Ok((scene.kubectl(&pods, "")?.lines().count() == 1).then_some(()));
    until("the end of the pods before", alone)?;
    let node = scene.node(side)?;
    let folder = node.machine().path(node.conf_dir());
    let what = format!("the configuration of the node {}", side.name());
    until(&what, || Ok(crate::bench::thick::written(&folder))).map(drop)
}

fn ours(scene: &Scene) -> Result<()> {
    let mut command = scene.cluster().helm(Helm::V4)?;
    command.current_dir(crate::root()).args([
        "install",
        "multus",
        "charts/multus",
        "--namespace",
        "kube-system",
    ]);
    command.args(["--values", "examples/values-multus.yaml"]);
    let (repository, tag) = OURS.rsplit_once(':').unwrap_or((OURS, ""));
    for value in [
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
        format!("nodeSelector.kubernetes\\.io/hostname={}", Side::Ours.name()),
    ] {
        command.args(["--set", &value]);
    }
    let output = command.output().context("start Helm")?;
    if !output.status.success() {
        bail!("helm install ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn upstream(scene: &Scene) -> Result<()> {
    let path = parts::upstream_source(parts::UPSTREAM_VERSION)?.join("deployments").join(MANIFEST);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let theirs = format!("image: {}:snapshot-thick\n", images::UPSTREAM);
    if !text.contains(&theirs) {
        bail!("{} names another image than {theirs}", path.display());
    }
    let image = format!("image: {}:{}-thick\n", images::UPSTREAM, parts::UPSTREAM_VERSION);
    let text = text
        .replace(&theirs, &image)
        .replace("namespace: kube-system", &format!("namespace: {UPSTREAMS_NAMESPACE}"));
    let mut objects: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| format!("understand {}", path.display()))?;
    // Both share the definition of networks, and it is there: ours are installed first.
    objects.retain(|object| object["kind"] != "CustomResourceDefinition");
    for object in &mut objects {
        match object["kind"].as_str() {
            Some("ClusterRole") => object["metadata"]["name"] = json!(UPSTREAMS_NAMESPACE),
            Some("ClusterRoleBinding") => {
                object["metadata"]["name"] = json!(UPSTREAMS_NAMESPACE);
                object["roleRef"]["name"] = json!(UPSTREAMS_NAMESPACE);
            }
            Some("DaemonSet") => {
                let selector = json!({"kubernetes.io/hostname": Side::Upstream.name()});
                object["spec"]["template"]["spec"]["nodeSelector"] = selector;
            }
            _ => {}
        }
    }
    objects.insert(
        0,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": UPSTREAMS_NAMESPACE}}),
    );
    scene.create(&objects)
}
