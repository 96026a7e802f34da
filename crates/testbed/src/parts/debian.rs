//! What Debian and its children package, unpacked and not installed.
//!
//! Installing would start services, and would take a container runtime away that the machine uses: Docker's own package
//! of containerd conflicts with Debian's.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{go::outside, once, run, say};

/// Small in what they need at run time: libc, and for runc libseccomp, which apt itself links.
const NODE: [&str; 4] = ["etcd-server", "containerd", "runc", "busybox-static"];

/// The root of the unpacked packages: `usr/bin/{etcd,containerd,containerd-shim-runc-v2,ctr}`, `usr/sbin/runc`,
/// `bin/busybox`.
///
/// # Errors
/// When the machine has no apt, or the packages cannot be fetched; the error says what to do.
pub fn debian() -> Result<PathBuf> {
    unpacked("debian", &NODE)
}

/// The program of Docker's registry, which keeps images and charts.
///
/// # Errors
/// As [`debian`].
pub fn docker_registry() -> Result<PathBuf> {
    Ok(unpacked("docker-registry", &["docker-registry"])?.join("usr/bin/docker-registry"))
}

fn unpacked(name: &str, packages: &[&str]) -> Result<PathBuf> {
    once(name, |dir| {
        let names = packages.join(" ");
        say(&format!("fetching {names} as Debian packages (once)"));
        let download = tempfile::tempdir().context("make a folder for the download")?;
        fetch(download.path(), packages)
            .or_else(|_| {
                // Lists that are missing or old are the usual reason.
                run(outside(Path::new("apt-get")).args(["update", "-qq"]))?;
                fetch(download.path(), packages)
            })
            .with_context(|| {
                format!("download {names}: a Debian or Ubuntu with a reachable archive is needed")
            })?;
        for package in std::fs::read_dir(download.path())? {
            let package = package?.path();
            run(outside(Path::new("dpkg-deb")).arg("--extract").arg(&package).arg(dir))
                .with_context(|| format!("unpack {}", package.display()))?;
        }
        Ok(())
    })
}

fn fetch(dir: &Path, packages: &[&str]) -> Result<()> {
    // In the folder by a shell: apt-get downloads to where it is started, and nsenter starts in the root.
    run(outside(Path::new("sh"))
        .args(["-c", "cd \"$0\" && exec apt-get download -qq \"$@\""])
        .arg(dir)
        .args(packages))
}
