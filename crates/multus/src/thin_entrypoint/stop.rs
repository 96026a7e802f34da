//! The wish to end: SIGINT or SIGTERM. The second one ends the process at once.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// Waits for it.
#[derive(Debug)]
pub(crate) struct Stop {
    receiver: UnixStream,
}

/// Readable as soon as the wish is there.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl Stop {
    /// Listens for the signals.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let (receiver, sender) = UnixStream::pair()?;
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it.
            flag::register_conditional_shutdown(signal, 1, Arc::clone(&asked))?;
            flag::register(signal, Arc::clone(&asked))?;
            pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Self { receiver })
    }

    /// A stop that another thread asks for by writing to, or closing, the other end.
    #[cfg(test)]
    pub(crate) fn by_hand() -> io::Result<(Self, UnixStream)> {
        let (receiver, sender) = UnixStream::pair()?;
        Ok((Self { receiver }, sender))
    }

    /// Waits as long as `limit`; returns whether it came.
    pub(crate) fn within(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut byte = [0];
        loop {
            // A timeout of zero would be none.
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.receiver.set_read_timeout(Some(left)).and_then(|()| (&self.receiver).read(&mut byte)) {
                // The very signal that is waited for interrupts the wait: with a timeout the kernel does not go on by itself.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                }
                Ok(_) => return true,
            }
        }
    }
}
