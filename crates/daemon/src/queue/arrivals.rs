//! Tells when a record arrives in the spool.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe::Receiver;

/// The watch on a spool's folder.
pub(super) struct Arrivals {
    dir: PathBuf,
    inode: u64,
    /// An inotify descriptor is read as a pipe is; tokio has no type of its own for it.
    events: Receiver,
}

impl Arrivals {
    /// Watches `dir`, which is made where it is missing.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let inode = fs::metadata(dir)?.ino();
        let what =
            WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        inotify::add_watch(&fd, dir, what)?;
        let events = Receiver::from_file_unchecked(File::from(fd))?;
        Ok(Self { dir: dir.to_owned(), inode, events })
    }

    /// Waits for the next arrival.
    ///
    /// # Errors
    /// When the folder is not there any more, or is another one; it has to be watched anew.
    pub(super) async fn next(&self) -> io::Result<()> {
        loop {
            self.events.readable().await?;
            // What the events say does not matter: the folder is listed whatever came.
            match self.events.try_read(&mut [0; 4096]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                Ok(_) if fs::metadata(&self.dir)?.ino() == self.inode => return Ok(()),
                Ok(_) => return Err(io::Error::new(io::ErrorKind::NotFound, "the folder was replaced")),
            }
        }
    }
}
