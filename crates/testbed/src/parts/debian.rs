//! What Debian and its children package, unpacked and not installed.
//!
//! Installing would start services, and would take a container runtime away that the machine uses: Docker's own package
//! of containerd conflicts with Debian's.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{go::outside, once, run, say};

/// Small in what they need at run time: libc, and for runc libseccomp, which apt itself links.
const PACKAGES: [&str; 4] = ["etcd-server", "containerd", "runc", "busybox-static"];

/// The root of the unpacked packages: `usr/bin/{etcd,containerd,containerd-shim-runc-v2,ctr}`, `usr/sbin/runc`,
/// `bin/busybox`.
///
/// # Errors
/// When the machine has no apt, or the packages cannot be fetched; the error says what to do.
pub fn debian() -> Result<PathBuf> {
    once("debian", |dir| {
        say(&format!("fetching {} as Debian packages (once)", PACKAGES.join(", ")));
        let download = tempfile::tempdir().context("make a folder for the download")?;
        fetch(download.path())
            .or_else(|_| {
                // Lists that are missing or old are the usual reason.
                run(outside(Path::new("apt-get")).args(["update", "-qq"]))?;
                fetch(download.path())
            })
            .with_context(|| {
                format!(
                    "download {}: a Debian or Ubuntu with a reachable archive is needed",
                    PACKAGES.join(" ")
                )
            })?;
        for package in std::fs::read_dir(download.path())? {
            let package = package?.path();
            run(outside(Path::new("dpkg-deb")).arg("--extract").arg(&package).arg(dir))
                .with_context(|| format!("unpack {}", package.display()))?;
        }
        Ok(())
    })
}

fn fetch(dir: &Path) -> Result<()> {
    // In the folder by a shell: apt-get downloads to where it is started, and nsenter starts in the root.
    run(outside(Path::new("sh"))
        .args(["-c", "cd \"$0\" && exec apt-get download -qq \"$@\""])
        .arg(dir)
        .args(PACKAGES))
}
