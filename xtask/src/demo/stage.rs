//! The scene: a node, its network card, a router behind it, pods; all of it in namespaces of this process's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use testbed::Netns;

use crate::cni::Sandbox;

/// Pods of the examples, in the order in which they are attached.
pub(crate) const PODS: [&str; 3] = ["web", "database", "gateway"];
/// The pod whose annotation is wrong.
pub(crate) const WRONG: &str = "wrong-pod";
/// Bridges that the bridge plugin makes when first needed and leaves, empty, by design.
pub(crate) const BRIDGES: [&str; 3] = ["cni0", "dmz0", "storage0"];
/// The node's network card in the scene.
pub(crate) const CARD: &str = "eth1";
/// Where host-local keeps its leases.
pub(crate) const LEASES: &str = "/var/lib/cni/networks";

pub(crate) struct Stage {
    /// The examples, copied; status files appear beside them.
    pub(crate) manifests: PathBuf,
    /// Where `multus` keeps its journal.
    pub(crate) cni_dir: PathBuf,
    pub(crate) plugins: PathBuf,
    pub(crate) multus: PathBuf,
    pub(crate) pods: BTreeMap<&'static str, Netns>,
    /// Why port mappings are left out, when they are.
    pub(crate) no_port_mappings: Option<String>,
    _router: Netns,
}

impl Stage {
    /// Sets the scene. Only inside a testbed namespace.
    pub(crate) fn set(multus: PathBuf, plugins: PathBuf) -> Result<Self> {
        testbed::require_namespace()?;
        hide_var_lib()?;
        let router = Netns::new("router")?;
        for command in [
            "ip link add eth1 type veth peer name lan netns router",
            "ip link set eth1 up",
            "nsenter --net=/run/netns/router ip address add 192.168.50.1/24 dev lan",
            "nsenter --net=/run/netns/router ip link set lan up",
        ] {
            shell(command)?;
        }
        let mut pods = BTreeMap::new();
        for pod in PODS.into_iter().chain([WRONG]) {
            pods.insert(pod, Netns::new(pod)?);
        }
        let no_port_mappings = why_no_port_mappings();
        let manifests = PathBuf::from("/run/demo/manifests");
        copy_examples(&crate::root().join("examples"), &manifests, no_port_mappings.is_some())?;
        let cni_dir = PathBuf::from("/run/demo/cni");
        Ok(Self { manifests, cni_dir, plugins, multus, pods, no_port_mappings, _router: router })
    }

    /// The configuration that the runtime would find in /etc/cni/net.d.
    pub(crate) fn netconf(&self) -> String {
        format!(
            r#"{{
  "cniVersion": "1.0.0",
  "name": "multus-demo",
  "type": "multus",
  "manifests": "{}",
  "cniDir": "{}",
  "delegates": [
    {{
      "cniVersion": "1.0.0",
      "name": "primary",
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "ipam": {{ "type": "host-local", "subnet": "10.244.0.0/24", "routes": [{{ "dst": "0.0.0.0/0" }}] }}
    }}
  ]
}}"#,
            self.manifests.display(),
            self.cni_dir.display()
        )
    }

    pub(crate) fn sandbox(&self, pod: &str) -> Sandbox {
        Sandbox {
            container_id: format!("demo-{pod}"),
            netns: self.pods[pod].path(),
            namespace: "default".to_owned(),
            pod: pod.to_owned(),
            uid: String::new(),
        }
    }

    /// The text of the status file; empty when there is none.
    pub(crate) fn status_text(&self, pod: &str) -> String {
        fs::read_to_string(self.manifests.join(format!("default.{pod}.network-status.json")))
            .unwrap_or_default()
    }

    /// The status file's content; null when there is none.
    pub(crate) fn status(&self, pod: &str) -> Value {
        serde_json::from_str(&self.status_text(pod)).unwrap_or(Value::Null)
    }
}

/// Plugins write below /var/lib/cni, which may not exist here and is not ours: this process and what it starts see an empty one.
/// What else is in /var/lib stays visible.
fn hide_var_lib() -> Result<()> {
    shell(
        "mkdir -p /run/var-lib && mount --rbind /var/lib /run/var-lib && mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/cni \
         && for entry in /run/var-lib/*/; do \
              name=$(basename \"$entry\"); \
              [ \"$name\" = cni ] || { mkdir -p \"/var/lib/$name\" && mount --rbind \"$entry\" \"/var/lib/$name\" || exit 1; }; \
            done",
    )
    .map(drop)
    .context("give this process an empty /var/lib/cni")
}

fn copy_examples(from: &Path, to: &Path, without_port_mappings: bool) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let path = entry?.path();
        let (Some(name), true) =
            (path.file_name(), path.extension().is_some_and(|extension| extension == "yaml"))
        else {
            continue;
        };
        let mut text = fs::read_to_string(&path)?;
        if without_port_mappings {
            text = drop_port_mappings(&text);
        }
        fs::write(to.join(name), text)?;
    }
    Ok(())
}

/// The manifest without its lines about port mappings and the comma before each.
fn drop_port_mappings(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.contains("\"portMappings\"") {
            if let Some(last) = lines.last_mut() {
                *last = last.trim_end_matches(',').to_owned();
            }
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

/// portmap drives iptables or nft. Whether one of them works can only be seen in the namespace where it will have to.
fn why_no_port_mappings() -> Option<String> {
    let works = |command: &str| shell(command).is_ok();
    if works("iptables -w -t nat -S") || works("nft list ruleset") {
        return None;
    }
    Some("portmap needs iptables or nft, and neither works here".to_owned())
}

/// Runs a line of shell quietly; its output is in the error when it fails.
pub(crate) fn shell(line: &str) -> Result<String> {
    let output = Command::new("sh")
        .args(["-c", line])
        .env("PATH", crate::cni::search_path())
        .stdin(Stdio::null())
        .output()
        .context("start sh")?;
    if !output.status.success() {
        bail!("{line} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn examples_without_port_mappings_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        copy_examples(&crate::root().join("examples"), dir.path(), true).unwrap();
        let gateway: Value =
            serde_saphyr::from_str(&fs::read_to_string(dir.path().join("gateway.yaml")).unwrap()).unwrap();
        let annotation = gateway["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"].as_str().unwrap();
        let selections: Value = serde_json::from_str(annotation).unwrap();
        assert_eq!(selections[1]["default-route"][0], "10.30.0.1");
        let networks = fs::read_to_string(dir.path().join("networks.yaml")).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&networks).unwrap();
        let config: Value = serde_json::from_str(documents[2]["spec"]["config"].as_str().unwrap()).unwrap();
        assert_eq!(config["plugins"].as_array().unwrap().len(), 2);
        assert!(!networks.contains("\"portmap\""));
    }
}
