//! Mounts of a test's own mount namespace.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait;

/// Makes what is mounted at `place` read-only; `options` are those of the remount besides `ro`.
///
/// A mount is busy while a file on it is open for writing. A program that another thread starts just now has every open file of this
/// process until it runs, so it is tried until nobody has one.
///
/// # Errors
/// When it stays busy, or `mount` cannot be started.
pub fn read_only(place: &Path, options: &[&str]) -> Result<()> {
    let options = [&["remount", "ro"], options].concat().join(",");
    let mut said = String::new();
    wait::until("a mount that nobody writes to", Duration::from_secs(10), || {
        match Command::new("mount").args(["-o", &options]).arg(place).output() {
            Ok(output) if output.status.success() => Some(()),
            Ok(output) => {
                said = String::from_utf8_lossy(&output.stderr).into_owned();
                None
            }
            Err(error) => {
                said = error.to_string();
                None
            }
        }
    })
    .with_context(|| format!("mount {} read-only: {}", place.display(), said.trim()))
}
