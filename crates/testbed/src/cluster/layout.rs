//! Where nodes keep things: folders as upstream's manifests expect them, and k3s'.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Layout, NodeSpec, Primary};
use crate::{parts, programs};

/// What a k3s release unpacks, in a folder that a real one calls by a hash of it.
const RELEASE: &str =
    "/var/lib/rancher/k3s/data/9d9f1e6e2a1c5d9b9c2f0a4b7e3d8c6f5a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d";
/// Its plugins.
const RELEASE_BIN: &str =
    "/var/lib/rancher/k3s/data/9d9f1e6e2a1c5d9b9c2f0a4b7e3d8c6f5a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d/bin";
/// The link to the release that runs.
const CURRENT: &str = "/var/lib/rancher/k3s/data/current";
/// What k3s brings.
const K3S_PLUGINS: [&str; 6] = ["bandwidth", "bridge", "firewall", "host-local", "loopback", "portmap"];

/// Paths on the node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folders {
    pub(super) conf_dir: &'static str,
    /// As containerd has it.
    pub(super) bin_dir: &'static str,
    /// Where programs can be put so that containerd finds them, as k3s documents it.
    pub(super) install_dir: &'static str,
    pub(super) containerd_config: &'static str,
    pub(super) containerd_root: &'static str,
    pub(super) containerd_state: &'static str,
    pub(super) kubelet_kubeconfig: &'static str,
}

impl Layout {
    pub(super) fn folders(self) -> Folders {
        let k3s = Folders {
            conf_dir: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
            bin_dir: "/var/lib/rancher/k3s/data/cni",
            install_dir: "/var/lib/rancher/k3s/data/cni",
            containerd_config: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
            containerd_root: "/var/lib/rancher/k3s/agent/containerd",
            containerd_state: "/run/k3s/containerd",
            kubelet_kubeconfig: "/var/lib/rancher/k3s/agent/kubelet.kubeconfig",
        };
        match self {
            Self::Generic => Folders {
                conf_dir: "/etc/cni/net.d",
                bin_dir: "/opt/cni/bin",
                install_dir: "/opt/cni/bin",
                containerd_config: "/etc/containerd/config.toml",
                containerd_root: "/var/lib/containerd",
                containerd_state: "/run/containerd",
                kubelet_kubeconfig: "/etc/kubernetes/kubelet.conf",
            },
            Self::K3s => k3s,
            Self::K3sOld => {
                Folders { bin_dir: RELEASE_BIN, install_dir: "/var/lib/rancher/k3s/data/current/bin", ..k3s }
            }
        }
    }
}

/// Puts the plugins that the node's distribution brings into `root`.
pub(super) fn install_plugins(root: &Path, node: &NodeSpec) -> Result<()> {
    let reference = parts::reference_plugins()?;
    let place = |inside: &str| root.join(inside.trim_start_matches('/'));
    let mut sources = Vec::new();
    if node.layout == Layout::Generic {
        for entry in fs::read_dir(&reference).with_context(|| format!("list {}", reference.display()))? {
            sources.push(entry?.path());
        }
    } else {
        sources.extend(K3S_PLUGINS.map(|plugin| reference.join(plugin)));
    }
    if node.primary == Primary::Flannel || node.layout != Layout::Generic {
        sources.push(parts::flannel()?.join("flannel"));
    }
    let generic = node.layout == Layout::Generic;
    let bin_dir = place(if generic { node.layout.folders().bin_dir } else { RELEASE_BIN });
    fs::create_dir_all(&bin_dir).with_context(|| format!("create {}", bin_dir.display()))?;
    for source in &sources {
        let name = source.file_name().unwrap_or_default();
        programs::copy(source, &bin_dir.join(name))?;
    }
    if generic {
        return Ok(());
    }
    symlink(RELEASE, place(CURRENT)).with_context(|| format!("link {CURRENT}"))?;
    if node.layout == Layout::K3s {
        let stable = place(node.layout.folders().bin_dir);
        fs::create_dir_all(&stable).with_context(|| format!("create {}", stable.display()))?;
        for source in &sources {
            let name = source.file_name().unwrap_or_default();
            symlink(Path::new(RELEASE_BIN).join(name), stable.join(name))
                .context("link a plugin into data/cni")?;
        }
    }
    Ok(())
}
