//! Starting this very program again in a network and mount namespace of its own.

use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};

use crate::netns::MARK;

/// Inside a testbed namespace: nothing. Outside: runs this program again inside one, as root or in a user namespace, with
/// the same arguments and `environment` on top, and returns how it ended.
///
/// Inside, `/run` is a fresh file system, the network has only a loopback that is up, and mounts stay private.
///
/// # Errors
/// When `unshare` cannot be started.
pub fn enter(environment: &[(&str, &str)]) -> Result<Option<ExitStatus>> {
    if std::env::var_os(MARK).is_some() {
        crate::require_namespace()?;
        return Ok(None);
    }
    let flags = if rustix::process::geteuid().is_root() { "-nm" } else { "-rnm" };
    let script =
        "mount -t tmpfs tmpfs /run && mkdir -p /run/netns && ip link set lo up || exit 125; exec \"$@\"";
    let status = Command::new("unshare")
        .args([flags, "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().context("find this program")?)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .envs(environment.iter().copied())
        .status()
        .context(
            "start unshare (Debian package util-linux); an ordinary user needs user namespaces to be allowed",
        )?;
    Ok(Some(status))
}
