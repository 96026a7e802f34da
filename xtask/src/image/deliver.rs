//! Takes archives where they are needed: into a node's containerd, or to a registry.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{say, test};

/// A container runtime on this machine.
#[derive(Debug)]
pub(super) struct Runtime {
    /// The command that speaks to it.
    pub(super) ctr: Vec<String>,
    /// Its socket, where it is not the usual one.
    pub(super) address: Option<String>,
}

impl Runtime {
    pub(super) fn parse(name: &str) -> Result<Self> {
        let ctr: &[&str] = match name {
            "containerd" => &["ctr"],
            "k3s" => &["k3s", "ctr"],
            other => bail!("--load takes containerd or k3s, not {other:?}"),
        };
        Ok(Self { ctr: ctr.iter().map(|&word| word.to_owned()).collect(), address: None })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.ctr[0]);
        command.args(&self.ctr[1..]);
        command.args(self.address.iter().flat_map(|address| ["--address", address]));
        // The namespace that kubelet's images are in.
        command.args(["--namespace", "k8s.io"]);
        command
    }
}

/// Imports an archive; the node can then run its image without a registry.
pub(super) fn load(runtime: &Runtime, archive: &Path, reference: &str) -> Result<()> {
    run(runtime.command().args(["images", "import"]).arg(archive)).with_context(|| {
        format!("load {reference} into the container runtime; is it running here, and is --address right?")
    })?;
    say(&format!("  loaded {reference}"));
    Ok(())
}

/// Copies an archive's image to the registry that `reference` names, for all the machines that the archive is for. Returns it as
/// `name@digest`, which is what a signature is made over.
pub(super) fn push(archive: &Path, reference: &str, plain_http: bool) -> Result<String> {
    if !test::on_path("skopeo") {
        test::install(&["skopeo"])?;
    }
    let (name, tag) = reference.rsplit_once(':').with_context(|| format!("{reference} has no tag"))?;
    let digest = tempfile::NamedTempFile::new().context("make a file for the digest")?;
    // The policy is about images that come from somewhere; this one was made here.
    let mut skopeo = Command::new("skopeo");
    skopeo
        .args(["--insecure-policy", "copy", "--all", "--preserve-digests", "--quiet", "--digestfile"])
        .arg(digest.path());
    if plain_http {
        skopeo.arg("--dest-tls-verify=false");
    }
    run(skopeo.arg(format!("oci-archive:{}:{tag}", archive.display())).arg(format!("docker://{reference}")))
        .with_context(|| {
            format!("push {reference}; log in with `skopeo login` or `docker login` if access is denied")
        })?;
    say(&format!("  pushed {reference}"));
    let digest = std::fs::read_to_string(digest.path()).context("read the digest that skopeo wrote")?;
    Ok(format!("{name}@{}", digest.trim()))
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
