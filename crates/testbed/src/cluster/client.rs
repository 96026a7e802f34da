//! kubectl and Helm, pointed at the cluster and at nothing else.

use std::process::Command;

use anyhow::Result;

use super::Cluster;
use crate::parts;

/// Which Helm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helm {
    /// Helm 3.
    V3,
    /// Helm 4.
    V4,
}

impl Cluster {
    /// A command in the network of the control plane, the files and the environment being this process' own, with
    /// `KUBECONFIG` and with Helm's folders inside the cluster's.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.control.pid().to_string(), "--net", "--"])
            .arg(program)
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .env("KUBECACHEDIR", self.dir.join("kubectl"));
        for folder in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{folder}_HOME"), self.dir.join("helm").join(folder.to_lowercase()));
        }
        command
    }

    /// A kubectl.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        // Fetched before the cluster came up.
        self.command(parts::root().join(parts::HELM4).join("kubectl"))
    }

    /// A Helm.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn helm(&self, version: Helm) -> Result<Command> {
        let part = match version {
            Helm::V3 => parts::helm3()?,
            Helm::V4 => parts::helm4()?,
        };
        Ok(self.command(part.join("helm")))
    }
}
