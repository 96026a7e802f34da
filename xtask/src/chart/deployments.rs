//! `deployments/`: the chart rendered for `kubectl apply`, for clusters without Helm.
//!
//! The CRD has a file of its own: `kubectl delete -f` on one that holds it would delete every NAD in the cluster.

use anyhow::{Result, ensure};
use chart::helm::Helm;

use super::Files;

/// File, platform, mode, and what the file is for.
const MANIFESTS: [(&str, &str, &str, &str); 3] = [
    (
        "multus-daemonset.yml",
        "generic",
        "thick",
        "nodes with the usual CNI folders, /etc/cni/net.d and /opt/cni/bin",
    ),
    (
        "multus-daemonset-thin.yml",
        "generic",
        "thin",
        "the same nodes, in thin mode: without a daemon that pods wait for",
    ),
    (
        "multus-daemonset-k3s.yml",
        "k3s",
        "thick",
        "k3s with its own Flannel, from v1.28.15, v1.29.10, v1.30.6 and v1.31.2 on",
    ),
];

/// Lines that only mean something to Helm.
const OF_HELM: [&str; 4] =
    ["app.kubernetes.io/managed-by: Helm", "helm.sh/", "# Source: ", "argocd.argoproj.io/"];

pub(crate) fn all(helm: &Helm) -> Result<Files> {
    let dir = crate::root().join("deployments");
    let mut files = Files::new();
    let crd =
        std::fs::read_to_string(chart::dir("multus").join("files/network-attachment-definitions.yaml"))?;
    files.insert(
        dir.join("multus-crds.yml"),
        head("the NetworkAttachmentDefinition CRD", "multus-crds.yml") + &crd,
    );
    for (file, platform, mode, purpose) in MANIFESTS {
        let set = [
            format!("platform={platform}"),
            format!("mode={mode}"),
            "crds.install=false".to_owned(),
            "tests.enabled=false".to_owned(),
        ];
        let arguments: Vec<String> =
            set.into_iter().flat_map(|set| ["--set".to_owned(), set]).chain(kube_version()).collect();
        let said = helm.template(&chart::dir("multus"), &arguments)?;
        ensure!(said.success, "helm does not render {file}: {}", said.stderr);
        let lines = said.stdout.lines().filter(|line| {
            let line = line.trim_start();
            !line.is_empty() && !OF_HELM.iter().any(|mark| line.starts_with(mark))
        });
        let text = lines.fold(head(purpose, file), |text, line| text + line + "\n");
        files.insert(dir.join(file), text);
    }
    Ok(files)
}

fn kube_version() -> [String; 2] {
    ["--kube-version".to_owned(), "v1.34.4".to_owned()]
}

fn head(purpose: &str, file: &str) -> String {
    format!(
        "# multus-rs for {purpose}.\n\
         # Rendered from charts/multus (`cargo xtask chart`); the chart can do more, see docs/install.md.\n\
         #   kubectl apply -f deployments/multus-crds.yml -f deployments/{file}\n\
         # Removing multus-crds.yml removes every NAD in the cluster.\n"
    )
    .replace(
        " -f deployments/multus-crds.yml -f deployments/multus-crds.yml",
        " -f deployments/multus-crds.yml",
    )
}
