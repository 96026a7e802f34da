//! Who owns the socket in `/run/multus`.
//!
//! Two daemons are there at once during an upgrade. The new one binds a name of its own and renames it over the old one's, so that
//! there is a socket at every moment; whoever was in the old one's queue is still answered by it. Only the owner of the inode
//! removes the name, under a lock, so that an old daemon that ends does not take the new one's socket away.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use protocol::{NOTICES, socket_path};
use rustix::fs::{FlockOperation, flock};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt} {path}: {source}; the folder has to be root's own, mounted from the host and writable", path = .path.display())]
pub struct SocketError {
    attempt: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What became of a socket that is not ours any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Another daemon has taken over.
    Taken,
    /// Somebody removed the file.
    Removed,
    /// The folder itself was deleted; what is mounted here is a folder without a name, and no shim can find a socket in it.
    FolderGone,
}

/// A socket that listens, and the right to remove its name.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    dir: File,
    inode: (u64, u64),
    notices: Named,
}

/// A name in the folder, and what is behind it.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    inode: (u64, u64),
}

/// What arrives at a socket.
#[derive(Debug)]
pub struct Arriving {
    /// Calls.
    pub calls: UnixListener,
    /// Notices of what calls came to.
    pub notices: UnixDatagram,
}

impl Socket {
    /// Listens in `dir`, in place of whoever listened there before.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn bind(dir: &Path) -> Result<(Self, Arriving), SocketError> {
        let at = |attempt, path: &Path| {
            let path = path.to_owned();
            move |source| SocketError { attempt, path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at("create", dir))?;
        // The kubelet makes it for a hostPath volume, and lets everybody in.
        fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(at("restrict", dir))?;
        let opened = File::open(dir).map_err(at("open", dir))?;
        let _turn = turn(dir).map_err(at("lock", dir))?;
        remove_leftovers(dir);
        let (path, fresh) = (socket_path(dir), dir.join(format!("{FRESH}{}", std::process::id())));
        let placed = |path: &Path| -> Result<Named, SocketError> {
            fs::set_permissions(&fresh, Permissions::from_mode(0o600)).map_err(at("restrict", &fresh))?;
            let inode = inode(&fresh).map_err(at("look at", &fresh))?;
            fs::rename(&fresh, path).map_err(at("put a socket at", path))?;
            Ok(Named { path: path.to_owned(), inode })
        };
        let notices = UnixDatagram::bind(&fresh).map_err(at("listen at", &fresh))?;
        let named_notices = placed(&dir.join(NOTICES))?;
        let calls = UnixListener::bind(&fresh).map_err(at("listen at", &fresh))?;
        let Named { path, inode } = placed(&path)?;
        notices.set_nonblocking(true).map_err(at("listen at", &path))?;
        calls.set_nonblocking(true).map_err(at("listen at", &path))?;
        Ok((Self { path, dir: opened, inode, notices: named_notices }, Arriving { calls, notices }))
    }

    /// What became of it, if it is not ours any more.
    #[must_use]
    pub fn lost(&self) -> Option<Lost> {
        if self.dir.metadata().is_ok_and(|dir| dir.nlink() == 0) {
            return Some(Lost::FolderGone);
        }
        match inode(&self.path) {
            Ok(found) if found == self.inode => None,
            Ok(_) => Some(Lost::Taken),
            Err(_) => Some(Lost::Removed),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(dir) = self.path.parent() else { return };
        // Without the lock a daemon that takes over could come between the look and the removal.
        let Ok(_turn) = turn(dir) else { return };
        if self.lost().is_none() {
            let _ = fs::remove_file(&self.path);
        }
        if inode(&self.notices.path).is_ok_and(|found| found == self.notices.inode) {
            let _ = fs::remove_file(&self.notices.path);
        }
    }
}

/// How names begin under which a socket is made.
const FRESH: &str = ".multus.sock.";
/// Whoever holds it may put the name there or take it away.
const LOCK: &str = ".lock";

/// What a daemon left that was killed between making and renaming its socket. Called with the lock, so none is being made.
fn remove_leftovers(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(FRESH.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The right to put a name there or to take it away; held for microseconds, and given back by the kernel when its holder is killed.
fn turn(dir: &Path) -> io::Result<File> {
    let lock =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(dir.join(LOCK))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests;
