//! Which of two processes keeps a node's files. During an upgrade two pods of one install may run at once, each with its own
//! program and settings: without an order each would undo what the other does, for as long as both live.
//!
//! The newest has the turn. It puts a locked file into place; who finds another file there than its own leaves everything alone,
//! and takes the turn again when nobody holds that file's lock any more: the kernel gives it up even for a process that was killed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::{Error, Setting, file};

/// The turn of this process.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    /// Whose directory it is in.
    setting: Setting,
    /// Locked as long as it is open.
    own: File,
}

impl Turn {
    /// Takes the turn, whoever has it, in a folder of our own that is made where there is none.
    ///
    /// # Errors
    /// When the file at `path` cannot be written.
    pub fn take(path: PathBuf) -> Result<Self, Error> {
        Self::take_in(path, Setting::ConfDir)
    }

    /// Takes the turn as [`Turn::take`] does, but only where nobody has it.
    ///
    /// # Errors
    /// As [`Turn::take`].
    pub fn take_where_free(path: PathBuf) -> Result<Option<Self>, Error> {
        match File::open(&path) {
            Ok(found) if is_held(&found) => Ok(None),
            _ => Self::take(path).map(Some),
        }
    }

    /// Takes the turn, whoever has it, in a directory of CNI plugins. That is another program's, and is not made here.
    ///
    /// # Errors
    /// When the file at `path` cannot be written.
    pub fn take_beside_programs(path: PathBuf) -> Result<Self, Error> {
        Self::take_in(path, Setting::BinDir)
    }

    fn take_in(path: PathBuf, setting: Setting) -> Result<Self, Error> {
        match place(&path, setting) {
            Ok(own) => Ok(Self { path, setting, own }),
            Err(source) => Err(Error::Write { path, setting, source }),
        }
    }

    /// Whether this process has the turn; it takes it where nobody else does.
    ///
    /// # Errors
    /// As [`Turn::take`].
    pub fn is_mine(&mut self) -> Result<bool, Error> {
        match File::open(&self.path) {
            Ok(found) if self.is_own(&found) => return Ok(true),
            Ok(found) if is_held(&found) => return Ok(false),
            _ => {}
        }
        *self = Self::take_in(self.path.clone(), self.setting)?;
        Ok(true)
    }

    /// Gives the turn up, and leaves nothing behind.
    pub fn end(self) {
        if File::open(&self.path).is_ok_and(|found| self.is_own(&found)) {
            // A file that stays is one that nobody has locked, which is the same to the next.
            let _ = fs::remove_file(&self.path);
        }
    }

    fn is_own(&self, found: &File) -> bool {
        let identity = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
        matches!((identity(found), identity(&self.own)), (Ok(found), Ok(own)) if found == own)
    }
}

/// Whether the holder lives whose file this is.
fn is_held(found: &File) -> bool {
    flock(found, FlockOperation::NonBlockingLockExclusive).is_err()
}

fn place(path: &Path, setting: Setting) -> io::Result<File> {
    if let (Some(dir), Setting::ConfDir) = (path.parent(), setting) {
        file::create_dir(dir)?;
    }
    let temporary = file::Temporary::beside(path, 0o600)?;
    flock(temporary.file()?, FlockOperation::NonBlockingLockExclusive)?;
    temporary.rename_open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_has_the_turn_until_it_ends_or_dies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("multus.d/turn");
        let mut old = Turn::take(path.clone()).unwrap();
        assert!(old.is_mine().unwrap());
        let mut new = Turn::take(path.clone()).unwrap();
        assert!(!old.is_mine().unwrap());
        assert!(new.is_mine().unwrap());
        new.end();
        assert!(!path.exists());
        assert!(old.is_mine().unwrap(), "nobody else has it");
        let killed = Turn::take(path.clone()).unwrap();
        assert!(!old.is_mine().unwrap());
        // What the kernel does for a process that was killed.
        drop(killed);
        assert!(path.exists());
        assert!(old.is_mine().unwrap());
        old.end();
        assert!(!path.exists());
    }

    #[test]
    fn it_is_taken_where_nobody_has_it_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("multus.d/turn");
        let free = || Turn::take_where_free(path.clone()).unwrap();
        let mut first = free().unwrap();
        assert!(free().is_none());
        assert!(first.is_mine().unwrap());
        drop(first);
        assert!(free().unwrap().is_mine().unwrap(), "its holder died");
    }

    #[test]
    fn an_end_does_not_take_the_turn_from_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("turn");
        let old = Turn::take(path.clone()).unwrap();
        let mut new = Turn::take(path.clone()).unwrap();
        old.end();
        assert!(path.exists());
        assert!(new.is_mine().unwrap());
    }

    #[test]
    fn a_directory_of_plugins_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let error = Turn::take_beside_programs(dir.path().join("bin/turn")).unwrap_err();
        assert!(matches!(error, Error::Write { setting: Setting::BinDir, .. }), "{error}");
        assert!(!dir.path().join("bin").exists());
    }

    #[test]
    fn of_three_only_the_newest_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("turn");
        let mut turns: Vec<Turn> = (0..3).map(|_| Turn::take(path.clone()).unwrap()).collect();
        let mine: Vec<bool> = turns.iter_mut().map(|turn| turn.is_mine().unwrap()).collect();
        assert_eq!(mine, [false, false, true]);
        turns.pop().unwrap().end();
        let mine: Vec<bool> = turns.iter_mut().map(|turn| turn.is_mine().unwrap()).collect();
        assert_eq!(mine, [true, false], "one of them, and not both");
    }
}
