//! Installs of the chart.

use anyhow::Result;
use testbed::cluster::Helm;

use crate::{NAMESPACE, World};

/// The chart, from the repository's folder.
pub const CHART: &str = "charts/multus";
/// The example values for any cluster.
pub const EXAMPLE_VALUES: &str = "examples/values-multus.yaml";
/// The one for k3s.
pub const EXAMPLE_K3S_VALUES: &str = "examples/values-multus-k3s.yaml";
/// Our image, as a value.
pub const OUR_IMAGE: &str = "image.repository=ghcr.io/multus-rs/multus-rs";
/// The DaemonSet's name, whoever installs it.
pub const DAEMON_SET: &str = "kube-multus-ds";

impl World {
    /// `helm install multus`, and waits until it runs on every node. Returns the notes.
    ///
    /// # Errors
    /// When Helm does not succeed, or the DaemonSet is not rolled out.
    pub fn install(&self, helm: Helm, options: &[&str]) -> Result<String> {
        self.release(helm, "install", options)
    }

    /// `helm upgrade multus`, and waits until it runs on every node in its new form. Returns the notes.
    ///
    /// # Errors
    /// As [`World::install`].
    pub fn upgrade(&self, helm: Helm, options: &[&str]) -> Result<String> {
        self.release(helm, "upgrade", options)
    }

    /// `helm uninstall multus`, and waits until its pods are gone.
    ///
    /// # Errors
    /// When Helm does not succeed, or a pod stays.
    pub fn uninstall(&self, helm: Helm) -> Result<()> {
        self.helm(helm, &["uninstall", "multus", "--namespace", NAMESPACE])?;
        self.daemon_pods_are_gone()
    }

    /// Waits until no pod of the DaemonSet is left.
    ///
    /// # Errors
    /// When one stays.
    pub fn daemon_pods_are_gone(&self) -> Result<()> {
        self.kubectl(&[
            "-n",
            NAMESPACE,
            "wait",
            "--for=delete",
            "--timeout=120s",
            "pod",
            "--selector=app=multus",
        ])?;
        Ok(())
    }

    fn release(&self, helm: Helm, verb: &str, options: &[&str]) -> Result<String> {
        let mut arguments = vec![verb, "multus", CHART, "--namespace", NAMESPACE];
        arguments.extend_from_slice(options);
        let notes = self.helm(helm, &arguments)?;
        self.rollout(DAEMON_SET)?;
        Ok(notes)
    }
}
