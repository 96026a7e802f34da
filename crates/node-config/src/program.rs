//! The plugin's executable, kept in a directory of the node.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::{Error, Setting, elf, file};

/// A file that was not changed for this long shows any change by its time.
const SETTLED: Duration = Duration::from_secs(2);

/// A program that has to be in a directory which others change: k3s before 1.30, snaps and images swap it as a whole.
#[derive(Debug)]
pub struct Program {
    from: PathBuf,
    to: PathBuf,
    /// What both files looked like when they were found equal. Megabytes are not read each second for nothing.
    equal: Option<(Stamp, Stamp)>,
    /// What another version's looked like when it was found to work.
    theirs: Option<Stamp>,
}

/// What was found in a program's place, or put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mended {
    /// Ours is there.
    Ours,
    /// Another version's is there, and works.
    Theirs,
    /// What was there, if anything, did not work; now it is ours.
    Installed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    /// Changed by the kernel with every write, and by nobody else.
    changed: (i64, i64),
}

impl Program {
    /// The program `from`, to be at `to`.
    #[must_use]
    pub fn new(from: PathBuf, to: PathBuf) -> Self {
        Self { from, to, equal: None, theirs: None }
    }

    /// Where it is installed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.to
    }

    /// Installs it where it is missing or differs. Returns whether that had to be done.
    ///
    /// # Errors
    /// [`Error::Write`] when that is not possible.
    pub fn keep(&mut self) -> Result<bool, Error> {
        if self.is_known() {
            return Ok(false);
        }
        let installed = file::install(&self.from, &self.to).map_err(|source| Error::Write {
            path: self.to.clone(),
            setting: Setting::BinDir,
            source,
        })?;
        self.equal = self.stamps().filter(|(from, to)| from.is_settled() && to.is_settled());
        Ok(installed)
    }

    /// Installs it where it is missing or does not work, and leaves another version's alone: during an upgrade each of two pods has
    /// one of its own.
    ///
    /// # Errors
    /// [`Error::Write`] when it has to be installed and cannot be.
    pub fn mend(&mut self) -> Result<Mended, Error> {
        let found = stamp(&self.to).ok();
        if found.is_some() && found == self.theirs {
            return Ok(Mended::Theirs);
        }
        self.theirs = None;
        if found.is_some() && !self.is_known() && !self.is_in_place() && self.trouble().is_none() {
            self.theirs = found.filter(Stamp::is_settled);
            return Ok(Mended::Theirs);
        }
        Ok(if self.keep()? { Mended::Installed } else { Mended::Ours })
    }

    /// Why a runtime could not use what is in its place, whosever that is; `None` when it could.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let shown = self.to.display();
        let (start, is_cut) = match look_into(&self.to) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some(format!("{shown} is missing"));
            }
            Err(error) => return Some(format!("cannot read {shown}: {error}")),
        };
        if is_cut {
            return Some(format!("{shown} is truncated"));
        }
        match file::answers(&self.to) {
            Ok(()) => None,
            // Its interpreter is the node's, and not here; whoever put it there knows why.
            Err(libcni::Error::Spawn { source, .. })
                if source.kind() == io::ErrorKind::NotFound && start == *b"#!" =>
            {
                None
            }
            Err(error) => Some(format!("{shown} does not work: {error}")),
        }
    }

    fn is_known(&self) -> bool {
        self.equal.is_some() && self.equal == self.stamps()
    }

    fn stamps(&self) -> Option<(Stamp, Stamp)> {
        Some((stamp(&self.from).ok()?, stamp(&self.to).ok()?))
    }

    /// Whether it is in place.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        file::is_copy(&self.from, &self.to).unwrap_or(false)
    }

    /// Removes it where it is ours. Returns whether it was there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&mut self) -> Result<bool, Error> {
        if !self.is_in_place() {
            return Ok(false);
        }
        file::remove(&self.to).map_err(|error| Error::io(format!("remove {}", self.to.display()), error))
    }
}

/// The first two bytes of a program, and whether it has lost its end.
fn look_into(path: &Path) -> io::Result<([u8; 2], bool)> {
    let mut file = File::open(path)?;
    let is_cut = elf::is_cut(&mut file)?;
    let mut start = [0; 2];
    let _ = file.read_at(&mut start, 0)?;
    Ok((start, is_cut))
}

impl Stamp {
    /// Whether a later change would show: the kernel's clock for files moves in steps of some milliseconds.
    fn is_settled(&self) -> bool {
        let changed = UNIX_EPOCH + Duration::from_secs(u64::try_from(self.changed.0).unwrap_or_default());
        changed.elapsed().is_ok_and(|age| age > SETTLED)
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = fs::metadata(path)?;
    Ok(Stamp {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        mode: found.mode(),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed() -> (tempfile::TempDir, Program) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("multus"), "program").unwrap();
        let mut program = Program::new(dir.path().join("multus"), dir.path().join("bin/multus"));
        assert!(program.keep().unwrap());
        assert!(!program.keep().unwrap());
        (dir, program)
    }

    #[test]
    fn a_missing_or_different_program_is_installed_again() {
        let (_dir, mut program) = installed();
        fs::remove_file(program.path()).unwrap();
        assert!(program.keep().unwrap());
        // The same size, as a damaged one would have.
        fs::write(program.path(), "prog\0am").unwrap();
        assert!(!program.is_in_place());
        assert!(program.keep().unwrap());
        assert_eq!(fs::read(program.path()).unwrap(), b"program");
        assert!(!program.keep().unwrap());
    }

    #[test]
    fn a_directory_that_was_swapped_gets_it_again() {
        let (dir, mut program) = installed();
        fs::rename(dir.path().join("bin"), dir.path().join("old")).unwrap();
        assert!(matches!(program.keep(), Err(Error::Write { setting: Setting::BinDir, .. })));
        fs::create_dir(dir.path().join("bin")).unwrap();
        assert!(program.keep().unwrap());
        assert!(program.is_in_place());
    }

    #[test]
    fn a_newer_source_is_installed() {
        let (dir, mut program) = installed();
        fs::write(dir.path().join("multus"), "newer").unwrap();
        assert!(program.keep().unwrap());
        assert_eq!(fs::read(program.path()).unwrap(), b"newer");
    }

    #[test]
    fn somebody_elses_program_is_not_removed() {
        let (_dir, mut program) = installed();
        fs::write(program.path(), "another").unwrap();
        assert!(!program.remove().unwrap());
        assert!(program.path().exists());
        program.keep().unwrap();
        assert!(program.remove().unwrap());
        assert!(!program.path().exists());
    }

    #[test]
    fn what_cannot_be_written_names_the_charts_value_and_what_to_do() {
        let text = Setting::BinDir.advice(&io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        assert!(text.contains("cni.binDir") && text.contains("--cni-bin-dir") && text.contains("read-only"));
        let text = Setting::ConfDir.advice(&io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(text.contains("cni.configDir") && text.contains("SELinux"));
        let text = Setting::ConfDir.advice(&io::Error::from(io::ErrorKind::StorageFull));
        assert!(text.contains("space"));
    }
}
