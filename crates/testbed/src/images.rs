//! Container images for tests, made from parts without a container engine: upstream's Multus in the layout of its own images,
//! and what pods run.
//!
//! Layers are not compressed: they are read once, by a containerd on the same machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use oci_archive::{Config, Image, Layer};

use crate::parts;

/// Upstream's images, without a tag.
pub const UPSTREAM: &str = "ghcr.io/k8snetworkplumbingwg/multus-cni";
/// What test pods run: a shell with `ip`, `ping`, `nc`, `wget`, `httpd`.
pub const BUSYBOX: &str = "docker.io/library/busybox:1.35";
/// The container that holds a pod's namespaces.
pub const PAUSE: &str = "registry.k8s.io/pause:3.10";

const BIN: &str = "/usr/src/multus-cni/bin";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All images of this module: upstream's thin and thick ones in `versions`, busybox and pause.
///
/// # Errors
/// When a part cannot be had.
pub fn all(versions: &[&'static str]) -> Result<Vec<Image>> {
    let mut images = vec![busybox()?, pause()?];
    for version in versions {
        let programs = parts::upstream_multus_version(version)?;
        images.extend(upstream(version, &programs)?);
    }
    Ok(images)
}

/// Upstream's images of `version` for thin and thick mode, from the folder with its programs. The thin one has no shell and its
/// entry points in the root too; the thick one stands on Debian, hence has a shell and its tools.
///
/// # Errors
/// When a program cannot be read.
pub fn upstream(version: &str, programs: &Path) -> Result<[Image; 2]> {
    // The lowest layer, since it is by far the largest: a node then unpacks it once for both images.
    let mut programs = upstream_programs(programs)?;
    let license = parts::upstream_source(version)?.join("LICENSE");
    programs.file_from("/usr/src/multus-cni/LICENSE", &license, 0o644)?;
    let mut thin = Layer::uncompressed();
    thin.minimal_root()?;
    for name in ["install_multus", "thin_entrypoint", "kubeconfig_generator", "cert-approver"] {
        thin.link(name, &format!("{BIN}/{name}"))?;
    }
    let mut thick = Layer::uncompressed();
    add_busybox(thick.minimal_root()?)?;
    thick.link("cert-approver", &format!("{BIN}/cert-approver"))?;
    let daemon = format!("{BIN}/multus-daemon");
    Ok([
        image(&format!("{UPSTREAM}:{version}"), vec![programs.clone(), thin], &["/thin_entrypoint"]),
        image(&format!("{UPSTREAM}:{version}-thick"), vec![programs, thick], &[&daemon]),
    ])
}

fn upstream_programs(dir: &Path) -> Result<Layer> {
    let mut layer = Layer::uncompressed();
    for entry in
        fs::read_dir(dir).with_context(|| format!("read upstream's programs in {}", dir.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        layer.file_from(&format!("{BIN}/{name}"), &path, 0o755)?;
    }
    Ok(layer)
}

/// [`BUSYBOX`].
///
/// # Errors
/// When busybox cannot be had.
pub fn busybox() -> Result<Image> {
    let mut layer = Layer::uncompressed();
    add_busybox(layer.minimal_root()?)?;
    let config = Config { cmd: vec!["sh".to_owned()], ..config(&[]) };
    Ok(Image { config, ..image(BUSYBOX, vec![layer], &[]) })
}

/// [`PAUSE`]. It is ended by SIGKILL, which is what runtimes send it.
///
/// # Errors
/// As [`busybox`].
pub fn pause() -> Result<Image> {
    let mut layer = Layer::uncompressed();
    layer.minimal_root()?.file_from("/bin/busybox", &static_busybox()?, 0o755)?;
    Ok(image(PAUSE, vec![layer], &["/bin/busybox", "sleep", "inf"]))
}

fn image(reference: &str, layers: Vec<Layer>, entrypoint: &[&str]) -> Image {
    Image { references: vec![reference.to_owned()], config: config(entrypoint), layers, ..Image::default() }
}

fn config(entrypoint: &[&str]) -> Config {
    Config {
        entrypoint: entrypoint.iter().map(|&word| word.to_owned()).collect(),
        env: vec![PATH.to_owned()],
        working_dir: "/".to_owned(),
        ..Config::default()
    }
}

/// busybox under the name of each of its programs.
fn add_busybox(layer: &mut Layer) -> Result<()> {
    let program = static_busybox()?;
    layer.file_from("/bin/busybox", &program, 0o755)?;
    let listed = Command::new(&program).arg("--list").output().context("ask busybox for its programs")?;
    for name in String::from_utf8_lossy(&listed.stdout).lines().filter(|name| *name != "busybox") {
        layer.hard_link(&format!("/bin/{name}"), "/bin/busybox")?;
    }
    Ok(())
}

fn static_busybox() -> Result<PathBuf> {
    Ok(parts::debian()?.join("bin/busybox"))
}

#[cfg(test)]
mod tests;
