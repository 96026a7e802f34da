//! Helm without a cluster.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};

/// A version of Helm.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
    /// 3 or 4.
    pub major: u8,
}

/// What Helm said.
#[derive(Debug, Clone)]
pub struct Said {
    /// Whether it was content.
    pub success: bool,
    /// Its output.
    pub stdout: String,
    /// Its complaints.
    pub stderr: String,
}

impl Helm {
    /// Helm 3.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn three() -> Result<Self> {
        Ok(Self { program: testbed::parts::helm3()?.join("helm"), major: 3 })
    }

    /// Helm 4.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn four() -> Result<Self> {
        Ok(Self { program: testbed::parts::helm4()?.join("helm"), major: 4 })
    }

    /// Both.
    ///
    /// # Errors
    /// When one cannot be had.
    pub fn both() -> Result<[Self; 2]> {
        Ok([Self::three()?, Self::four()?])
    }

    /// `helm template`, in the namespace and by the release name of the documentation.
    ///
    /// # Errors
    /// When Helm cannot be started.
    pub fn template(&self, chart: &Path, arguments: &[String]) -> Result<Said> {
        let mut all = ["template", "multus"].map(str::to_owned).to_vec();
        all.push(chart.display().to_string());
        all.extend(["--namespace", "kube-system"].map(str::to_owned));
        all.extend_from_slice(arguments);
        self.run(&all)
    }

    /// Runs it.
    ///
    /// # Errors
    /// When Helm cannot be started.
    pub fn run(&self, arguments: &[String]) -> Result<Said> {
        let home = tempfile::tempdir().context("make a home for Helm")?;
        let Output { status, stdout, stderr } = Command::new(&self.program)
            .args(arguments)
            // Neither the user's settings nor a cluster that the user can reach.
            .env_clear()
            .env("HOME", home.path())
            .env("KUBECONFIG", "/dev/null")
            .output()
            .with_context(|| format!("start {}", self.program.display()))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Said { success: status.success(), stdout: text(stdout), stderr: text(stderr) })
    }
}
