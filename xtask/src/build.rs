//! Builds `multus` for the tasks that run it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// `multus` as `cargo build` makes it. Progress is shown on stderr.
pub(crate) fn debug_multus() -> Result<PathBuf> {
    build(Command::new(env!("CARGO")).args(["build", "--locked", "--package", "multus"]))
}

/// `multus` as it is released: optimised, static, in one file.
pub(crate) fn static_multus() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    build(
        Command::new(env!("CARGO"))
            .args(["build", "--locked", "--release", "--target", &target, "--package", "multus"])
            // With --target these flags do not reach build scripts and macros, which must stay dynamic.
            .env("RUSTFLAGS", "-C target-feature=+crt-static"),
    )
}

fn build(cargo: &mut Command) -> Result<PathBuf> {
    let output = cargo
        .arg("--message-format=json-render-diagnostics")
        .current_dir(crate::root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo to build multus")?;
    if !output.status.success() {
        bail!("cargo could not build multus: {}", output.status);
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "multus")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo built multus and did not say where")
}
