//! Programs that a test copies to where they are run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Copies the program `from` to `to`, with its mode. Another process does it: this one has threads, and any of them that
/// starts a program just then would hand it the open file; while that lives, the copy is "text file busy" and cannot be run.
///
/// # Errors
/// When it cannot be copied.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("copy the program {} to {}", from.display(), to.display());
    let output = Command::new("cp").arg("--preserve=mode").arg(from).arg(to).output().with_context(what)?;
    if !output.status.success() {
        bail!("{}: {}", what(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_copy_can_be_run_though_other_threads_start_programs_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = Command::new("/bin/true").status();
                }
            });
            for number in 0..100 {
                let to = dir.path().join(number.to_string());
                copy(Path::new("/bin/true"), &to).unwrap();
                let ended = Command::new(&to).status();
                if ended.is_err() {
                    done.store(true, Ordering::Relaxed);
                }
                assert!(ended.unwrap().success());
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
