//! Waiting until somebody touches a directory, or asks for the end.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// All that can make a file another one, or another one's.
const FLAGS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
/// Between two looks. A program that fights for a file does not make us spin.
const PAUSE: Duration = Duration::from_millis(200);

/// Directories that are watched.
#[derive(Debug)]
pub struct Changes {
    paths: Vec<PathBuf>,
    /// `None` where the kernel gives none, since users have too many: then the looks at intervals have to do.
    inotify: Option<OwnedFd>,
    looked: Option<Instant>,
}

impl Changes {
    /// Watches `paths`, with what is swapped into their place later.
    #[must_use]
    pub fn of(paths: Vec<PathBuf>) -> Self {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let changes = Self { paths, inotify, looked: None };
        changes.watch();
        changes
    }

    /// Waits for a change, for input on `stop`, or for `limit`, whichever comes first. Returns whether it was `stop`.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(&mut self, stop: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        // A directory may have been swapped, or have come: the watch is on what the path names now. One that is watched already
        // stays as it is.
        self.watch();
        let earliest = self.looked.map_or_else(Instant::now, |looked| looked + PAUSE);
        let stopped = self.poll(stop, deadline)? || poll_one(stop, earliest.min(deadline))?;
        self.drain();
        self.looked = Some(Instant::now());
        Ok(stopped)
    }

    fn watch(&self) {
        let Some(inotify) = &self.inotify else { return };
        for path in &self.paths {
            // One that is not there now is tried again at the next wait.
            let _ = inotify::add_watch(inotify, path.as_path() as &Path, FLAGS);
        }
    }

    fn poll(&self, stop: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
        let Some(inotify) = &self.inotify else { return poll_one(stop, deadline) };
        let mut fds = [PollFd::from_borrowed_fd(stop, PollFlags::IN), PollFd::new(inotify, PollFlags::IN)];
        poll_until(&mut fds, deadline)?;
        Ok(!fds[0].revents().is_empty())
    }

    /// What happened does not matter: everything is looked at.
    fn drain(&self) {
        let Some(inotify) = &self.inotify else { return };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        while rustix::io::read(inotify.as_fd(), &mut buffer).is_ok_and(|(read, _)| !read.is_empty()) {}
    }
}

fn poll_one(stop: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(stop, PollFlags::IN)];
    poll_until(&mut fds, deadline)?;
    Ok(!fds[0].revents().is_empty())
}

fn poll_until(fds: &mut [PollFd<'_>], deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(drop).map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Far more than any machine needs, so that what ends the wait is the event.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn each_kind_of_change_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00-multus.conf");
        let (stop, _asks) = UnixStream::pair().unwrap();
        let mut changes = Changes::of(vec![dir.path().to_owned()]);
        let happenings: [&dyn Fn(); 5] = [
            &|| fs::write(&path, "text").unwrap(),
            &|| fs::write(&path, "").unwrap(),
            &|| fs::rename(&path, dir.path().join("00-multus.conf.cilium_bak")).unwrap(),
            &|| fs::rename(dir.path().join("00-multus.conf.cilium_bak"), &path).unwrap(),
            &|| fs::remove_file(&path).unwrap(),
        ];
        for happening in happenings {
            happening();
            assert!(!changes.wait(stop.as_fd(), LONG).unwrap());
        }
    }

    #[test]
    fn a_directory_that_is_swapped_is_watched_in_its_new_shape() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bin");
        fs::create_dir(&path).unwrap();
        let (stop, _asks) = UnixStream::pair().unwrap();
        let mut changes = Changes::of(vec![path.clone()]);
        fs::rename(&path, dir.path().join("old")).unwrap();
        assert!(!changes.wait(stop.as_fd(), LONG).unwrap());
        fs::create_dir(&path).unwrap();
        // Nothing tells of it; the wait after the next look at intervals watches it.
        assert!(!changes.wait(stop.as_fd(), Duration::ZERO).unwrap());
        fs::write(path.join("multus"), "").unwrap();
        assert!(!changes.wait(stop.as_fd(), LONG).unwrap());
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let (stop, asks) = UnixStream::pair().unwrap();
        let mut changes = Changes::of(vec![dir.path().to_owned()]);
        assert!(!changes.wait(stop.as_fd(), Duration::ZERO).unwrap());
        drop(asks);
        assert!(changes.wait(stop.as_fd(), LONG).unwrap());
    }

    #[test]
    fn without_watches_the_interval_ends_the_wait() {
        let (stop, _asks) = UnixStream::pair().unwrap();
        let mut changes = Changes { paths: Vec::new(), inotify: None, looked: None };
        assert!(!changes.wait(stop.as_fd(), Duration::from_millis(1)).unwrap());
    }
}
