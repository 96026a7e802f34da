//! Who may work on a sandbox, and on the node, at the same time.
//!
//! - One call at a time for each sandbox (C-59, N-100): flock on `<cniDir>/.locks/<containerID>`. The descriptor is inherited by the
//!   delegates on purpose, so that a DEL that follows a killed ADD waits for delegates that are still running.
//! - GC excludes ADD and DEL on the whole node (C-49): the lock `.node`, behind the gate `.gate`, so that new calls wait for a
//!   waiting GC and cannot starve it.
//! - A number of slots bounds how many calls run plugins at once.
//!
//! A container ID starts with a letter or a digit, so that names with a leading dot are free for our own files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

/// How long between two looks at a lock that somebody else holds. flock has no time limit of its own.
const PAUSE: Duration = Duration::from_millis(5);

/// Why a lock was not taken.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Somebody else holds it.
    Held {
        /// Whether the process that took it lives; it is an orphaned delegate that holds it otherwise.
        owner_alive: bool,
    },
    /// The lock file can be neither created nor opened.
    Unusable(PathBuf, io::Error),
}

/// The exclusive right to work on one sandbox.
#[derive(Debug)]
pub(crate) struct SandboxLock {
    _lock: Flock,
    path: PathBuf,
    /// Set when the lock was taken over from an orphan that would not end.
    pub(crate) taken_over: bool,
}

impl SandboxLock {
    /// Takes the lock, waiting for it until `deadline`.
    ///
    /// The wait is for delegates that outlive their killed caller. When the time is over and the process that took the lock is
    /// dead, the lock file is replaced: an orphan that never ends must not keep a pod Terminating.
    pub(crate) fn acquire(
        cni_dir: &Path,
        container_id: &str,
        deadline: Instant,
    ) -> Result<SandboxLock, LockError> {
        let path = locks_dir(cni_dir).join(container_id);
        match Self::wait(&path, deadline) {
            Err(LockError::Held { owner_alive: false }) => {
                fs::remove_file(&path).map_err(|error| LockError::Unusable(path.clone(), error))?;
                let mut lock = Self::wait(&path, deadline)?;
                lock.taken_over = true;
                Ok(lock)
            }
            other => other,
        }
    }

    /// Takes the lock if nobody holds it.
    pub(crate) fn try_acquire(cni_dir: &Path, container_id: &str) -> Result<SandboxLock, LockError> {
        Self::wait(&locks_dir(cni_dir).join(container_id), Instant::now())
    }

    fn wait(path: &Path, deadline: Instant) -> Result<SandboxLock, LockError> {
        loop {
            let file = open(path)?;
            if try_flock(&file, FlockOperation::NonBlockingLockExclusive)
                .map_err(|error| LockError::Unusable(path.to_owned(), error))?
            {
                if !is_at(&file, path) {
                    // Its last holder removed the file between our open and our lock; whoever comes next makes a new one.
                    continue;
                }
                // Delegates inherit it (see above).
                fcntl_setfd(&file, FdFlags::empty())
                    .map_err(|error| LockError::Unusable(path.to_owned(), error.into()))?;
                write_owner(&file);
                return Ok(SandboxLock { _lock: Flock(file), path: path.to_owned(), taken_over: false });
            }
            if Instant::now() >= deadline {
                return Err(LockError::Held { owner_alive: owner_lives(&file) });
            }
            pause();
        }
    }

    /// Lets go and removes the lock file; for a sandbox of which nothing is left.
    pub(crate) fn release_and_remove(self) {
        // While we hold it: whoever waits for this inode sees after its lock that the path has gone. A file that stays (read-only
        // disk) does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// A file that is locked until this is dropped.
#[derive(Debug)]
struct Flock(File);

impl Drop for Flock {
    fn drop(&mut self) {
        // Unlocking, not closing. A plugin's daemon that inherited a sandbox's lock would hold it for ever, and a plugin that another
        // thread starts just now has every descriptor of ours until it runs its program.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// The node-wide lock: ADD and DEL share it, GC has it alone.
#[derive(Debug)]
pub(crate) struct NodeLock {
    _lock: Flock,
}

impl NodeLock {
    pub(crate) fn shared(cni_dir: &Path, deadline: Instant) -> Result<NodeLock, LockError> {
        Self::take(cni_dir, FlockOperation::NonBlockingLockShared, deadline)
    }

    pub(crate) fn exclusive(cni_dir: &Path, deadline: Instant) -> Result<NodeLock, LockError> {
        Self::take(cni_dir, FlockOperation::NonBlockingLockExclusive, deadline)
    }

    fn take(cni_dir: &Path, operation: FlockOperation, deadline: Instant) -> Result<NodeLock, LockError> {
        let dir = locks_dir(cni_dir);
        // Held only while the node lock is being taken.
        let _gate = hold(&dir.join(".gate"), operation, deadline)?;
        hold(&dir.join(".node"), operation, deadline).map(|lock| NodeLock { _lock: lock })
    }
}

/// One of the node's places for a call that runs plugins. It ends with its process, also by SIGKILL.
#[derive(Debug)]
pub(crate) struct Slot {
    _lock: Flock,
}

impl Slot {
    /// Takes a free place, waiting until `deadline` for one.
    pub(crate) fn acquire(cni_dir: &Path, slots: u32, deadline: Instant) -> Result<Slot, LockError> {
        let dir = locks_dir(cni_dir);
        // Callers start at different places, so that they seldom look at a place that is taken.
        let first = std::process::id() % slots.max(1);
        loop {
            for offset in 0..slots.max(1) {
                let path = dir.join(format!(".slot-{}", (first + offset) % slots.max(1)));
                let file = open(&path)?;
                if try_flock(&file, FlockOperation::NonBlockingLockExclusive)
                    .map_err(|error| LockError::Unusable(path, error))?
                {
                    return Ok(Slot { _lock: Flock(file) });
                }
            }
            if Instant::now() >= deadline {
                return Err(LockError::Held { owner_alive: true });
            }
            pause();
        }
    }
}

fn locks_dir(cni_dir: &Path) -> PathBuf {
    cni_dir.join(".locks")
}

fn hold(path: &Path, operation: FlockOperation, deadline: Instant) -> Result<Flock, LockError> {
    let file = open(path)?;
    loop {
        if try_flock(&file, operation).map_err(|error| LockError::Unusable(path.to_owned(), error))? {
            return Ok(Flock(file));
        }
        if Instant::now() >= deadline {
            return Err(LockError::Held { owner_alive: true });
        }
        pause();
    }
}

/// Opens a lock file, making it where it is missing. On a read-only or full disk an existing one serves: flock asks for no write.
fn open(path: &Path) -> Result<File, LockError> {
    let create = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(path)
    };
    let opened = match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(dir) = path.parent() {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(dir)
                    .map_err(|error| LockError::Unusable(dir.to_owned(), error))?;
            }
            create()
        }
        other => other,
    };
    opened.or_else(|error| File::open(path).map_err(|_| LockError::Unusable(path.to_owned(), error)))
}

fn try_flock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether `path` still leads to this open file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

/// Writes down who took the lock. A disk that refuses it costs only the knowledge that the owner is dead.
fn write_owner(mut file: &File) {
    let pid = std::process::id();
    if let Some(start) = start_time(pid)
        && file.set_len(0).is_ok()
    {
        let _ = file.write_all(format!("{pid} {start}\n").as_bytes());
    }
}

fn owner_lives(file: &File) -> bool {
    let mut text = String::new();
    if file.take(64).read_to_string(&mut text).is_err() {
        return true;
    }
    let mut words = text.split_whitespace();
    let owner = words.next().and_then(|pid| pid.parse::<u32>().ok()).zip(words.next());
    // Unknown counts as alive: a lock is not taken from somebody about whom nothing is known.
    owner.is_none_or(|(pid, start)| start_time(pid).as_deref() == Some(start))
}

/// When a process started, in the kernel's ticks; a pid that is used again has another one.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name in parentheses may hold anything; what follows it is numbered from field 3. Zombies have ended.
    let rest = &stat[stat.rfind(')')? + 2..];
    let mut fields = rest.split(' ');
    if fields.next() == Some("Z") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

#[expect(
    clippy::disallowed_methods,
    reason = "flock can only be waited for without a limit; every caller has a deadline"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests;
