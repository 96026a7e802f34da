//! A plugin that delegates as Flannel's does; Flannel's own is not served as a Go module.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{fingerprint, go, once, run, say};

const SOURCE: &str = include_str!("../../flannel/main.go");
/// CNI's own library, of the version that the reference plugins are built with.
const LIBRARY: &str = "github.com/containernetworking/cni@v1.3.0";

/// The folder with `flannel`.
///
/// # Errors
/// As [`super::reference_plugins`].
pub fn flannel() -> Result<PathBuf> {
    once(&format!("flannel-{}", fingerprint(&[SOURCE, LIBRARY])), |dir| {
        say("building the test's flannel plugin (once)");
        let go = go::go()?;
        let source = tempfile::tempdir().context("make a folder for the build")?;
        fs::write(source.path().join("main.go"), SOURCE).context("write the plugin's source")?;
        run(go::command(&go, source.path()).args(["mod", "init", "testbed/flannel"]))?;
        run(go::command(&go, source.path()).args(["get", LIBRARY])).with_context(|| {
            format!("fetch the Go module {LIBRARY}; the Go module proxy must be reachable")
        })?;
        go::build(&mut go::command(&go, source.path()), "-s -w", dir, &[".".to_owned()])
    })
}
