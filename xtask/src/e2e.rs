//! The end-to-end tests: makes the images that they load, and runs them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use testbed::cluster::Cluster;
use testbed::{images, parts};

use crate::say;

/// Versions of upstream's that the tests install.
const UPSTREAM: [&str; 2] = [parts::UPSTREAM_VERSION, "v4.2.4"];

pub(crate) fn run() -> Result<()> {
    images()?;
    let folder = folder().display().to_string();
    let at_once = crate::test::at_once();
    let environment =
        [("E2E_IMAGES", folder.as_str()), ("RUST_BACKTRACE", "1"), ("RUST_TEST_THREADS", at_once.as_str())];
    let tested =
        crate::test::cargo(&["test", "--package", "e2e", "--locked", "--no-fail-fast"], &environment);
    if tested.is_ok() {
        remove_folders()?;
    }
    tested
}

/// Where the tests find what they load.
fn folder() -> PathBuf {
    crate::root().join("target/e2e")
}

/// Makes what they load.
pub(crate) fn images() -> Result<()> {
    // First and out here, where a failed download says so by itself and not from within a test.
    for part in [
        parts::reference_plugins,
        parts::flannel,
        parts::debian,
        parts::helm4,
        parts::helm3,
        parts::kubernetes,
        parts::containerd,
    ] {
        part()?;
    }
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    crate::image::run(&["--out".to_owned(), folder.display().to_string()])?;
    for version in UPSTREAM {
        parts::upstream_source(version)?;
        let programs = parts::upstream_multus_version(version)?;
        let archive = folder.join(format!("upstream-{version}.tar"));
        oci_archive::write_archive(&archive, &images::upstream(version, &programs)?)
            .with_context(|| format!("write upstream's images of {version}"))?;
    }
    Ok(())
}

/// A test that fails leaves its cluster's folder to be looked at, and only then.
fn remove_folders() -> Result<()> {
    let Ok(clusters) = fs::read_dir(crate::root().join("target/cluster")) else { return Ok(()) };
    for cluster in clusters.flatten() {
        let name = cluster.file_name().to_string_lossy().into_owned();
        if name.starts_with("e2e-") && Path::new(&name).extension().is_none() && Cluster::take_down(&name)? {
            say(&format!("removed what an earlier run left of the cluster {name}"));
        }
    }
    Ok(())
}
